"""What a fit leaves in its estimator, and what the next one takes up from there."""

import math

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from daskgmm.data.dataset import Dataset
from daskgmm.errors import ParameterError, warn_caller
from daskgmm.fit.driver import Fit
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState
from daskgmm.fitted import FittedMixture
from daskgmm.parameters import settings_of


class Kept(FittedMixture):
    """The attributes that say how a fit went."""

    n_components: int
    covariance_type: str
    acceleration: str | None
    reg_covar: float | str
    warm_start: bool
    _asked_for: tuple[str, int, int]
    _state: FitState

    def _settings(self, dataset: Dataset) -> Settings:
        resumed = None
        if self.warm_start and hasattr(self, "converged_"):
            self._raise_unless_asked_for("warm_start", dataset.n_features)
            resumed = self._resumed()
        return settings_of(self, dataset, resumed)

    def _resumed(self) -> FitState:
        """Where the last fit ended, with what it had learnt, unless somebody has set parameters."""
        state, mixture = self._state, self.mixture_
        if mixture is not state.parameters:
            return FitState(mixture)
        pairs = state.memory.pairs if state.memory and self.acceleration else ()
        return FitState(mixture, (), state.lower_bound, ridge=state.ridge, pairs=pairs)

    def _raise_unless_asked_for(self, what: str, n_features: int) -> None:
        """Raise ParameterError where parameters and rows now ask for another model.

        As asked for, not as fitted: a fit that has dropped components goes on without.
        """
        asked = self._shape(n_features)
        if asked != self._asked_for:
            raise ParameterError(
                f"{what} continues a fit with (covariance_type, n_components, n_features) = "
                f"{self._asked_for}, but the parameters and the data now ask for {asked}: use a "
                "new estimator, or `fit` with warm_start=False"
            )

    def _shape(self, n_features: int) -> tuple[str, int, int]:
        return self.covariance_type, self.n_components, n_features

    def _keep(self, fit: Fit, settings: Settings) -> None:
        self._asked_for = self._shape(self.n_features_in_)
        state = fit.state
        self._hold(state.parameters, np.float32 if fit.survey.dtype == np.float32 else np.float64)
        self.total_weight_ = fit.survey.total_weight
        self.n_omitted_ = 0 if fit.survey.marginal else fit.survey.n_incomplete
        self.reg_covar_ = settings.added(fit.survey)
        self._state = state
        self.converged_ = state.outcome is not None and state.outcome.is_met
        self.outcome_ = "" if state.outcome is None else state.outcome.value
        self.remaining_gain_ = math.nan if state.memory is None else state.memory.gain
        self.n_iter_ = state.n_iter
        self.lower_bound_ = fit.lower_bound
        self.lower_bounds_ = list(state.lower_bounds)
        self.events_ = list(state.events)
        self.passes_ = list(fit.passes)
        self.n_passes_ = len(self.passes_)

    def _warn_unless_converged(self) -> None:
        """scikit-learn's warning, with what is still expected to be gained."""
        if self.converged_:
            return
        left = f" Still expected to be gained: {self.remaining_gain_:.1e} nats per row."
        warn_caller(
            "Best performing initialization did not converge. Try different init "
            "parameters, or increase max_iter, tol, or check for degenerate data."
            + ("" if math.isnan(self.remaining_gain_) else left),
            ConvergenceWarning,
        )
