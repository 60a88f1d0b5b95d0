import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from daskgmm.data.writers.scores import check_zarr_type, merge_parts, read_fingerprint
from daskgmm.errors import DataError
from daskgmm.storage.folder import Folder

KINDS = [pa.int8(), pa.uint64(), pa.int64(), pa.float32(), pa.bool_(), pa.string()]


def columns(n_rows):
    random = np.random.default_rng(n_rows)
    numbers = random.integers(0, 2, size=n_rows)
    values = [numbers + 100, numbers.astype("u8") + 2**63, numbers - 2**62]
    values += [random.normal(size=n_rows), numbers == 1, [f"å {each}" for each in numbers]]
    return pa.table(
        [pa.array(v).cast(k) for v, k in zip(values, KINDS, strict=True)], list("abcdef")
    )


@pytest.mark.parametrize("lengths", [(5,), (4, 4, 4), (3, 0, 7, 1), (0,), (9, 1, 1, 1)])
@pytest.mark.parametrize("chunk_rows", [1, 4, 50])
def test_parts_of_any_lengths_merge_into_arrays_with_equal_chunks(tmp_path, lengths, chunk_rows):
    parts = [columns(n) for n in lengths]
    for number, part in enumerate(parts):
        pq.write_table(part, tmp_path / f"part-{number:08d}.parquet")
    merge_parts(Folder(tmp_path), Folder(tmp_path / "out.zarr"), chunk_rows, "of this")
    group, whole = zarr.open_group(tmp_path / "out.zarr", mode="r"), pa.concat_tables(parts)
    assert sorted(group.array_keys()) == whole.schema.names
    for name in whole.schema.names:
        assert group[name][:].tolist() == whole[name].to_pylist()
        assert group[name].chunks == (max(min(chunk_rows, sum(lengths)), 1),)
    assert group["a"].dtype == np.int8
    assert group["d"].dtype == np.float32
    assert read_fingerprint(Folder(tmp_path / "out.zarr")) == "of this"


def test_other_groups_and_files_have_no_fingerprint(tmp_path):
    assert read_fingerprint(Folder(tmp_path / "absent.zarr")) is None
    (tmp_path / "file.zarr").touch()
    assert read_fingerprint(Folder(tmp_path / "file.zarr")) is None
    zarr.open_group(tmp_path / "theirs.zarr", mode="w").attrs["made_of"] = 7
    assert read_fingerprint(Folder(tmp_path / "theirs.zarr")) is None


@pytest.mark.parametrize("kind", [pa.timestamp("us", "UTC"), pa.decimal128(9, 2), pa.binary()])
def test_a_type_that_zarr_cannot_hold_raises_an_error(kind):
    for each in KINDS:
        check_zarr_type("id", each)
    with pytest.raises(DataError, match=r"'id' holds .*write to a \.parquet"):
        check_zarr_type("id", kind)
