from dataclasses import replace

import dask.array as da
import numpy as np
import oracles
import pytest
import strategies
from strategies import clusters

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.execution.shards import ignore_chunks
from daskgmm.errors import CheckpointError, DataError, DegenerateCovarianceError
from daskgmm.fit.checkpoint.snapshot import from_bytes
from daskgmm.fit.checkpoint.store import NO_CHECKPOINTS, FolderCheckpoints
from daskgmm.fit.comparison import MOST, compare, worth_mentioning
from daskgmm.fit.convergence import ExpectedGain
from daskgmm.fit.criteria import CRITERIA
from daskgmm.fit.driver import fit_mixture
from daskgmm.fit.observers import NullObserver
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import Outcome
from daskgmm.model.covariance import FAMILIES
from daskgmm.storage.folder import Folder

X = clusters(1500, 2, seed=1, spread=6.0)


class Small(Settings):
    """Settings whose sample is far smaller than the data."""

    def sample_size(self, n_features):
        return 400


def settings(n_components, name="full", kind=Small, **changes):
    defaults = {"rule": ExpectedGain(1e-3, 100), "accelerated": True, "sample_start": True}
    return strategies.settings(name, kind, n_components=n_components, **{**defaults, **changes})


class Counted(InMemoryDataset):
    """Rows in memory that are visited in the sight of a test."""

    def reduce(self, fn, on_chunks=ignore_chunks):
        self.__dict__["visits"] = self.__dict__.get("visits", 0) + 1
        return super().reduce(fn, on_chunks)


def compared(
    dataset, several, criterion="bic", n_finalists=2, seed=0, *, checkpoints=NO_CHECKPOINTS
):
    random = np.random.RandomState(seed)
    return compare(
        dataset,
        several,
        CRITERIA[criterion],
        n_finalists=n_finalists,
        random=random,
        observer=NullObserver(),
        checkpoints=checkpoints,
    )


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_number_of_components_that_made_the_rows_is_chosen(criterion):
    found = compared(InMemoryDataset(X), [settings(k) for k in range(1, 7)], criterion)
    assert found.best.settings.n_components == 3
    assert found.best.outcome is Outcome.CONVERGED


def test_the_family_that_made_the_rows_is_chosen(family_name):
    random = np.random.default_rng(0)
    shape = np.array([[1.0, 0.8], [0.0, 0.6]])
    factors = {
        "full": [shape, 2.0 * shape.T],
        "tied": [shape, shape],
        "diag": [np.diag([1.0, 3.0]), np.diag([3.0, 1.0])],
        "spherical": [np.eye(2), 2.0 * np.eye(2)],
    }[family_name]
    rows = np.vstack(
        [9.0 * i + random.normal(size=(700, 2)) @ factor for i, factor in enumerate(factors)]
    )
    several = [settings(k, name) for name in FAMILIES for k in (1, 2, 3)]
    found = compared(InMemoryDataset(rows), several)
    assert found.best.settings.family.name == family_name
    assert found.best.settings.n_components == 2


def test_ten_candidates_cost_the_passes_of_the_slowest():
    dataset = Counted(X)
    found = compared(dataset, [settings(k) for k in range(1, 11)], n_finalists=10)
    slowest = max(each.state.n_iter for each in found.candidates)
    assert len(found.passes) == dataset.visits == 1 + slowest
    assert [each.purpose for each in found.passes[:2]] == ["survey", "comparison"]
    assert {each.purpose for each in found.passes[2:]} <= {"iteration"}


def test_only_the_finalists_are_carried_on_and_the_rest_are_estimates():
    found = compared(InMemoryDataset(X), [settings(k) for k in range(1, 7)])
    carried = [each for each in found.candidates if each.carried]
    assert len(carried) == 2
    assert all(each.estimated is not each.carried for each in found.candidates)
    losses = sorted(each.scores.bic for each in found.candidates)
    assert losses[0] == found.best.scores.bic


def test_estimates_are_near_what_the_candidates_come_to():
    several = [settings(k) for k in (1, 2, 3)]
    estimates = compared(InMemoryDataset(X), several, n_finalists=1).candidates
    ends = compared(InMemoryDataset(X), several, n_finalists=3).candidates
    for estimate, end in zip(estimates, ends, strict=True):
        missed = end.scores.n_parameters / (2.0 * 400)
        gap = estimate.scores.mean_log_likelihood - end.scores.mean_log_likelihood
        assert abs(gap) < missed


def test_the_scores_of_a_finalist_are_those_of_its_parameters(family_name):
    found = compared(InMemoryDataset(X), [settings(k, family_name) for k in (2, 3)])
    for each in found.candidates:
        m = each.state.parameters
        _, norm = oracles.e_step(X, m.weights, m.means, m.dense_covariances)
        np.testing.assert_allclose(each.scores.mean_log_likelihood, norm.mean())


