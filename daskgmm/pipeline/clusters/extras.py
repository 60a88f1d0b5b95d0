"""Libraries of clusters that an extra brings: whether they are there, and what they can be told."""

import inspect
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from daskgmm.errors import ConfigError
from daskgmm.pipeline.strict import nearest

# Of every cluster; what would make them is no text, or is ours to say.
OURS = {"self", "asynchronous", "loop", "cls"}


def library(name: str, kind: str, extra: str) -> ModuleType:
    """A module; ConfigError, which names the extra, where it can't be imported."""
    if (module := found(name)) is None:
        raise ConfigError(
            f"cluster.kind: {kind} needs a library that is not installed: "
            f"pip install 'daskgmm[{extra}]'"
        )
    return module


def found(name: str) -> ModuleType | None:
    """A module, or None where it can't be imported.

    Ctrl-C stays what it was: dask-jobqueue 0.9 makes it a silent exit when it is imported.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        return import_module(name)
    except ImportError:
        return None
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def keywords(kind: type) -> set[str]:
    """What a class can be told: what its constructor names, and those that it passes ``**`` to."""
    names: set[str] = set()
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - OURS


def check_options(
    options: Mapping[str, Any], known: Iterable[str], own: Iterable[str], of: str
) -> None:
    """Raise ValueError for the first option that `of` does not know, or that is a key of ours."""
    own = set(own)
    for key in options:
        if key in own:
            raise ValueError(f"{key!r} is a key of its own, cluster.{key}")
        if key not in known:
            raise ValueError(f"unknown option {key!r} of {of}{nearest(key, set(known) - own)}")


@contextmanager
def starting(of: str) -> Iterator[None]:
    """Say as a ConfigError why a cluster does not start; its library raises what it likes."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConfigError(
            f"cluster: {of} does not start: {type(error).__name__}: {text}"
        ) from error
