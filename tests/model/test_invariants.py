"""Invariants of E-steps and M-steps for any mixture, weights and chunking."""

import numpy as np
from hard_cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FAMILY_NAMES, clusters, cuts, mixture

from daskgmm.chunk import Chunk
from daskgmm.model import e_step
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

N_ROWS = 40
names = st.sampled_from(FAMILY_NAMES)
seeds = st.integers(0, 10_000)
kernels = st.sampled_from(["quadratic", "triangular"])
weighings = st.sampled_from(["none", "gamma", "whole", "wide"])
drawn = settings(max_examples=30, deadline=None, derandomize=True)


def weights_of(kind, seed=0, n_rows=N_ROWS):
    random = np.random.default_rng(seed)
    return {
        "none": None,
        "gamma": random.gamma(1.0, size=n_rows),
        "whole": random.integers(0, 4, size=n_rows).astype(float),
        "wide": 10.0 ** random.integers(-12, 13, size=n_rows),
    }[kind]


def kernel_of(model, kernel, pivot):
    case = Case(model.family.name, n_components=model.n_components, n_features=model.n_features)
    case.__dict__.update(mixture=model, pivot=pivot)
    return e_step.Densities(model.family, case.kernels[kernel])


def visited(rows, weights, model_densities):
    return e_step.e_step(Chunk(rows, weights, 0, 0), model_densities)


def em(rows, weights, model, start, kernel="automatic"):
    statistics = visited(rows, weights, kernel_of(start, kernel, model.pivot))
    return model.lower_bound(statistics, start), model.m_step(statistics)


def assert_same(a, b, *, rtol=1e-10, atol=1e-10):
    np.testing.assert_allclose(a.effective_counts, b.effective_counts, rtol=rtol)
    scale = np.abs(b.second_moment).max() + 1.0
    np.testing.assert_allclose(a.first_moment, b.first_moment, rtol=rtol, atol=atol * scale)
    np.testing.assert_allclose(a.second_moment, b.second_moment, rtol=rtol, atol=atol * scale)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=rtol)
    np.testing.assert_allclose(a.total_weight, b.total_weight, rtol=rtol)


@given(names, kernels, weighings, cuts(N_ROWS), seeds)
@drawn
def test_any_chunking_gives_the_same_statistics(name, kernel, weighing, lengths, seed):
    rows, weights = clusters(N_ROWS, seed=seed), weights_of(weighing, seed)
    model_densities = kernel_of(mixture(name, seed=seed), kernel, rows.mean(axis=0))
    whole = visited(rows, weights, model_densities)
    total = SufficientStatistics.zero(whole.family, whole.pivot)
    for start, n in zip(np.cumsum((0, *lengths)), lengths, strict=False):
        some = slice(start, start + n)
        total = total + visited(
            rows[some], None if weights is None else weights[some], model_densities
        )
    assert_same(total, whole)


@given(names, weighings, seeds)
@drawn
def test_kernels_agree_about_any_pivot(name, weighing, seed):
    rows, weights = clusters(N_ROWS, seed=seed), weights_of(weighing, seed)
    start = mixture(name, seed=seed)
    fast, safe = (
        visited(rows, weights, kernel_of(start, kernel, rows.mean(axis=0)))
        for kernel in ("quadratic", "triangular")
    )
    assert_same(fast.about(safe.pivot), safe)


@given(names, kernels, seeds)
@drawn
def test_integer_weights_equal_repeated_rows(name, kernel, seed):
    rows, weights = clusters(N_ROWS, seed=seed), weights_of("whole", seed)
    model_densities = kernel_of(mixture(name, seed=seed), kernel, rows.mean(axis=0))
    repeated = np.repeat(rows, weights.astype(int), axis=0)
    assert_same(visited(rows, weights, model_densities), visited(repeated, None, model_densities))


@given(names, kernels, weighings, st.permutations(range(N_ROWS)), seeds)
@drawn
def test_the_order_of_rows_does_not_matter(name, kernel, weighing, order, seed):
    rows, weights = clusters(N_ROWS, seed=seed), weights_of(weighing, seed)
    model_densities = kernel_of(mixture(name, seed=seed), kernel, rows.mean(axis=0))
    moved = visited(rows[order], None if weights is None else weights[order], model_densities)
    assert_same(moved, visited(rows, weights, model_densities))


