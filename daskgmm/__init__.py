"""Gaussian mixtures, fitted by EM on Dask, for data that does not fit in memory."""

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.sources.registry import open_dataset
from daskgmm.estimators.checkpoint import Checkpoint
from daskgmm.estimators.gaussian_mixture import GaussianMixture
from daskgmm.fit.observers import NullObserver, Observer
from daskgmm.model.mixture import Mixture
from daskgmm.model_selection import ComponentSelection, select_components
from daskgmm.version import __version__

__all__ = [
    "Checkpoint",
    "ComponentSelection",
    "DaskDataset",
    "GaussianMixture",
    "Mixture",
    "NullObserver",
    "Observer",
    "__version__",
    "open_dataset",
    "select_components",
]
