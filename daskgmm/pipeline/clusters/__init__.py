"""Kinds of clusters, as a YAML file describes them.

A kind has ``expected_resources()``, from which `plan` computes before anything starts. It also has
``connect(print_line)``, a context in which Dask computes on the cluster.
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
    """The cluster that a run computes on."""

    cluster: Annotated[Cluster, Field(discriminator="kind")]
