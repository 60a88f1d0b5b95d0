import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from strategies import clusters

from daskgmm import open_dataset
from daskgmm.data.sources.registry import column_names, open_id_column
from daskgmm.errors import DataError

WRITERS = {
    ".parquet": lambda path, rows: pq.write_table(pa.table(list(rows.T), list("ab")), path),
    ".zarr": lambda path, rows: zarr.create_array(path, data=rows, overwrite=True),
    ".npy": np.save,
    ".csv": lambda path, rows: pd.DataFrame(rows, columns=list("ab")).to_csv(path, index=False),
}


@pytest.fixture
def rows():
    return clusters(100, 2)


@pytest.fixture(params=WRITERS)
def ending(request):
    return request.param


@pytest.fixture
def path(tmp_path, rows, ending):
    path = tmp_path / f"flights of 2013{ending}"
    WRITERS[ending](path, rows)
    return path


@pytest.mark.parametrize("kind", ["Path", "text", "relative", "file URL", "quoted file URL"])
def test_a_path_can_be_written_in_any_way(path, rows, kind, monkeypatch):
    monkeypatch.chdir(path.parent)
    url = {
        "Path": path,
        "text": str(path),
        "relative": path.name,
        "file URL": f"file://{path}",
        "quoted file URL": path.as_uri(),
    }[kind]
    np.testing.assert_array_equal(open_dataset(url).collection.compute(), rows)


def test_worker_processes_read_the_same_rows(path, rows, client):
    dataset = open_dataset(path)
    assert client.compute(dataset.collection.sum()).result() == pytest.approx(rows.sum())
    np.testing.assert_array_equal(np.vstack(dataset.map(lambda chunk: chunk.rows)), rows)


def test_a_file_written_anew_is_another_array(path, rows, ending):
    name = open_dataset(path).collection.name
    assert open_dataset(path).collection.name == name
    WRITERS[ending](path, rows + 1.0)
    assert open_dataset(path).collection.name != name


def test_no_columns_at_all_are_refused(path, refusal):
    assert "columns" in refusal(path, [])


def test_a_path_where_nothing_is_is_named_with_the_folder_it_was_looked_for_in(
    tmp_path, ending, refusal, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    sentence = refusal(f"nowhere{ending}")
    assert f"nowhere{ending}" in sentence
    assert str(tmp_path) in sentence


@pytest.mark.parametrize(
    "name", ["rows.txt", "rows", "rows.parquet.gz", "folder.zarr/rows.txt", "rows.npy::a"]
)
def test_an_unknown_ending_is_an_error_that_lists_the_known_ones(name, refusal):
    sentence = refusal(name)
    assert name in sentence
    assert ".parquet, .zarr, .npy, .csv, .h5, " in sentence


@pytest.mark.parametrize("ending", [".parquet", ".npy", ".csv"])
def test_a_folder_of_any_name_has_the_format_of_its_files(tmp_path, ending, refusal):
    folder = tmp_path / "rows of 2026"
    folder.mkdir()
    rows = np.arange(20.0).reshape(10, 2)
    for n in (1, 2, 10):
        WRITERS[ending](folder / f"part.{n}{ending}", rows * n)
    (folder / "README").touch()
    for hidden in (f"._part.1{ending}", f"_draft{ending}", f".checkpoints/part.1{ending}"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        WRITERS[ending](folder / hidden, rows)
    found = open_dataset(folder).collection.compute()
    np.testing.assert_allclose(found, np.concatenate([rows, rows * 2, rows * 10]))
    (folder / "other.npy").touch()
    (folder / "other.csv").touch()
    assert "a folder of files of one format (.parquet, .npy, .csv)" in refusal(folder)


def test_missing_values_are_refused_unless_they_are_to_be_left_out(path):
    assert open_dataset(path).missing == "raise"
    assert open_dataset(path, missing="omit").missing == "omit"
    with pytest.raises(DataError, match="'raise', 'omit' or 'marginal', not 'drop'"):
        open_dataset(path, missing="drop")


def test_bad_chunks_end_a_fit_unless_they_are_to_be_skipped(path):
    assert open_dataset(path).on_bad_chunk == "raise"
    assert open_dataset(path, on_bad_chunk="skip").on_bad_chunk == "skip"
    with pytest.raises(DataError, match="on_bad_chunk must be 'raise' or 'skip', not 'omit'"):
        open_dataset(path, on_bad_chunk="omit")


def test_a_column_stands_beside_the_rows_in_their_chunks(path, rows, ending):
    named = ending in (".parquet", ".csv")
    assert column_names(path) == (["a", "b"] if named else None)
    column = "b" if named else 1
    if ending == ".csv":
        with pytest.raises(DataError, match="CSV has no id column"):
            open_id_column(path, column)
        return
    ids, kind = open_id_column(path, column)
    np.testing.assert_array_equal(ids.compute(scheduler="sync"), rows[:, 1])
    assert kind == pa.float64()
    assert ids.chunks[0] == open_dataset(path).collection.chunks[0]
    with pytest.raises(DataError, match=r"no column '?7'?"):
        open_id_column(path, 7)
