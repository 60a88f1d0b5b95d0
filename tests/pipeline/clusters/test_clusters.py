"""Descriptions of machines as people write them, and the examples in config/cluster."""

import os
from pathlib import Path

import pytest
import yaml

from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters import ClusterConfig
from daskgmm.pipeline.clusters.batch_jobs import SYSTEMS
from daskgmm.pipeline.clusters.local import LocalCluster, Processes, Threads
from daskgmm.pipeline.clusters.remote import CLOUD_MODULES
from daskgmm.pipeline.config.loader import load

EXAMPLES = sorted((Path(__file__).parents[3] / "config/cluster").glob("*.yaml"))


@pytest.fixture
def described(tmp_path):
    """The cluster that a text describes."""

    def read(text):
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump({"cluster": yaml.safe_load(text)}))
        return load(path, ClusterConfig).cluster

    return read


def kinds():
    schema = ClusterConfig.model_json_schema()
    return set(schema["properties"]["cluster"]["discriminator"]["mapping"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_again_after_saving_and_can_be_planned(path):
    cluster = load(path, ClusterConfig).cluster
    again = ClusterConfig.model_validate({"cluster": cluster.as_dict()}).cluster
    assert again == cluster  # which `daskgmm resume` relies on
    if path.stem != "address":  # whose scheduler would be asked
        assert cluster.expected_resources().n_threads >= 1


def test_every_kind_has_its_example():
    assert kinds() - {"moab"} <= {path.stem for path in EXAMPLES}  # which is PBS's commands
    assert set(SYSTEMS) < kinds()
    schema = ClusterConfig.model_json_schema()["$defs"]["Cloud"]
    assert set(schema["properties"]["provider"]["enum"]) == set(CLOUD_MODULES)


def test_the_default_is_every_core(described):
    assert described("kind: local").expected_resources().n_threads == os.cpu_count()
    assert described("kind: local") == LocalCluster()
    assert described("kind: threads") == Threads(n_threads=os.cpu_count())
    assert described("kind: processes") == Processes(n_processes=os.cpu_count())


SLURM = "kind: slurm, cores: 4, memory: 8 GiB"


@pytest.mark.parametrize(
    ("text", "threads", "per_process", "room"),
    [
        (f"{{{SLURM}, n_jobs: 3, processes: 2}}", 12, 2, 4 << 30),
        (f"{{{SLURM}, adapt: {{maximum: 5}}}}", 20, 1, 2 << 30),
        ("{kind: kubernetes, image: x, n_workers: 2}", 2, 1, None),
        (
            "{kind: kubernetes, image: x, resources: {limits: {cpu: 1500m, memory: 2Gi}}}",
            2,
            2,
            2 << 30,
        ),
        ("{kind: kubernetes, image: x, resources: {requests: {cpu: 3}}}", 3, 3, None),
        ("{kind: gateway, n_workers: 4, worker: {threads: 2, memory: 1 GiB}}", 8, 2, 1 << 30),
        ("{kind: cloud, provider: EC2Cluster, adapt: {maximum: 3}}", 3, 1, None),
    ],
)
def test_expected_resources_are_those_of_the_configuration(
    described, text, threads, per_process, room
):
    resources = described(text).expected_resources()
    assert (resources.n_threads, resources.threads_per_process) == (threads, per_process)
    assert resources.memory_limit == (room and int(0.95 * room))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("kind: thread", ["cluster.kind: unknown value 'thread': did you mean 'threads'?"]),
        ("kind: x", ["unknown value 'x'; allowed are address, cloud, "]),
        ("n_workers: 2", ["the key 'cluster.kind' is missing"]),
        ("{kind: threads, n_threads: 0}", ["cluster.n_threads: "]),
        ("{kind: threads, n_thread: 2}", ["'cluster.n_thread': did you mean 'n_threads'?"]),
        ("{kind: threads, n_workers: 2}", ["'cluster.n_workers'", "n_threads"]),
        ("{kind: local, n_worker: 2}", ["'cluster.n_worker': did you mean 'n_workers'?"]),
        ("{kind: local, memory_limit: lots}", ["cluster.memory_limit: "]),
        ("{kind: local, memory: {spil: 0.5}}", ["'cluster.memory.spil': did you mean 'spill'?"]),
        ("{kind: local, memory: {spill: 1.5}}", ["cluster.memory.spill"]),
        ("{kind: local, memory: {spill: true}}", ["cluster.memory.spill"]),
        (
            "{kind: local, memory: {target: 0.8, pause: 0.5}}",
            ["cluster.memory: target (0.8) is above pause (0.5)"],
        ),
        ("{kind: local, nanny: {envs: {}}}", ["'cluster.nanny.envs': did you mean 'env'?"]),
        ("{kind: local, adapt: {minimum: 3, maximum: 2}}", ["cluster.adapt: minimum (3)"]),
        ("{kind: local, adapt: {maximun: 2}}", ["'cluster.adapt.maximun': did you mean"]),
        ("{kind: local, n_workers: 1, adapt: {maximum: 2}}", ["either n_workers or adapt"]),
        ("{kind: local, worker_timeout: soon}", ["cluster.worker_timeout: must be a time"]),
        ("{kind: slurm, cores: 1}", ["the key 'cluster.memory' is missing"]),
        ("{kind: slurm, cors: 1}", ["line 2: unknown key 'cluster.cors': did you mean 'cores'?"]),
        (f"{{{SLURM}, n_jobs: 1, adapt: {{maximum: 2}}}}", ["either n_jobs or adapt"]),
        (f"{{{SLURM}, processes: 3}}", ["4 cores cannot be divided among 3 processes"]),
        (f"{{{SLURM}, walltime: 12:00:00}}", ["cluster.walltime: write it in quotes"]),
        (f"{{{SLURM}, memory: lots}}", ["cluster.memory: "]),
        ("{kind: kubernetes}", ["the key 'cluster.image' is missing"]),
        (
            "{kind: kubernetes, image: x, resources: {limits: {cpus: 2}}}",
            ["'cluster.resources.limits.cpus': did you mean 'cpu'?"],
        ),
        ("{kind: gateway, auth_options: {username: me}}", ["auth_options needs auth"]),
        ("{kind: gateway, worker: {thread: 2}}", ["'cluster.worker.thread': did you mean"]),
        ("{kind: cloud, provider: FargateClustr}", ["cluster.provider: ", "'FargateCluster'"]),
    ],
)
def test_an_error_names_the_key_of_a_wrong_value(described, text, parts):
    with pytest.raises(ConfigError) as caught:
        described(text)
    for part in (*parts, "cluster.yaml"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("library", "text", "sentence"),
    [
        (
            "dask_jobqueue",
            f"{{{SLURM}, options: {{jobname: x}}}}",
            "cluster.options: unknown option 'jobname' of SLURMCluster: did you mean 'job_name'?",
        ),
        ("dask_jobqueue", f"{{{SLURM}, options: {{cores: 3}}}}", "set the key cluster.cores"),
        (
            "dask_jobqueue",
            "{kind: htcondor, cores: 1, memory: 1 GB, queue: x}",
            "unknown option 'queue' of HTCondorCluster: leave it out",
        ),
        (
            "dask_gateway",
            "{kind: gateway, auth: basic, auth_options: {pasword: x}}",
            "unknown option 'pasword' of BasicAuth: did you mean 'password'?",
        ),
        (
            "dask_kubernetes",
            "{kind: kubernetes, image: x, options: {idle_timout: 3}}",
            "unknown option 'idle_timout' of KubeCluster: did you mean 'idle_timeout'?",
        ),
        (
            "dask_cloudprovider",
            "{kind: cloud, provider: FargateCluster, options: {worker_cp: 3}}",
            "unknown option 'worker_cp' of FargateCluster: did you mean 'worker_cpu'?",
        ),
    ],
)
def test_options_are_checked_against_the_installed_library(described, library, text, sentence):
    pytest.importorskip(library)
    with pytest.raises(ConfigError) as caught:
        described(text)
    assert sentence in str(caught.value)
    assert ", line " in str(caught.value)
