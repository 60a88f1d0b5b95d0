"""A run that was stopped: what it leaves beside its checkpoints, and how it is taken up."""

import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import model_validator

from daskgmm.errors import CheckpointError, ConfigError
from daskgmm.fit.checkpoint.store import CheckpointWarning, checkpoints_in, remove_checkpoints
from daskgmm.pipeline.clusters import Cluster, ClusterConfig
from daskgmm.pipeline.config.fit import FitConfig, RunConfig
from daskgmm.pipeline.config.loader import StrictModel, read
from daskgmm.pipeline.config.select import SelectConfig
from daskgmm.storage.atomic_file import final_name
from daskgmm.storage.folder import Folder

# The run as it was told, seed and all, beside the checkpoints.
RUN = "run.yaml"


@contextmanager
def kept(config: RunConfig, cluster: Cluster) -> Iterator[None]:
    """What `daskgmm resume` needs is there while the context lasts, and after it if it fails.

    Where a checkpoint is there to go on from, that is. Raises CheckpointError where the folder
    can't be written to.
    """
    with _reached("write to", config.checkpoint_dir):
        files = Folder(config.checkpoint_dir)
        if not checkpoints_in(files):
            files.write(RUN, _described(config, cluster))
    try:
        yield
    except BaseException:
        with suppress(Exception):  # it is another error that matters
            if not checkpoints_in(files):
                forget(config)
        raise
    try:
        forget(config)
    except CheckpointError as error:
        warnings.warn(f"{error}: the results are none the worse", CheckpointWarning, stacklevel=3)


def _described(config: RunConfig, cluster: Cluster) -> bytes:
    """The run, to be taken up wherever somebody calls for it."""
    run = config.as_written()
    for group, key in (("source", "url"), ("output", "dir"), ("checkpoint", "dir")):
        run[group][key] = _absolute(run[group][key] or config.checkpoint_dir)
    told = {config.command: run, "on": {"cluster": cluster.as_written()}}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True).encode()


def left(folder: str, changes: Sequence[str] = ()) -> tuple[RunConfig, Cluster]:
    """The run that was stopped with its checkpoints in a folder; CheckpointError if none was.

    `changes` of its keys, as ``key.key=value``, are made.
    """
    if (told := _told(folder)) is None:
        raise CheckpointError(f"{folder} holds no run that was stopped: there is no {RUN} in it")
    if any(change.startswith("checkpoint.dir") for change in changes):
        raise ConfigError("--set checkpoint.dir: a run goes on in the folder that is named")
    if changes:
        told = _told(folder, [f"{told.run.command}.{change}" for change in changes])
        assert told is not None
    # Where they are now, which may be elsewhere.
    here = told.run.checkpoint.model_copy(update={"dir": _absolute(folder)})
    here.remember({})
    return told.run.model_copy(update={"checkpoint": here}), told.on.cluster


def seed_of(config: RunConfig) -> Any:
    """The seed that a run of this configuration has chosen before it was stopped; None if none."""
    told = _told(config.checkpoint_dir)
    return told and told.run.model["random_state"]


def forget(config: RunConfig) -> None:
    """Remove all that a run has left, and nothing else."""
    with _reached("remove what a run has left in", config.checkpoint_dir):
        files = Folder(config.checkpoint_dir)
        remove_checkpoints(files)
        for name in files.names():
            if final_name(name) == RUN:
                files.remove(name)
        files.remove_if_empty()


def command(config: RunConfig, *options: str) -> str:
    """What goes on with a run, for a shell; empty where there is no checkpoint."""
    folder = config.checkpoint_dir
    place = ("--", folder) if folder.startswith("-") else (folder,)
    with suppress(Exception):  # there is something else to say already
        if checkpoints_in(Folder(folder)):
            return shlex.join(["daskgmm", "resume", *options, *place])
    return ""


class _Told(StrictModel):
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
    def run(self) -> RunConfig:
        """That which was stopped."""
        found = self.fit or self.select
        assert found is not None
        return found


def _told(folder: str, changes: Sequence[str] = ()) -> _Told | None:
    with _reached("look into", folder):
        files = Folder(folder)
        if RUN not in files.names():
            return None
        text = files.read(RUN)
    return read(text, f"{folder}/{RUN}", _Told, changes)


@contextmanager
def _reached(to_do: str, folder: str) -> Iterator[None]:
    """Say as a CheckpointError what disks and stores of any kind have against it."""
    try:
        yield
    except Exception as error:
        raise CheckpointError(f"checkpoint.dir: cannot {to_do} {folder} ({error})") from error


def _absolute(place: Any) -> Any:
    """A place, or several, wherever the next process begins."""
    if isinstance(place, list):
        return [_absolute(each) for each in place]
    return place if "://" in place or "${" in place else str(Path(place).absolute())
