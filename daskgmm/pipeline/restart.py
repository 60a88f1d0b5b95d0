"""A run that was stopped: what it leaves beside its checkpoints, and how it is taken up."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from daskgmm.data.folder import Folder
from daskgmm.errors import CheckpointError
from daskgmm.fit.checkpoints import checkpoints_in, remove_checkpoints
from daskgmm.pipeline.clusters import Cluster, ClusterConfig
from daskgmm.pipeline.config import FitConfig
from daskgmm.pipeline.strict import Strict, read

# The run as it was told, seed and all, beside the checkpoints.
RUN = "run.yaml"


@contextmanager
def kept(config: FitConfig, cluster: Cluster) -> Iterator[None]:
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


def _described(config: FitConfig, cluster: Cluster) -> bytes:
    """The run, to be taken up wherever somebody calls for it."""
    fit = config.as_written()
    for group, key in (("source", "url"), ("output", "dir"), ("checkpoint", "dir")):
        fit[group][key] = _absolute(fit[group][key] or config.checkpoint_dir)
    told = {"fit": fit, "on": {"cluster": cluster.as_written()}}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True).encode()


def left(folder: str) -> tuple[FitConfig, Cluster]:
    """The run that was stopped with its checkpoints in a folder; CheckpointError if none was."""
    if (told := _told(folder)) is None:
        raise CheckpointError(f"{folder} holds no run that was stopped: there is no {RUN} in it")
    return told.fit, told.on.cluster


def seed_of(config: FitConfig) -> Any:
    """The seed that a run of this configuration has chosen before it was stopped; None if none."""
    told = _told(config.checkpoint_dir)
    return told and told.fit.model["random_state"]


def forget(config: FitConfig) -> None:
    """Remove all that a run has left, and nothing else."""
    files = Folder(config.checkpoint_dir)
    remove_checkpoints(files)
    if RUN in files.names():
        files.remove(RUN)
    files.leave()


def command(config: FitConfig) -> str:
    """What goes on with a run, for a shell; empty where there is no checkpoint."""
    if not checkpoints_in(Folder(config.checkpoint_dir)):
        return ""
    return f"daskgmm resume {shlex.quote(config.checkpoint_dir)}"


class _Told(Strict):
    """What stands in the file."""

    fit: FitConfig
    on: ClusterConfig


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
