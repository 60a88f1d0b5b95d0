"""A Dask scheduler that already runs, with or without TLS."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Literal

import dask
import distributed
from pydantic import AfterValidator, Field

from daskgmm.data.execution.resources import Resources
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.connection import Connection, PrintLine, security_warning
from daskgmm.pipeline.clusters.scaling import DistributedCluster
from daskgmm.pipeline.clusters.shutdown import quiet_logs
from daskgmm.pipeline.config.loader import StrictModel

# The path is absolute, so that a run can be resumed from another folder.
File = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Tls(StrictModel):
    """Certificate files of an encrypted connection, as `distributed.Security` takes them."""

    ca_file: File
    cert: File
    key: File

    def security(self) -> distributed.Security:
        """Dask's object for these files; raise ConfigError if one is missing."""
        for name in type(self).model_fields:
            if not (path := getattr(self, name)).is_file():
                raise ConfigError(f"cluster.tls.{name}: there is no file at {path}")
        return distributed.Security(
            tls_ca_file=str(self.ca_file),
            tls_client_cert=str(self.cert),
            tls_client_key=str(self.key),
            require_encryption=True,
        )


class Address(DistributedCluster):
    """A Dask scheduler that already runs.

    Attributes
    ----------
    address : str
        Address of the scheduler, such as "tls://10.0.0.7:8786".
    tls : Tls
        Default: the setting ``distributed.comm.tls`` of Dask's configuration.
    timeout : float
        Seconds to wait for the scheduler to answer.
    """

    kind: Literal["address"] = "address"
    address: str
    tls: Tls | None = None
    timeout: float = Field(default=30.0, gt=0.0)

    def expected_resources(self) -> Resources:
        """Resources of the workers that are connected now."""
        with self._client() as client:
            return Resources.of_client(client)

    @contextmanager
    def connect(self, print_line: PrintLine) -> Iterator[Connection]:
        """Run Dask's computations on this cluster while the context lasts."""
        with ExitStack() as closing, self._client() as client:
            address = client.scheduler.address
            hint = f"start one with `dask worker {address}`"
            with self.wait_for_worker(client, f"the scheduler at {address}", hint, print_line):
                n = len(client.nthreads())
                link = client.dashboard_link
                dashboard = f", dashboard {link}" if link else ""
                size = f"{address}, {n} worker{'s' * (n != 1)}"
                warning = security_warning(address, "use tls:// with cluster.tls")
                try:
                    yield Connection(size + dashboard + warning, client)
                finally:
                    closing.enter_context(quiet_logs())

    def _client(self) -> distributed.Client:
        """Connect; raise ConfigError if no scheduler answers."""
        security = self.tls and self.tls.security()
        before = dask.config.get("scheduler", None)
        try:
            return _Client(  # type: ignore[no-untyped-call]
                self.address, security=security, timeout=self.timeout
            )
        except (OSError, TypeError, ValueError) as error:  # network, certificate, address
            # A client that fails to connect leaves its name in Dask's configuration. Remove it.
            dask.config.set(scheduler=before)
            reason = " ".join(str(error).split()).rstrip(".") or "timed out"  # a bare TimeoutError
            raise ConfigError(
                f"cluster.address: no scheduler answers at {self.address} ({reason})"
            ) from error


class _Client(distributed.Client):
    """A client that closes itself if it cannot connect.

    Otherwise the garbage collector might close it while the next client starts, which would cause
    a deadlock.
    """

    def start(self, **kwargs: float) -> None:
        try:
            # A scheduler that is suspended accepts the connection but never answers.
            super().start(callback_timeout=kwargs["timeout"] + 1.0, **kwargs)  # type: ignore[no-untyped-call]
        except BaseException:
            self.close()  # type: ignore[no-untyped-call]
            raise
