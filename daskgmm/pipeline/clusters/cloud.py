"""Machines rented from a cloud for the length of a run, through dask-cloudprovider."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from daskgmm.data.machines import Machines
from daskgmm.pipeline.clusters.extras import check_options, found, keywords, library, starting
from daskgmm.pipeline.clusters.place import Place, Say
from daskgmm.pipeline.clusters.workers import Expected, Scaled

EXTRA = "cloud"

Provided = Literal[
    "FargateCluster",
    "ECSCluster",
    "EC2Cluster",
    "GCPCluster",
    "AzureVMCluster",
    "DropletCluster",
    "HetznerCluster",
    "IBMCodeEngineCluster",
    "NebiusCluster",
    "OpenStackCluster",
]

# Where dask-cloudprovider has them.
MODULES: dict[str, str] = {
    "FargateCluster": "aws",
    "ECSCluster": "aws",
    "EC2Cluster": "aws",
    "GCPCluster": "gcp",
    "AzureVMCluster": "azure",
    "DropletCluster": "digitalocean",
    "HetznerCluster": "hetzner",
    "IBMCodeEngineCluster": "ibm",
    "NebiusCluster": "nebius",
    "OpenStackCluster": "openstack",
}


class Cloud(Scaled):
    """Machines of a cloud, which the account of this machine's credentials pays for.

    Attributes
    ----------
    provider : str
        The class of dask-cloudprovider that rents them, such as "FargateCluster".
    n_workers : int
        Default 1.
    options : dict
        What that class takes. Its image must have the packages and the daskgmm of this machine.
    worker : Expected
        What a worker will have.
    adapt : Adapt
        Between how many workers, instead of `n_workers`.
    """

    kind: Literal["cloud"] = "cloud"
    provider: Provided
    n_workers: int | None = Field(default=None, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)
    worker: Expected = Expected()

    @field_validator("options")
    @classmethod
    def _are_known(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("provider")  # which may be a mistake itself
        if name and (module := found(_module(name))) is not None:
            check_options(options, keywords(getattr(module, name)), {"n_workers"}, name)
        return options

    def machines(self) -> Machines:
        """As many as are asked for, with what is expected of one."""
        return self.worker.machines(self.most)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Place]:
        """Make them the place where Dask computes, for the length of the context."""
        make = getattr(library(_module(self.provider), self.kind, EXTRA), self.provider)
        of = f"{self.counted('worker', 'workers')} of {self.provider}"
        say(f"renting   {of}, which takes minutes")
        with starting(self.provider):
            cluster = make(n_workers=self.first, **self.options)
        look_at = "see in the cloud's console what has become of them"
        mend = "see its class's `security` in dask-cloudprovider"
        with self.place_on(cluster, of, look_at, mend, say) as place:
            yield place


def _module(provider: str) -> str:
    return f"dask_cloudprovider.{MODULES[provider]}"