def test_rows_that_are_held_out_are_those_that_the_sample_does_not_hold():
    seen = {}

    class Watching(NullObserver):
        def on_survey(self, survey, seconds):
            seen["numbers"] = survey.sample.numbers

        def on_sample(self, states, seconds):
            seen["mixture"] = states[0].parameters

    random = np.random.RandomState(0)
    found = compare(
        InMemoryDataset(X),
        [settings(3)],
        CRITERIA["held-out"],
        n_finalists=1,
        random=random,
        observer=Watching(),
    )
    m = seen["mixture"]
    rest = np.delete(X, seen["numbers"], axis=0)
    assert len(rest) == len(X) - 400
    _, norm = oracles.e_step(rest, m.weights, m.means, m.dense_covariances)
    np.testing.assert_allclose(found.best.scores.held_out, norm.mean())


def test_of_few_rows_some_are_held_out_and_all_candidates_are_carried_on():
    found = compared(InMemoryDataset(X), [settings(k, kind=Settings) for k in range(1, 6)])
    assert len(found.survey.sample.rows) == int(MOST * len(X))
    assert all(each.carried and not each.estimated for each in found.candidates)
    assert found.best.settings.n_components == 3


def test_memory_and_dask_choose_the_same_to_the_bit():
    several = [settings(k) for k in (2, 3, 4)]
    memory = compared(InMemoryDataset(X, chunk_rows=250), several)
    dask = compared(DaskDataset.of(da.from_array(X, chunks=(250, 2))), several)
    for ours, theirs in zip(memory.candidates, dask.candidates, strict=True):
        assert ours.scores.bic == theirs.scores.bic
        assert ours.scores.held_out == theirs.scores.held_out


def test_who_stands_beside_a_candidate_does_not_change_it():
    alone = compared(InMemoryDataset(X), [settings(3)]).candidates[0]
    among = compared(InMemoryDataset(X), [settings(5), settings(3), settings(2)]).candidates[1]
    assert among.scores.held_out == pytest.approx(alone.scores.held_out, abs=1e-9)


def test_the_best_of_several_starts_goes_on():
    means = []
    for n_init in (1, 6):  # of this seed, the first start ends with two clusters as one
        several = [settings(3, init_params="random", n_init=n_init)]
        (found,) = compared(InMemoryDataset(X), several, seed=1).candidates
        means.append(found.scores.mean_log_likelihood)
    assert means[1] > means[0] + 0.5


def test_it_ends_where_a_fit_of_its_own_ends():
    (found,) = compared(InMemoryDataset(X), [settings(3)]).candidates
    fit = fit_mixture(InMemoryDataset(X), settings(3), np.random.RandomState(0), NullObserver())
    assert found.scores.mean_log_likelihood == pytest.approx(fit.state.lower_bound, abs=1e-3)


def test_whole_weights_are_repeated_rows():
    weights = np.random.default_rng(0).integers(0, 4, size=len(X))
    rows, several = np.repeat(X, weights, axis=0), [settings(k) for k in (1, 3)]
    weighted = compared(InMemoryDataset(X, weights.astype(float)), several, n_finalists=3)
    repeated = compared(InMemoryDataset(rows), several, n_finalists=3)
    for ours, theirs in zip(weighted.candidates, repeated.candidates, strict=True):
        assert ours.scores.bic == pytest.approx(theirs.scores.bic, rel=1e-5)


def test_collapsed_candidates_are_reported_beside_the_others():
    few = X[:8]
    rows = np.repeat(few, 50, axis=0)
    several = [settings(k, reg_covar=0.0) for k in (1, len(few) + 5, 10**6)]
    sound, collapsed, too_large = compared(InMemoryDataset(rows), several).candidates
    assert sound.carried
    assert (collapsed.outcome, too_large.outcome) == (Outcome.DEGENERATE, Outcome.TOO_FEW_ROWS)
    for each in (collapsed, too_large):
        assert each.scores is None
        assert not each.carried


def test_where_all_collapse_it_is_said():
    with pytest.raises(DegenerateCovarianceError, match="ill-defined"):
        compared(InMemoryDataset(np.ones((100, 2))), [settings(k, reg_covar=0.0) for k in (1, 2)])


def test_rows_in_float32_and_rows_with_gaps():
    rows = np.vstack([X, X[:50]]).astype(np.float32)
    rows[1500:, 1] = np.nan
    dataset = DaskDataset.of(da.from_array(rows, chunks=(250, 2)), missing="omit")
    found = compared(dataset, [settings(k) for k in (2, 3, 4)])
    assert found.best.settings.n_components == 3
    assert found.best.scores.total_weight == len(X)


def test_a_criterion_that_nobody_can_win_any_more_ends_a_finalists_passes():
    several = [replace(settings(k), rule=ExpectedGain(0.0, 60)) for k in (1, 2, 3, 5)]
    found = compared(InMemoryDataset(X), several, n_finalists=4)
    outcomes = [each.outcome for each in found.candidates]
    assert Outcome.OUTRUN in outcomes
    assert found.best.settings.n_components == 3


