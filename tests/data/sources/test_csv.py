import fsspec
import numpy as np
import pandas as pd
import pytest

from daskgmm import GaussianMixture, open_dataset
from daskgmm.data.sources import chunked
from daskgmm.errors import DataError

X = np.random.default_rng(0).normal(size=(200, 3))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.csv"


@pytest.fixture
def blocks(monkeypatch):
    """Cut files into blocks of so many bytes."""
    return lambda n_bytes: monkeypatch.setattr(chunked, "CHUNK_BYTES", n_bytes)


def read(url, **options):
    return open_dataset(url, **options).collection.compute(scheduler="sync")


@pytest.mark.parametrize("n_bytes", [7, 60, 61, 1000, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_line_is_in_the_block_that_it_begins_in(path, blocks, n_bytes, end):
    pd.DataFrame(X, columns=list("abc")).to_csv(path, index=False, lineterminator=end)
    blocks(n_bytes)
    np.testing.assert_array_equal(read(path), X)
    assert open_dataset(path).columns == ("a", "b", "c")


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("n_bytes", [1, 3, 100])
def test_a_file_may_end_in_any_way(path, blocks, n_bytes, end):
    path.write_text(f"a,b\n1,2\n30,40{end}")
    blocks(n_bytes)
    np.testing.assert_array_equal(read(path), [[1, 2], [30, 40]])


def test_opening_reads_a_small_part_and_rows_are_counted_later(path, blocks):
    pd.DataFrame(X, columns=list("abc")).to_csv(path, index=False)
    blocks(2000)
    dataset = open_dataset(path)
    assert dataset.source.lengths is None
    assert dataset.prepare().n_rows == len(X)


def test_a_fit_of_csv_is_that_of_the_same_rows(path):
    pd.DataFrame(X, columns=list("abc")).to_csv(path, index=False)
    model = GaussianMixture(2, random_state=0, tol=0.1)
    fitted = model.fit(open_dataset(path))
    labels = fitted.predict(open_dataset(path)).compute(scheduler="sync")
    np.testing.assert_array_equal(fitted.feature_names_in_, ["a", "b", "c"])
    expected = GaussianMixture(2, random_state=0, tol=0.1).fit(X)
    np.testing.assert_allclose(fitted.means_, expected.means_)
    np.testing.assert_array_equal(labels, expected.predict(X))


def test_columns_are_selected_by_name_and_other_columns_may_be_text(path, refusal):
    path.write_text('a,"b c",d\n1,UA,2\n3,"x, y",\n')
    np.testing.assert_array_equal(read(path, columns=["d", "a"]), [[2, 1], [np.nan, 3]])
    assert "column 'b c' does not hold numbers" in refusal(path)
    assert "no column 'e'" in refusal(path, ["e"])
    assert "a, b c, d" in refusal(path, ["e"])


def test_text_among_numbers_is_named_with_its_position(path, blocks, refusal):
    path.write_text("a\n" + "1\n" * 60_000 + "n/k\n")
    sentence = refusal(path)
    assert f"{path}: bytes 2 to " in sentence
    assert "n/k" in sentence


def test_several_files_and_a_folder_are_concatenated(tmp_path, refusal):
    folder = tmp_path / "rows.csv"
    folder.mkdir()
    for number in (0, 2, 10):
        (folder / f"part-{number}.csv").write_text(f"a,b\n{number},1\n")
    for url in (folder, folder / "part-*.csv"):
        np.testing.assert_array_equal(read(url)[:, 0], [0, 2, 10])
    (folder / "part-11.csv").write_text("b,c\n1,1\n")
    assert "no column 'a' in" in refusal(folder)
    assert "part-11.csv" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 100_000, b"a,a\n1,2\n"])
def test_a_file_in_another_format_is_refused(path, refusal, content):
    path.write_bytes(content)
    assert str(path) in refusal(path)


def test_a_file_without_rows_is_refused(path, refusal):
    path.write_text("a,b\n")
    assert refusal(path, ["a"]).startswith(str(path))


def test_blocks_of_a_store_are_read_too(path, blocks, s3):
    pd.DataFrame(X, columns=list("abc")).to_csv(path, index=False)
    fsspec.filesystem("s3", **s3).put(str(path), f"s3://bucket{path}")
    blocks(5000)
    np.testing.assert_array_equal(read(f"s3://bucket{path}", storage_options=s3), X)
    with pytest.raises(DataError, match="no file or directory"):
        read("s3://bucket/none.csv", storage_options=s3)
