"""Clusters that run elsewhere: Kubernetes, a cloud, a dask-gateway server."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from daskgmm.data.execution.resources import Resources
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.connection import Connection, PrintLine
from daskgmm.pipeline.clusters.optional_library import (
    check_options,
    find_library,
    keyword_names,
    require_library,
    startup_errors,
)
from daskgmm.pipeline.clusters.scaling import ExpectedWorker, ScalableCluster, Size
from daskgmm.pipeline.config.loader import StrictModel

KUBERNETES_LIBRARY, KUBERNETES_EXTRA = "dask_kubernetes.operator", "kubernetes"
CLOUD_EXTRA = "cloud"
GATEWAY_LIBRARY, GATEWAY_EXTRA = "dask_gateway", "gateway"

CloudProvider = Literal[
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

# Modules of dask-cloudprovider.
CLOUD_MODULES: dict[str, str] = {
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

# Classes of dask-gateway.
GATEWAY_AUTH_CLASSES = {
    "basic": "BasicAuth",
    "kerberos": "KerberosAuth",
    "jupyterhub": "JupyterHubAuth",
}


def _check_cpus(quantity: str | float) -> str | float:
    _n_cores(quantity)
    return quantity


def _n_cores(quantity: str | float) -> float:
    """Cores of a Kubernetes quantity: 2, "2" or "1500m"."""
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


class PodQuantity(StrictModel):
    """CPU and memory of a pod in the notation of Kubernetes: cpu "2" or "500m", memory "8Gi"."""

    cpu: Annotated[str | float, AfterValidator(_check_cpus)] | None = None
    memory: Size | None = None


class PodResources(StrictModel):
    """Requests and limits of a pod."""

    requests: PodQuantity = PodQuantity()
    limits: PodQuantity = PodQuantity()


class Kubernetes(ScalableCluster):
    """Pods of a Kubernetes cluster that has Dask's operator; KubeCluster starts the pods.

    Attributes
    ----------
    image : str
        Container image with the same Python, packages and daskgmm as this machine.
    name, namespace : str
        Default: chosen by dask-kubernetes.
    n_workers : int
        Default 1.
    resources : PodResources
        Resources of the scheduler's pod and of each worker's pod; `plan` uses the limits.
    env : dict
        Environment variables of the pods.
    worker_command : list of str
        Command that starts a worker; default: the command of dask-kubernetes.
    options : dict
        Further arguments of KubeCluster.
    adapt : Adapt
        Limits of an adaptive number of workers, instead of `n_workers`.
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
    def _check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if (operator := find_library(KUBERNETES_LIBRARY)) is not None:
            keys = {*cls.model_fields, "quiet"} - {"kind", "options"}
            check_options(options, keyword_names(operator.KubeCluster), keys, "KubeCluster")
        return options

    def expected_resources(self) -> Resources:
        """Resources of the pods: their limits, or their requests of cores."""
        resources = self.resources or PodResources()
        cpu = resources.limits.cpu or resources.requests.cpu or 1
        memory = resources.limits.memory or 0
        return Resources.of_workers(self.max_size, math.ceil(_n_cores(cpu)), memory)

    @contextmanager
    def connect(self, print_line: PrintLine) -> Iterator[Connection]:
        """Run Dask's computations on this cluster while the context lasts."""
        operator = require_library(KUBERNETES_LIBRARY, self.kind, KUBERNETES_EXTRA)
        arguments = self.model_dump(
            include={"image", "name", "namespace", "resources", "env", "worker_command"},
            exclude_none=True,
        )
        name = f"{self.size_text('pod', 'pods')} of {self.image}"
        with startup_errors("KubeCluster"):
            cluster = operator.KubeCluster(
                n_workers=self.initial_size, quiet=True, **arguments, **self.options
            )
        hint = "check the pods with kubectl get pods and kubectl describe pod"
        remedy = "see docs.dask.org/en/latest/how-to/deploy-dask/security.html"
        with self.use(cluster, name, hint, remedy, print_line) as connection:
            yield connection


