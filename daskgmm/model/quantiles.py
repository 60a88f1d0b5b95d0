"""How low the log-densities of a fit's rows lie: what tells an outlier from a rare row."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from daskgmm.errors import ParameterError
from daskgmm.kernels.moments import Array

# The lowest values are kept as they are; of the rest so many quantiles.
N_LOWEST, N_QUANTILES = 200, 201


@dataclass(frozen=True)
class Quantiles:
    """Of a sample, with all of its far lower tail.

    Attributes
    ----------
    n : int
        Values in the sample.
    probabilities, values : (m,) arrays, ascending
    """

    n: int
    probabilities: Array
    values: Array

    @classmethod
    def of(cls, values: Array) -> "Quantiles":
        """Of values, one at least; -inf counts as the lowest float."""
        n = len(values)
        lowest = np.arange(min(N_LOWEST, n)) / max(n - 1, 1)
        probabilities = np.union1d(lowest, np.linspace(0.0, 1.0, N_QUANTILES))
        finite = np.maximum(values, np.finfo(np.float64).min)
        return cls(n, probabilities, np.quantile(finite, probabilities))

    def at(self, probability: float) -> float:
        """The quantile: linear between the sample's values, as numpy's, where these are kept.

        Raises
        ------
        ParameterError
            Where the sample is too small to have one.
        """
        if not 1.0 / self.n <= probability < 1.0:
            raise ParameterError(
                f"a quantile of {probability:g} is asked for, and a sample of {self.n:,} rows of "
                f"the fit has those from {1.0 / self.n:g} to 1"
            )
        return float(np.interp(probability, self.probabilities, self.values))

    def as_written(self) -> dict[str, Any]:
        """In types of JSON and NumPy."""
        return {"n": self.n, "probabilities": self.probabilities, "values": self.values}

    @classmethod
    def read(cls, written: dict[str, Any]) -> "Quantiles":
        """What `as_written` has given; some error or other for anything else."""
        arrays = (np.array(written[name], np.float64) for name in ("probabilities", "values"))
        return cls(int(written["n"]), *arrays)
