"""Gaussian mixture models fitted by EM on Dask, for data that does not fit in memory."""

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.pass_log import Pass
from daskgmm.data.sources.registry import open_dataset
from daskgmm.errors import (
    CheckpointError,
    ConfigError,
    DaskgmmError,
    DataError,
    DataWarning,
    DegenerateCovarianceError,
    ModelFileError,
    ParameterError,
)
from daskgmm.estimators.checkpoint import Checkpoint
from daskgmm.estimators.gaussian_mixture import GaussianMixture
from daskgmm.fit.checkpoint.store import CheckpointWarning
from daskgmm.fit.observers import NullObserver, Observer
from daskgmm.fit.state import Event
from daskgmm.model.mixture import Mixture
from daskgmm.model_selection import ComponentSelection, select_components
from daskgmm.version import __version__

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointWarning",
    "ComponentSelection",
    "ConfigError",
    "DaskDataset",
    "DaskgmmError",
    "DataError",
    "DataWarning",
    "DegenerateCovarianceError",
    "Event",
    "GaussianMixture",
    "Mixture",
    "ModelFileError",
    "NullObserver",
    "Observer",
    "ParameterError",
    "Pass",
    "__version__",
    "open_dataset",
    "select_components",
]
