"""On which machines: a description of each kind, which knows its numbers and how to get there.

Each has ``machines()``, what `plan` counts with before anything has started, and
``connected(say)``, a context in which Dask computes there.
"""

from typing import Annotated

from pydantic import Field

from daskgmm.pipeline.clusters.address import Address
from daskgmm.pipeline.clusters.batch_jobs import BatchJobs
from daskgmm.pipeline.clusters.local import LocalCluster, Processes, Threads
from daskgmm.pipeline.clusters.remote import Cloud, Gateway, Kubernetes
from daskgmm.pipeline.config.loader import StrictModel

Cluster = LocalCluster | Threads | Processes | Address | BatchJobs | Kubernetes | Gateway | Cloud


class ClusterConfig(StrictModel):
    """On which machines."""

    cluster: Annotated[Cluster, Field(discriminator="kind")]
