"""Defaults from Dask's own configuration, such as ``~/.config/dask/daskgmm.yaml``."""

from typing import Any

import dask

from daskgmm.data.execution.cluster_faults import TIMEOUT, worker_timeout
from daskgmm.data.execution.retries import KEY as RETRIES
from daskgmm.data.execution.retries import read_retries
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters import Cluster, ClusterConfig
from daskgmm.pipeline.clusters.local import LocalCluster
from daskgmm.pipeline.config.loader import from_values, suggestion

CLUSTER = "daskgmm.cluster"


def default_cluster() -> Cluster:
    """Return the cluster without ``--cluster``: Dask's configuration, else worker processes.

    Raises
    ------
    DaskgmmError
        For an unknown key below ``daskgmm``, and for a value that is not allowed.
    """
    allowed = [key.removeprefix("daskgmm.") for key in (RETRIES, TIMEOUT, CLUSTER)]
    settings = _settings()
    for key in settings:
        if key.replace("_", "-") not in allowed:
            raise ConfigError(
                f"Dask's configuration: unknown key 'daskgmm.{key}'{suggestion(key, allowed)}"
            )
    read_retries(None)
    worker_timeout()
    if "cluster" not in settings:
        return LocalCluster()
    return from_values(
        {"cluster": settings["cluster"]}, "Dask's configuration, daskgmm", ClusterConfig
    ).cluster


def _settings() -> dict[str, Any]:
    settings = dask.config.get("daskgmm", None) or {}
    if not isinstance(settings, dict):
        raise ConfigError(
            f"Dask's configuration, daskgmm: must be keys and values, not {settings!r}"
        )
    return settings
