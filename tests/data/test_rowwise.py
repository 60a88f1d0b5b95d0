import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from strategies import clusters

from daskgmm.data.rowwise import map_rows, map_to_array

X = clusters(30)


def total(rows):
    return rows.sum(axis=1)


def squares(rows):
    return rows[:, :, None] * rows[:, None]


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


def test_a_frame_has_named_columns():
    lazy = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=3)
    wide = map_rows(doubled, lazy, dtype=float, width=6, name="doubled", columns=list("uvwxyz"))
    assert list(wide.columns) == list(wide.compute().columns) == list("uvwxyz")


def test_arrays_and_frames_become_arrays_of_any_shape():
    array = da.from_array(X, chunks=((5, 0, 25), (2, 1)))
    found = map_to_array(squares, array, dtype=float, shape=(3, 3))
    assert found.chunks == ((5, 0, 25), (3,), (3,))
    np.testing.assert_array_equal(found.compute(), squares(X))
    frame = pd.DataFrame(X, columns=list("abc")).astype({"b": "Float64"})
    frame.loc[4, "b"] = pd.NA
    found = map_to_array(squares, dd.from_pandas(frame, npartitions=3), dtype=float, shape=(3, 3))
    assert found.shape[1:] == (3, 3)
    assert found.numblocks == (3, 1, 1)
    expected = np.where(np.isnan(frame.to_numpy(float, na_value=np.nan)), np.nan, X)
    np.testing.assert_array_equal(found.compute(), squares(expected))


def test_nothing_is_computed():
    def never(rows):
        pytest.fail("computed")

    def source(block):
        pytest.fail("read")

    array = da.from_array(X, chunks=(5, 3)).map_blocks(source, meta=np.empty((0, 3)))
    map_rows(never, array, dtype=float, width=None, name="never")
    map_rows(never, array, dtype=float, width=2, name="never")
    map_to_array(never, array, dtype=float, shape=(2, 2))


def test_unknown_chunks_stay_unknown():
    array = da.from_array(X, chunks=(5, 3))
    some = array[array[:, 0] > 0]
    sums = map_rows(total, some, dtype=float, width=None, name="total")
    np.testing.assert_allclose(sums.compute(), X[X[:, 0] > 0].sum(axis=1))
