"""Exceptions and warnings of daskgmm, and phrases that their messages share.

All exceptions are ``ValueError``s, as in scikit-learn.
"""

import inspect
import pickle
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from traceback import format_exception
from typing import Any


class DaskgmmError(ValueError):
    """An error that the user can fix. Base class of all exceptions of daskgmm.

    The command line shows its message without a traceback.
    """


class ConfigError(DaskgmmError):
    """A configuration is invalid, or names a resource that cannot be used.

    Raised by the command line: for a YAML file or an option with an invalid key or value, for a
    package that is not installed, and for a cluster or an output folder that cannot be used.
    """


class DataError(DaskgmmError):
    """The data cannot be read or cannot be used.

    Raised for a source that does not exist or cannot be read, for values that a fit cannot
    compute with, for too few rows, for data that changed during a fit, and for output that cannot
    be written. The error keeps its ``__cause__`` when it crosses a process boundary; a cause that
    cannot be pickled becomes a note with its traceback.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle omits causes.
        state, cause = dict(self.__dict__), self.__cause__
        if _can_be_pickled(cause):  # tblib, which distributed installs, keeps the traceback
            state["__cause__"] = cause
        elif cause is not None:
            note = "".join(format_exception(cause)).rstrip()
            state["__notes__"] = [*state.get("__notes__", ()), note]
        return type(self), self.args, state


class DataWarning(UserWarning):
    """A fit or a scoring run leaves out rows, or a model loses its transforms."""


class ParameterError(DaskgmmError):
    """A parameter or an argument has an invalid value."""


class ModelFileError(DaskgmmError):
    """A model file does not exist, is damaged, or needs a newer version of daskgmm."""


class CheckpointError(DaskgmmError):
    """A folder holds no checkpoint that this fit can resume from.

    Raised if the checkpoint belongs to other data or other parameters, if it needs a newer version
    of daskgmm, or if the folder cannot be read or written.
    """


class DegenerateCovarianceError(DaskgmmError):
    """The covariance of a component is not positive definite in floating point.

    Raised by a fit with ``degenerate="raise"`` if a component collapses, and by operations on a
    mixture whose covariances cannot be factorized.

    Attributes
    ----------
    components : tuple of int
        Numbers of the collapsed components. Empty if all components share one covariance.
    n_pass : int or None
        Number of the iteration in which the components collapsed; 0 for a start, None outside a
        fit.
    mixture : Mixture or None
        Last model of the fit with valid covariances. None if the starts collapsed.
    model_location : str
        Where this model is, as the message says it: in this attribute, or in a file.
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
        mixture: Any = None,  # a Mixture, which this module must not import
        model_location: str = "this error's `mixture`",
    ) -> None:
        self.model_location = model_location
        self.components = tuple(components)
        self.n_pass = n_pass
        self.mixture = mixture
        super().__init__(f"{self.SENTENCE}{self._details()}")

    def __reduce__(self) -> tuple[Any, ...]:
        keywords = {
            "n_pass": self.n_pass,
            "mixture": self.mixture,
            "model_location": self.model_location,
        }
        return partial(type(self), **keywords), (self.components,)

    def _details(self) -> str:
        """Say what happened in a fit and how to continue; empty outside a fit."""
        if self.n_pass is None:
            return ""
        when = f"in pass {self.n_pass}" if self.n_pass else "at the start"
        last = (
            f" The last valid model is {self.model_location}." if self.mixture is not None else ""
        )
        names = name_components(self.components)
        return (
            f" {names[0].upper()}{names[1:]} collapsed {when}.{last} To continue after a collapse, "
            "set degenerate='reinitialize' (or 'regularize', or 'drop')."
        )


def warn_caller(message: str, category: type[Warning]) -> None:
    """Issue a warning that points to the user's line, outside daskgmm and scikit-learn."""
    n_frames, frame = 0, inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).partition(".")[0] in (
        "daskgmm",
        "sklearn",
    ):
        n_frames, frame = n_frames + 1, frame.f_back
    warnings.warn(message, category, stacklevel=n_frames + 1)


def _can_be_pickled(error: BaseException | None) -> bool:
    """Whether an exception can be pickled; one with its own constructor may fail."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    except Exception:  # noqa: BLE001  a pickle may raise anything
        return False
    return True


def name_components(components: Sequence[int]) -> str:
    """Return "component 3" or "components 0, 4 and 7". No number means a shared covariance."""
    if not components:
        return "the covariance that all components share"
    return f"component{'s' * (len(components) > 1)} {list_numbers(components)}"


def list_numbers(numbers: Sequence[int], limit: int = 5) -> str:
    """Return "3", "0, 4 and 7" or "0, 1 and 9 more" for one number or more."""
    words = [str(n) for n in numbers[:limit]]
    if len(numbers) > limit:
        words.append(f"{len(numbers) - limit} more")
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
