import json
import time
from pathlib import Path

import fsspec
import pandas as pd
import pytest
import zarr
from command_line import Command
from scoring import ON_THREADS, refused, scored, table
from strategies import clusters


@pytest.fixture
def store(scoring_place, s3):
    """A folder of a bucket, with what reaches it."""
    files = fsspec.filesystem("s3", use_listings_cache=False, **s3)
    return files, f"s3://bucket{scoring_place}", ("--storage-options", json.dumps(s3))


def brought_home(files, url, out):
    """The scores that are in a store, as a disk has them."""
    files.get(f"{url}/{out}", f"home-{out}", recursive=True)
    return table(f"home-{out}")


@pytest.mark.parametrize("out", ["scores.parquet", "scores.zarr"])
def test_rows_of_a_store_are_scored_into_a_store(store, out):
    files, url, options = store
    files.put("rows.parquet", f"{url}/a/rows.parquet")
    files.put("rows.parquet", f"{url}/b/rows.parquet")
    sources = (f"{url}/a/rows.parquet", f"{url}/b/rows.parquet")
    told = ("--id", "id", "--outliers", "0.01")
    said = scored(*sources, f"{url}/{out}", *told, *options)
    assert f"written   {url}/{out} in " in said
    scored("rows.parquet", "rows.parquet", out, *told)
    pd.testing.assert_frame_equal(brought_home(files, url, out), table(out))
    assert not files.exists(f"{url}/{out}.parts")
    assert "already holds these scores" in scored(*sources, f"{url}/{out}", *told, *options)
    assert "exists already" in refused(sources[0], f"{url}/{out}", *options)
    scored(sources[0], f"{url}/{out}", "--force", *options)
    files.rm(f"{url}/a", recursive=True)


def test_workers_write_into_a_store_too(store):
    files, url, options = store
    Path("local.yaml").write_text("cluster: {kind: local, n_workers: 2, memory_limit: 1 GiB}")
    scored("rows.parquet", f"{url}/there.parquet", *options, "--cluster", "local.yaml")
    scored("rows.parquet", "here.parquet")
    pd.testing.assert_frame_equal(brought_home(files, url, "there.parquet"), table("here.parquet"))


def test_a_run_killed_while_it_moves_parts_is_resumed(store):
    files, url, options = store
    out = f"{url}/scores.parquet"
    scored("rows.parquet", out, *options)
    names = sorted(files.ls(out, detail=False))
    for name in names:
        files.copy(name, name.replace("scores.parquet/", "scores.parquet.parts/"))
    files.rm(names[3:])  # a kill among the copies
    assert f"resumed   {len(names)} parts" in scored("rows.parquet", out, *options)
    assert sorted(files.ls(out, detail=False)) == names
    assert not files.exists(f"{out}.parts")
    files.pipe_file(f"{out}/part-00000001.parquet", b"PAR1")
    assert "exists already" in refused("rows.parquet", out, *options)


def test_a_run_killed_while_it_writes_a_group_is_resumed(store, monkeypatch):
    files, url, options = store
    out = f"{url}/scores.zarr"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("daskgmm.data.writers.scores._Writer.close", full)
        said = refused("rows.parquet", out, *options)
    assert f"{out} cannot be written: No space left on device" in said
    assert "resumed   7 parts" in scored("rows.parquet", out, *options)
    scored("rows.parquet", "here.zarr")
    pd.testing.assert_frame_equal(brought_home(files, url, "scores.zarr"), table("here.zarr"))


def test_a_killed_run_into_a_store_is_resumed(store):
    files, url, options = store
    zarr.create_array("long.zarr", data=clusters(15_000, 2), chunks=(500, 2))
    arguments = ("long.zarr", f"{url}/scores.parquet", "--columns", "0,1", *options)
    process = Command("score", "results/model.npz", *arguments, *ON_THREADS)
    parts = f"{url}/scores.parquet.parts/part-*"
    while process.is_running and not files.glob(parts):
        time.sleep(0.01)
    process.kill()
    assert not files.exists(f"{url}/scores.parquet")
    assert "resumed   " in scored(*arguments)
    scored("long.zarr", "whole.parquet", "--columns", "0,1")
    pd.testing.assert_frame_equal(
        brought_home(files, url, "scores.parquet"), table("whole.parquet")
    )


def test_other_credentials_do_not_change_the_scores(store, monkeypatch):
    """Keys of a night expire; what has been scored by them stays."""
    files, url, options = store
    files.put("rows.zarr", f"{url}/rows.zarr", recursive=True)
    arguments = (f"{url}/rows.zarr", f"{url}/scores.zarr", "--missing", "omit")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("daskgmm.data.writers.scores._Writer.close", full)
        refused(*arguments, *options)
    others = json.dumps({**json.loads(options[1]), "key": "another", "secret": "one"})
    assert "resumed   7 parts" in scored(*arguments, "--storage-options", others)
    assert "already holds these scores" in scored(*arguments, *options)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("s3://absent/s.parquet",), "s3://absent/s.parquet"),
        (("s3://absent/s.zarr",), "s3://absent/s.zarr"),
        (("teapot://bucket/s.zarr",), "teapot://bucket/s.zarr cannot be written: "),
        (
            ("s.zarr", "--on-bad-chunk", "skip", "--id", "id"),
            "--id: rows of skipped chunks have no id",
        ),
        (("s.zarr", "--on-bad-chunk", "drop"), "--on-bad-chunk: input should be 'raise' or 'skip'"),
        (("s.zarr", "--storage-options", "{a"), "--storage-options: "),
        (
            ("s.zarr", "--storage-options", "[a]"),
            "--storage-options: must be keys and values, not",
        ),
        (
            ("s.zarr", "--storage-options", "{key: '${NOBODY}'}"),
            "--storage-options: key: the environment variable NOBODY is not set",
        ),
    ],
)
def test_a_mistake_about_a_store_is_one_sentence(store, arguments, part):
    _, _, options = store
    more = () if "--storage-options" in arguments else options
    assert part in refused("rows.parquet", *arguments, *more)
