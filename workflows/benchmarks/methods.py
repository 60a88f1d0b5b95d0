"""The ways to fit a mixture that passes_to_optimum.py compares: a row of its tables each.

To add one, add it to METHODS. Names of parameters stand here alone.
"""

from typing import NamedTuple

from sets import Parameters

from daskgmm import GaussianMixture


class Method(NamedTuple):
    """A row of the tables.

    Attributes
    ----------
    parameters : dict
        Of GaussianMixture. None and False mean what an older daskgmm does without being told.
    cold : bool
        Whether it begins at the start that methods share, or finds its own.
    goals : (int, int) or None
        Passes to both distances, at the median of the sets.
    """

    parameters: Parameters
    cold: bool
    goals: tuple[int, int] | None = None

    @property
    def unknown(self) -> list[str]:
        """Parameters that this daskgmm would have to have, and has not."""
        known = GaussianMixture().get_params()
        return [name for name, value in self.parameters.items() if value and name not in known]

    def known(self) -> Parameters:
        """Parameters to construct an estimator with."""
        known = GaussianMixture().get_params()
        return {name: value for name, value in self.parameters.items() if name in known}


PLAIN = "plain EM, cold"
METHODS = {
    PLAIN: Method({"acceleration": None, "sample_start": False}, cold=True),
    "quasi-Newton, cold": Method(
        {"acceleration": "quasi-newton", "sample_start": False}, cold=True, goals=(25, 45)
    ),
    "quasi-Newton, sample": Method(
        {"acceleration": "quasi-newton", "sample_start": True}, cold=False, goals=(4, 10)
    ),
}
