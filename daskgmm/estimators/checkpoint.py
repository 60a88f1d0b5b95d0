"""Where an estimator's fit leaves what it takes to go on, and what makes it the same fit."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dask.base import tokenize
from sklearn.base import BaseEstimator

from daskgmm.data.dataset import Dataset, InMemoryDataset
from daskgmm.errors import CheckpointError, ParameterError
from daskgmm.fit.checkpoint.store import NO_CHECKPOINTS, Checkpoints, FolderCheckpoints
from daskgmm.model.mixture import Mixture
from daskgmm.storage.folder import Folder

# Bits depend on them.
VERSIONED = ("daskgmm", "numpy", "scipy", "scikit-learn")

# Parameters that change nothing of a fit.
UNTOLD = ("verbose", "verbose_interval", "warm_start")


@dataclass(frozen=True)
class Checkpoint:
    """A folder in which a fit leaves what it takes to go on.

    A fit that finds there what an earlier process has left of the same fit (the same data,
    chunks, parameters and versions) goes on from that, to the same bits as if it had never
    stopped. A fit that ends leaves nothing.

    Parameters
    ----------
    folder : str or Path
        On a disk that survives, or what fsspec knows, such as "s3://bucket/folder".
    every : float, default=60
        Seconds from one to the next at the least; 0 is after each pass. One is written, too,
        where a fit is interrupted or fails.
    force : bool, default=False
        Go on though data, parameters or versions are others, where that makes sense: not with
        other features or another number or kind of components.
    stays : bool, default=False
        Whether the last one stays when the fit has ended: what is made of the fit may take long,
        too.
    storage_options : dict
        For fsspec.
    """

    folder: str | Path
    every: float = 60.0
    force: bool = False
    stays: bool = False
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ParameterError for what no folder or time can be."""
        if not isinstance(self.folder, str | Path) or not str(self.folder):
            raise ParameterError(f"checkpoint: a folder's name is needed, not {self.folder!r}")
        if not isinstance(self.every, int | float) or not self.every >= 0:
            raise ParameterError(
                f"checkpoint: every must be a number of seconds of at least 0, not {self.every!r}"
            )

    def open(self, told: dict[str, dict[str, Any]]) -> FolderCheckpoints:
        """The checkpoints of the fit that is told so; CheckpointError if they have no place."""
        try:
            folder = Folder(self.folder, **self.storage_options)
        except Exception as error:  # fsspec and its libraries raise what they like
            raise CheckpointError(f"checkpoint: {self.folder} is no place ({error})") from error
        return FolderCheckpoints(folder, told, every=self.every, force=self.force, stays=self.stays)


def checkpoints_of(
    where: str | Path | Checkpoint | None,
    estimator: BaseEstimator,
    dataset: Dataset,
    begins_at: Mixture | None = None,
    **more: dict[str, Any],
) -> Checkpoints:
    """The checkpoints of an estimator's fit to a dataset, which may be told more.

    A fit may begin at a mixture: what an earlier one has found.
    """
    if where is None:
        return NO_CHECKPOINTS
    checkpoint = where if isinstance(where, Checkpoint) else Checkpoint(where)
    return checkpoint.open({**told(estimator, dataset, begins_at), **more})


def told(
    estimator: BaseEstimator, dataset: Dataset, begins_at: Mixture | None = None
) -> dict[str, dict[str, Any]]:
    """What a fit is told, by group and name, in JSON's types."""
    layout = dataset.layout
    parameters = estimator.get_params(deep=False)
    return {
        "model": {
            **{name: _plain(each) for name, each in parameters.items() if name not in UNTOLD},
            "begins_at": begins_at and begins_at.fingerprint,
        },
        "data": {
            "n_features": layout.n_features,
            "columns": dataset.columns and list(dataset.columns),
            "missing": dataset.missing,
            "recipe": dataset.preprocessing and dataset.preprocessing.options(),
            "dtype": layout.dtype.str,
            "n_rows": layout.n_rows,
            "n_chunks": layout.n_chunks,
            "chunks": tokenize(layout.lengths),
            "weighted": dataset.weights is not None,
            "content": _content(dataset),
        },
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
    }


def _content(dataset: Dataset) -> str | None:
    """A token of rows and weights in memory, which no pass watches; None of others."""
    if not isinstance(dataset, InMemoryDataset):
        return None
    return str(tokenize(dataset.rows, dataset.weights))


def _plain(value: Any) -> Any:
    """A parameter as JSON has it; what JSON has not, by a token of what it says."""
    if isinstance(value, np.random.RandomState):
        return "a generator"  # whose state is the snapshot's
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"{type(value).__name__} {tokenize(value)}"
