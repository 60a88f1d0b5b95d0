"""The mixture model: covariances, statistics, densities and likelihood."""
