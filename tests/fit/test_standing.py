import math

from strategies import mixture

from daskgmm.fit.observers import FitProgress
from daskgmm.fit.state import FitState, Outcome


def at(*bounds, outcome=None):
    return FitState(mixture("full"), bounds, outcome=outcome)


def test_a_candidate_that_has_ended_adds_nothing():
    standing = FitProgress()
    standing.advance([at(-3.0), at(-4.0)])
    assert (standing.n_passes, standing.lower_bound) == (1, -3.0)
    assert math.isnan(standing.change)
    ended = at(-3.0, -2.0, outcome=Outcome.SETTLED)
    standing.advance([ended, at(-4.0, -3.0)])
    assert standing.change == 1.0
    standing.advance([ended, at(-4.0, -3.0, -2.5)])
    assert (standing.n_passes, standing.lower_bound, standing.change) == (3, -2.0, 0.0)
    standing.advance([ended, at(-4.0, -3.0, -2.5, -1.5)])
    assert (standing.lower_bound, standing.change) == (-1.5, 0.5)


def test_passes_are_counted_where_a_candidate_begins_again_after_fewer_iterations():
    standing = FitProgress()
    for n in range(1, 4):
        standing.advance([at(*range(-9, -9 + n))])
    standing.advance([at(-9.0, -6.0)])
    assert standing.n_passes == 4


def test_a_fit_goes_on_where_it_was():
    standing = FitProgress()
    standing.resume([])
    assert standing.n_passes == 0
    standing.resume([at(-3.0, -2.0)])
    assert standing.n_passes == 2
    standing.advance([at(-3.0, -2.0, -1.5)])
    assert (standing.n_passes, standing.change) == (3, 0.5)
