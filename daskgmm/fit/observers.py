"""Observers of a fit: callbacks between its stages, verbose output, and progress."""

import math
from collections.abc import Sequence
from typing import Protocol

from daskgmm.data.pass_log import (
    NullProgressObserver,
    OngoingPass,
    Pass,
    PassPurpose,
    ProgressObserver,
)
from daskgmm.data.survey import Survey
from daskgmm.fit.ranking import leader
from daskgmm.fit.state import FitState

# Purposes of the passes that advance candidates. `on_pass` follows each of them.
ADVANCING = (PassPurpose.COMPARISON, PassPurpose.ITERATION, PassPurpose.REFINEMENT)


class PassObserver(Protocol):
    """Called after each pass that advances candidates."""

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None:
        """Observe the candidates after a pass.

        Parameters
        ----------
        states : sequence of FitState
            All candidates. Those with an outcome take no more iterations.
        seconds : float
            Duration of the pass and of the steps after it.

        Returns
        -------
        bool or None
            True stops the fit.
        """


class Observer(PassObserver, ProgressObserver, Protocol):
    """Receives the progress of a fit, in the process that calls ``fit``.

    Subclass `NullObserver` to implement some of the methods. The methods are called between
    passes. Only `on_pass_progress` is called while the chunks of a pass are being read. An
    exception in a method ends the fit with that exception.

    A fit calls the methods in this order: `on_survey` or `on_resume`; `on_start`; `on_sample` if
    candidates converge on the sample first; `on_pass` after each iteration; `on_end`.
    """

    def on_survey(self, survey: Survey, seconds: float) -> None:
        """Observe the end of the survey, the first pass over the data.

        Parameters
        ----------
        survey : Survey
            Counts and moments of the rows, and the sample.
        seconds : float
            Duration.
        """

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        """Observe that the fit resumes from a checkpoint.

        Parameters
        ----------
        survey : Survey
            The survey. It comes from the checkpoint if it is still valid.
        states : sequence of FitState
            All candidates; empty if the checkpoint is older than the first iteration.
        """

    def on_start(self, states: Sequence[FitState]) -> None:
        """Observe the end of the initialization.

        Parameters
        ----------
        states : sequence of FitState
            The first candidates.
        """

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        """Observe that the candidates have converged on the sample.

        Parameters
        ----------
        states : sequence of FitState
            The candidates that continue on all rows.
        seconds : float
            Duration.
        """

    def on_checkpoint(self, name: str) -> None:
        """Observe that a checkpoint was written.

        Parameters
        ----------
        name : str
            Name of the file in the folder of the checkpoints.
        """

    def on_end(self, state: FitState, lower_bound: float) -> None:
        """Observe the end of the fit.

        Parameters
        ----------
        state : FitState
            The best candidate.
        lower_bound : float
            Lower bound of its parameters, in nats per unit of weight.
        """


class NullObserver(NullProgressObserver):
    """An observer that does nothing. Subclass it to implement some methods of `Observer`.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgmm import GaussianMixture, NullObserver
    >>> class Outcomes(NullObserver):
    ...     def on_end(self, state, lower_bound):
    ...         print(state.outcome.value)
    >>> rows = np.random.default_rng(0).normal(size=(500, 2))
    >>> model = GaussianMixture(1).fit(rows, observer=Outcomes())
    converged: the expected gain is less than tol
    """

    def on_survey(self, survey: Survey, seconds: float) -> None:
        """Do nothing."""

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        """Do nothing."""

    def on_start(self, states: Sequence[FitState]) -> None:
        """Do nothing."""

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        """Do nothing."""

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool | None:
        """Do nothing. The fit continues."""

    def on_checkpoint(self, name: str) -> None:
        """Do nothing."""

    def on_end(self, state: FitState, lower_bound: float) -> None:
        """Do nothing."""