@given(names, kernels, weighings, st.permutations(range(4)), seeds)
@drawn
def test_permuting_components_permutes_everything(name, kernel, weighing, order, seed):
    rows, weights = clusters(N_ROWS, seed=seed), weights_of(weighing, seed)
    start = mixture(name, 4, seed=seed)
    covariances = start.covariances if name == "tied" else start.covariances[order]
    other = Mixture.from_covariances(
        start.family, start.weights[order], start.means[order], covariances
    )
    plain, moved = (
        visited(rows, weights, kernel_of(each, kernel, rows.mean(axis=0)))
        for each in (start, other)
    )
    np.testing.assert_allclose(moved.effective_counts, plain.effective_counts[order], rtol=1e-9)
    second = plain.second_moment if name == "tied" else plain.second_moment[order]
    np.testing.assert_allclose(moved.first_moment, plain.first_moment[order], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(moved.second_moment, second, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(moved.log_likelihood, plain.log_likelihood, rtol=1e-11)


@given(names, st.integers(-20, 20), st.integers(-(2**20), 2**20), st.sampled_from([1, -1]), seeds)
@drawn
def test_shifting_and_scaling_the_rows_shifts_and_scales_the_answer(name, power, shift, sign, seed):
    # Rows with few digits and powers of two, so that the transformed rows are exact.
    rows = np.round(clusters(N_ROWS, seed=seed) * 2**10) / 2**10
    start, scale = mixture(name, seed=seed), sign * 2.0**power
    means = np.round(start.means * 2**10) / 2**10
    start = Mixture.from_covariances(start.family, start.weights, means, start.covariances)
    moved = Mixture.from_covariances(
        start.family, start.weights, (means + shift) * scale, start.covariances * scale**2
    )
    (bound, result), (other_bound, other) = (
        em(x, None, MaximumLikelihood(start.family, 0.0, x.mean(axis=0)), m)
        for x, m in ((rows, start), ((rows + shift) * scale, moved))
    )
    deviations = result.standard_deviations
    assert np.abs((other.means / scale - shift - result.means) / deviations).max() < 1e-8
    np.testing.assert_allclose(
        other.covariances / scale**2, result.covariances, rtol=1e-7, atol=1e-9 * deviations.max()
    )
    np.testing.assert_allclose(other_bound, bound - 3 * np.log(abs(scale)), rtol=1e-10, atol=1e-9)


@given(names, kernels, weighings, seeds)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_the_bound_never_falls(name, kernel, weighing, seed):
    rows, current = clusters(100, seed=seed), mixture(name, seed=seed)
    weights = weights_of("gamma" if weighing == "wide" else weighing, seed, 100)
    model = MaximumLikelihood(current.family, 0.0, rows.mean(axis=0))
    bounds = []
    for _ in range(8):
        bound, current = em(rows, weights, model, current, kernel)
        bounds.append(bound)
    assert (np.diff(bounds) >= -1e-11).all()


@given(weighings, seeds)
@drawn
def test_the_families_nest(weighing, seed):
    # A mixture is the same in a wider family, whose best covariances fit no worse.
    rows, weights = clusters(N_ROWS, seed=seed), weights_of(weighing, seed)
    if weights is not None and weighing == "wide":
        weights = np.sqrt(np.sqrt(weights))
    ball = mixture("spherical", seed=seed)
    variance = ball.covariances.mean()
    shapes = {
        "spherical": np.full(3, variance),
        "diag": np.full((3, 3), variance),
        "tied": variance * np.eye(3),
        "full": np.stack([variance * np.eye(3)] * 3),
    }
    starts = {
        name: Mixture.from_covariances(FAMILIES[name], ball.weights, ball.means, covariances)
        for name, covariances in shapes.items()
    }
    models = {name: MaximumLikelihood(FAMILIES[name], 1e-9, rows.mean(axis=0)) for name in starts}
    result = {name: em(rows, weights, models[name], start) for name, start in starts.items()}
    # Expected complete log-likelihood, which the covariances of the M-step maximize.
    shares = e_step.responsibilities(rows, models["full"].densities(starts["full"]))
    w = np.ones(N_ROWS) if weights is None else weights

    def complete(name):
        run = kernel_of(result[name][1], "triangular", rows.mean(axis=0)).kernel.run()
        return np.sum(w * shares.T * (run.log_prob(rows) + run.levels[0])) / w.sum()

    bounds = [bound for bound, _ in result.values()]
    np.testing.assert_allclose(bounds, bounds[0], rtol=1e-11)
    for name in ("diag", "tied", "spherical"):
        np.testing.assert_allclose(result[name][1].means, result["full"][1].means, rtol=1e-7)
    for wider, narrower in [("full", "diag"), ("full", "tied"), ("diag", "spherical")]:
        assert complete(wider) >= complete(narrower) - 1e-7


def test_in_one_dimension_full_diag_and_spherical_are_one():
    rows, start, answers = clusters(80, 1), mixture("spherical", 3, 1), []
    for name, shape in [("spherical", (3,)), ("diag", (3, 1)), ("full", (3, 1, 1))]:
        same = Mixture.from_covariances(
            FAMILIES[name], start.weights, start.means, start.covariances.reshape(shape)
        )
        model = MaximumLikelihood(FAMILIES[name], 0.0, rows.mean(axis=0))
        _, result = em(rows, None, model, same)
        answers.append([result.means.ravel(), result.covariances.ravel()])
    np.testing.assert_allclose(answers, [answers[0]] * 3, rtol=1e-9)
