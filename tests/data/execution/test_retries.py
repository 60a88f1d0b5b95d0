import errno
import traceback
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
from disturbed import FATES
from strategies import clusters

from daskgmm import open_dataset
from daskgmm.data.dataset import DaskDataset
from daskgmm.data.execution import retries
from daskgmm.data.execution.retries import is_transient, load_with_retries, read_retries
from daskgmm.data.execution.shards import Shard
from daskgmm.errors import DataError

X = clusters(60)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(retries, "FIRST_PAUSE", 1e-3)  # in this process


def flaky(block, block_id=None, *, folder, times, chunks=(1, 4), error=OSError):
    """Rows whose chunks fail a number of times first, in any process."""
    number = block_id[0]
    with (folder / str(number)).open("a+") as file:
        file.write("x")
        attempt = file.tell()
    if number in chunks and attempt <= times:
        raise error(errno.EIO, f"the disk is\nbusy, {attempt}")
    return block


def attempts(folder):
    return {int(path.name): path.stat().st_size for path in folder.iterdir()}


@pytest.fixture
def failing(tmp_path):
    """Ten rows per chunk; some chunks fail at first."""

    def made(times, error=OSError, **options):
        read = partial(flaky, folder=tmp_path, times=times, error=error)
        array = da.from_array(X, chunks=(10, 3))
        return DaskDataset.of(array.map_blocks(read, meta=np.empty((0, 3))), **options)

    return made


def total(chunk):
    return chunk.rows.sum(axis=0)


# Synchronous, because workers import this file, and a task must not wait for others.
with dask.config.set(scheduler="synchronous"):
    EXPECTED = DaskDataset.of(da.from_array(X, chunks=(10, 3))).reduce(total)


@pytest.mark.parametrize("where", ["synchronous", "threads", "processes"])
def test_only_failed_reads_are_retried(failing, tmp_path, where):
    with dask.config.set(scheduler=where, num_workers=2):
        np.testing.assert_array_equal(failing(2).reduce(total), EXPECTED)
    assert attempts(tmp_path) == {0: 1, 1: 3, 2: 1, 3: 1, 4: 3, 5: 1}
    FATES["two chunks that fail twice"]["survived"] += 1


def test_workers_take_the_number_of_retries_from_the_driver(failing, tmp_path, client):
    with dask.config.set({"daskgmm.read-retries": 1}):  # the workers do not know it
        once, twice = failing(1), failing(2)
    np.testing.assert_array_equal(once.reduce(total), EXPECTED)
    assert attempts(tmp_path)[1] == 2
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"chunk [14] could not be loaded in 2 attempts: OSError"):
        twice.reduce(total)


def test_the_last_failure_is_an_error_with_chunk_reason_and_attempts(failing):
    with pytest.raises(DataError) as caught, dask.config.set(scheduler="synchronous"):
        failing(9).reduce(total)
    assert str(caught.value) == (
        "chunk 1 could not be loaded in 4 attempts: OSError: [Errno 5] the disk is busy, 4"
    )
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("n", [0, 2])
def test_the_number_of_retries_is_the_callers_or_the_configurations(failing, tmp_path, n):
    with dask.config.set({"daskgmm.read-retries": 7}):
        dataset = failing(9, retries=n)
        assert failing(9).source.retries == 7
    assert dataset.source.retries == dataset.with_extra(X).source.retries == n
    with pytest.raises(DataError), dask.config.set(scheduler="synchronous"):
        dataset.reduce(total)
    assert attempts(tmp_path)[1] == n + 1


@pytest.mark.parametrize("wrong", [-1, 1.5, "often", True])
def test_an_invalid_number_of_retries_is_an_error(wrong):
    with pytest.raises(DataError, match="retries: a whole number of at least 0 is needed"):
        read_retries(wrong)
    with (
        dask.config.set({"daskgmm.read-retries": wrong}),
        pytest.raises(DataError, match=r"Dask's configuration, daskgmm\.read-retries"),
    ):
        read_retries(None)


def in_one_shard(array):
    source = DaskDataset.of(array).source
    return np.concatenate([chunk.rows for chunk in Shard(source, range(len(source))).chunks(())])


def test_a_shared_value_is_not_computed_again(tmp_path):
    made = []

    def large(block):
        made.append(len(block))
        return block

    whole = da.from_array(X, chunks=(30, 3)).map_blocks(large, meta=np.empty((0, 3)))
    read = partial(flaky, folder=tmp_path, times=2)
    array = whole.rechunk((10, 3)).map_blocks(read, meta=np.empty((0, 3)))
    made.clear()
    np.testing.assert_array_equal(in_one_shard(array), X)
    assert made == [30, 30]
    assert attempts(tmp_path) == {0: 1, 1: 3, 2: 1, 3: 1, 4: 3, 5: 1}


