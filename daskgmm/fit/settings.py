"""The settings of a fit, as numbers and objects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daskgmm.array_types import Array
from daskgmm.data.survey import Survey
from daskgmm.fit.convergence import StoppingRule
from daskgmm.fit.degenerate import DegeneracyPolicy
from daskgmm.fit.initialization.clustering import Distance
from daskgmm.fit.initialization.registry import Initializer
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.fit.state import FitState
from daskgmm.model.covariance import Family
from daskgmm.model.objective import Objective

MIN_SAMPLE_ROWS = 50_000
MAX_SAMPLE_BYTES = 1 << 28

# Largest distance between the optima of the sample and of all rows, in nats per row.
START_GAP = 1e-2


class ObjectiveFactory(Protocol):
    """Makes the objective of a fit, given the results of the survey."""

    def __call__(
        self, family: Family, reg_covar: float | Array, pivot: Array, *, marginal: bool
    ) -> Objective: ...


@dataclass(frozen=True)
class Settings:
    """The settings of a fit, as numbers and objects.

    Attributes
    ----------
    objective : ObjectiveFactory
    family : Family
    n_components : int
    reg_covar : float
        Added to the diagonal of every covariance.
    rule : Rule
        The stopping rule; `ExpectedGain` for accelerated fits.
    n_init : int
        Number of restarts.
    initializer : Initializer
    user_parameters : UserParameters
        Parameters that the user gives for the start.
    warm_start : FitState or None
        The state from which a warm start continues. In this case nothing is initialized.
    reg_is_relative : bool
        Whether `reg_covar` is in variances of the features instead of squared units of the data.
    standardised : tuple of bool
        Which features are measured in their standard deviations; empty for none.
    policy : DegeneracyPolicy
    distance : function
        Returns the distance between rows for the initialization.
    accelerated : bool
        Whether steps are quasi-Newton steps. Otherwise they are plain EM steps.
    sample_start : bool
        Whether candidates converge on the sample before the passes over all rows.
    refine : bool
        Whether split and merge moves follow on the sample, if steps are accelerated.
    """

    objective: ObjectiveFactory
    family: Family
    n_components: int
    reg_covar: float
    rule: StoppingRule
    n_init: int
    initializer: Initializer
    user_parameters: UserParameters
    warm_start: FitState | None = None
    reg_is_relative: bool = False
    standardised: tuple[bool, ...] = ()
    policy: DegeneracyPolicy = DegeneracyPolicy.RAISE
    distance: Callable[[Survey, Array | float], Distance] = Distance.scaled
    accelerated: bool = False
    sample_start: bool = False
    refine: bool = False

    def units(self, survey: Survey) -> Array | float:
        """Return the squared unit of each feature."""
        if not any(self.standardised):
            return 1.0
        return np.where(self.standardised, survey.scales, 1.0)

    def regularization(self, survey: Survey) -> Array | float:
        """Return the term for the diagonals of covariances, in squared units of the data."""
        return self.reg_covar * (survey.scales if self.reg_is_relative else self.units(survey))

    @property
    def may_move(self) -> bool:
        """Whether components may move. They may not if the user places them."""
        is_placed = self.initializer.places_components or self.user_parameters.means is not None
        return self.accelerated and not is_placed and self.warm_start is None

    @property
    def n_candidates(self) -> int:
        """Largest number of candidates that share a pass, including relocated candidates."""
        if self.warm_start is not None or self.user_parameters.complete:
            return 1
        per_restart = self.initializer.n_survivors if self.accelerated else 1
        may_relocate = self.sample_start and self.may_move
        return self.n_init * per_restart * (2 if may_relocate else 1)

    @property
    def n_initial_passes(self) -> int:
        """Number of passes that the initialization takes."""
        if self.warm_start is not None or self.user_parameters.complete:
            return 0
        return self.initializer.n_passes

    def sample_size(self, n_features: int) -> int:
        """Return the number of rows of the survey's sample, which holds at most 256 MiB.

        It is at least a hundred rows per component and feature. With p free parameters and n rows
        in the sample, the optima of the sample and of all rows differ by p / (2 n) nats per row.
        The size is chosen so that this is less than `START_GAP`.
        """
        n_parameters = self.family.n_parameters(self.n_components, n_features)
        n_parameters += self.n_components * (n_features + 1) - 1
        size = max(
            MIN_SAMPLE_ROWS,
            100 * self.n_components * n_features,
            int(n_parameters / (2.0 * START_GAP)),
        )
        return max(min(size, MAX_SAMPLE_BYTES // (8 * n_features)), self.n_components)
