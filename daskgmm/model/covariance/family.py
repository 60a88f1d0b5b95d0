"""Covariance families: the interface that full, tied, diag and spherical implement."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg import lapack

from daskgmm.array_types import Array
from daskgmm.errors import DegenerateCovarianceError, ParameterError
from daskgmm.kernels import Kernel, Quadratic, Triangular, choose
from daskgmm.model.covariance.regression import Regression


class Sums(Protocol):
    """The sums of one pass. `SufficientStatistics` implements this protocol."""

    @property
    def effective_counts(self) -> Array: ...
    @property
    def first_moment(self) -> Array: ...
    @property
    def second_moment(self) -> Array: ...
    @property
    def further_sums(self) -> tuple[Array, ...]: ...


@dataclass(frozen=True)
class Family(ABC):
    """A family of covariances: its shapes, moments, factorizations, coordinates and kernels.

    In the docstrings, K is n_components, D is n_features and q is the number of coordinates of a
    covariance. Covariances have the family's `shape`; so do second moments, precisions and
    precision Cholesky factors (upper U with precision = U Uᵀ).

    Two families are equal if they have the same type and hyperparameters, also across processes.
    Every concrete family is a frozen dataclass, whose fields are its hyperparameters.
    """

    name: ClassVar[str]
    crossover: ClassVar[int | None] = None
    """Number of features from which the triangular kernel is faster; None for never."""
    shared: ClassVar[bool] = False
    """Whether all components have one covariance."""

    is_scale_equivariant = True
    """Whether covariances stay in the family when each feature is scaled by its own factor."""

    def kernel(
        self,
        log_weights: Array,
        means: Array,
        covariances: Array,
        precision_cholesky: Array,
        pivot: Array,
    ) -> Kernel:
        """Return the kernel that computes log(weight * density) and sums moments about a pivot."""
        constants = self.log_peaks(log_weights, precision_cholesky, means.shape[1])
        return choose(
            lambda: self.quadratic(constants, means, precision_cholesky, pivot),
            lambda: self.triangular(constants, means, precision_cholesky),
            offset=np.abs(means - pivot),
            deviations=self.standard_deviations(covariances, *means.shape),
            crossover=self.crossover,
        )

    def log_peaks(self, log_weights: Array, precision_cholesky: Array, n_features: int) -> Array:
        """Return each component's weighted log-density at its mean, (K,); -inf for weight 0."""
        log_det = self.log_det(precision_cholesky, len(log_weights), n_features)
        return log_weights + log_det - 0.5 * n_features * math.log(2.0 * math.pi)

    def expected_further_sums(self, counts: Array, n_features: int) -> tuple[Array, ...]:
        """Return the expected sums that this family needs besides counts and moments.

        `counts` (K,) are effective counts; the sums are zero for zero counts.
        """
        return ()

    def moments_about(self, sums: "Sums", shift: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        """Return first and second moments and further sums about pivots moved by `shift` (K, D)."""
        counts, first, second = sums.effective_counts, sums.first_moment, sums.second_moment
        return (
            first - counts[:, None] * shift,
            self.shift_moment(second, first, counts, shift),
            sums.further_sums,
        )

    def maximize(self, sums: "Sums", reg_covar: float | Array) -> tuple[Array, Array]:
        """Return the means minus the pivots, (K, D), and the covariances of the M-step.

        Bishop 2006, eq. 9.24-9.25. Covariances are about the means before rounding.
        """
        counts = np.maximum(sums.effective_counts, np.finfo(np.float64).tiny)
        shift = sums.first_moment / counts[:, None]
        second = self.shift_moment(
            sums.second_moment, sums.first_moment, sums.effective_counts, shift
        )
        return shift, self.covariances(second, counts, shift.shape[1], reg_covar)

    @abstractmethod
    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of the covariances."""

    @abstractmethod
    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters in the covariances."""

    @abstractmethod
    def second_moment(self, x: Array, responsibilities: Array) -> Array:
        """Return the second moment of x (n, D) about zero, given responsibilities (K, n)."""

    def concatenate(self, seconds: list[Array]) -> Array:
        """Join the second moments of single components into that of all components."""
        return np.concatenate(seconds)

    @abstractmethod
    def shift_moment(self, second: Array, first: Array, counts: Array, shift: Array) -> Array:
        """Return the second moment about pivots moved by `shift` (K, D)."""

    @abstractmethod
    def covariances(
        self, second: Array, counts: Array, n_features: int, reg_covar: float | Array
    ) -> Array:
        """Return the covariances, given the second moment about the means.

        `reg_covar`, a number or (D,) array, is added to the diagonal. Spherical covariances add
        its mean.
        """

    @abstractmethod
    def second_moments(self, covariances: Array, counts: Array, n_features: int) -> Array:
        """Return the second moments about the means that give these covariances."""

    @abstractmethod
    def project(self, covariance: Array) -> Array:
        """Project one covariance matrix (D, D) onto the family; the result has `shape(1, D)`."""

    def select(self, covariances: Array, components: NDArray[np.intp] | slice) -> Array:
        """Select the covariances of some components."""
        return covariances[components]

    @abstractmethod
    def marginal(self, covariances: Array, features: NDArray[np.intp]) -> Array:
        """Return the covariances of some features, in order."""

    @abstractmethod
    def regress(
        self, covariances: Array, given: NDArray[np.intp], rest: NDArray[np.intp]
    ) -> tuple[Array, Array]:
        """Regress the features `rest` on the features `given`, for each component.

        Bishop 2006, eq. 2.81-2.82.

        Returns
        -------
        coefficients : (K or 1, n_rest, n_given) array
            One matrix if all components have the same coefficients.
        covariances : array of the family's shape
            Conditional covariances of `rest`, which do not depend on the values of `given`.
        """

    @abstractmethod
    def precision_cholesky(self, covariances: Array) -> Array:
        """Return the Cholesky factors of the inverse covariances.

        Raises DegenerateCovarianceError if covariances are not positive definite.
        """

    @abstractmethod
    def precision_cholesky_of(self, precisions: Array) -> Array:
        """Return the Cholesky factors of precisions."""

    @abstractmethod
    def precisions(self, precision_cholesky: Array) -> Array:
        """Return the inverse covariances, given their Cholesky factors."""

    @abstractmethod
    def has_factor(self, covariances: Array, precision_cholesky: Array) -> bool:
        """Whether covariances are positive definite and match their precision Cholesky factors.

        All values are finite. The two are compared in single precision, as far as the condition of
        the covariances allows.
        """

    @abstractmethod
    def check_precisions(self, precisions: Array) -> None:
        """Raise ParameterError with scikit-learn's message unless positive definite."""

    @abstractmethod
    def dense(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the covariances as (K, D, D) matrices."""

    @abstractmethod
    def log_det(self, precision_cholesky: Array, n_components: int, n_features: int) -> Array:
        """Return the log-determinant of each component's factor, (K,)."""

    @abstractmethod
    def color(self, covariances: Array, k: int, noise: Array) -> Array:
        """Transform standard normal rows (n, D) to rows with the covariance of component k.

        Raises DegenerateCovarianceError if the covariance is not positive definite.
        """

    @abstractmethod
    def whiten(self, precision_cholesky: Array, shift: Array) -> Array:
        """Return ``U_kᵀ shift_k``, (K, D): shifts in units of each component's covariance."""

    @abstractmethod
    def relative(self, precision_cholesky: Array, covariances: Array) -> Array:
        """Return ``Uᵀ covariance U``: covariances in units of the reference ones, or ones if equal.

        `precision_cholesky` holds the factors of the reference covariances.
        """

    @abstractmethod
    def slope(self, relative: Array, n_features: int) -> Array:
        """Return the derivative of a row's expected log-density by the coordinates, (K or 1, q).

        `relative` holds the rows' covariances about the means in units of the model's. The
        derivative is zero if it is the identity.
        """

    @abstractmethod
    def information(self, n_features: int) -> Array:
        """Return the Fisher information of a component's coordinates, (q,), per row in it."""

    @abstractmethod
    def coordinates(self, relative: Array) -> Array:
        """Return the coordinates of covariances about the reference ones, (K or 1, q).

        `relative` holds the covariances in units of the reference ones. Coordinates are
        logarithmic, so that any coordinates give a valid covariance; they are zero if both are
        equal. Raises DegenerateCovarianceError if a covariance is not positive definite.
        """

    @abstractmethod
    def from_coordinates(self, covariances: Array, coordinates: Array) -> Array:
        """Return the covariances that have the given coordinates about `covariances`."""

    @abstractmethod
    def quadratic(
        self, constants: Array, means: Array, precision_cholesky: Array, pivot: Array
    ) -> Quadratic:
        """Return the fast kernel for ``constants[k] - |U_kᵀ (x - means[k])|² / 2``."""

    @abstractmethod
    def triangular(self, constants: Array, means: Array, precision_cholesky: Array) -> Triangular:
        """Return the numerically safe kernel for the same log-densities."""

    @abstractmethod
    def regression(
        self, covariances: Array, shape: tuple[int, int], observed: NDArray[np.bool_]
    ) -> Regression:
        """Regress missing features on observed ones; `shape` is (K, D), `observed` is (P, D)."""

    @abstractmethod
    def conditional_moment(self, conditional_covariances: Array, counts: Array) -> Array:
        """Return the second moment that a regression's conditional covariances add.

        `counts` (K, P) are the effective counts of the patterns.
        """

    def standard_deviations(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the standard deviation of each feature in each component, (K, D)."""
        deviations = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
        return np.broadcast_to(deviations, (n_components, n_features))


def inverse_cholesky(covariance: Array) -> Array | None:
    """Return the upper U with inverse(covariance) = U Uᵀ, or None if it is not positive definite.

    U is the transpose of the inverse of the lower Cholesky factor, so only one matrix is inverted.
    """
    # Call LAPACK directly: for a small matrix, the checks of scipy.linalg take ten times as long.
    lower, failed = lapack.dpotrf(covariance, lower=True)
    if failed or not np.isfinite(lower).all():
        return None
    inverse, failed = lapack.dtrtri(lower, lower=True)
    return None if failed or not np.isfinite(inverse).all() else np.ascontiguousarray(inverse.T)


def lower_cholesky(covariance: Array) -> Array:
    """Return the lower factor; raises DegenerateCovarianceError if it is not positive definite."""
    try:
        return np.asarray(linalg.cholesky(covariance, lower=True))
    except linalg.LinAlgError as error:
        raise DegenerateCovarianceError from error


def upper_cholesky(precision: Array) -> Array:
    """Return the upper U with precision = U Uᵀ, by Cholesky in reversed order."""
    return np.ascontiguousarray(linalg.cholesky(precision[::-1, ::-1], lower=True)[::-1, ::-1])


def is_inverse_cholesky(factor: Array, covariance: Array) -> bool:
    """Whether U is upper triangular with a positive diagonal, and Uᵀ covariance U = 1.

    The rounding error of the product grows with the condition of the correlation matrix and does
    not depend on units (van der Sluis 1969; Higham 2002, sec. 10.1).
    """
    variances = np.diagonal(covariance)
    if np.tril(factor, -1).any() or min(np.diagonal(factor).min(), variances.min()) <= 0.0:
        return False
    residual = np.abs(factor.T @ covariance @ factor - np.eye(len(factor)))
    lengths = np.sqrt(np.square(factor).T @ variances)
    return bool((residual <= single_rounding(len(factor)) * np.outer(lengths, lengths)).all())


def single_rounding(n_terms: int) -> float:
    """Return the rounding error of a sum of products in single precision, relative to its terms."""
    return 4.0 * n_terms * float(np.finfo(np.float32).eps)


def check_positive_definite(precision: Array, name: str) -> None:
    """Raise ParameterError with scikit-learn's message unless symmetric positive-definite."""
    if not (np.allclose(precision, precision.T) and np.all(linalg.eigvalsh(precision) > 0.0)):
        raise ParameterError(f"'{name} precision' should be symmetric, positive-definite")


def coefficients(constants: Array, precision_mean: Array, mean: Array, *second: Array) -> Array:
    """Return the coefficients of [x, second order of x, 1], (K, D + ... + 1).

    They are Λ·mean, `second`, and constants - mean·Λ·mean/2. The last value is also finite for a
    weight of zero, because BLAS warns about infinities.
    """
    constant = constants - 0.5 * np.einsum("kd,kd->k", precision_mean, mean)
    constant = np.maximum(constant, np.finfo(np.float64).min / 4)
    return np.hstack([precision_mean, *second, constant[:, None]])
