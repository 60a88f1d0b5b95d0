"""How many components, and of which covariance type: many fits for the passes of one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from distributed import Client
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from daskgmm.data.execution.passes import available_resources, fixed_scheduler
from daskgmm.data.pass_log import Pass
from daskgmm.errors import ParameterError, warn_caller
from daskgmm.estimators.checkpoint import Checkpoint, checkpoints_of
from daskgmm.estimators.fitted_mixture import Rows
from daskgmm.estimators.gaussian_mixture import GaussianMixture
from daskgmm.estimators.parameters import settings_of
from daskgmm.estimators.sample_weight import Weights
from daskgmm.fit.comparison import compare
from daskgmm.fit.criteria import Candidate, criterion_of
from daskgmm.fit.driver import Fit
from daskgmm.fit.observers import Observer, log_to_cluster, observer_of
from daskgmm.fit.plan import plan_fit
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import Outcome

# What the estimator's parameters must be: a start for one model is none for the others, and
# models are compared where they end on a sample.
FIXED = {
    "weights_init": None,
    "means_init": None,
    "precisions_init": None,
    "warm_start": False,
    "acceleration": "quasi-newton",
}

# Columns of the table, and of which attribute of the scores; those that are printed, with digits.
SCORES = {
    "n_parameters": "n_parameters",
    "log_likelihood": "mean_log_likelihood",
    "aic": "aic",
    "bic": "bic",
    "icl": "icl",
    "held_out": "held_out",
    "effective_counts": "effective_counts",
}
SHOWN = {"log_likelihood": 5, "aic": 0, "bic": 0, "icl": 0, "held_out": 5}


@dataclass(frozen=True)
class ComponentSelection:
    """Models of several sizes and covariance types, and the one that a criterion chooses.

    Attributes
    ----------
    criterion : str
        The name of what has chosen.
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
            passes: readings of the data that served it;
            outcome: why the fit ended, as a sentence;
            carried: whether it was fitted to all rows;
            estimated: whether `log_likelihood`, and with it the criteria, is what the fit to
            the sample is expected to gain to on all rows;
            chosen: whether it is `best`.
        """
        first = sum(each.purpose in ("prepare", "survey") for each in self.passes_)
        return pd.DataFrame(
            {
                "covariance_type": each.settings.family.name,
                "n_components": each.settings.n_components,
                **{name: _score(each, name) for name in SCORES},
                "passes": first + each.n_passes,
                "outcome": each.outcome.value,
                "carried": each.carried,
                "estimated": each.estimated and each.scores is not None,
                "chosen": self.models.get(_key(each)) is self.best,
            }
            for each in self.candidates
        )

    def __str__(self) -> str:
        frame = self.to_frame()
        shown = frame[["covariance_type", "n_components"]].copy()
        marks = frame["estimated"].map({True: "~", False: ""})
        for name, digits in SHOWN.items():
            shown[name] = frame[name].map(f"{{:,.{digits}f}}".format)
            if name != "held_out":
                shown[name] = marks + shown[name]
        shown["smallest"] = [f"{np.min(counts):,.0f}" for counts in frame["effective_counts"]]
        shown["outcome"] = frame["outcome"].str.split(":").str[0]
        shown[""] = frame["chosen"].map({True: "<- chosen", False: ""})
        best = self.best
        return (
            f"{best.covariance_type}, n_components={best.n_components}: chosen by "
            f"{self.criterion} among {len(frame)} models, for {self.n_passes_} readings of the "
            f"data\n{shown.to_string(index=False)}\n~ expected, from a fit to the sample; "
            "smallest: rows of the smallest component"
        )

    def plot(self, ax: Any = None) -> Any:
        """The criterion against the number of components, as a `daskgmm.plots.SelectionDisplay`.

        One line per covariance type; what is estimated is hollow, the choice is ringed.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: those of a new figure.

        Returns
        -------
        SelectionDisplay
            With `ax_` and `figure_`.
        """
        # Workers need no pictures: matplotlib takes 30 MB.
        from daskgmm.plots.selection import Point, SelectionDisplay  # noqa: PLC0415

        criterion = criterion_of(self.criterion)
        points = {
            _key(each): Point(
                each.settings.family.name,
                each.settings.n_components,
                criterion.of(each.scores),
                each.estimated and not criterion.is_of_sample,
            )
            for each in self.candidates
            if each.scores
        }
        chosen = next(key for key, model in self.models.items() if model is self.best)
        return SelectionDisplay(list(points.values()), points[chosen], criterion.label).plot(ax)


def select_components(
    X: Rows,
    n_components: int | Iterable[int] = range(1, 21),
    covariance_types: str | Iterable[str] = ("full",),
    criterion: str = "bic",
    *,
    sample_weight: Weights = None,
    estimator: GaussianMixture | None = None,
    n_finalists: int = 3,
    observer: Observer | None = None,
    client: Client | None = None,
    checkpoint: str | Path | Checkpoint | None = None,
) -> ComponentSelection:
    """Fit mixtures of several sizes and covariance types together, and choose among them.

    All of them are fitted to a sample of the rows, in memory: at most four fifths of the rows.
    One reading of all rows then serves all of them; those that are best by the criterion go on
    over all rows, sharing each reading. They go on until the criterion can hardly change, so all
    readings together are more than for one fit with its `tol`, and far fewer than one by one.

    Parameters
    ----------
    X : array-like, dask array, dask dataframe or Dataset, (n_samples, n_features)
        The rows.
    n_components : int or iterable of int, default=range(1, 21)
        The sizes that are compared.
    covariance_types : str or iterable of str, default=("full",)
        The covariance types, each with each size.
    criterion : one of {'bic', 'aic', 'icl', 'held-out'}, default='bic'
        The Bayesian or Akaike's; 'icl', the Bayesian one with twice the responsibilities' entropy
        added, which asks for components that are apart; 'held-out', the mean log-density of the
        rows that the sample does not hold under the model that was fitted to the sample.
    sample_weight : as for GaussianMixture.fit, optional
        Weights of the rows.
    estimator : GaussianMixture, default=None
        All other parameters: `n_init`, `reg_covar`, `random_state` and so on. It is not changed.
    n_finalists : int, default=3
        How many models, the best by the criterion, are fitted to all rows; all, where the sample
        can hold four fifths of the rows, or where the estimator's ``max_iter=0`` leaves them as
        the sample has made them.
    observer : Observer, optional
        Told of the survey and of each pass, in this process.
    client : distributed.Client, optional
        Of the cluster that visits Dask collections; default where Dask would compute.
    checkpoint : str, Path or Checkpoint, optional
        A folder that the selection is kept in while it runs, as a fit is: if this process dies,
        the same call goes on from there, to the same bits.

    Returns
    -------
    ComponentSelection
        The models, how they compare, and the choice.

    Raises
    ------
    ValueError
        For parameters or rows that cannot be used.
    DegenerateCovarianceError
        A ValueError, where all models collapse; others that do are part of the result.
    CheckpointError
        A ValueError, where the folder holds a checkpoint of something else.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskgmm import GaussianMixture, select_components
    >>> rows = da.concatenate(
    ...     [
    ...         da.random.default_rng(0).normal(0, 1, size=(10_000, 2), chunks=(5_000, 2)),
    ...         da.random.default_rng(1).normal(9, 1, size=(30_000, 2), chunks=(5_000, 2)),
    ...     ]
    ... )
    >>> found = select_components(
    ...     rows, range(1, 4), ("full", "spherical"), estimator=GaussianMixture(random_state=0)
    ... )
    >>> found.best.n_components, found.best.covariance_type
    (2, 'spherical')
    """
    measure = criterion_of(criterion)
    prototype = clone(GaussianMixture() if estimator is None else estimator)
    prototype.check_parameters()
    check_shared(prototype.get_params(deep=False))
    if n_finalists < 1:
        raise ParameterError(f"n_finalists must be at least 1, not {n_finalists}")
    watching = observer or observer_of(prototype.verbose, prototype.verbose_interval)
    with fixed_scheduler(client):
        dataset = prototype._dataset(X, reset=True, sample_weight=sample_weight)
        models = _models(prototype, n_components, covariance_types)
        settings = [settings_of(model, dataset, None) for model in models]
        if not dataset.layout.is_resident:
            plan_fit(dataset, _like_all(settings), available_resources()).raise_for_memory()
        asked = {
            "models": ", ".join(f"{each.covariance_type} {each.n_components}" for each in models),
            "criterion": criterion,
            "n_finalists": n_finalists,
        }
        checkpoints = checkpoints_of(checkpoint, prototype, dataset, selection=asked)
        found = compare(
            dataset,
            settings,
            measure,
            n_finalists=n_finalists,
            random=check_random_state(prototype.random_state),
            observer=log_to_cluster(watching, dataset),
            checkpoints=checkpoints,
        )
    fitted = {}
    for model, candidate in zip(models, found.candidates, strict=True):
        if candidate.carried and candidate.state and candidate.outcome is not Outcome.DEGENERATE:
            model._keep(
                Fit(candidate.state, candidate.state.lower_bound, found.survey, found.passes),
                candidate.settings,
            )
            fitted[_key(candidate)] = model
    checkpoints.close()
    best = fitted[_key(found.best)]
    if not best.converged_ and best.max_iter > 0:
        warn_caller(
            f"The model chosen did not converge: it {best.outcome_}. Increase max_iter or tol of "
            f"the estimator. Still expected to be gained: {best.remaining_gain_:.1e} nats per row.",
            ConvergenceWarning,
        )
    return ComponentSelection(criterion, best, fitted, found.candidates, list(found.passes))


def _models(
    prototype: GaussianMixture,
    n_components: int | Iterable[int],
    covariance_types: str | Iterable[str],
) -> list[GaussianMixture]:
    """An estimator for each model that is asked for, each once, with checked parameters."""
    sizes = [n_components] if isinstance(n_components, int | np.integer) else list(n_components)
    names = [covariance_types] if isinstance(covariance_types, str) else list(covariance_types)
    if not (sizes and names):
        empty = "covariance_types" if sizes else "n_components"
        raise ParameterError(f"{empty} is empty: there is no model to choose")
    models = []
    for name, size in dict.fromkeys(product(names, sizes)):
        model = copy(prototype).set_params(n_components=size, covariance_type=name)
        model.check_parameters()
        models.append(model)
    return models


def check_shared(parameters: Mapping[str, Any]) -> None:
    """Raise ParameterError for parameters that several models cannot share."""
    wrong = [name for name, value in FIXED.items() if parameters.get(name, value) != value]
    init_params = parameters.get("init_params", "")
    if not (isinstance(init_params, str) or callable(init_params)):
        wrong.append("init_params")
    if parameters.get("sample_start", "auto") not in ("auto", True):
        wrong.append("sample_start")
    if wrong:
        raise ParameterError(
            "models that are compared find their own starts and converge on a sample first, with "
            f"accelerated steps: leave the estimator's {', '.join(wrong)} as by default"
        )


def _like_all(settings: Sequence[Settings]) -> Settings:
    """The largest model, with as many restarts as have the sums and parameters of all."""
    largest = max(settings, key=lambda each: each.n_components)
    n_components = sum(each.n_components for each in settings)
    return replace(largest, n_init=math.ceil(n_components / largest.n_components))


def _key(candidate: Candidate) -> tuple[int, str]:
    return candidate.settings.n_components, candidate.settings.family.name


def _score(candidate: Candidate, name: str) -> Any:
    """A score by its name in the table; NaN of a model that has none."""
    return attrgetter(SCORES[name])(candidate.scores) if candidate.scores else math.nan
