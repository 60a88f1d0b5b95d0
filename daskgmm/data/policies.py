"""What a fit does with rows and chunks that it cannot use.

Members equal the strings that the public functions take.
"""

from enum import StrEnum
from typing import NoReturn

from daskgmm.errors import DataError


class MissingPolicy(StrEnum):
    """What a fit does with rows that have a missing value (NaN)."""

    RAISE = "raise"
    """Raise an error that names the first such row."""
    OMIT = "omit"
    """Leave such rows out."""
    MARGINAL = "marginal"
    """Use the observed features of such rows."""

    __repr__ = str.__repr__

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise DataError(f"missing must be 'raise', 'omit' or 'marginal', not {value!r}")


class BadChunkPolicy(StrEnum):
    """What a fit does with a chunk that cannot be read, or that holds unusable values."""

    RAISE = "raise"
    """Raise an error that names the chunk."""
    SKIP = "skip"
    """Continue without the whole chunk, and warn."""

    __repr__ = str.__repr__

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise DataError(f"on_bad_chunk must be 'raise' or 'skip', not {value!r}")
