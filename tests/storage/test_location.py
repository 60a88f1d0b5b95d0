import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.request import Request, urlopen

import dask
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from dask.base import tokenize
from fsspec.registry import _registry
from moto.server import ThreadedMotoServer
from strategies import clusters

from daskgmm import GaussianMixture, open_dataset
from daskgmm.errors import DataError
from daskgmm.fit.observers import NullObserver
from daskgmm.storage.location import Location, explain_errors

X = clusters(400, 2)
ENDINGS = [".parquet", ".zarr", ".npy"]


@pytest.fixture
def files(tmp_path):
    """The same rows in each format, in chunks of a hundred where a format has chunks."""
    pq.write_table(pa.table(list(X.T), ["a", "b"]), tmp_path / "rows.parquet", row_group_size=100)
    zarr.create_array(tmp_path / "rows.zarr", data=X, chunks=(100, 2))
    np.save(tmp_path / "rows.npy", X)
    return tmp_path


@pytest.fixture(params=["s3", "memory"])
def store(request, files):
    """URL of the files in a store, and its options."""
    options = request.getfixturevalue("s3") if request.param == "s3" else {}
    url = f"{request.param}://bucket{files}"
    fsspec.filesystem(request.param, **options).put(f"{files}/", f"{url}/", recursive=True)
    return url, options


def opened(store, name, **options):
    url, storage_options = store
    return open_dataset(f"{url}/{name}", storage_options=storage_options, **options)


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_of_a_store_are_those_of_the_disk_in_the_same_chunks(files, store, ending):
    dataset, same = opened(store, f"rows{ending}"), open_dataset(files / f"rows{ending}")
    assert dataset.source.lengths == same.source.lengths
    assert dataset.columns == same.columns
    np.testing.assert_array_equal(dataset.collection.compute(scheduler="threads"), X)
    few = opened(store, f"rows{ending}", columns=["b"] if ending == ".parquet" else [1])
    np.testing.assert_array_equal(few.collection.compute(scheduler="threads"), X[:, 1:])


@pytest.fixture
def in_s3(files, s3):
    fsspec.filesystem("s3", **s3).put(f"{files}/", f"s3://bucket{files}/", recursive=True)
    return f"s3://bucket{files}", s3


@pytest.mark.parametrize("ending", ENDINGS)
def test_worker_processes_read_from_a_store_too(in_s3, ending, client):
    chunks = opened(in_s3, f"rows{ending}").map(lambda chunk: chunk.rows)
    np.testing.assert_array_equal(np.vstack(chunks), X)


def test_a_web_server_is_a_store(in_s3):
    url, options = in_s3
    path = url.removeprefix("s3://") + "/rows.npy"
    fsspec.filesystem("s3", **options).chmod(path, "public-read")
    dataset = open_dataset(f"{options['endpoint_url']}/{path}")
    np.testing.assert_array_equal(dataset.collection.compute(scheduler="threads"), X)
    with pytest.raises(DataError, match=r"there is no file or directory at http.*404"):
        open_dataset(f"{options['endpoint_url']}/bucket/nothing.npy")


def test_a_web_server_without_range_requests_is_an_error(files):
    serve = partial(SimpleHTTPRequestHandler, directory=files)
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            place = Location.of(f"http://127.0.0.1:{server.server_port}/rows.npy", {})
            with pytest.raises(OSError, match="whole files only"):
                place.values(np.dtype(float), 2, start=128)
        finally:
            server.shutdown()


def test_a_file_that_was_written_again_is_another_array(in_s3):
    name = opened(in_s3, "rows.npy").collection.name
    assert opened(in_s3, "rows.npy").collection.name == name
    url, options = in_s3
    with fsspec.open(f"{url}/rows.npy", "wb", **options) as file:
        np.save(file, X + 1.0)
    assert opened(in_s3, "rows.npy").collection.name != name


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_missing_file_is_an_error(s3, ending):
    with pytest.raises(DataError) as caught:
        opened(("s3://bucket/nowhere", s3), f"rows{ending}")
    assert str(caught.value) == f"there is no file or directory at s3://bucket/nowhere/rows{ending}"
    with pytest.raises(DataError, match="bucket does not exist") as caught:
        opened(("s3://no-such-bucket", s3), f"rows{ending}")
    assert "there is no file or directory at s3://no-such-bucket/rows" in str(caught.value)


def allow(s3, n_requests):
    """Make the server check keys, except for the next requests."""
    url = f"{s3['endpoint_url']}/moto-api/reset-auth"
    plain = {"Content-Type": "text/plain"}
    urlopen(Request(url, str(n_requests).encode(), plain, method="POST")).close()


@pytest.fixture
def guarded(in_s3):
    allow(in_s3[1], 0)
    yield in_s3
    allow(in_s3[1], 10**9)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.zarr", "rows.npy", "*.npy"])
def test_a_wrong_key_is_an_error_that_does_not_print_it(guarded, name):
    url, options = guarded
    with pytest.raises(DataError, match=r"access is denied .*: check") as caught:
        opened((url, {**options, "secret": "hunter2"}), name)
    sentence = str(caught.value)
    assert url in sentence
    assert "hunter2" not in sentence
    assert "\n" not in sentence


class AtStart(NullObserver):
    def __init__(self, do):
        self.on_start = lambda _: do()


