import numpy as np
import oracles
import pytest
from sklearn.mixture import GaussianMixture as ScikitLearn
from strategies import clusters, mixture

from daskgmm.chunk import Chunk
from daskgmm.errors import ParameterError
from daskgmm.fit.criteria import CRITERIA, Scores, criterion_of
from daskgmm.model.densities import densities
from daskgmm.model.e_step import e_step

X = clusters(200)


def scores_of(start, rows=X, weights=None, **changes):
    statistics = e_step(Chunk(rows, weights, 0, 0), densities(start))
    return Scores.of(start, statistics, **{"held_out": -3.0, **changes})


def test_aic_and_bic_are_scikit_learns(family_name):
    start = mixture(family_name)
    theirs = ScikitLearn(3, covariance_type=family_name)
    theirs.weights_, theirs.means_ = start.weights, start.means
    theirs.covariances_, theirs.precisions_cholesky_ = start.covariances, start.precision_cholesky
    scores = scores_of(start)
    np.testing.assert_allclose(scores.aic, theirs.aic(X))
    np.testing.assert_allclose(scores.bic, theirs.bic(X))


def test_icl_is_bic_and_twice_the_entropy_of_each_row(family_name):
    start = mixture(family_name)
    shares, norm = oracles.e_step(X, start.weights, start.means, start.dense_covariances)
    entropy = -float(np.sum(shares * np.log(np.maximum(shares, 1e-300))))
    scores = scores_of(start)
    np.testing.assert_allclose(scores.mean_log_likelihood, norm.mean())
    np.testing.assert_allclose(scores.entropy, entropy, rtol=1e-8)
    np.testing.assert_allclose(scores.icl, scores.bic + 2.0 * entropy)
    np.testing.assert_allclose(scores.effective_counts, shares.sum(axis=0))


def test_one_component_has_no_entropy(family_name):
    scores = scores_of(mixture(family_name, n_components=1))
    assert scores.entropy == pytest.approx(0.0, abs=1e-8)
    assert scores.icl == pytest.approx(scores.bic)


def test_whole_weights_are_repeated_rows():
    weights = np.random.default_rng(0).integers(0, 4, size=len(X))
    weighted = scores_of(mixture("full"), weights=weights.astype(float))
    repeated = scores_of(mixture("full"), rows=np.repeat(X, weights, axis=0))
    for criterion in CRITERIA.values():
        assert criterion.of(weighted) == pytest.approx(criterion.of(repeated))


def test_what_is_still_gained_is_added_to_the_likelihood():
    now, then = scores_of(mixture("full")), scores_of(mixture("full"), gain=0.25)
    assert then.mean_log_likelihood == pytest.approx(now.mean_log_likelihood + 0.25)
    assert then.bic == pytest.approx(now.bic - 2.0 * 0.25 * len(X))


def test_by_each_criterion_less_is_lost_by_the_better():
    worse, better = scores_of(mixture("full")), scores_of(mixture("full"), gain=1.0, held_out=-2.0)
    for criterion in CRITERIA.values():
        assert criterion.loss(better) < criterion.loss(worse)


def test_an_unknown_criterion_is_a_sentence():
    with pytest.raises(ParameterError, match="one of 'bic', 'aic', 'icl', 'held-out', not 'BIC'"):
        criterion_of("BIC")
