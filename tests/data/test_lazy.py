import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from strategies import clusters

from daskgmm.data.lazy import map_rows

X = clusters(30)


def total(rows):
    return rows.sum(axis=1)


def doubled(rows):
    return np.hstack([rows, rows])


def test_an_array_keeps_its_row_chunks():
    array = da.from_array(X, chunks=((5, 0, 25), (2, 1)))
    sums = map_rows(total, array, dtype=float, width=None, name="total")
    assert sums.chunks == ((5, 0, 25),)
    np.testing.assert_allclose(sums.compute(), X.sum(axis=1))
    wide = map_rows(doubled, array, dtype=float, width=6, name="doubled")
    assert wide.chunks == ((5, 0, 25), (6,))
    np.testing.assert_array_equal(wide.compute(), np.hstack([X, X]))


def test_a_frame_keeps_its_index_and_divisions():
    frame = pd.DataFrame(X, columns=list("abc"), index=pd.RangeIndex(100, 130, name="id"))
    lazy = dd.from_pandas(frame, npartitions=3)
    sums = map_rows(total, lazy, dtype=float, width=None, name="total")
    assert sums.divisions == lazy.divisions
    pd.testing.assert_series_equal(sums.compute(), frame.sum(axis=1).rename("total"))
    wide = map_rows(doubled, lazy, dtype=float, width=6, name="doubled")
    pd.testing.assert_frame_equal(
        wide.compute(), pd.DataFrame(np.hstack([X, X]), index=frame.index)
    )


def test_nothing_is_computed():
    def never(rows):
        pytest.fail("computed")

    def source(block):
        pytest.fail("read")

    array = da.from_array(X, chunks=(5, 3)).map_blocks(source, meta=np.empty((0, 3)))
    map_rows(never, array, dtype=float, width=None, name="never")
    map_rows(never, array, dtype=float, width=2, name="never")


def test_unknown_chunks_stay_unknown():
    array = da.from_array(X, chunks=(5, 3))
    some = array[array[:, 0] > 0]
    sums = map_rows(total, some, dtype=float, width=None, name="total")
    np.testing.assert_allclose(sums.compute(), X[X[:, 0] > 0].sum(axis=1))
