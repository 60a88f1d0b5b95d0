"""Rows with weights, an E-step, and the bits of the plain loop."""

from functools import partial

import dask.array as da
import numpy as np
import pytest
from oracles import bits
from strategies import clusters, mixture

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.model.densities import densities
from daskgmm.model.e_step import e_step

N_ROWS, CHUNK = 1000, 27  # 38 chunks, the last of them ragged


@pytest.fixture
def rows():
    return clusters(N_ROWS)


@pytest.fixture
def weights():
    return np.random.default_rng(0).gamma(1.0, size=N_ROWS)


@pytest.fixture
def lazy_rows(rows):
    return da.from_array(rows, chunks=(CHUNK, 3))


@pytest.fixture
def lazy_weights(weights):
    return da.from_array(weights, chunks=CHUNK)


@pytest.fixture
def dataset(lazy_rows, lazy_weights):
    return DaskDataset.of(lazy_rows, weights=lazy_weights)


@pytest.fixture
def step(family_name):
    return partial(e_step, densities=densities(mixture(family_name)))


@pytest.fixture
def specified(rows, weights, step):
    return bits(InMemoryDataset(rows, weights, chunk_rows=CHUNK).reduce(step))
