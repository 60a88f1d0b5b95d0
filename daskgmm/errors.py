"""Exceptions, each with the sentence its reader sees: ``ValueError``s, as in scikit-learn."""

import inspect
import pickle
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from traceback import format_exception
from typing import Any


class DaskgmmError(ValueError):
    """What a person can mend: its text is shown without a traceback on the command line."""


class ConfigError(DaskgmmError):
    """A configuration file says something that cannot be meant."""


class DataError(DaskgmmError):
    """The rows, or where they are said to be, cannot be used.

    What caused it travels with it from one process to another; a cause that can't be pickled
    leaves a note of its traceback.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle forgets causes.
        state, cause = dict(self.__dict__), self.__cause__
        if _can_travel(cause):  # with its traceback: distributed brings tblib
            state["__cause__"] = cause
        elif cause is not None:
            note = "".join(format_exception(cause)).rstrip()
            state["__notes__"] = [*state.get("__notes__", ()), note]
        return type(self), self.args, state


class DataWarning(UserWarning):
    """Some of the rows cannot be used and are left out, or must be made ready by somebody else."""


class ParameterError(DaskgmmError):
    """A parameter has a value that cannot be used."""


class ModelFileError(DaskgmmError):
    """A file is not a model that this version can read."""


class CheckpointError(DaskgmmError):
    """A folder holds no checkpoint that this fit can go on from."""


class DegenerateCovarianceError(DaskgmmError):
    """Components have a covariance that is not positive definite in floating point.

    Attributes
    ----------
    components : tuple of int
        Which ones; empty where all of them share one covariance.
    n_pass : int or None
        The iteration in which it happened, 0 for a start; None outside a fit.
    mixture : Mixture or None
        The last model of the fit whose covariances were sound: nothing that was computed is
        lost. None where the starts themselves have collapsed.
    kept : str
        Where that model is, in words.
    """

    SENTENCE = (
        "Fitting the mixture model failed because some components have ill-defined "
        "empirical covariance (for instance caused by singleton or collapsed samples). "
        "Try to decrease the number of components, increase reg_covar, or scale the "
        "input data."
    )

    def __init__(
        self,
        components: Iterable[int] = (),
        *,
        n_pass: int | None = None,
        # A Mixture, which stands on a floor above.
        mixture: Any = None,
        kept: str = "this error's `mixture`",
    ) -> None:
        self.kept = kept
        self.components = tuple(components)
        self.n_pass = n_pass
        self.mixture = mixture
        super().__init__(f"{self.SENTENCE}{self._place()}")

    def __reduce__(self) -> tuple[Any, ...]:
        found = {"n_pass": self.n_pass, "mixture": self.mixture, "kept": self.kept}
        return partial(type(self), **found), (self.components,)

    def _place(self) -> str:
        """What happened and when, and what can be done, in a fit."""
        if self.n_pass is None:
            return ""
        when = f"in pass {self.n_pass}" if self.n_pass else "at the start"
        last = f" The model from before is {self.kept}." if self.mixture is not None else ""
        return (
            f" Here {named(self.components)} collapsed {when}.{last} To go on where this happens, "
            "set degenerate='reinitialize' (or 'regularize', or 'drop')."
        )


def warn_caller(sentence: str, category: type[Warning]) -> None:
    """Warn at the line that has called this package, be it through scikit-learn's decorators."""
    n_ours, frame = 0, inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).partition(".")[0] in (
        "daskgmm",
        "sklearn",
    ):
        n_ours, frame = n_ours + 1, frame.f_back
    warnings.warn(sentence, category, stacklevel=n_ours + 1)


def _can_travel(error: BaseException | None) -> bool:
    """Whether an exception comes out of a pickle again; one with its own constructor may not."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    except Exception:  # noqa: BLE001  it may raise what it likes
        return False
    return True


def named(components: Sequence[int]) -> str:
    """Components as a sentence names them: "component 3", "components 0, 4 and 7"."""
    if not components:
        return "the covariance that all components share"
    return f"component{'s' * (len(components) > 1)} {listed(components)}"


def listed(numbers: Sequence[int], most: int = 5) -> str:
    """Numbers, one at least, as a sentence lists them: "3", "0, 4 and 7", "0, 1 and 9 more"."""
    shown = [str(n) for n in numbers[:most]]
    if len(numbers) > most:
        shown.append(f"{len(numbers) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
