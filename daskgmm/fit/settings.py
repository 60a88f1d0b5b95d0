"""What a fit is told, in numerical terms."""

from dataclasses import dataclass

import numpy as np

from daskgmm.data.survey import Survey
from daskgmm.fit.convergence import Rule
from daskgmm.fit.initialization.registry import Initial, n_passes_of
from daskgmm.fit.initialization.user_parameters import UserParameters
from daskgmm.fit.state import FitState
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family

MIN_SAMPLE_ROWS = 50_000
MAX_SAMPLE_BYTES = 1 << 28

# Candidates that a start by short runs ends with. They share passes, and the sample or the first
# passes tell which is best; plain EM leaves nobody behind, and so begins with one.
SURVIVORS = 4

# Nats per row that a model converged on the sample may be from the optimum of all rows.
START_GAP = 1e-2


@dataclass(frozen=True)
class Settings:
    """What a fit is told, in numerical terms.

    Attributes
    ----------
    rule : Rule
        When candidates have converged; `ExpectedGain` where they are accelerated.
    init_params : a name in `initialization.NAMES`, a function, or what is known of all rows
    init_distance : a name in `initialization.DISTANCES`
    given : parameters that the user gives for the start
    resumed : FitState or None
        Where a warm start begins: then nothing is initialized.
    reg_is_relative : bool
        Whether `reg_covar` is in variances of the features, not in squared units of the data.
    standardised : tuple of bool
        Which features count in their standard deviations; empty for none.
    policy : a name in `degenerate.POLICIES`
    accelerated : bool
        Quasi-Newton steps, or plain EM.
    sample_start : bool
        Whether candidates converge on the sample before they meet all rows.
    refine : bool
        Whether components then move there for as long as that gains, where steps are accelerated.
    """

    family: Family
    n_components: int
    reg_covar: float
    rule: Rule
    n_init: int
    init_params: Initial
    given: UserParameters
    resumed: FitState | None = None
    reg_is_relative: bool = False
    standardised: tuple[bool, ...] = ()
    policy: str = "raise"
    init_distance: str = "scaled"
    accelerated: bool = False
    sample_start: bool = False
    refine: bool = False

    def units(self, survey: Survey) -> Array | float:
        """The square of what is one unit of each feature."""
        if not any(self.standardised):
            return 1.0
        return np.where(self.standardised, survey.scales, 1.0)

    def added(self, survey: Survey) -> Array | float:
        """What `reg_covar` adds to the diagonals of covariances, in squared units of the data."""
        return self.reg_covar * (survey.scales if self.reg_is_relative else self.units(survey))

    @property
    def may_move(self) -> bool:
        """Whether components may change places: not where the user has put them."""
        is_found = isinstance(self.init_params, str) and self.given.means is None
        return self.accelerated and is_found and self.resumed is None

    @property
    def n_candidates(self) -> int:
        """That a pass may serve: of short runs several go on, and each may have one that moves."""
        if self.resumed is not None or self.given.complete:
            return 1
        is_short_em = isinstance(self.init_params, str) and self.init_params == "short-em"
        of_each = SURVIVORS if self.accelerated and is_short_em else 1
        may_relocate = self.sample_start and self.may_move
        return self.n_init * of_each * (2 if may_relocate else 1)

    @property
    def n_starting(self) -> int:
        """Passes that finding the starts takes."""
        if self.resumed is not None or self.given.complete:
            return 0
        return n_passes_of(self.init_params)

    def sample_size(self, n_features: int) -> int:
        """Rows of the survey's sample, in 256 MiB at the most.

        A hundred per component and feature, and so many that a model of p free parameters ends
        p / (2 n) < `START_GAP` nats per row from the optimum.
        """
        n_parameters = self.family.n_parameters(self.n_components, n_features)
        n_parameters += self.n_components * (n_features + 1) - 1
        wanted = max(
            MIN_SAMPLE_ROWS,
            100 * self.n_components * n_features,
            int(n_parameters / (2.0 * START_GAP)),
        )
        return max(min(wanted, MAX_SAMPLE_BYTES // (8 * n_features)), self.n_components)
