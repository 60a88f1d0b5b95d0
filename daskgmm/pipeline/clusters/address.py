"""A scheduler that runs already, behind TLS or not."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Literal

import dask
import distributed
from pydantic import AfterValidator, Field

from daskgmm.data.execution.resources import Resources
from daskgmm.errors import ConfigError
from daskgmm.pipeline.clusters.connection import Awaited, Connection, Say, caution, quiet_logs
from daskgmm.pipeline.config.loader import StrictModel

# From wherever a run is taken up again.
File = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Tls(StrictModel):
    """Files that encrypt the way to a scheduler, as `distributed.Security` takes them."""

    ca_file: File
    cert: File
    key: File

    def security(self) -> distributed.Security:
        """In Dask's words; ConfigError where a file isn't there."""
        for name in type(self).model_fields:
            if not (path := getattr(self, name)).is_file():
                raise ConfigError(f"cluster.tls.{name}: there is no file at {path}")
        return distributed.Security(
            tls_ca_file=str(self.ca_file),
            tls_client_cert=str(self.cert),
            tls_client_key=str(self.key),
            require_encryption=True,
        )


class Address(Awaited):
    """A scheduler that runs already.

    Attributes
    ----------
    address : str
        Such as "tls://10.0.0.7:8786".
    tls : Tls
        Default what `distributed.comm.tls` of Dask's configuration says.
    timeout : float
        Seconds to wait for its answer.
    """

    kind: Literal["address"] = "address"
    address: str
    tls: Tls | None = None
    timeout: float = Field(default=30.0, gt=0.0)

    def expected_resources(self) -> Resources:
        """Its workers, which are asked."""
        with self._client() as client:
            return Resources.of_client(client)

    @contextmanager
    def connected(self, say: Say) -> Iterator[Connection]:
        """Make it the place where Dask computes, for the length of the context."""
        with ExitStack() as closing, self._client() as client:
            at = client.scheduler.address
            look_at = f"start some, with `dask worker {at}`"
            with self.met(client, f"the scheduler at {at}", look_at, say):
                n = len(client.nthreads())
                link = client.dashboard_link
                seen = f", dashboard {link}" if link else ""
                size = f"{at}, {n} worker{'s' * (n != 1)}"
                try:
                    yield Connection(
                        size + seen + caution(at, "use tls:// with cluster.tls"), client
                    )
                finally:
                    closing.enter_context(quiet_logs())

    def _client(self) -> distributed.Client:
        """ConfigError where nobody answers."""
        security = self.tls and self.tls.security()
        before = dask.config.get("scheduler", None)
        try:
            return _Client(  # type: ignore[no-untyped-call]
                self.address, security=security, timeout=self.timeout
            )
        except (OSError, TypeError, ValueError) as error:  # of networks, certificates, addresses
            # One that has met nobody leaves its name in Dask's configuration.
            dask.config.set(scheduler=before)
            reason = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(
                f"cluster.address: no scheduler answers at {self.address} ({reason})"
            ) from error


class _Client(distributed.Client):
    """One that has met nobody closes itself.

    Left to the garbage collector it may be closed while the next one starts: for good, since
    both want one lock.
    """

    def start(self, **kwargs: float) -> None:
        try:
            # A scheduler that has stopped takes the connection, and says nothing on it for good.
            patience = kwargs["timeout"] + 1.0
            super().start(callback_timeout=patience, **kwargs)  # type: ignore[no-untyped-call]
        except BaseException:
            self.close()  # type: ignore[no-untyped-call]
            raise
