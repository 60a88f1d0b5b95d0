import signal
import sys

import pytest

from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.batch_jobs import SYSTEMS, BatchJobs

pytest.importorskip("dask_jobqueue")


@pytest.mark.parametrize("kind", SYSTEMS)
def test_all_keys_are_options_of_their_batch_system(kind):
    known = {"htcondor": {"options": {"disk": "1 GB"}}}
    account = {} if kind == "htcondor" else {"account": "me", "queue": "q", "walltime": "01:00:00"}
    job = {"cores": 2, "memory": "1 GiB", "local_directory": "/scratch", "interface": "lo"}
    BatchJobs.model_validate({"kind": kind, **job, **account, **known.get(kind, {})})


@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_machine_without_the_batch_system_is_one_sentence(kind, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = BatchJobs(kind=kind, cores=1, memory="1 GiB")
    with pytest.raises(ConfigError, match="on this machine"), cluster.connect(print):
        pass


def test_a_missing_library_is_one_sentence_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    cluster = BatchJobs(kind="slurm", cores=1, memory="1 GiB", options={"whatever": 1})
    with (
        pytest.raises(ConfigError, match=r"pip install 'daskgmm\[jobqueue\]'"),
        cluster.connect(print),
    ):
        pass


def test_importing_a_library_does_not_change_ctrl_c():
    """dask-jobqueue makes it a silent exit when it is imported."""
    for name in [each for each in sys.modules if each.startswith("dask_jobqueue")]:
        del sys.modules[name]
    before = signal.getsignal(signal.SIGINT)
    BatchJobs(kind="slurm", cores=1, memory="1 GiB")
    assert "dask_jobqueue" in sys.modules
    assert signal.getsignal(signal.SIGINT) is before
