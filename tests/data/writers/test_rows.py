import dask
import dask.array as da
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from strategies import clusters

from daskgmm import open_dataset
from daskgmm.data.writers.rows import (
    STORES,
    atomic_output,
    check_ending,
    write_rows,
)
from daskgmm.errors import DataError


@pytest.fixture(params=STORES)
def path(request, tmp_path):
    return tmp_path / f"rows{request.param}"


@pytest.fixture(params=["float32", "float64"])
def rows(request):
    return da.from_array(clusters(250).astype(request.param), chunks=(100, 3))


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_rows_are_read_back_as_they_were(path, rows):
    assert write_rows(rows, path) == 250
    dataset = open_dataset(path)
    assert dataset.collection.dtype == rows.dtype
    np.testing.assert_array_equal(dataset.collection.compute(), rows.compute())
    assert listing(path.parent) == [path.name]


def test_a_chunk_is_stored_as_one_chunk(tmp_path, rows):
    for ending in (".zarr", ".parquet"):
        write_rows(rows, tmp_path / f"rows{ending}")
        assert open_dataset(tmp_path / f"rows{ending}").source.lengths == (100, 100, 50)


@pytest.mark.parametrize("n_rows", [1, 100])
def test_a_single_chunk_is_written_too(path, n_rows):
    rows = da.from_array(clusters(n_rows), chunks=(100, 3))
    assert write_rows(rows, path) == n_rows
    np.testing.assert_array_equal(open_dataset(path).collection.compute(), rows.compute())


def test_rows_of_zeros_are_written_too(path):
    write_rows(da.zeros((250, 2), chunks=(100, 2)), path)
    np.testing.assert_array_equal(open_dataset(path).collection.compute(), np.zeros((250, 2)))


def test_rows_in_fortran_order_are_written_too(path):
    rows = np.asfortranarray(clusters(250))
    write_rows(da.from_array(rows, chunks=(100, 3), asarray=False), path)
    np.testing.assert_array_equal(open_dataset(path).collection.compute(), rows)


def test_zarr_is_version_3_and_not_compressed(tmp_path, rows):
    write_rows(rows, tmp_path / "rows.zarr")
    array = zarr.open_array(tmp_path / "rows.zarr", mode="r")
    assert array.metadata.zarr_format == 3
    assert array.chunks == (100, 3)
    assert not array.compressors
    assert (tmp_path / "rows.zarr/c/0/0").stat().st_size == 300 * rows.dtype.itemsize


def test_npy_is_what_numpy_writes(tmp_path, rows):
    write_rows(rows, tmp_path / "rows.npy")
    np.save(tmp_path / "expected.npy", rows.compute())
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()


def test_parquet_is_a_part_per_chunk_in_the_order_of_the_rows(tmp_path, rows):
    folder = tmp_path / "rows.parquet"
    write_rows(rows, folder)
    assert listing(folder) == [f"part-{number:08d}.parquet" for number in range(3)]
    footers = [pq.read_metadata(part) for part in sorted(folder.iterdir())]
    assert [footer.num_rows for footer in footers] == [100, 100, 50]
    assert [footer.num_row_groups for footer in footers] == [1, 1, 1]
    assert pq.read_table(folder).schema.names == ["x0", "x1", "x2"]


def test_a_row_group_holds_a_chunk_of_more_rows_than_parquet_takes_by_default(tmp_path):
    write_rows(da.zeros(((1 << 20) + 1, 1), dtype="f4"), tmp_path / "rows.parquet")
    (part,) = (tmp_path / "rows.parquet").iterdir()
    assert pq.read_metadata(part).num_row_groups == 1


def test_worker_processes_write_to_the_path_of_the_driver(path, rows, client, monkeypatch):
    monkeypatch.chdir(path.parent)
    write_rows(rows, path.relative_to(path.parent))
    np.testing.assert_array_equal(open_dataset(path).collection.compute(), rows.compute())


@pytest.mark.parametrize("name", ["rows.csv", "rows", "rows.zarr.zip"])
def test_an_unknown_ending_is_an_error_that_lists_the_known_ones(tmp_path, rows, name):
    with pytest.raises(DataError, match=r"one of \.zarr, \.npy, \.parquet") as caught:
        write_rows(rows, tmp_path / name)
    assert name in str(caught.value)
    with pytest.raises(DataError):
        check_ending(tmp_path / name)


def test_a_folder_that_does_not_exist_is_named(path, rows):
    with pytest.raises(DataError, match="nowhere") as caught:
        write_rows(rows, path.parent / "nowhere.npy" / "rows.npy")
    assert "cannot be written: No such file or directory" in str(caught.value)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_an_error_of_the_disk_names_the_rows(tmp_path, rows, monkeypatch, scheduler):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", refuse)
    sentence = r"rows.parquet: rows \d+ to \d+ cannot be written: No space left on device"
    with dask.config.set(scheduler=scheduler), pytest.raises(DataError, match=sentence):
        write_rows(rows, tmp_path / "rows.parquet")


def write_something(path, text="new"):
    if path.suffix == ".npy":
        path.write_text(text)
    else:
        path.mkdir()
        (path / text).touch()


def test_the_output_appears_when_it_is_complete(path):
    with atomic_output(path) as draft:
        assert draft.name.startswith(".")
        assert (draft.parent, draft.suffix) == (path.parent, path.suffix)
        write_something(draft)
        assert not path.exists()
    assert listing(path.parent) == [path.name]


def test_the_output_replaces_an_older_one(path):
    write_something(path, "old")
    with atomic_output(path) as draft:
        write_something(draft)
        assert path.exists()
    assert listing(path.parent) == [path.name]
    assert path.read_text() == "new" if path.is_file() else listing(path) == ["new"]


@pytest.mark.parametrize("error", [DataError, KeyboardInterrupt])
def test_a_draft_is_removed_after_an_error(path, error):
    write_something(path, "old")

    def fail():
        with atomic_output(path) as draft:
            write_something(draft)
            raise error

    with pytest.raises(error):
        fail()
    assert listing(path.parent) == [path.name]
    assert path.read_text() == "old" if path.is_file() else listing(path) == ["old"]


def test_a_draft_of_a_killed_run_is_replaced(path, rows):
    write_something(path.with_name(f".rows.draft{path.suffix}"))
    with atomic_output(path) as draft:
        write_rows(rows, draft)
    assert listing(path.parent) == [path.name]