class Cloud(ScalableCluster):
    """Machines rented from a cloud; the account of this machine's credentials pays for them.

    Attributes
    ----------
    provider : str
        The class of dask-cloudprovider that rents the machines, such as "FargateCluster".
    n_workers : int
        Default 1.
    options : dict
        Arguments of that class. Its image must have the same packages and daskgmm as this machine.
    worker : ExpectedWorker
        Threads and memory of a worker, for `plan`.
    adapt : Adapt
        Limits of an adaptive number of workers, instead of `n_workers`.
    """

    kind: Literal["cloud"] = "cloud"
    provider: CloudProvider
    n_workers: int | None = Field(default=None, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)
    worker: ExpectedWorker = ExpectedWorker()

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("provider")  # the provider is missing if its value is wrong
        if name and (module := find_library(_cloud_module(name))) is not None:
            check_options(options, keyword_names(getattr(module, name)), {"n_workers"}, name)
        return options

    def expected_resources(self) -> Resources:
        """Resources of the largest number of workers, as `worker` describes them."""
        return self.worker.expected_resources(self.max_size)

    @contextmanager
    def connect(self, print_line: PrintLine) -> Iterator[Connection]:
        """Run Dask's computations on this cluster while the context lasts."""
        library = require_library(_cloud_module(self.provider), self.kind, CLOUD_EXTRA)
        name = f"{self.size_text('worker', 'workers')} of {self.provider}"
        print_line(f"renting   {name}; this takes minutes")
        with startup_errors(self.provider):
            cluster = getattr(library, self.provider)(n_workers=self.initial_size, **self.options)
        hint = "check the machines in the cloud's console"
        remedy = "see the option `security` of its class in dask-cloudprovider"
        with self.use(cluster, name, hint, remedy, print_line) as connection:
            yield connection


def _cloud_module(provider: str) -> str:
    return f"dask_cloudprovider.{CLOUD_MODULES[provider]}"


class Gateway(ScalableCluster):
    """A cluster that a dask-gateway server starts.

    Attributes
    ----------
    address : str
        Address of the server, such as "https://gateway.example.org"; default: the address in
        dask-gateway's configuration.
    proxy_address : str
        Address of the proxy to the clusters, if it differs from `address`.
    auth : {"basic", "kerberos", "jupyterhub"}
        How the server authenticates its users.
    auth_options : dict
        Arguments of the class in dask-gateway, such as ``{password: "${GATEWAY_PASSWORD}"}``.
    n_workers : int
        Default 1.
    cluster_options : dict
        Options that the server lets its users choose.
    worker : ExpectedWorker
        Threads and memory of a worker, for `plan`.
    adapt : Adapt
        Limits of an adaptive number of workers, instead of `n_workers`.
    """

    kind: Literal["gateway"] = "gateway"
    address: str | None = None
    proxy_address: str | None = None
    auth: Literal["basic", "kerberos", "jupyterhub"] | None = None
    auth_options: dict[str, Any] = Field(default_factory=dict)
    n_workers: int | None = Field(default=None, ge=1)
    cluster_options: dict[str, Any] = Field(default_factory=dict)
    worker: ExpectedWorker = ExpectedWorker()

    @model_validator(mode="after")
    def _check_auth_options(self) -> Self:
        if self.auth_options and self.auth is None:
            raise ValueError("auth_options needs auth")
        if self.auth and (gateway := find_library(GATEWAY_LIBRARY)) is not None:
            name = GATEWAY_AUTH_CLASSES[self.auth]
            check_options(self.auth_options, keyword_names(getattr(gateway, name)), (), name)
        return self

    def expected_resources(self) -> Resources:
        """Resources of the largest number of workers, as `worker` describes them."""
        return self.worker.expected_resources(self.max_size)

    @contextmanager
    def connect(self, print_line: PrintLine) -> Iterator[Connection]:
        """Run Dask's computations on this cluster while the context lasts."""
        gateway = require_library(GATEWAY_LIBRARY, self.kind, GATEWAY_EXTRA)
        name = f"{self.size_text('worker', 'workers')} of a gateway"
        with ExitStack() as stack:
            with startup_errors("the gateway's cluster"):
                auth = self.auth and getattr(gateway, GATEWAY_AUTH_CLASSES[self.auth])(
                    **self.auth_options
                )
                server = gateway.Gateway(
                    address=self.address, proxy_address=self.proxy_address, auth=auth
                )
                stack.callback(_prevent_second_close, server)
                stack.callback(server.close)
                allowed = set(server.cluster_options())
            try:
                check_options(self.cluster_options, allowed, (), "the gateway")
            except ValueError as error:
                raise ConfigError(f"cluster.cluster_options: {error}") from error
            with startup_errors("the gateway's cluster"):
                cluster = server.new_cluster(shutdown_on_close=True, **self.cluster_options)
            stack.callback(_prevent_second_close, cluster.gateway)
            hint = "ask the administrator of the gateway"
            with self.use(cluster, name, hint, "", print_line) as connection:
                yield connection


def _prevent_second_close(gateway: Any) -> None:
    """Keep the garbage collector from closing a gateway twice; dask-gateway 2026.3 would fail."""
    vars(gateway).pop("_loop_runner", None)
