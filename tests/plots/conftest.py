import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from strategies import clusters

from daskgmm import GaussianMixture


@pytest.fixture(autouse=True)
def _no_window():
    with mpl.rc_context({"backend": "agg"}):
        yield
        plt.close("all")


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.fixture(scope="session")
def rows():
    return clusters(400, 3)


@pytest.fixture(scope="session")
def model(rows):
    return GaussianMixture(3, random_state=0, max_iter=20, init_params="kmeans", tol=0.1).fit(rows)
