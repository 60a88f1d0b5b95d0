"""Brute-force oracles: densities, posteriors and moments of a mixture by their definitions."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal


def log_prob(rows, weights, means, dense):
    """Return log(weight * density) of rows and components, (n, K), by scipy."""
    columns = [
        np.log(weight) + np.atleast_1d(multivariate_normal(mean, covariance).logpdf(rows))
        for weight, mean, covariance in zip(weights, means, dense, strict=True)
    ]
    return np.column_stack(columns)


def e_step(rows, weights, means, dense):
    """Return responsibilities (n, K) and log-densities (n,)."""
    table = log_prob(np.atleast_2d(rows), weights, means, dense)
    norm = logsumexp(table, axis=1)
    return np.exp(table - norm[:, None]), norm


def moments(rows, responsibilities, sample_weight):
    """Return counts, means and dense scatter matrices about the means, row by row."""
    n_components, n_features = responsibilities.shape[1], rows.shape[1]
    counts = np.zeros(n_components)
    means = np.zeros((n_components, n_features))
    for x, r, w in zip(rows, responsibilities, sample_weight, strict=True):
        counts += w * r
        means += np.outer(w * r, x)
    means /= counts[:, None]
    scatter = np.zeros((n_components, n_features, n_features))
    for x, r, w in zip(rows, responsibilities, sample_weight, strict=True):
        difference = x - means
        scatter += (w * r)[:, None, None] * difference[:, :, None] * difference[:, None, :]
    return counts, means, scatter


def covariances(name, counts, scatter, reg_covar):
    """Return a family's covariances from dense scatter matrices by their textbook definition."""
    n_features = scatter.shape[1]
    if name == "full":
        return scatter / counts[:, None, None] + reg_covar * np.eye(n_features)
    if name == "tied":
        return scatter.sum(axis=0) / counts.sum() + reg_covar * np.eye(n_features)
    variances = np.diagonal(scatter, axis1=1, axis2=2) / counts[:, None] + reg_covar
    return variances if name == "diag" else variances.mean(axis=1)


def bits(statistics):
    """Return all bits of sufficient statistics."""
    arrays = (statistics.effective_counts, statistics.first_moment, statistics.second_moment)
    return b"".join(array.tobytes() for array in arrays), statistics.log_likelihood
