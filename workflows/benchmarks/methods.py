"""Define the methods that passes_to_optimum.py compares.

To add a method, add it to METHODS. Only this file names estimator parameters.
"""

from typing import NamedTuple

from sets import Parameters

from daskgmm import GaussianMixture


class Method(NamedTuple):
    """One row of the tables.

    Attributes
    ----------
    parameters : dict
        Parameters of GaussianMixture. Older versions behave as for None or False.
    cold : bool
        Whether the method uses the shared start instead of its own initialization.
    goals : (int, int) or None
        Target numbers of passes to both distances, as medians over the sets.
    """

    parameters: Parameters
    cold: bool
    goals: tuple[int, int] | None = None

    @property
    def unknown(self) -> list[str]:
        """Parameters that this version of daskgmm does not have."""
        known = GaussianMixture().get_params()
        return [name for name, value in self.parameters.items() if value and name not in known]

    def known(self) -> Parameters:
        """Return the parameters that this version of daskgmm has."""
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
