"""How many components, and of which covariance type: many fits for the passes of one."""

import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from distributed import Client
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from daskgmm.data.metered import Pass
from daskgmm.data.passes import machines
from daskgmm.errors import ParameterError
from daskgmm.estimators import GaussianMixture
from daskgmm.fit.comparison import Candidate, compare
from daskgmm.fit.criteria import criterion_of
from daskgmm.fit.driver import Fit, Settings
from daskgmm.fit.observers import Observer, observer_of
from daskgmm.fit.plan import plan_fit
from daskgmm.fit.state import Outcome
from daskgmm.fitted import Rows
from daskgmm.parameters import settings_of

# What the estimator's parameters must be: a start for one model is none for the others, and
# models are compared where they end on a sample.
FIXED = {
    "weights_init": None,
    "means_init": None,
    "precisions_init": None,
    "warm_start": False,
    "acceleration": "quasi-newton",
}


@dataclass(frozen=True)
class ComponentSelection:
    """Models of several sizes and covariance types, and the one that a criterion chooses.

    Attributes
    ----------
    criterion : str
    best : GaussianMixture
        The model chosen, fitted to all rows.
    models : dict of GaussianMixture
        Those that were fitted to all rows, by (n_components, covariance_type).
    candidates : tuple of Candidate
        All that were compared, as the fit knows them; `to_frame` shows them.
    passes_ : list of Pass
        Readings of the data: `purpose` ('prepare', 'survey', 'comparison', 'iteration'),
        `seconds`, `n_bytes` and, of the last two, the best `lower_bound`.
    """

    criterion: str
    best: GaussianMixture
    models: dict[tuple[int, str], GaussianMixture]
    candidates: tuple[Candidate, ...]
    passes_: list[Pass]

    @property
    def n_passes_(self) -> int:
        """Readings of the data, the survey's included."""
        return len(self.passes_)

    def to_frame(self) -> pd.DataFrame:
        """A row for each model.

        Returns
        -------
        DataFrame with the columns
            covariance_type, n_components;
            n_parameters: free ones;
            log_likelihood: mean over the rows, in nats;
            aic, bic, icl: lower is better;
            held_out: mean log-density, in nats, of the rows that the sample does not hold, under
            the model fitted to the sample alone;
            effective_counts: of each component, the rows that it is responsible for;
            outcome: why the fit ended, as a sentence;
            carried: whether it was fitted to all rows;
            estimated: whether `log_likelihood`, and with it the criteria, is what the fit to
            the sample is expected to gain to on all rows;
            chosen: whether it is `best`.
        """
        return pd.DataFrame([self._row(each) for each in self.candidates])

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        scores, key = candidate.scores, _key(candidate)
        return {
            "covariance_type": key[1],
            "n_components": key[0],
            "n_parameters": scores.n_parameters if scores else None,
            "log_likelihood": scores.mean_log_likelihood if scores else None,
            "aic": scores.aic if scores else None,
            "bic": scores.bic if scores else None,
            "icl": scores.icl if scores else None,
            "held_out": scores.held_out if scores else None,
            "effective_counts": scores.effective_counts if scores else None,
            "outcome": candidate.outcome.value,
            "carried": candidate.carried,
            "estimated": candidate.estimated,
            "chosen": self.models.get(key) is self.best,
        }
