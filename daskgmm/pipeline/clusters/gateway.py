"""Clusters that a dask-gateway server makes for whom it knows."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from daskgmm.data.machines import Machines
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.extras import check_options, found, keywords, library, starting
from daskgmm.pipeline.clusters.place import Place, Say
from daskgmm.pipeline.clusters.workers import Expected, Scaled

LIBRARY, EXTRA = "dask_gateway", "gateway"

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
        if self.auth and (gateway := found(LIBRARY)) is not None:
            name = AUTHS[self.auth]
            check_options(self.auth_options, keywords(getattr(gateway, name)), (), name)
        return self

    def machines(self) -> Machines:
        """As many as are asked for, with what is expected of one."""
        return self.worker.machines(self.most)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Place]:
        """Make it the place where Dask computes, for the length of the context."""
        gateway = library(LIBRARY, self.kind, EXTRA)
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
