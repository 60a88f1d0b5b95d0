"""Pods of a Kubernetes cluster, through the operator of dask-kubernetes."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Literal, Self

from dask.utils import parse_bytes
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from daskgmm.data.execution.resources import Resources
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.connection import (
    Connection,
    Expected,
    Say,
    Scaled,
    check_options,
    found,
    keywords,
    library,
    starting,
)
from daskgmm.pipeline.config.loader import StrictModel

LIBRARY, EXTRA = "dask_kubernetes.operator", "kubernetes"


def _cpus(quantity: str | float) -> str | float:
    _number(quantity)
    return quantity


def _number(quantity: str | float) -> float:
    """Of cores: 2, "2" or "1500m"."""
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _bytes(quantity: str) -> str:
    parse_bytes(quantity)
    return quantity


class Amount(StrictModel):
    """Of a pod, in Kubernetes' words: cpu "2" or "500m", memory "8Gi"."""

    cpu: Annotated[str | float, AfterValidator(_cpus)] | None = None
    memory: Annotated[str, AfterValidator(_bytes)] | None = None


class PodResources(StrictModel):
    """What a pod asks for, and what it may not go beyond."""

    requests: Amount = Amount()
    limits: Amount = Amount()


class Kubernetes(Scaled):
    """Pods of a Kubernetes cluster that has Dask's operator; KubeCluster makes them.

    Attributes
    ----------
    image : str
        With the Python, the packages and the daskgmm of this machine.
    name, namespace : str
        Default what dask-kubernetes chooses.
    n_workers : int
        Default 1.
    resources : PodResources
        Of the scheduler's pod and of each worker's; `plan` counts with its limits.
    env : dict
        Variables of the pods' environment.
    worker_command : list of str
        Default dask-kubernetes's own.
    options : dict
        What else KubeCluster takes.
    adapt : Adapt
        Between how many workers, instead of `n_workers`.
    """

    kind: Literal["kubernetes"] = "kubernetes"
    image: str
    name: str | None = None
    namespace: str | None = None
    n_workers: int | None = Field(default=None, ge=1)
    resources: PodResources | None = None
    env: dict[str, str] | None = None
    worker_command: list[str] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _are_known(cls, options: dict[str, Any]) -> dict[str, Any]:
        if (operator := found(LIBRARY)) is not None:
            own = {*cls.model_fields, "quiet"} - {"kind", "options"}
            check_options(options, keywords(operator.KubeCluster), own, "KubeCluster")
        return options

    def expected_resources(self) -> Resources:
        """Pods of the limits, or else of what they ask for."""
        resources = self.resources or PodResources()
        cpu = resources.limits.cpu or resources.requests.cpu or 1
        memory = resources.limits.memory or 0
        return Resources.of_workers(self.most, math.ceil(_number(cpu)), memory)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Connection]:
        """Make them the place where Dask computes, for the length of the context."""
        operator = library(LIBRARY, self.kind, EXTRA)
        told = self.model_dump(
            include={"image", "name", "namespace", "resources", "env", "worker_command"},
            exclude_none=True,
        )
        of = f"{self.counted('pod', 'pods')} of {self.image}"
        with starting("KubeCluster"):
            cluster = operator.KubeCluster(n_workers=self.first, quiet=True, **told, **self.options)
        look_at = "see what kubectl get pods and kubectl describe pod say of them"
        mend = "see docs.dask.org/en/latest/how-to/deploy-dask/security.html"
        with self.place_on(cluster, of, look_at, mend, say) as place:
            yield place


EXTRA_CLOUD = "cloud"

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

    def expected_resources(self) -> Resources:
        """As many as are asked for, with what is expected of one."""
        return self.worker.expected_resources(self.most)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Connection]:
        """Make them the place where Dask computes, for the length of the context."""
        make = getattr(library(_module(self.provider), self.kind, EXTRA_CLOUD), self.provider)
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


LIBRARY_GATEWAY, EXTRA_GATEWAY = "dask_gateway", "gateway"

AUTHS = {"basic": "BasicAuth", "kerberos": "KerberosAuth", "jupyterhub": "JupyterHubAuth"}


class Gateway(Scaled):
    """A cluster of a dask-gateway server.

    Attributes
    ----------
    address : str
        Of the server, such as "https://gateway.example.org"; default what dask-gateway's own
        configuration says.
    proxy_address : str
        Where clusters are reached, if not at `address`.
    auth : {"basic", "kerberos", "jupyterhub"}
        How the server knows who asks.
    auth_options : dict
        What its class in dask-gateway takes, such as ``{password: "${GATEWAY_PASSWORD}"}``.
    n_workers : int
        Default 1.
    cluster_options : dict
        What the server lets its users choose.
    worker : Expected
        What a worker will have.
    adapt : Adapt
        Between how many workers, instead of `n_workers`.
    """

    kind: Literal["gateway"] = "gateway"
    address: str | None = None
    proxy_address: str | None = None
    auth: Literal["basic", "kerberos", "jupyterhub"] | None = None
    auth_options: dict[str, Any] = Field(default_factory=dict)
    n_workers: int | None = Field(default=None, ge=1)
    cluster_options: dict[str, Any] = Field(default_factory=dict)
    worker: Expected = Expected()

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.auth_options and self.auth is None:
            raise ValueError("auth_options needs auth")
        if self.auth and (gateway := found(LIBRARY_GATEWAY)) is not None:
            name = AUTHS[self.auth]
            check_options(self.auth_options, keywords(getattr(gateway, name)), (), name)
        return self

    def expected_resources(self) -> Resources:
        """As many as are asked for, with what is expected of one."""
        return self.worker.expected_resources(self.most)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Connection]:
        """Make it the place where Dask computes, for the length of the context."""
        gateway = library(LIBRARY_GATEWAY, self.kind, EXTRA_GATEWAY)
        of = f"{self.counted('worker', 'workers')} of a gateway"
        with ExitStack() as stack:
            with starting("the gateway's cluster"):
                auth = self.auth and getattr(gateway, AUTHS[self.auth])(**self.auth_options)
                server = gateway.Gateway(
                    address=self.address, proxy_address=self.proxy_address, auth=auth
                )
                stack.callback(_forget, server)
                stack.callback(server.close)
                known = set(server.cluster_options())
            try:
                check_options(self.cluster_options, known, (), "the gateway")
            except ValueError as error:
                raise ConfigError(f"cluster.cluster_options: {error}") from error
            with starting("the gateway's cluster"):
                cluster = server.new_cluster(shutdown_on_close=True, **self.cluster_options)
            stack.callback(_forget, cluster.gateway)
            look_at = "the gateway's administrator sees why"
            with self.place_on(cluster, of, look_at, "", say) as place:
                yield place


def _forget(closed: Any) -> None:
    """dask-gateway 2026.3 closes what is closed once more when it is collected, and fails at it."""
    vars(closed).pop("_loop_runner", None)
