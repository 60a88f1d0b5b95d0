"""scikit-learn's callbacks: one task for the fit, and one subtask per pass."""

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
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement for a scikit-learn without callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method unchanged."""
        return method


__all__ = ["CallbackObserver", "CallbackSupportMixin", "with_callbacks"]


class CallbackObserver(NullObserver):
    """Observer that calls the scikit-learn callbacks of an estimator, if it has any.

    The decorator `with_callbacks` of the estimator's `fit` tears the callbacks down.

    Parameters
    ----------
    estimator : FittedMixture
    max_iter : int
        Maximum number of passes.
    X, y, sample_weight : arguments of `fit`
    """

    def __init__(self, estimator: Any, max_iter: int, X: Any, y: Any, sample_weight: Any) -> None:
        self._estimator = estimator
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self._fit_arguments = {"X": X, "y": y, "metadata": metadata}
        self._pass_task: Any = None
        self._fit_task: Any = None
        if getattr(estimator, "_skl_callbacks", None):
            self._fit_task = estimator._init_callback_context(max_subtasks=max_iter)
            self._fit_task.call_on_fit_task_begin(estimator=estimator, **self._fit_arguments)

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self._dtype = np.float32 if survey.dtype == np.float32 else np.float64

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self.on_survey(survey, 0.0)

    def on_pass_progress(self, ongoing: OngoingPass) -> None:
        if self._fit_task and ongoing.purpose in ADVANCING and not ongoing.chunks_done:
            self._pass_task = self._fit_task.subcontext(task_name="pass")
            self._pass_task.call_on_fit_task_begin(estimator=self._estimator, **self._fit_arguments)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None:
        return self._pass_task and self._pass_task.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=lambda: self._attributes(leader(states)),
            **self._fit_arguments,
        )

    def end(self) -> None:
        """End the task of the fit."""
        if self._fit_task:
            self._fit_task.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._fit_arguments
            )

    def _attributes(self, state: FitState) -> dict[str, Any]:
        """Attributes of an estimator whose fit ended in this state."""
        estimator = copy(self._estimator)
        estimator._set_mixture(state.mixture, self._dtype)
        return {**vars(estimator), "n_iter_": state.n_iter, "lower_bound_": state.lower_bound}
