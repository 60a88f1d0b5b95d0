import numpy as np
import pytest
from strategies import clusters

from daskgmm import GaussianMixture


@pytest.mark.parametrize(("verbose", "more"), [(1, False), (2, True)])
def test_verbose_prints_starts_iterations_and_ends(capsys, verbose, more):
    options = {"verbose_interval": 1, "n_init": 2, "init_params": "random", "random_state": 0}
    model = GaussianMixture(2, verbose=verbose, **options)
    model.fit(clusters(200))
    printed = capsys.readouterr().out
    assert "Initialization 0\nInitialization 1\n" in printed
    assert "Iteration 2" in printed
    assert "Initialization 0 converged" in printed
    assert ("ll change" in printed) is more


def test_nothing_is_printed_unless_asked_for(capsys):
    GaussianMixture(2, random_state=0).fit(clusters(200)).predict(np.zeros((1, 3)))
    assert capsys.readouterr().out == ""


def test_verbose_prints_what_became_of_degenerate_components(capsys):
    rows = np.vstack([clusters(200), [[1e4] * 3]])
    parameters = {"reg_covar": 0.0, "degenerate": "drop", "random_state": 0}
    model = GaussianMixture(3, verbose=1, **parameters).fit(rows)
    first, *others = map(str, model.events_)
    printed = capsys.readouterr().out
    assert f"Initialization 0\n  {first}\n" in printed
    assert all(f"\n  {event}\n" in printed for event in others)
