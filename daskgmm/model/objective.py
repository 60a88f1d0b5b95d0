"""Protocols that new objectives implement: objective, parameters and coordinates.

An objective turns parameters into densities (for the workers) and the sums of a pass into the
next parameters and the lower bound (on the driver). The fit, checkpoints and model files use only
these protocols.
"""

from collections.abc import Callable
from typing import Any, Protocol, Self

from daskgmm.array_types import Array
from daskgmm.model.covariance import Family, family_from_tag, tag_of_family
from daskgmm.model.densities import Densities, densities
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import Estimates, SufficientStatistics
from daskgmm.storage.records import Plain, Record

Factorize = Callable[[Estimates], Mixture]
"""Makes a mixture of estimates, or raises DegenerateCovarianceError."""


class Parameters(Protocol):
    """Parameters that a fit estimates: a mixture, or a value with a mixture as point estimate.

    A class of parameters is a frozen dataclass. `PARAMETERS` gives it a tag, which identifies it
    in checkpoints and model files.
    """

    @property
    def point_estimate(self) -> Mixture:
        """The mixture that predictions use."""

    @property
    def fault(self) -> str:
        """The reason why these values are invalid, as the end of a sentence; empty if valid."""


PARAMETERS: dict[str, Record] = {
    "Mixture": Record.of(Mixture, "family weights means covariances precision_cholesky")
}
"""The classes of parameters by their tags in checkpoints and model files. A tag never changes."""

FAMILY = Plain(Family, tag_of_family, family_from_tag)
"""The encoding of a family in files."""


class Coordinates(Protocol):
    """Coordinates about some parameters, in which the plain step is the gradient of the bound."""

    def gradient(self, step: Any) -> Array:
        """Return the gradient, given the parameters after the plain step, (n_coordinates,)."""

    def step_to(self, other: Any) -> Array:
        """Return the coordinates of other parameters; DegenerateCovarianceError if none exist."""

    def move_by(self, step: Array) -> Any:
        """Return the parameters at some coordinates; DegenerateCovarianceError if none exist."""

    def limit_step(self, step: Array, limit: float) -> Array:
        """Shorten a step that changes a component by more than a limit."""


class Objective(Protocol):
    """The function of the parameters that a fit maximizes.

    Attributes
    ----------
    family : Family
        The component family.
    pivot : (n_features,) array
        The kernels subtract this point, the mean of the data, from the rows.
    marginal : bool
        Whether rows may have missing values.
    """

    @property
    def family(self) -> Family: ...
    @property
    def pivot(self) -> Array: ...
    @property
    def marginal(self) -> bool: ...

    def with_family(self, family: Family) -> Self:
        """Return the same objective for another component family."""

    @property
    def without_regularization(self) -> Self:
        """Return the same objective without the term that the step adds to the covariances."""

    def densities(self, parameters: Any) -> Densities:
        """Return the densities that a pass sends to the workers."""

    def estimates(self, statistics: SufficientStatistics, previous: Any | None = None) -> Estimates:
        """Return the point estimates of the step. Empty components keep their previous ones."""

    def m_step(
        self,
        statistics: SufficientStatistics,
        previous: Any | None = None,
        factorize: Factorize | None = None,
    ) -> Any:
        """Return the parameters that maximize the objective, given the responsibilities.

        `factorize` makes the point estimate and may repair it. By default, a covariance that is
        not positive definite raises DegenerateCovarianceError.
        """

    def parameters_at(self, mixture: Mixture) -> Any:
        """Return the parameters for a mixture that did not come from a step."""

    def lower_bound(self, statistics: SufficientStatistics, parameters: Any) -> float:
        """Return the bound of the parameters whose densities the pass used.

        It includes all constants and is per unit of weight, in nats.
        """

    def complete_log_likelihood(self, statistics: SufficientStatistics, parameters: Any) -> float:
        """Return the expected log-likelihood of rows and components, linear in the sums (nats)."""

    def coordinates(self, parameters: Any) -> Coordinates:
        """Return the coordinates that the accelerator moves in."""


def plug_in_densities(objective: Objective, mixture: Mixture) -> Densities:
    """Return the densities of a mixture itself, under the conventions of an objective."""
    return densities(mixture, objective.pivot, marginal=objective.marginal)