def test_where_no_model_has_rows_enough_it_is_said():
    with pytest.raises(DataError, match="a sample of 8 of the 10 rows, too few for 9 components"):
        compared(InMemoryDataset(X[:10]), [settings(k, kind=Settings) for k in (9, 10)])


def test_without_iterations_models_are_scored_where_the_sample_has_taken_them():
    rule = ExpectedGain(1e-3, 0)
    found = compared(InMemoryDataset(X), [settings(k, rule=rule) for k in (1, 2, 3)], n_finalists=1)
    assert [each.purpose for each in found.passes] == ["survey", "comparison"]
    assert found.best.settings.n_components == 3
    for each in found.candidates:
        assert each.outcome is Outcome.REACHED_MAX_ITER
        assert (each.carried, each.estimated, each.state.n_iter) == (True, False, 0)
        m = each.state.parameters
        _, norm = oracles.e_step(X, m.weights, m.means, m.dense_covariances)
        np.testing.assert_allclose(each.scores.mean_log_likelihood, norm.mean())
        assert each.state.lower_bound == pytest.approx(norm.mean())
    assert found.passes[1].lower_bound == max(each.state.lower_bound for each in found.candidates)


@pytest.mark.parametrize(
    ("tol", "total_weight", "expected"),
    [(1e-3, 100.0, 1e-3), (1e-3, 1e6, 1e-6), (1e-3, 1e12, 1e-9), (0.0, 1e12, 0.0)],
)
def test_no_fit_is_carried_on_for_what_is_below_the_digits_of_bounds(tol, total_weight, expected):
    rule = worth_mentioning(ExpectedGain(tol, 100), total_weight)
    assert (rule.tol, rule.max_iter) == (expected, 100)


class OneVisit(InMemoryDataset):
    """Rows of a process that dies when it comes to see them a second time."""

    def reduce(self, fn, on_chunks=ignore_chunks):
        if self.__dict__.setdefault("visits", 0):
            raise KeyboardInterrupt
        self.__dict__["visits"] = 1
        return super().reduce(fn, on_chunks)


def kept(folder, told=2, **options):
    return FolderCheckpoints(Folder(folder), {"selection": {"models": told}}, every=0, **options)


def bits(found):
    models = [
        (
            each.outcome,
            each.state and each.state.parameters.covariances.tobytes(),
            each.scores and (each.scores.icl, each.scores.effective_counts.tobytes()),
        )
        for each in found.candidates
    ]
    passes = [(each.purpose, each.lower_bound) for each in found.passes]
    return models, found.best.settings, passes


@pytest.mark.parametrize("rule", [ExpectedGain(1e-9, 8), ExpectedGain(1e-3, 0)], ids=["8", "0"])
def test_a_comparison_that_dies_in_each_pass_ends_with_the_same_bits(rule, tmp_path):
    rows = np.vstack([X, np.repeat(X[:1], 30, axis=0)])
    several = [settings(k, name, rule=rule) for name in ("full", "diag") for k in (1, 3, 4, 500)]
    whole = compared(InMemoryDataset(rows), several, n_finalists=3)
    assert whole.candidates[3].is_too_large
    n_died = 0
    while True:
        try:
            found = compared(OneVisit(rows), several, n_finalists=3, checkpoints=kept(tmp_path))
        except KeyboardInterrupt:
            n_died += 1
        else:
            break
    assert n_died == len(whole.passes) - 1 > 0
    assert bits(found) == bits(whole)


def test_forced_to_go_on_with_other_rows_it_compares_anew(tmp_path):
    several = [settings(k, rule=ExpectedGain(1e-9, 100)) for k in (1, 2, 3)]
    for n in range(2):
        with pytest.raises(KeyboardInterrupt):
            compared(OneVisit(X), several, checkpoints=kept(tmp_path))
        newest = max(tmp_path.iterdir()).read_bytes()
        assert len(from_bytes(newest).seen) == (3 if n else 0)
    told = {"selection": {"models": 2}, "data": {"n_rows": 1000}}
    forced = FolderCheckpoints(Folder(tmp_path), told, force=True)
    found = compared(InMemoryDataset(X[:1000]), several, checkpoints=forced)
    assert [each.purpose for each in found.passes].count("comparison") == 2
    assert {each.scores.total_weight for each in found.candidates} == {1000.0}


def test_a_checkpoint_of_another_selection_or_of_a_fit_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compared(OneVisit(X), [settings(1), settings(2)], checkpoints=kept(tmp_path))
    with pytest.raises(CheckpointError, match="its selection had models = 2, this one has 3"):
        kept(tmp_path, 3, force=True).found()
    with pytest.raises(CheckpointError, match="its selection had models = 2, this one has None"):
        FolderCheckpoints(Folder(tmp_path), {}, force=True).found()
