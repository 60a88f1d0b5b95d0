"""A task's handshake: a worker whose packages are not the driver's says so, and does nothing."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

# Bits depend on them. What the others need comes first, as it may be why they fail.
PACKAGES = ("numpy", "scipy", "daskgmm")


def versions() -> dict[str, str]:
    """Of the packages that a pass computes with here."""
    return {name: import_module(name).__version__ for name in PACKAGES}


def handshake() -> Callable[..., Any]:
    """The function that a pass's tasks begin with.

    It travels by value, as inner functions do, and looks at nothing of daskgmm's before it
    knows that it is there: a worker that can't unpickle a task closes itself (distributed
    2026.8), and one that can't unpickle what a task is given waits for ever.
    """

    # Nothing of this module's may be referred to in it.
    def after_handshake(expected: dict[str, str], call: bytes, *arguments: Any) -> Any:
        """Call what is pickled, or say in a str why it can't be done here."""
        from importlib import import_module  # noqa: PLC0415

        from distributed import get_worker  # noqa: PLC0415
        from distributed.protocol.pickle import loads  # noqa: PLC0415

        for name, version in expected.items():
            try:
                found = import_module(name).__version__
                is_other, problem = found != version, f"has {name} {found}"
            except ImportError as error:
                is_other, problem = True, f"cannot import {name} ({error})"
            if is_other:
                return (
                    f"the worker at {get_worker().address} {problem}, this process has {version}: "
                    "install the same versions on all machines, as the bits of a result depend "
                    "on them"
                )
        return loads(call)(*arguments)

    return after_handshake
