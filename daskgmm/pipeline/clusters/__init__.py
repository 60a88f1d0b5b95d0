"""On which machines: a description of each kind, which knows its numbers and how to get there.

Each has ``machines()``, what `plan` counts with before anything has started, and
``connected(say)``, a context in which Dask computes there.
"""

from typing import Annotated

from pydantic import Field

from daskgmm.pipeline.clusters.address import Address
from daskgmm.pipeline.clusters.cloud import Cloud
from daskgmm.pipeline.clusters.gateway import Gateway
from daskgmm.pipeline.clusters.here import Processes, Threads
from daskgmm.pipeline.clusters.jobs import Jobs
from daskgmm.pipeline.clusters.kubernetes import Kubernetes
from daskgmm.pipeline.clusters.local import LocalCluster
from daskgmm.pipeline.strict import Strict

Cluster = LocalCluster | Threads | Processes | Address | Jobs | Kubernetes | Gateway | Cloud


class ClusterConfig(Strict):
    """On which machines."""

    cluster: Annotated[Cluster, Field(discriminator="kind")]
