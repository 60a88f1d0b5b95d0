from decimal import Decimal
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import oracles
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from strategies import clusters, mixture

from daskgmm.chunk import BadChunk
from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.writers.scores import IdColumn, ScoreParts, write_scores
from daskgmm.errors import DataError
from daskgmm.model.densities import densities
from daskgmm.model.row_scores import Scoring
from daskgmm.storage.folder import Folder

MODEL = mixture("full")
SCORING = Scoring(densities(MODEL))


@pytest.fixture
def rows():
    return clusters(300)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results" / "labels.parquet"


def in_chunks(rows, chunk_rows=70):
    return InMemoryDataset(rows, chunk_rows=chunk_rows, missing="omit")


def write_labels(dataset, folder):
    return write_scores(dataset, ScoreParts(Folder(folder), SCORING), existing={})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_row_gets_its_label_probability_and_log_density_in_order(rows, folder):
    written = write_labels(in_chunks(rows), folder)
    table = pq.read_table(folder)
    posterior, norm = oracles.e_step(rows, MODEL.weights, MODEL.means, MODEL.dense_covariances)
    np.testing.assert_array_equal(table["label"], posterior.argmax(axis=1))
    np.testing.assert_allclose(table["probability"], posterior.max(axis=1), rtol=1e-9)
    np.testing.assert_allclose(table["log_density"], norm, rtol=1e-9)
    assert (written.n_rows, written.n_left_out) == (300, 0)
    assert written.log_likelihood == pytest.approx(norm.sum())


def test_there_is_a_part_per_chunk_and_nothing_else(rows, folder):
    write_labels(in_chunks(rows), folder)
    assert names(folder) == [f"part-{number:08d}.parquet" for number in range(5)]
    lengths = [pq.read_metadata(part).num_rows for part in sorted(folder.iterdir())]
    assert lengths == [70, 70, 70, 70, 20]


def test_rows_with_a_missing_value_are_written_without_a_label(rows, folder):
    write_labels(in_chunks(rows), folder)
    complete = pq.read_table(folder).to_pandas()
    gaps = np.array([0, 69, 70, 200, 299])
    rows[gaps, gaps % 3] = np.nan
    written = write_labels(in_chunks(rows), folder)
    found = pq.read_table(folder).to_pandas()
    assert (found["label"][gaps] == -1).all()
    assert found.loc[gaps, ["probability", "log_density"]].isna().to_numpy().all()
    kept = found.index.difference(gaps)
    np.testing.assert_array_equal(found["label"][kept], complete["label"][kept])
    np.testing.assert_allclose(found.loc[kept], complete.loc[kept], rtol=1e-9)
    assert (written.n_rows, written.n_left_out) == (300, 5)
    assert written.log_likelihood == pytest.approx(complete["log_density"][kept].sum())


def test_a_chunk_of_no_complete_rows_is_written_too(rows, folder):
    rows[70:140] = np.nan
    assert write_labels(in_chunks(rows), folder).n_left_out == 70
    assert (pq.read_table(folder)["label"].to_numpy()[70:140] == -1).all()


def test_a_chunk_of_no_rows_is_written_too(folder):
    assert write_labels(in_chunks(np.empty((0, 3))), folder).n_rows == 0
    assert pq.read_table(folder).schema.names == ["label", "probability", "log_density"]


def test_parts_of_an_earlier_run_are_removed_and_other_files_stay(rows, folder):
    write_labels(in_chunks(rows, 20), folder)
    (folder / "_README").write_text("a note")
    write_labels(in_chunks(rows, 100), folder)
    assert names(folder) == ["_README", *(f"part-{number:08d}.parquet" for number in range(3))]
    assert pq.read_table(folder).num_rows == 300


def test_drafts_of_a_killed_run_are_removed(rows, folder):
    folder.mkdir(parents=True)
    (folder / ".part-00000007.draft").write_bytes(b"PAR1")
    write_labels(in_chunks(rows), folder)
    assert pq.read_table(folder).num_rows == 300
    assert not list(folder.glob("*.draft")) + list(folder.glob(".*.draft"))


