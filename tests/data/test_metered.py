import dask.dataframe as dd
import numpy as np
import pandas as pd
from strategies import clusters

from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.metered import Metered

X = clusters(100)


def n_rows(chunk):
    return np.array([len(chunk.rows)])


def test_each_pass_is_written_down_with_what_it_was_for():
    rows = Metered(InMemoryDataset(X))
    survey, iterations = rows.serving("survey"), rows.serving("iteration")
    survey.reduce(n_rows)
    iterations.reduce(n_rows)
    iterations.complete_rows().reduce(n_rows)
    assert [each.purpose for each in rows.passes] == ["survey", "iteration", "iteration"]
    assert all(each.n_bytes == X.nbytes and each.seconds > 0.0 for each in rows.passes)
    assert (rows.n_rows, rows.n_features, rows.columns) == (100, 3, None)


def test_counting_rows_is_a_pass():
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=3)
    rows = Metered(DaskDataset.of(frame)).prepared()
    assert [each.purpose for each in rows.passes] == ["prepare"]
    assert rows.n_rows == 100
    assert rows.columns == ("a", "b", "c")


def test_an_array_beside_the_rows_is_read_with_them():
    rows = Metered(InMemoryDataset(X)).serving("start").beside(np.arange(100.0))
    total = rows.reduce(lambda chunk: np.array([chunk.beside.sum()]))
    assert total[0] == 4950
    assert len(rows.passes) == 1
