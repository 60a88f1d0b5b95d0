"""Gaussian mixtures, fitted by EM on Dask, for data that does not fit in memory."""

from daskgmm.checkpointing import Checkpoint
from daskgmm.data.dataset import DaskDataset
from daskgmm.data.sources import open_dataset
from daskgmm.estimators import GaussianMixture
from daskgmm.model.mixture import Mixture
from daskgmm.select import ComponentSelection, select_components
from daskgmm.version import __version__

__all__ = [
    "Checkpoint",
    "ComponentSelection",
    "DaskDataset",
    "GaussianMixture",
    "Mixture",
    "__version__",
    "open_dataset",
    "select_components",
]
