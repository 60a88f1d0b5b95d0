"""Checkpoints of an estimator's fit: their folder, and the identity of the fit."""

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

# Packages whose version may change the bits of a result.
VERSIONED = ("daskgmm", "numpy", "scipy", "scikit-learn")

# Parameters that have no effect on a result.
NO_EFFECT = ("verbose", "verbose_interval", "warm_start")


@dataclass(frozen=True)
class Checkpoint:
    """Folder and options for the checkpoints of a fit.

    A fit writes checkpoints to the folder while it runs. If it is interrupted, the same call
    with the same data, chunks, parameters and versions resumes from the newest checkpoint, and
    gives the same result, bit for bit. A fit that ends deletes its checkpoints.

    Parameters
    ----------
    folder : str or Path
        A folder on a persistent disk, or a URL that fsspec supports, such as
        "s3://bucket/folder".
    every : float, default=60
        Minimum time between two checkpoints in seconds. 0 writes one after each pass. A
        checkpoint is also written when a fit is interrupted or fails.
    force : bool, default=False
        Resume even if data, parameters or versions have changed. The features and the number
        and type of the components must be the same.
    stays : bool, default=False
        Keep the last checkpoint after the fit, because later steps may be interrupted.
    storage_options : dict, default={}
        Options for fsspec.

    Raises
    ------
    ParameterError
        If `folder` is empty or not a path, or `every` is not a number of at least 0.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from daskgmm import Checkpoint, GaussianMixture
    >>> rows = np.random.default_rng(0).normal(size=(500, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = GaussianMixture(random_state=0)
    ...     model = model.fit(rows, checkpoint=Checkpoint(folder, every=0))
    >>> model.converged_
    True
    """

    folder: str | Path
    every: float = 60.0
    force: bool = False
    stays: bool = False
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | Path) or not str(self.folder):
            raise ParameterError(
                f"checkpoint: folder must be the name of a folder, not {self.folder!r}"
            )
        if not isinstance(self.every, int | float) or not self.every >= 0:
            raise ParameterError(
                f"checkpoint: every must be a number of seconds of at least 0, not {self.every!r}"
            )

    def open(self, identity: dict[str, dict[str, Any]]) -> FolderCheckpoints:
        """Open the folder for the fit with this identity.

        Parameters
        ----------
        identity : dict
            See `fit_identity`.

        Returns
        -------
        FolderCheckpoints

        Raises
        ------
        CheckpointError
            If the folder cannot be opened.
        """
        try:
            folder = Folder(self.folder, **self.storage_options)
        except Exception as error:  # fsspec and its libraries raise errors of any type
            raise CheckpointError(
                f"checkpoint: the folder {self.folder} cannot be opened ({error})"
            ) from error
        return FolderCheckpoints(
            folder, identity, every=self.every, force=self.force, keep_last=self.stays
        )


def open_checkpoints(
    checkpoint: str | Path | Checkpoint | None,
    estimator: BaseEstimator,
    dataset: Dataset,
    initial_mixture: Mixture | None = None,
    **more: dict[str, Any],
) -> Checkpoints:
    """Open the checkpoints of an estimator's fit to a dataset.

    Parameters
    ----------
    checkpoint : str, Path, Checkpoint or None
        None for no checkpoints.
    estimator : BaseEstimator
    dataset : Dataset
    initial_mixture : Mixture, optional
        The mixture from which a warm start begins.
    more : dict
        Further groups of the identity.
    """
    if checkpoint is None:
        return NO_CHECKPOINTS
    options = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    return options.open({**fit_identity(estimator, dataset, initial_mixture), **more})


def fit_identity(
    estimator: BaseEstimator, dataset: Dataset, initial_mixture: Mixture | None = None
) -> dict[str, dict[str, Any]]:
    """Parameters, data and versions that must not change if a fit is resumed, in types of JSON.

    The names are part of the format of checkpoints.
    """
    layout = dataset.layout
    parameters = estimator.get_params(deep=False)
    return {
        "model": {
            **{
                name: _to_json(value) for name, value in parameters.items() if name not in NO_EFFECT
            },
            "begins_at": initial_mixture and initial_mixture.fingerprint,
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
    """A token of rows and weights in memory. Other datasets are covered by checksums."""
    if not isinstance(dataset, InMemoryDataset):
        return None
    return str(tokenize(dataset.rows, dataset.weights))


def _to_json(value: Any) -> Any:
    """A parameter in types of JSON; other values as a token of their content."""
    if isinstance(value, np.random.RandomState):
        return "a generator"  # the snapshot holds its state
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"{type(value).__name__} {tokenize(value)}"
