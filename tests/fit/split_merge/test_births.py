import numpy as np
import pytest
from strategies import mixture

from daskgmm.fit.split_merge.births import Part, births, n_parameters
from daskgmm.model.densities import densities
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

WHERE = np.array([15.0, -15.0, 15.0])


def rows_of(model, n_rare=60):
    random = np.random.RandomState(0)
    rows, _ = model.sample(3000, random)
    return np.vstack([rows, WHERE + 0.5 * random.normal(size=(n_rare, 3))])


def with_newcomer(model, newcomer):
    """The mixture with one component more."""
    covariances = model.covariances
    if not model.family.shared:
        covariances = np.concatenate([covariances, newcomer.covariance])
    return Mixture.from_covariances(
        model.family,
        np.append((1 - newcomer.weight) * model.weights, newcomer.weight),
        np.vstack([model.means, newcomer.mean]),
        covariances,
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gain_is_a_lower_bound_of_what_all_rows_gain(family_name, *, weighted):
    model = mixture(family_name)
    rows = rows_of(model)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(rows)) if weighted else None
    likelihood = MaximumLikelihood(model.family, 1e-6, rows.mean(axis=0))
    before = log_prob_norm(rows, densities(model))
    some = np.argsort(before)[:300]
    total = len(rows) if weights is None else weights.sum()
    of_some = None if weights is None else weights[some]
    part = Part.of(rows[some], of_some, total, model, likelihood)
    labels = (rows[some][:, 0] > 10).astype(np.int64)
    found = births(part, labels, model, likelihood)
    for birth in found:
        after = log_prob_norm(rows, densities(with_newcomer(model, birth.newcomer)))
        gained = np.average(after - before, weights=weights)
        assert birth.gain <= gained + 1e-12
    best = found[0]
    assert best.n_rows == pytest.approx(60, abs=1)
    np.testing.assert_allclose(best.newcomer.mean[0], WHERE, atol=0.3)
    after = log_prob_norm(rows, densities(with_newcomer(model, best.newcomer)))
    assert best.gain == pytest.approx(np.average(after - before, weights=weights), rel=0.05)


def test_fewer_rows_than_parameters_are_no_component(family_name):
    model = mixture(family_name)
    n_rare = n_parameters(model)
    rows = rows_of(model, n_rare)[-n_rare:]
    likelihood = MaximumLikelihood(model.family, 1e-6, rows.mean(axis=0))
    part = Part.of(rows, None, 3000.0, model, likelihood)
    assert births(part, np.zeros(n_rare, dtype=np.int64), model, likelihood) == []


def test_equal_rows_collapse_and_are_left_out():
    model = mixture("full")
    rows = np.tile(WHERE, (50, 1))
    likelihood = MaximumLikelihood(model.family, 0.0, WHERE)
    part = Part.of(rows, None, 3000.0, model, likelihood)
    assert births(part, np.zeros(50, dtype=np.int64), model, likelihood) == []


def test_parts_know_what_is_elsewhere():
    model = mixture("diag")
    rows = rows_of(model)
    likelihood = MaximumLikelihood(model.family, 0.0, rows.mean(axis=0))
    part = Part.of(rows[:100], None, len(rows), model, likelihood)
    assert (part.elsewhere, part.total_weight) == (len(rows) - 100, len(rows))
    assert part.selected(np.arange(10)).elsewhere == len(rows) - 10
