"""Gaussian mixtures, fitted by EM on Dask, for data that does not fit in memory."""

from daskgmm.data.sources import open_dataset
from daskgmm.estimators import GaussianMixture
from daskgmm.model.mixture import Mixture
from daskgmm.version import __version__

__all__ = ["GaussianMixture", "Mixture", "__version__", "open_dataset"]
