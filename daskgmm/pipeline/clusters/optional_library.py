"""Libraries that optional extras install: import them, check their options, report failures."""

import inspect
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from daskgmm.errors import ConfigError
from daskgmm.pipeline.config.loader import suggestion

# Parameters of every cluster class that a YAML file cannot set.
RESERVED = {"self", "asynchronous", "loop", "cls"}


def require_library(name: str, kind: str, extra: str) -> ModuleType:
    """Import a library; raise ConfigError that names the extra if it is not installed."""
    if (module := find_library(name)) is None:
        raise ConfigError(
            f"cluster.kind: {kind} needs a library that is not installed: "
            f"pip install 'daskgmm[{extra}]'"
        )
    return module


def find_library(name: str) -> ModuleType | None:
    """Import a library, or return None if that fails.

    The handler of Ctrl-C is restored: dask-jobqueue 0.9 replaces it when it is imported.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        return import_module(name)
    except ImportError:
        return None
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def keyword_names(kind: type) -> set[str]:
    """Keyword arguments of a class, including those that its bases receive by ``**kwargs``."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - RESERVED


def check_options(
    options: Mapping[str, Any], allowed: Iterable[str], keys: Iterable[str], owner: str
) -> None:
    """Raise ValueError for the first option that is wrong.

    Parameters
    ----------
    options : mapping
    allowed : names that `owner` accepts
    keys : names that are keys of the configuration itself
    owner : str
        Name of the class or object that takes the options, for the message.
    """
    keys = set(keys)
    for name in options:
        if name in keys:
            raise ValueError(f"{name!r} is not an option: set the key cluster.{name}")
        if name not in allowed:
            raise ValueError(
                f"unknown option {name!r} of {owner}{suggestion(name, set(allowed) - keys)}"
            )


@contextmanager
def startup_errors(name: str) -> Iterator[None]:
    """Turn any exception of a library at the start of a cluster into a ConfigError."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConfigError(
            f"cluster: {name} does not start: {type(error).__name__}: {text}"
        ) from error
