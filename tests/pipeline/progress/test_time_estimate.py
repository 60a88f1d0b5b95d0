import pytest
from strategies import mixture

from daskgmm.fit.state import FitState, Outcome
from daskgmm.pipeline.progress.time_estimate import TimeEstimate


def after(*bounds, tol=1e-3, max_iter=20, window=1, outcome=None):
    estimate = TimeEstimate(tol, max_iter, window)
    for n in range(1, len(bounds) + 1):
        ended = outcome if n == len(bounds) else None
        estimate.add_pass([FitState(mixture("full"), bounds[:n], outcome=ended)], 2.0)
    return estimate


def test_before_the_first_pass_only_the_maximum_is_known():
    estimate = TimeEstimate(1e-3, 20, 1)
    assert (estimate.max_passes, estimate.likely_passes, estimate.seconds(3)) == (21, None, None)


def test_the_estimate_extrapolates_gains_that_halve():
    estimate = after(-8.0, -4.0, -2.0, -1.0, tol=0.2)
    assert (estimate.max_passes, estimate.likely_passes) == (17, 3)
    assert estimate.seconds(estimate.likely_passes) == 6.0


@pytest.mark.parametrize(
    "bounds", [(-8.0,), (-8.0, -4.0), (-8.0, -7.0, -5.0), (-8.0, -6.0, -5.0, -3.0)]
)
def test_there_is_no_estimate_if_gains_do_not_shrink(bounds):
    assert after(*bounds).likely_passes is None


def test_the_estimate_adds_up_the_changes_of_the_rules_window():
    # 1, 0.5, 0.25 together are below 0.2 when the last of them is below 0.2 / 7.
    bounds = (-8.0, -4.0, -2.0, -1.0)
    assert after(*bounds, tol=0.2, window=3).likely_passes == 6
    assert after(*bounds, -0.5, -0.25, -0.125, tol=0.2, window=3).likely_passes == 3


def test_the_slowest_live_candidate_decides():
    def of(*bounds, outcome=None):
        return FitState(mixture("full"), bounds, outcome=outcome)

    slow, fast = of(-8.0, -4.0, -2.0, -1.0), of(-8.0, -4.0, -3.0, -2.9)
    ended, new = of(-8.0, -7.0, outcome=Outcome.SETTLED), of(-8.0, -4.0)
    estimate = TimeEstimate(0.2, 20, 1)
    for states, likely in (
        ([fast], 1),
        ([slow, fast], 3),
        ([ended, fast], 1),
        ([slow, new], None),
    ):
        estimate.add_pass(states, 2.0)
        assert estimate.likely_passes == likely


def test_the_estimate_never_exceeds_the_maximum():
    assert after(-8.0, -4.0, -2.0, -1.0, tol=1e-9, max_iter=5).likely_passes == 2
    assert after(-8.0, -4.0, -2.0, outcome=Outcome.SETTLED).max_passes == 1


def test_there_is_no_estimate_for_an_unknown_tolerance():
    assert after(-8.0, -4.0, -2.0, -1.0, tol=0.0).likely_passes is None
