"""Resume a stopped run from its checkpoints and the run file in the same folder."""

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

# File in the folder of the checkpoints: the configuration of the run, with its seed and cluster.
RUN_FILE = "run.yaml"


class RunDescription(StrictModel):
    """Content of the run file: a fit or a selection, and its cluster."""

    fit: FitConfig | None = None
    select: SelectConfig | None = None
    on: ClusterConfig

    @model_validator(mode="after")
    def _check_one_run(self) -> Self:
        if (self.fit is None) == (self.select is None):
            raise ValueError("one run is required, under the key 'fit' or 'select'")
        return self

    @property
    def run(self) -> RunConfig:
        """The fit or the selection."""
        config = self.fit or self.select
        assert config is not None
        return config


@contextmanager
def resumable(config: RunConfig, cluster: Cluster) -> Iterator[None]:
    """Keep a description of the run in the folder of its checkpoints while the context lasts.

    If the context ends with an error and there is a checkpoint, the description stays. Otherwise
    it is deleted together with the checkpoints.

    Raises
    ------
    CheckpointError
        If the folder cannot be written to.
    """
    with _folder_errors("write to", config.checkpoint_dir):
        files = Folder(config.checkpoint_dir)
        if not checkpoints_in(files):
            files.write(RUN_FILE, _describe(config, cluster))
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the first error matters more
            if not checkpoints_in(files):
                delete_checkpoints(config)
        raise
    try:
        delete_checkpoints(config)
    except CheckpointError as error:
        warnings.warn(f"{error}; the results are complete", CheckpointWarning, stacklevel=3)


def stopped_run(folder: str, changes: Sequence[str] = ()) -> tuple[RunConfig, Cluster]:
    """Configuration and cluster of a run that was stopped.

    Parameters
    ----------
    folder : str
        Path or URL of its checkpoints.
    changes : sequence of str
        Changes of its configuration, such as ``"model.max_iter=200"``.

    Raises
    ------
    CheckpointError
        If there is no stopped run.
    """
    if (description := _read_description(folder)) is None:
        raise CheckpointError(f"{folder} contains no stopped run: there is no {RUN_FILE} in it")
    if any(change.startswith("checkpoint.dir") for change in changes):
        raise ConfigError("--set checkpoint.dir: a resumed run keeps its folder of checkpoints")
    if changes:
        prefix = description.run.command
        description = _read_description(folder, [f"{prefix}.{change}" for change in changes])
        assert description is not None
    # Use the folder of this call, because the folder may have been moved.
    checkpoint = description.run.checkpoint.model_copy(update={"dir": _absolute(folder)})
    checkpoint.set_references({})
    return description.run.model_copy(update={"checkpoint": checkpoint}), description.on.cluster


def stopped_seed(config: RunConfig) -> Any:
    """Seed of a stopped run with the same folder of checkpoints; None if there is none."""
    description = _read_description(config.checkpoint_dir)
    return description and description.run.model["random_state"]


def delete_checkpoints(config: RunConfig) -> None:
    """Delete the checkpoints and the description of a run, and no other files."""
    with _folder_errors("remove the checkpoints in", config.checkpoint_dir):
        files = Folder(config.checkpoint_dir)
        remove_checkpoints(files)
        for name in files.names():
            if final_name(name) == RUN_FILE:
                files.remove(name)
        files.remove_if_empty()


def resume_command(config: RunConfig, *options: str) -> str:
    """Shell command that resumes a run; empty if it has no checkpoint."""
    folder = config.checkpoint_dir
    arguments = ("--", folder) if folder.startswith("-") else (folder,)
    with suppress(Exception):  # the caller already reports an error
        if checkpoints_in(Folder(folder)):
            return shlex.join(["daskgmm", "resume", *options, *arguments])
    return ""


def _describe(config: RunConfig, cluster: Cluster) -> bytes:
    """Return the run file. Its paths are absolute, so a run can be resumed from any folder."""
    run = config.as_dict()
    for group, key in (("source", "url"), ("output", "dir"), ("checkpoint", "dir")):
        run[group][key] = _absolute(run[group][key] or config.checkpoint_dir)
    content = {config.command: run, "on": {"cluster": cluster.as_dict()}}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _read_description(folder: str, changes: Sequence[str] = ()) -> RunDescription | None:
    with _folder_errors("read", folder):
        files = Folder(folder)
        if RUN_FILE not in files.names():
            return None
        text = files.read(RUN_FILE)
    return read(text, f"{folder}/{RUN_FILE}", RunDescription, changes)


@contextmanager
def _folder_errors(action: str, folder: str) -> Iterator[None]:
    """Raise any error of a disk or a store as a CheckpointError."""
    try:
        yield
    except Exception as error:
        raise CheckpointError(f"checkpoint.dir: cannot {action} {folder} ({error})") from error


def _absolute(url: Any) -> Any:
    """One path, or a list of them, as absolute paths; URLs and variables stay as they are."""
    if isinstance(url, list):
        return [_absolute(each) for each in url]
    return url if "://" in url or "${" in url else str(Path(url).absolute())
