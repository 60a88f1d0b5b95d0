"""Data, weights and chunkings that tests run over."""

from itertools import product

import numpy as np
import pytest
from distributed import LocalCluster
from hypothesis import strategies as st

from daskgmm.fit.convergence import AbsoluteChange
from daskgmm.fit.initialization.registry import DISTANCES, initializer_of
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.fit.settings import Settings
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.maximum_likelihood import MaximumLikelihood
from daskgmm.model.mixture import Mixture

FAMILY_NAMES = sorted(FAMILIES)


def clusters(n_rows=300, n_features=3, n_components=3, seed=0, spread=3.0):
    """Overlapping clusters of different shapes."""
    random = np.random.default_rng(seed)
    means = random.normal(scale=spread, size=(n_components, n_features))
    shapes = random.normal(size=(n_components, n_features, n_features))
    labels = random.integers(n_components, size=n_rows)
    noise = random.normal(size=(n_rows, n_features))
    return means[labels] + np.einsum("nij,nj->ni", shapes[labels], noise)


def mixture(name, n_components=3, n_features=3, *, seed=1, scale=1.0, offset=0.0):
    """A mixture of a family with nothing special about it."""
    random = np.random.default_rng(seed)
    family = FAMILIES[name]
    weights = random.dirichlet(np.full(n_components, 5.0))
    means = offset + scale * random.normal(scale=2.0, size=(n_components, n_features))
    x = scale * random.normal(size=(4 * n_features + 4, n_features))
    responsibilities = random.uniform(size=(n_components, len(x)))
    covariances = family.covariances(
        family.second_moment(x, responsibilities),
        responsibilities.sum(axis=1),
        n_features,
        0.1 * scale**2,
    )
    return Mixture.from_covariances(family, weights, means, covariances)


@st.composite
def cuts(draw, n_rows):
    """Lengths of chunks that add up to n_rows, empty ones among them."""
    points = draw(st.lists(st.integers(0, n_rows), max_size=6))
    bounds = [0, *sorted(points), n_rows]
    return tuple(int(n) for n in np.diff(bounds))


def in_pairs(*axes):
    """All combinations of values; those beside a third, in which each two still meet, are slow."""
    return [
        pytest.param(
            *(axis[i] for axis, i in zip(axes, places, strict=True)),
            marks=[pytest.mark.slow] if sum(places) % 3 else [],
        )
        for places in product(*(range(len(axis)) for axis in axes))
    ]


def local_cluster(n_workers):
    """Worker processes of one thread each, without a limit of memory."""
    return LocalCluster(
        n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0
    )


def settings(
    name="full", kind=Settings, *, init_params="kmeans", init_distance="scaled", **changes
):
    """Settings of a plain EM fit, unless they are changed."""
    defaults = {
        "objective": MaximumLikelihood,
        "family": FAMILIES[name],
        "n_components": 3,
        "reg_covar": 1e-6,
        "rule": AbsoluteChange(1e-4, 200),
        "n_init": 1,
        "initializer": initializer_of(init_params, init_distance),
        "distance": DISTANCES[init_distance],
        "user_parameters": UserParameters(),
    }
    return kind(**{**defaults, **changes})