def test_workers_write_to_the_folder_of_the_driver(rows, tmp_path, client, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = DaskDataset.of(da.from_array(rows, chunks=(70, 3)))
    write_labels(dataset, Path("labels"))
    write_labels(in_chunks(rows), tmp_path / "expected")
    assert pq.read_table("labels").equals(pq.read_table("expected"))
    assert pa.types.is_int8(pq.read_table("labels").schema.field("label").type)


@pytest.mark.parametrize("n_rows", [70, 0, None, 150_000])
def test_rows_of_a_skipped_chunk_have_no_label(rows, folder, n_rows):
    dataset = DaskDataset.of(da.from_array(rows, chunks=(70, 3)))
    bad = BadChunk(2, n_rows, "it is spoilt")
    written = write_labels(dataset.without_chunks([bad]), folder)
    n = n_rows or 0
    assert (written.n_rows, written.n_left_out) == (230 + n, n)
    table = pq.read_table(folder).to_pandas()
    assert (table["label"][140 : 140 + n] == -1).all()
    assert table.loc[140 : 140 + n - 1, ["probability", "log_density"]].isna().all(axis=None)
    assert (table["label"].drop(range(140, 140 + n)) >= 0).all()


def parts(folder, fingerprint="this", **more):
    return ScoreParts(Folder(folder), SCORING, fingerprint=fingerprint, **more)


class Reads:
    """Rows that record which chunks are read."""

    def __init__(self, rows, tmp_path):
        self.log = tmp_path / "reads"
        self.dataset = DaskDataset.of(
            da.from_array(rows, chunks=(70, 3)).map_blocks(self._seen, dtype=rows.dtype)
        )

    def _seen(self, block, block_info=None):
        with self.log.open("a") as file:
            file.write(f"{block_info[0]['chunk-location'][0]}\n")
        return block

    def taken(self):
        numbers = sorted(map(int, self.log.read_text().split())) if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return numbers


@pytest.fixture
def reads(rows, tmp_path):
    with dask.config.set(scheduler="sync"):
        yield Reads(rows, tmp_path)


def test_existing_parts_are_reused_and_their_chunks_not_read_again(reads, folder):
    whole = write_scores(reads.dataset, parts(folder), existing={})
    expected = pq.read_table(folder)
    reads.taken()
    (folder / "part-00000001.parquet").unlink()
    damaged = folder / "part-00000003.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    kept = parts(folder).existing()
    assert sorted(kept) == [0, 2, 4]
    again = write_scores(reads.dataset, parts(folder), kept)
    assert reads.taken() == [1, 3]
    assert pq.read_table(folder).equals(expected)
    assert (again.n_rows, again.n_left_out) == (whole.n_rows, whole.n_left_out)
    assert again.log_likelihood == pytest.approx(whole.log_likelihood)
    assert len(parts(folder).existing()) == 5


def test_parts_with_another_fingerprint_are_not_reused(rows, folder):
    write_scores(in_chunks(rows), parts(folder), existing={})
    assert not parts(folder, "that").existing()
    (folder / "part-00000009.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"label": [1]}), folder / "part-00000010.parquet")
    kept = parts(folder).existing()
    assert sorted(kept) == list(range(5))
    write_scores(in_chunks(rows, 300), parts(folder, "that"), parts(folder, "that").existing())
    assert names(folder) == ["part-00000000.parquet"]


IDS = {
    "text": (np.array([f"row {i}" for i in range(300)], dtype=object), pa.string()),
    "large": (np.arange(300) + 2**60, pa.int64()),
    "time": (np.arange(300).astype("datetime64[us]"), pa.timestamp("us", "Europe/Berlin")),
    "date": (np.arange(300).astype("datetime64[D]"), pa.date32()),
    "decimal": (np.array([Decimal(i) / 4 for i in range(300)]), pa.decimal128(9, 2)),
    "dictionary": (np.array(["a", "b"] * 150, dtype=object), pa.dictionary(pa.int8(), pa.string())),
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_are_written_with_the_scores_in_their_own_type(rows, folder, kind):
    values, type_ = IDS[kind]
    dataset = DaskDataset.of(da.from_array(rows, chunks=(70, 3)))
    beside = dataset.with_extra(da.from_array(values, chunks=70))
    write_scores(beside, parts(folder, ids=IdColumn("id", type_)), existing={})
    found = pq.ParquetFile(folder / "part-00000001.parquet").read()
    assert found.schema.field("id").type == type_
    assert found["id"].to_pylist() == pa.array(values[70:140], type_).to_pylist()


def test_infinity_is_an_error_and_so_is_nan_unless_it_is_allowed(rows, folder):
    rows[100, 2] = np.nan
    with pytest.raises(DataError, match=r"NaN in row 100 of the data \(chunk 1\), column 2"):
        write_labels(InMemoryDataset(rows, chunk_rows=70), folder)
    rows[100, 1] = np.inf  # in a row with a missing value
    assert write_labels(in_chunks(rows), folder).n_left_out == 1
    rows[299, 1] = -np.inf
    with pytest.raises(DataError, match=r"infinity in row 299 of the data \(chunk 4\), column 1"):
        write_labels(in_chunks(rows), folder)
    assert not list(folder.glob(".part*"))


def test_a_folder_that_cannot_be_written_to_is_an_error(rows, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_labels(in_chunks(rows), tmp_path / "file" / "labels.parquet")