@pytest.mark.parametrize("ending", [".zarr", ".npy"])
def test_a_server_that_dies_while_a_fit_runs_is_one_sentence(in_s3, ending):
    url, options = in_s3
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)  # the same bucket
    server.start()
    host, port = server.get_host_and_port()
    impatient = {"retries": {"total_max_attempts": 1}}
    options = {**options, "endpoint_url": f"http://{host}:{port}", "config_kwargs": impatient}
    dataset = opened((url, options), f"rows{ending}", retries=1)
    model = GaussianMixture(3, random_state=0, init_params="random", max_iter=5, tol=0.0)
    with (
        dask.config.set(scheduler="threads", num_workers=2),
        pytest.raises(DataError, match=r"chunk \d could not be loaded in 2 attempts") as caught,
    ):
        model.fit(dataset, observer=AtStart(server.stop))
    sentence = str(caught.value)
    assert f"{url}/rows{ending}: rows" in sentence
    assert "Could not connect" in sentence
    assert "\n" not in sentence


def test_options_are_never_printed(in_s3):
    url, options = in_s3
    assert "secret" not in repr(Location.of(f"{url}/rows.npy", options))


@pytest.mark.parametrize(
    ("scheme", "extra"), [("s3", "s3"), ("gs", "gs"), ("abfs", "az"), ("https", "http")]
)
def test_a_missing_library_is_one_sentence_with_the_extra_that_brings_it(scheme, extra):
    with pytest.raises(DataError) as caught, explain_errors(f"{scheme}://bucket/rows.npy"):
        raise ImportError("Install it to access it")
    assert str(caught.value) == (
        f"{scheme}://bucket/rows.npy: {scheme}:// needs a library that is not installed: "
        f"pip install 'daskgmm[{extra}]'"
    )


def test_s3_without_s3fs_is_that_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for scheme in ("s3", "s3a"):
        monkeypatch.delitem(_registry, scheme, raising=False)
    with pytest.raises(DataError, match=r"pip install 'daskgmm\[s3\]'"):
        open_dataset("s3://bucket/rows.npy")


def test_an_unknown_scheme_is_an_error(refusal):
    assert refusal("wax://bucket/rows.npy") == "wax://bucket/rows.npy: unknown scheme 'wax'"


def test_options_that_a_store_does_not_know_are_an_error(s3):
    with pytest.raises(DataError, match=r"s3://bucket/rows.npy cannot be reached: .*endpont"):
        opened(("s3://bucket", {"endpont": "x"}), "rows.npy")


@pytest.fixture(params=["disk", "s3"])
def parts(request, tmp_path):
    """A folder of twelve files of three rows, on a disk and in a store."""
    for number in range(12):
        np.save(tmp_path / f"part.{number}.npy", np.full((3, 2), float(number)))
    if request.param == "disk":
        return str(tmp_path), {}
    s3 = request.getfixturevalue("s3")
    fsspec.filesystem("s3", **s3).put(f"{tmp_path}/", f"s3://bucket{tmp_path}/", recursive=True)
    return f"s3://bucket{tmp_path}", s3


def test_a_pattern_gives_files_in_natural_order(parts):
    rows = opened(parts, "part.*.npy").collection.compute(scheduler="threads")
    np.testing.assert_array_equal(rows[:, 0], np.repeat(np.arange(12.0), 3))


def test_a_list_keeps_its_order(parts):
    url, options = parts
    urls = [f"{url}/part.{number}.npy" for number in (2, 0, 11)]
    dataset = open_dataset(urls, storage_options=options)
    assert dataset.source.lengths == (3, 3, 3)
    np.testing.assert_array_equal(dataset.collection.compute(scheduler="sync")[::3, 0], [2, 0, 11])


def test_a_pattern_without_a_match_is_an_error(parts):
    with pytest.raises(DataError, match=r"no file matches .*/none\.\*\.npy"):
        opened(parts, "none.*.npy")


def test_a_file_name_may_contain_pattern_signs(tmp_path):
    np.save(tmp_path / "rows[1].npy", X)
    np.testing.assert_array_equal(open_dataset(tmp_path / "rows[1].npy").collection.compute(), X)


def test_stacked_files_have_the_same_number_of_columns_and_any_types(tmp_path, refusal):
    np.save(tmp_path / "a.npy", X.astype(np.float32))
    np.save(tmp_path / "b.npy", X)
    np.save(tmp_path / "c.npy", X[:, :1])
    both = open_dataset([tmp_path / "a.npy", tmp_path / "b.npy"])
    assert both.collection.dtype == both.collection.compute().dtype == np.float64
    sentence = refusal(tmp_path / "*.npy")
    assert "c.npy has 1 columns, but" in sentence


def test_sources_of_several_formats_are_an_error(refusal):
    assert ".npy and .zarr" in refusal(["a.npy", "b.zarr"])
    assert "the list of source URLs is empty" in refusal([])


def test_credentials_do_not_enter_the_token_but_the_server_does():
    def token(**options):
        return tokenize(Location.of("s3://bucket/rows.npy", options))

    base = token(endpoint_url="http://a", key="me", secret="x")
    assert base == token(endpoint_url="http://a", key="you", secret="y", token="z")
    assert base != token(endpoint_url="http://b", key="me", secret="x")
    nested = token(client_kwargs={"endpoint_url": "http://a", "aws_secret_access_key": "x"})
    assert nested == token(client_kwargs={"endpoint_url": "http://a"})
    assert nested != token(client_kwargs={"endpoint_url": "http://b"})
