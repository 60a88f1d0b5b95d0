import math

import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm import GaussianMixture
from daskgmm.fit.observers import FitProgress
from daskgmm.fit.state import FitState, Outcome


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


def test_nothing_is_printed_without_verbose(capsys):
    GaussianMixture(2, random_state=0).fit(clusters(200)).predict(np.zeros((1, 3)))
    assert capsys.readouterr().out == ""


def test_verbose_prints_the_events_of_degenerate_components(capsys):
    rows = np.vstack([clusters(200), [[1e4] * 3]])
    parameters = {"reg_covar": 0.0, "degenerate": "drop", "random_state": 0}
    model = GaussianMixture(3, verbose=1, **parameters).fit(rows)
    first, *others = map(str, model.events_)
    printed = capsys.readouterr().out
    assert f"Initialization 0\n  {first}\n" in printed
    assert all(f"\n  {event}\n" in printed for event in others)


def candidate(*bounds, outcome=None):
    return FitState(mixture("full"), bounds, outcome=outcome)


def test_candidates_with_an_outcome_do_not_count_as_progress():
    progress = FitProgress()
    progress.advance([candidate(-3.0), candidate(-4.0)])
    assert (progress.n_passes, progress.lower_bound) == (1, -3.0)
    assert math.isnan(progress.change)
    converged = candidate(-3.0, -2.0, outcome=Outcome.CHANGE_BELOW_TOL)
    progress.advance([converged, candidate(-4.0, -3.0)])
    assert progress.change == 1.0
    progress.advance([converged, candidate(-4.0, -3.0, -2.5)])
    assert (progress.n_passes, progress.lower_bound, progress.change) == (3, -2.0, 0.0)
    progress.advance([converged, candidate(-4.0, -3.0, -2.5, -1.5)])
    assert (progress.lower_bound, progress.change) == (-1.5, 0.5)


def test_passes_are_counted_after_a_candidate_restarts():
    progress = FitProgress()
    for n in range(1, 4):
        progress.advance([candidate(*range(-9, -9 + n))])
    progress.advance([candidate(-9.0, -6.0)])
    assert progress.n_passes == 4


def test_progress_resumes_from_the_states_of_a_checkpoint():
    progress = FitProgress()
    progress.resume([])
    assert progress.n_passes == 0
    progress.resume([candidate(-3.0, -2.0)])
    assert progress.n_passes == 2
    progress.advance([candidate(-3.0, -2.0, -1.5)])
    assert (progress.n_passes, progress.change) == (3, 0.5)
