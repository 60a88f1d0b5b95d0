"""scikit-learn's callbacks, told of a fit: a task for the whole, one in it for each pass."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from daskgmm.data.pass_log import OngoingPass
from daskgmm.data.survey import Survey
from daskgmm.fit.observers import ADVANCING, NullObserver
from daskgmm.fit.ranking import leader
from daskgmm.fit.state import FitState

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn has them from 1.9 on

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing can be set."""

    def with_callbacks(method: Any) -> Any:
        """The method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "Callbacks", "with_callbacks"]


class Callbacks(NullObserver):
    """An observer that calls those of an estimator, if it has any.

    The estimator's `fit` is decorated by `with_callbacks`, which ends them.

    Parameters
    ----------
    estimator : FittedMixture
    max_iter : int
        Passes at the most.
    X, y, sample_weight : what `fit` is given
    """

    def __init__(self, estimator: Any, max_iter: int, X: Any, y: Any, sample_weight: Any) -> None:
        self._estimator = estimator
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self._told = {"X": X, "y": y, "metadata": metadata}
        self._task: Any = None
        self._fit: Any = None
        if getattr(estimator, "_skl_callbacks", None):
            self._fit = estimator._init_callback_context(max_subtasks=max_iter)
            self._fit.call_on_fit_task_begin(estimator=estimator, **self._told)

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self._dtype = np.float32 if survey.dtype == np.float32 else np.float64

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self.on_survey(survey, 0.0)

    def on_reading(self, reading: OngoingPass) -> None:
        if self._fit and reading.purpose in ADVANCING and not reading.chunks_done:
            self._task = self._fit.subcontext(task_name="pass")
            self._task.call_on_fit_task_begin(estimator=self._estimator, **self._told)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None:
        return self._task and self._task.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=lambda: self._fitted_so_far(leader(states)),
            **self._told,
        )

    def done(self) -> None:
        """The estimator is fitted."""
        if self._fit:
            self._fit.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._told
            )

    def _fitted_so_far(self, state: FitState) -> dict[str, Any]:
        """The attributes of an estimator whose fit had ended here."""
        fitted = copy(self._estimator)
        fitted._hold(state.mixture, self._dtype)
        return {**vars(fitted), "n_iter_": state.n_iter, "lower_bound_": state.lower_bound}
