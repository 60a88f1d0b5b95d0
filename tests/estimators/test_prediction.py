import dask.array as da
import numpy as np
import pytest
from strategies import clusters, mixture

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.estimators.prediction import map_dataset, total_log_density
from daskgmm.model.densities import densities
from daskgmm.model.e_step import labels, log_prob_norm

X = clusters(200)


def test_dask_gives_what_memory_gives(family_name):
    model = mixture(family_name)
    memory = map_dataset(labels, InMemoryDataset(X), model, width=None, name="label")
    lazy = map_dataset(
        labels, DaskDataset.of(da.from_array(X, chunks=(30, 3))), model, width=None, name="label"
    )
    assert isinstance(lazy, da.Array)
    assert lazy.dtype == memory.dtype
    np.testing.assert_array_equal(lazy.compute(), memory)


def test_the_total_is_the_sum_whatever_the_chunks(family_name):
    model = mixture(family_name)
    expected = log_prob_norm(X, densities(model)).sum()
    for dataset in (
        InMemoryDataset(X, chunk_rows=17),
        DaskDataset.of(da.from_array(X, chunks=((0, 150, 50), 3))),
    ):
        total, n_rows = total_log_density(dataset, model)
        np.testing.assert_allclose(total, expected)
        assert n_rows == 200


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_values_and_infinities_are_refused(bad):
    rows = X.copy()
    rows[3, 1] = bad
    for dataset in (InMemoryDataset(rows), DaskDataset.of(da.from_array(rows))):
        with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
            np.asarray(map_dataset(labels, dataset, mixture("full"), width=None, name="label"))
        with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
            total_log_density(dataset, mixture("full"))


def test_an_infinity_is_refused_with_missing_omit():
    rows = X.copy()
    rows[3, 1], rows[4, 1] = np.nan, np.inf
    dataset = DaskDataset.of(da.from_array(rows), missing="omit")
    with pytest.raises(ValueError, match="Input X contains infinity"):
        map_dataset(labels, dataset, mixture("full"), width=None, name="label").compute()
