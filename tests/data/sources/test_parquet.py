from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskgmm import open_dataset
from daskgmm.data.sources.registry import column_names, open_id_column
from daskgmm.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Write columns in row groups of four rows."""

    def written(name="rows.parquet", **columns):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), path, row_group_size=4)
        return path

    return written


def read(path, columns=None):
    return open_dataset(path, columns=columns).collection.compute(scheduler="sync")


def damage(path, column):
    """Overwrite the pages of a column, but not the footer."""
    content, footer = bytearray(path.read_bytes()), pq.read_metadata(path)
    for group in range(footer.num_row_groups):
        pages = footer.row_group(group).column(column)
        start = pages.dictionary_page_offset or pages.data_page_offset
        content[start : start + pages.total_compressed_size] = b"\xff" * pages.total_compressed_size
    path.write_bytes(content)


def test_rows_come_back_as_they_were_written(write):
    rows = np.random.default_rng(0).normal(size=(10, 3))
    path = write(a=rows[:, 0], b=rows[:, 1], c=rows[:, 2])
    np.testing.assert_array_equal(read(path), rows)
    assert open_dataset(path).columns == ("a", "b", "c")


def test_the_files_of_a_directory_follow_one_another_in_order_of_name(write):
    write("rows.parquet/b.parquet", x=[6.0, 7.0])
    path = write("rows.parquet/a.parquet", x=np.arange(6.0)).parent
    np.testing.assert_array_equal(read(path), np.arange(8.0)[:, None])
    assert open_dataset(path).source.lengths == (4, 2, 2)


def test_opening_reads_no_rows_and_knows_the_length_of_every_row_group(write):
    path = write(x=np.arange(10.0))
    damage(path, 0)
    assert open_dataset(path).source.lengths == (4, 4, 2)


def test_only_the_columns_asked_for_are_read(write):
    path = write(a=np.arange(10.0), b=np.arange(10.0), c=np.arange(10.0) / 7)
    damage(path, 1)
    found = read(path, ["c", "a"])
    np.testing.assert_array_equal(found, np.column_stack([np.arange(10.0) / 7, np.arange(10.0)]))
    assert open_dataset(path, columns=["c", "a"]).columns == ("c", "a")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int8(), [1, None, -128]),
        (pa.uint64(), [1, None, 2**53]),
        (pa.bool_(), [True, None, False]),
        (pa.float16(), [1.5, None, -0.25]),
        (pa.float64(), [0.1, None, np.nan]),
        (pa.decimal128(9, 2), [Decimal("1.25"), None, Decimal("-3.50")]),
    ],
    ids=str,
)
def test_numbers_of_any_type_are_read_in_float64_with_nulls_as_nan(write, kind, values):
    found = read(write(x=pa.array(values, kind)))
    expected = [[np.nan if value is None else float(value)] for value in values]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def test_integers_that_float64_cannot_hold_become_the_nearest_that_it_can(write):
    nanoseconds = np.array([1_700_000_000_000_000_001, -(2**60) - 3])
    np.testing.assert_array_equal(read(write(x=nanoseconds))[:, 0], nanoseconds.astype(float))


def test_columns_that_are_all_float32_stay_float32(write):
    narrow = np.array([0.1, np.nan], np.float32)
    found = read(write(a=narrow, b=pa.array([None, 2.5], pa.float32())))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[0.1, np.nan], [np.nan, 2.5]], np.float32))


def test_columns_that_differ_in_type_are_read_in_float64(write):
    found = read(write(a=np.array([0.1], np.float32), b=[0.1]))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[np.float32(0.1), 0.1]])


@pytest.mark.parametrize("first", [np.float32, np.float64])
def test_files_that_differ_in_type_are_read_in_float64(write, first):
    other = np.float64 if first is np.float32 else np.float32
    write("rows.parquet/a.parquet", x=np.array([0.1], first))
    path = write("rows.parquet/b.parquet", x=np.array([0.1], other)).parent
    found = read(path)
    assert found.dtype == open_dataset(path).collection.dtype == np.float64
    np.testing.assert_array_equal(found, [[first(0.1)], [other(0.1)]])


def test_a_column_that_does_not_exist_is_an_error_with_those_that_do(write, refusal):
    path = write(speed=[1.0], delay=[2.0])
    sentence = refusal(path, ["spede"])
    assert "'spede'" in sentence
    assert "speed, delay" in sentence
    assert str(path) in sentence


def test_a_column_that_one_file_of_a_directory_lacks_is_named_with_the_file(write, refusal):
    path = write("rows.parquet/a.parquet", x=[1.0], y=[1.0]).parent
    write("rows.parquet/b.parquet", x=[1.0])
    sentence = refusal(path)
    assert "'y'" in sentence
    assert "b.parquet" in sentence


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["UA"]),
        pa.array(["UA"]).dictionary_encode(),
        pa.array([0], pa.timestamp("ns")),
        pa.array([[1.0]]),
        pa.array([None]),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_without_numbers_are_named_with_their_type(write, refusal, column):
    path = write(delay=[1.0], carrier=column)
    sentence = refusal(path)
    assert f"'carrier' ({pq.read_schema(path).field('carrier').type})" in sentence
    assert "'delay'" not in sentence


@pytest.mark.parametrize("content", [b"", b"delay,carrier\n1,UA\n", b"PAR1" * 20])
def test_a_file_in_another_format_is_refused(tmp_path, refusal, content):
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    assert f"{path} is not a Parquet file" in refusal(path)


def test_a_file_whose_pages_are_damaged_is_named(write, refusal):
    path = write(x=np.arange(10.0))
    damage(path, 0)
    assert str(path) in refusal(path)


def test_a_directory_without_files_is_refused(tmp_path, refusal):
    path = tmp_path / "rows.parquet"
    path.mkdir()
    assert str(path) in refusal(path)


def test_the_files_of_a_directory_come_in_their_natural_order(tmp_path):
    folder = tmp_path / "rows.parquet"
    folder.mkdir()
    for number in range(12):
        pq.write_table(pa.table({"a": [float(number)]}), folder / f"part.{number}.parquet")
    rows = open_dataset(folder).collection.compute()
    np.testing.assert_array_equal(rows[:, 0], np.arange(12.0))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([f"row {i}" for i in range(10)]),
        pa.array(np.arange(10) + 2**60),
        pa.array(np.arange(10).astype("datetime64[us]"), pa.timestamp("us", "UTC")),
        pa.array([Decimal(i) / 4 for i in range(10)]),
        pa.array([True, False] * 5),
    ],
    ids=lambda values: str(values.type),
)
def test_a_column_of_ids_is_read_as_it_is_in_the_chunks_of_the_rows(write, values):
    path = write(x=np.arange(10.0), id=values)
    ids, kind = open_id_column(path, "id")
    assert kind == values.type
    assert ids.chunks[0] == open_dataset(path, columns=["x"]).collection.chunks[0]
    found = ids.compute(scheduler="sync")
    assert pa.array(found, kind).to_pylist() == values.to_pylist()
    assert column_names(path) == ["x", "id"]


def test_a_row_without_an_id_is_refused_and_so_are_files_that_disagree(write):
    ids, _ = open_id_column(write(id=[1, 2, 3, 4, None, 6]), "id")
    with pytest.raises(DataError, match="1 rows of row group 1 have no 'id'"):
        ids.compute(scheduler="sync")
    write("many.parquet/a.parquet", id=[1])
    path = write("many.parquet/b.parquet", id=["b"]).parent
    with pytest.raises(DataError, match=r"column 'id' holds string in .*b.parquet, but int64 in"):
        open_id_column(path, "id")
    with pytest.raises(DataError, match="no column 'nr'"):
        open_id_column(path, "nr")
