"""A run that was stopped: what it leaves beside its checkpoints, and how it is taken up."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import model_validator

from daskgmm.data.folder import Folder
from daskgmm.errors import CheckpointError
from daskgmm.fit.checkpoints import checkpoints_in, remove_checkpoints
from daskgmm.pipeline.choices import SelectConfig
from daskgmm.pipeline.clusters import Cluster, ClusterConfig
from daskgmm.pipeline.config import FitConfig, Run
from daskgmm.pipeline.strict import Strict, read

# The run as it was told, seed and all, beside the checkpoints.
RUN = "run.yaml"


@contextmanager
def kept(config: Run, cluster: Cluster) -> Iterator[None]:
    """What `daskgmm resume` needs is there while the context lasts, and after it if it fails.

    Where a checkpoint is there to go on from, that is. Raises CheckpointError where the folder
    can't be written to.
    """
    files = Folder(config.checkpoint_dir)
    try:
        if not checkpoints_in(files):
            files.write(RUN, _described(config, cluster))
    except Exception as error:  # of disks and stores of any kind
        raise CheckpointError(
            f"checkpoint.dir: cannot write to {config.checkpoint_dir} ({error})"
        ) from error
    try:
        yield
    except BaseException:
        if not checkpoints_in(files):
            forget(config)
        raise
    forget(config)


def _described(config: Run, cluster: Cluster) -> bytes:
    """The run, to be taken up wherever somebody calls for it."""
    run = config.as_written()
    for group, key in (("source", "url"), ("output", "dir"), ("checkpoint", "dir")):
        run[group][key] = _absolute(run[group][key] or config.checkpoint_dir)
    told = {config.command: run, "on": {"cluster": cluster.as_written()}}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True).encode()


def left(folder: str) -> tuple[Run, Cluster]:
    """The run that was stopped with its checkpoints in a folder; CheckpointError if none was."""
    if (told := _told(folder)) is None:
        raise CheckpointError(f"{folder} holds no run that was stopped: there is no {RUN} in it")
    return told.run, told.on.cluster


def seed_of(config: Run) -> Any:
    """The seed that a run of this configuration has chosen before it was stopped; None if none."""
    told = _told(config.checkpoint_dir)
    return told and told.run.model["random_state"]


def forget(config: Run) -> None:
    """Remove all that a run has left, and nothing else."""
    files = Folder(config.checkpoint_dir)
    remove_checkpoints(files)
    if RUN in files.names():
        files.remove(RUN)
    files.leave()


def command(config: Run) -> str:
    """What goes on with a run, for a shell; empty where there is no checkpoint."""
    if not checkpoints_in(Folder(config.checkpoint_dir)):
        return ""
    return f"daskgmm resume {shlex.quote(config.checkpoint_dir)}"


class _Told(Strict):
    """What stands in the file, of a run of either kind."""

    fit: FitConfig | None = None
    select: SelectConfig | None = None
    on: ClusterConfig

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.fit is None) == (self.select is None):
            raise ValueError("one run is needed, under the key 'fit' or 'select'")
        return self

    @property
    def run(self) -> Run:
        """That which was stopped."""
        found = self.fit or self.select
        assert found is not None
        return found


def _told(folder: str) -> _Told | None:
    files = Folder(folder)
    if RUN not in files.names():
        return None
    return read(files.read(RUN), f"{folder}/{RUN}", _Told)


def _absolute(place: Any) -> Any:
    """A place, or several, wherever the next process begins."""
    if isinstance(place, list):
        return [_absolute(each) for each in place]
    return place if "://" in place or "${" in place else str(Path(place).absolute())