def test_reads_of_shared_values_are_retried(tmp_path):
    read = partial(flaky, folder=tmp_path, times=1, chunks=(1,))
    whole = da.from_array(X, chunks=(30, 3)).map_blocks(read, meta=np.empty((0, 3)))
    np.testing.assert_array_equal(in_one_shard(whole.rechunk((10, 3))), X)
    assert attempts(tmp_path) == {0: 1, 1: 2}


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_common_values_are_retried(tmp_path, where, request):
    place = {"scheduler": request.getfixturevalue("client") if where == "cluster" else where}
    read = partial(flaky, folder=tmp_path, times=1, chunks=(1,))
    array = da.from_array(X, chunks=(10, 3)).map_blocks(read, meta=np.empty((0, 3)))
    with dask.config.set(place, num_workers=2):
        found = DaskDataset.of(array - array.mean(axis=0)).prepare().reduce(total)
        np.testing.assert_allclose(found, 0.0, atol=1e-9)
        array = array.map_blocks(wrong, meta=np.empty((0, 3)))
        sentence = "all chunks need could not be loaded: ZeroDivisionError: division by zero"
        with pytest.raises(DataError, match=sentence):
            DaskDataset.of(array - array.mean(axis=0)).prepare()


def test_pauses_grow_to_a_limit(monkeypatch):
    pauses = []
    monkeypatch.setattr(retries, "sleep", pauses.append)
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.1)

    def fails():
        raise TimeoutError

    with pytest.raises(DataError, match="chunk 3 could not be loaded in 8 attempts: TimeoutError"):
        load_with_retries(fails, "chunk 3", 7)
    most = np.minimum(0.1 * 4.0 ** np.arange(7), 30.0)
    assert (pauses <= most).all()
    assert (pauses >= 0.5 * most).all()


def store_error(module, *bases):
    return type("ReadTimeoutError", bases or (Exception,), {"__module__": module})("read timed out")


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError("AWS Error NETWORK_CONNECTION during GetObject"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (store_error("botocore.exceptions"), True),
        (store_error("aiohttp.client_exceptions"), True),
        (store_error("mine", type(store_error("urllib3.exceptions"))), True),
        (caused(DataError("rows.npy cannot be read"), OSError("busy")), True),
        (caused(RuntimeError("in a codec"), caused(ValueError(), ConnectionError())), True),
        (FileNotFoundError("rows.npy"), False),
        (PermissionError("rows.npy"), False),
        # As s3fs raises it.
        (caused(FileNotFoundError(), store_error("botocore.exceptions")), False),
        (caused(DataError("gone"), FileNotFoundError()), False),
        (ValueError("could not convert"), False),
        (DataError("no numbers"), False),
        (store_error("azures"), False),
    ],
    ids=repr,
)
def test_errors_of_the_system_or_of_a_store_are_transient(error, expected):
    assert is_transient(error) is expected


def test_an_error_raised_while_another_was_handled_counts_as_caused_by_it():
    def read(**suppress):
        try:
            raise ConnectionError  # noqa: TRY301
        except ConnectionError:
            if suppress:
                raise KeyError("rows") from None
            raise KeyError("rows")  # noqa: B904

    with pytest.raises(KeyError) as implicit:
        read()
    with pytest.raises(KeyError) as suppressed:
        read(suppress=True)
    assert is_transient(implicit.value)
    assert not is_transient(suppressed.value)


def wrong(block, block_id=None):
    return 1 / (block_id[0] - 4) * block


class PeculiarError(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def peculiar(block, block_id=None):
    raise PeculiarError("this", "that")


@pytest.mark.parametrize("where", ["synchronous", "threads", "processes", "cluster"])
def test_an_error_in_a_chunks_tasks_names_the_chunk_and_where_it_was_raised(where, request):
    place = {"scheduler": request.getfixturevalue("client") if where == "cluster" else where}
    array = da.from_array(X, chunks=(10, 3))
    with dask.config.set(place, num_workers=2):
        with pytest.raises(DataError) as caught:
            DaskDataset.of(array.map_blocks(wrong, meta=np.empty((0, 3)))).reduce(total)
        error = caught.value
        assert str(error) == "chunk 4 could not be loaded: ZeroDivisionError: division by zero"
        assert isinstance(error.__cause__, ZeroDivisionError)
        assert "1 / (block_id[0] - 4)" in "".join(traceback.format_exception(error))
        # An exception that cannot be unpickled leaves its type and text.
        with pytest.raises(
            DataError, match=r"chunk \d could not be loaded: PeculiarError: this and that"
        ):
            DaskDataset.of(array.map_blocks(peculiar, meta=np.empty((0, 3)))).reduce(total)


def test_a_slow_failure_is_not_retried(monkeypatch):
    now = iter(range(0, 10_000, 25))
    monkeypatch.setattr(retries, "monotonic", lambda: next(now))
    with pytest.raises(DataError, match=r"x could not be loaded in 3 attempts: OSError"):
        load_with_retries(_failing, "x", retries=9)


def _failing():
    raise OSError


def test_a_missing_file_is_not_retried(tmp_path):
    np.save(tmp_path / "rows.npy", X)
    dataset = open_dataset(tmp_path / "rows.npy")
    (tmp_path / "rows.npy").unlink()
    with pytest.raises(DataError, match=r"chunk 0 could not be loaded: .*rows\.npy.*No such file"):
        dataset.reduce(total)
