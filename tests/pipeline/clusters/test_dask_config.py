import subprocess
import sys

import dask
import pytest

from daskgmm.errors import DaskgmmError
from daskgmm.pipeline.clusters.dask_config import default_cluster
from daskgmm.pipeline.clusters.local import LocalCluster, Threads


def test_the_default_is_worker_processes():
    assert default_cluster() == LocalCluster()


def test_dasks_configuration_may_name_another_cluster():
    with dask.config.set({"daskgmm.cluster": {"kind": "threads", "n_threads": 3}}):
        assert default_cluster() == Threads(n_threads=3)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("worker-timout", "1 s", "unknown key 'daskgmm.worker-timout': did you mean 'worker-tim"),
        ("worker-timeout", "soon", "daskgmm.worker-timeout: a time such as"),
        ("worker-timeout", [1], "daskgmm.worker-timeout: a time such as"),
        ("read-retries", -1, "daskgmm.read-retries: a whole number"),
        ("cluster", "threads", "daskgmm: cluster: "),
        ("cluster.kind", "thread", "'thread'"),
        ("cluster", {"kind": "threads", "n_thread": 2}, "'cluster.n_thread': did you mean"),
    ],
)
def test_a_mistake_in_dasks_configuration_is_one_sentence(key, value, sentence):
    with (
        dask.config.set({f"daskgmm.{key}": value}),
        pytest.raises(DaskgmmError) as caught,
    ):
        default_cluster()
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("Dask's configuration")
    assert "\n" not in str(caught.value)


def test_a_value_in_place_of_keys_is_refused():
    with dask.config.set(daskgmm=[1]), pytest.raises(DaskgmmError, match="keys and values"):
        default_cluster()


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("daskgmm: {cluster: {kind: threads, n_threads: 2}}", 0, "cluster   2 threads"),
        (
            "daskgmm: {cluser: {kind: threads}}",
            2,
            "unknown key 'daskgmm.cluser': did you mean 'clu",
        ),
    ],
)
def test_a_command_uses_the_cluster_of_dasks_folder(tmp_path, monkeypatch, text, code, part):
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask/daskgmm.yaml").write_text(text)
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))
    command = [sys.executable, "-m", "daskgmm", "generate", "rows.npy"]
    done = subprocess.run(
        [*command, "--rows", "100", "--features", "2", "--components", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert part in done.stdout + done.stderr
