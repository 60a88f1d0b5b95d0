"""scikit-learn's tests of its mixture, run against ours, and its checks of any estimator."""

import os
from functools import partial

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

os.environ.setdefault("SKLEARN_RUN_FLOAT32_TESTS", "1")  # read when the fixtures are imported

from sklearn.conftest import global_dtype, pytest_generate_tests
from sklearn.mixture.tests import test_gaussian_mixture as of_gaussian_mixture
from sklearn.mixture.tests import test_mixture as of_any_mixture

import daskgmm

__all__ = ["global_dtype", "pytest_generate_tests"]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Names of tests, or their prefixes.
PRIVATE = "tests functions that are private to scikit-learn"
ARRAY_API = "is about arrays that are neither NumPy's nor Dask's"
EXCLUDED = {
    "test_suffstat_sk_": PRIVATE,
    "test_gaussian_suffstat_sk_spherical": PRIVATE,
    "test_compute_log_det_cholesky": PRIVATE,
    "test_gaussian_mixture_log_probabilities": PRIVATE,
    "test_gaussian_mixture_precisions_init": PRIVATE,
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": PRIVATE,
    "test_gaussian_mixture_array_api_compliance": ARRAY_API,
    "test_gaussian_mixture_raises_where_array_api_not_implemented": ARRAY_API,
}
# Has one of these prefixes, but tests public behaviour.
INCLUDED = "test_gaussian_mixture_precisions_init_diag"

PLAIN = {"acceleration": None, "init_params": "kmeans", "init_distance": "euclidean"}


class GaussianMixture(daskgmm.GaussianMixture):
    """Our class with scikit-learn's defaults: plain EM from k-means."""

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol=1e-3,
        reg_covar=1e-6,
        max_iter=100,
        n_init=1,
        init_params="kmeans",
        weights_init=None,
        means_init=None,
        precisions_init=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        degenerate="raise",
    ):
        own = {name: value for name, value in locals().items() if name in self._get_param_names()}
        super().__init__(**{**PLAIN, **own})


class Rounded(GaussianMixture):
    """Rounds scores to 12 digits."""

    def score(self, X, y=None):
        return float(f"{super().score(X, y):.12g}")


def is_excluded(name):
    return name != INCLUDED and any(name.startswith(each) for each in EXCLUDED)


THEIRS = {
    name: test
    for name, test in vars(of_gaussian_mixture).items()
    if name.startswith("test_") and not is_excluded(name)
}
of_gaussian_mixture.GaussianMixture = GaussianMixture
globals().update(THEIRS)


def test_gaussian_mixture_setting_best_params(monkeypatch):
    # A component with a single row has no variance; by rounding, scikit-learn's has 4e-16.
    mended = partial(GaussianMixture, degenerate="regularize")
    monkeypatch.setattr(of_gaussian_mixture, "GaussianMixture", mended)
    of_gaussian_mixture.test_gaussian_mixture_setting_best_params()


def test_multiple_init(monkeypatch):
    # Initializations that share matrix products round differently from a single one: the same
    # optimum may score an ulp lower.
    monkeypatch.setattr(of_gaussian_mixture, "GaussianMixture", Rounded)
    of_gaussian_mixture.test_multiple_init()


def test_n_iter():
    of_any_mixture.test_gaussian_mixture_n_iter(GaussianMixture())


def test_more_components_than_rows_are_an_error():
    of_any_mixture.test_mixture_n_components_greater_than_n_samples_error(GaussianMixture())


def test_the_excluded_tests_exist():
    names = [name for name in vars(of_gaussian_mixture) if name.startswith("test_")]
    assert all(any(name.startswith(each) for name in names) for each in EXCLUDED)
    assert len(THEIRS) >= 30


@parametrize_with_checks([daskgmm.GaussianMixture(), daskgmm.GaussianMixture(**PLAIN)])
def test_any_estimator(estimator, check):
    check(estimator)
