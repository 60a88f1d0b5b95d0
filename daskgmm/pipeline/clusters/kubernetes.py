"""Pods of a Kubernetes cluster, through the operator of dask-kubernetes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from dask.utils import parse_bytes
from pydantic import AfterValidator, Field, field_validator

from daskgmm.data.machines import Machines
from daskgmm.pipeline.clusters.extras import check_options, found, keywords, library, starting
from daskgmm.pipeline.clusters.place import Place, Say
from daskgmm.pipeline.clusters.workers import Scaled
from daskgmm.pipeline.strict import Strict

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


class Amount(Strict):
    """Of a pod, in Kubernetes' words: cpu "2" or "500m", memory "8Gi"."""

    cpu: Annotated[str | float, AfterValidator(_cpus)] | None = None
    memory: Annotated[str, AfterValidator(_bytes)] | None = None


class Resources(Strict):
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
    resources : Resources
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
    resources: Resources | None = None
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

    def machines(self) -> Machines:
        """Pods of the limits, or else of what they ask for."""
        resources = self.resources or Resources()
        cpu = resources.limits.cpu or resources.requests.cpu or 1
        memory = resources.limits.memory or 0
        return Machines.of_workers(self.most, math.ceil(_number(cpu)), memory)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Place]:
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