class ObserverGroup:
    """Calls several observers in their order. Any of them can stop the fit."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_pass_progress(self, ongoing: OngoingPass) -> None:
        for observer in self._observers:
            observer.on_pass_progress(ongoing)

    def on_pass_end(self, pass_: Pass) -> None:
        for observer in self._observers:
            observer.on_pass_end(pass_)

    def on_survey(self, survey: Survey, seconds: float) -> None:
        for observer in self._observers:
            observer.on_survey(survey, seconds)

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        for observer in self._observers:
            observer.on_resume(survey, states)

    def on_start(self, states: Sequence[FitState]) -> None:
        for observer in self._observers:
            observer.on_start(states)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        for observer in self._observers:
            observer.on_sample(states, seconds)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> bool:
        stops = [observer.on_pass(states, seconds) for observer in self._observers]  # call all
        return any(stops)

    def on_checkpoint(self, name: str) -> None:
        for observer in self._observers:
            observer.on_checkpoint(name)

    def on_end(self, state: FitState, lower_bound: float) -> None:
        for observer in self._observers:
            observer.on_end(state, lower_bound)


def verbose_observer(verbose: int, interval: int) -> Observer:
    """Return the observer that prints scikit-learn's verbose output, or one that does nothing."""
    return PrintingObserver(verbose, interval) if verbose else NullObserver()


class PrintingObserver(NullObserver):
    """Prints scikit-learn's verbose output, for candidates that advance together.

    Parameters
    ----------
    verbose : int
        With 2 or more, changes of the bound and seconds are printed too.
    interval : int
        Iterations between two lines.
    """

    def __init__(self, verbose: int, interval: int) -> None:
        self._verbose = verbose
        self._interval = interval

    def on_survey(self, survey: Survey, seconds: float) -> None:
        if survey.n_incomplete and not survey.marginal:
            print(f"  {survey.n_incomplete} of {survey.n_rows} rows left out: a value is missing")

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        print(f"Resumed after iteration {max((state.n_iter for state in states), default=0)}")

    def on_start(self, states: Sequence[FitState]) -> None:
        for number, state in enumerate(states):
            print(f"Initialization {number}")
            _print_events(state)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        more = f"\t time lapse {seconds:.5f}s" if self._verbose > 1 else ""
        print(f"  Converged on the sample; {len(states)} continue on all rows{more}")

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        n_iter = max(state.n_iter for state in states)
        for number, state in enumerate(states):
            if state.n_iter < n_iter:
                continue
            _print_events(state)
            if state.outcome is not None:
                print(f"Initialization {number} {state.outcome.value}.")
            elif n_iter % self._interval == 0:
                more = f"\t time lapse {seconds:.5f}s\t ll change {state.change:.5f}"
                print(f"  Iteration {n_iter}{more if self._verbose > 1 else ''}")


def _print_events(state: FitState) -> None:
    for event in state.new_events:
        print(f"  {event}")


class FitProgress:
    """The best bound of a fit after each pass.

    It differs from the bound of one candidate: candidates with an outcome keep their bounds while
    others advance.

    Attributes
    ----------
    n_passes : int
        Number of passes that advanced candidates.
    lower_bound : float
        The best bound of all candidates, in nats per unit of weight; -inf before the first pass.
    change : float
        How much the last pass added to it; NaN if that is unknown.
    """

    def __init__(self) -> None:
        self.n_passes = 0
        self.lower_bound, self.change = -math.inf, math.nan

    def resume(self, states: Sequence[FitState]) -> None:
        """Continue from the candidates of a checkpoint."""
        if states:
            self.n_passes = max(state.n_iter for state in states)
            self.lower_bound = leader(states).lower_bound

    def advance(self, states: Sequence[FitState]) -> None:
        """Take the candidates after one more pass."""
        before = self.lower_bound
        self.n_passes += 1
        self.lower_bound = leader(states).lower_bound
        self.change = self.lower_bound - before if math.isfinite(before) else math.nan
