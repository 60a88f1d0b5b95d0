"""What Dask's own configuration says of daskgmm: ``~/.config/dask/daskgmm.yaml``, for example."""

from typing import Any

import dask

from daskgmm.data.execution.cluster_faults import TIMEOUT, worker_timeout
from daskgmm.data.execution.retries import KEY as RETRIES
from daskgmm.data.execution.retries import read_retries
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters import Cluster, ClusterConfig
from daskgmm.pipeline.clusters.local import LocalCluster
from daskgmm.pipeline.config.loader import from_values, nearest

CLUSTER = "daskgmm.cluster"


def default_cluster() -> Cluster:
    """The cluster of a command without ``--cluster``: worker processes, or what Dask is told.

    Raises DaskgmmError for a key of ``daskgmm`` that means nothing, and for a value that can't be.
    """
    known = [each.removeprefix("daskgmm.") for each in (RETRIES, TIMEOUT, CLUSTER)]
    told = _told()
    for key in told:
        if key.replace("_", "-") not in known:
            raise ConfigError(
                f"Dask's configuration: unknown key 'daskgmm.{key}'{nearest(key, known)}"
            )
    read_retries(None)
    worker_timeout()
    if "cluster" not in told:
        return LocalCluster()
    return from_values(
        {"cluster": told["cluster"]}, "Dask's configuration, daskgmm", ClusterConfig
    ).cluster


def _told() -> dict[str, Any]:
    told = dask.config.get("daskgmm", None) or {}
    if not isinstance(told, dict):
        raise ConfigError(
            f"Dask's configuration, daskgmm: keys and values are needed, not {told!r}"
        )
    return told
