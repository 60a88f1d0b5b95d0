"""Model selection: many mixtures fitted together, and the best one by a criterion."""

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
from daskgmm.data.pass_log import Pass, PassPurpose
from daskgmm.errors import ParameterError, warn_caller
from daskgmm.estimators.checkpoint import Checkpoint, open_checkpoints
from daskgmm.estimators.fitted_mixture import Rows
from daskgmm.estimators.gaussian_mixture import GaussianMixture
from daskgmm.estimators.parameters import fit_settings
from daskgmm.estimators.sample_weight import SampleWeight
from daskgmm.fit.comparison import Comparison, compare
from daskgmm.fit.criteria import Candidate, criterion_of
from daskgmm.fit.driver import Fit
from daskgmm.fit.event_log import log_to_cluster
from daskgmm.fit.observers import Observer, verbose_observer
from daskgmm.fit.plan import plan_fit
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import Outcome

Key = tuple[int, str]
"""Key of a model: number of components and covariance type."""

# Initial parameters of one model do not fit other models.
INITIAL_PARAMETERS = ("weights_init", "means_init", "precisions_init")

# Columns of the table, with the attribute of a candidate's scores that a column shows.
SCORE_COLUMNS = {
    "n_parameters": "n_parameters",
    "log_likelihood": "mean_log_likelihood",
    "aic": "aic",
    "bic": "bic",
    "icl": "icl",
    "held_out": "held_out",
    "effective_counts": "effective_counts",
}
# Columns of the printed table, with their number of decimals.
DECIMALS = {"log_likelihood": 5, "aic": 0, "bic": 0, "icl": 0, "held_out": 5}


@dataclass(frozen=True)
class ComponentSelection:
    """Result of `select_components`: the candidates and the best model.

    Attributes
    ----------
    criterion : str
        Name of the criterion, such as 'bic'.
    best : GaussianMixture
        The best model by the criterion, fitted to all rows.
    models : dict of GaussianMixture
        The models fitted to all rows, by (n_components, covariance_type).
    candidates : tuple of Candidate
        All candidates that were compared. `to_frame` shows them.
    passes_ : list of Pass
        One entry per pass over the data. The fields are `purpose` ('prepare', 'survey',
        'comparison', 'iteration'), `seconds`, `n_bytes` and, for the last two purposes,
        `lower_bound` of the best candidate, in nats per row.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgmm import GaussianMixture, select_components
    >>> random = np.random.default_rng(0)
    >>> rows = np.vstack([random.normal(0, 1, (500, 2)), random.normal(9, 1, (500, 2))])
    >>> selection = select_components(rows, (1, 2), estimator=GaussianMixture(random_state=0))
    >>> selection.best.n_components
    2
    >>> selection.to_frame()[["n_components", "chosen"]]
       n_components  chosen
    0             1   False
    1             2    True
    """

    criterion: str
    best: GaussianMixture
    models: dict[Key, GaussianMixture]
    candidates: tuple[Candidate, ...]
    passes_: list[Pass]

    @property
    def n_passes_(self) -> int:
        """Number of passes over the data, including the survey."""
        return len(self.passes_)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per candidate.

        Returns
        -------
        pandas.DataFrame
            The columns are

            - covariance_type, n_components
            - n_parameters: number of free parameters
            - log_likelihood: mean over the rows, in nats
            - aic, bic, icl: lower is better
            - held_out: mean log-density, in nats, of the rows outside the sample under the model
              fitted to the sample
            - effective_counts: sum of the responsibilities of each component
            - passes: number of passes that served the candidate
            - outcome: why the fit ended, as a sentence
            - carried: whether the candidate was fitted to all rows
            - estimated: whether `log_likelihood` and the criteria are estimates of a fit to all
              rows, from the fit to the sample
            - chosen: whether the candidate is `best`
        """
        before_candidates = (PassPurpose.PREPARE, PassPurpose.SURVEY)
        n_shared = sum(entry.purpose in before_candidates for entry in self.passes_)
        return pd.DataFrame(
            {
                "covariance_type": candidate.settings.family.name,
                "n_components": candidate.settings.n_components,
                **{name: _score(candidate, name) for name in SCORE_COLUMNS},
                "passes": n_shared + candidate.n_passes,
                "outcome": candidate.outcome.value,
                "carried": candidate.is_finalist,
                "estimated": candidate.is_estimate and candidate.scores is not None,
                "chosen": self.models.get(_key(candidate)) is self.best,
            }
            for candidate in self.candidates
        )

    def __str__(self) -> str:
        frame = self.to_frame()
        table = frame[["covariance_type", "n_components"]].copy()
        marks = frame["estimated"].map({True: "~", False: ""})
        for name, decimals in DECIMALS.items():
            table[name] = frame[name].map(f"{{:,.{decimals}f}}".format)
            if name != "held_out":
                table[name] = marks + table[name]
        table["smallest"] = [f"{np.min(counts):,.0f}" for counts in frame["effective_counts"]]
        table["outcome"] = frame["outcome"].str.split(":").str[0]
        table[""] = frame["chosen"].map({True: "<- chosen", False: ""})
        best = self.best
        return (
            f"{best.covariance_type}, n_components={best.n_components}: best of {len(frame)} "
            f"models by {self.criterion}, in {self.n_passes_} passes over the data\n"
            f"{table.to_string(index=False)}\n"
            "~: estimated from the fit to the sample; smallest: effective number of rows of the "
            "smallest component"
        )

    def plot(self, ax: Any = None) -> Any:
        """Plot the criterion against the number of components.

        There is one line per covariance type. Estimates are hollow, and a ring marks the best
        model.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw in. By default, the axes of a new figure.

        Returns
        -------
        daskgmm.plots.SelectionDisplay
            The drawn display, with `ax_` and `figure_`.
        """
        # Import matplotlib here: it takes 30 MB of memory, and workers do not need it.
        from daskgmm.plots.selection import Point, SelectionDisplay  # noqa: PLC0415

        criterion = criterion_of(self.criterion)
        points = {
            _key(candidate): Point(
                candidate.settings.family.name,
                candidate.settings.n_components,
                criterion.of(candidate.scores),
                candidate.is_estimate and not criterion.is_held_out,
            )
            for candidate in self.candidates
            if candidate.scores
        }
        best = next(key for key, model in self.models.items() if model is self.best)
        return SelectionDisplay(list(points.values()), points[best], criterion.label).plot(ax)


def select_components(
    X: Rows,
    n_components: int | Iterable[int] = range(1, 21),
    covariance_types: str | Iterable[str] = ("full",),
    criterion: str = "bic",
    *,
    sample_weight: SampleWeight = None,
    estimator: GaussianMixture | None = None,
    n_finalists: int = 3,
    observer: Observer | None = None,
    client: Client | None = None,
    checkpoint: str | Path | Checkpoint | None = None,
) -> ComponentSelection:
    """Choose the number of components and the covariance type of a mixture by a criterion.

    All candidates are first fitted to a sample in memory, of at most four fifths of the rows.
    One pass over all rows then scores all of them. The best candidates are fitted to all rows
    and share each pass. They run until the criterion can hardly change. So the number of passes is
    larger than for one fit, and far smaller than for separate fits.

    Parameters
    ----------
    X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
        The rows.
    n_components : int or iterable of int, default=range(1, 21)
        Numbers of components to compare.
    covariance_types : str or iterable of str, default=("full",)
        Covariance types to compare. Every type is combined with every number of components.
    criterion : {'bic', 'aic', 'icl', 'held-out'}, default='bic'
        'bic' is the Bayesian, 'aic' is Akaike's information criterion. 'icl' adds twice the
        entropy of the responsibilities to 'bic', and so prefers separated components.
        'held-out' is the mean log-density of the rows outside the sample, under the model fitted
        to the sample.
    sample_weight : array-like, dask array, dask series or str, optional
        Weights of the rows, as for `GaussianMixture.fit`.
    estimator : GaussianMixture, default=None
        All other parameters, such as `n_init`, `reg_covar` and `random_state`. It does not
        change.
    n_finalists : int, default=3
        Number of candidates that are fitted to all rows. If the sample can hold four fifths of the
        rows, all candidates are fitted to all rows. With ``max_iter=0``, all candidates are fitted
        to the sample only.
    observer : Observer, optional
        Called in this process after the survey and after each pass.
    client : distributed.Client, optional
        Client of the cluster that reads Dask collections. By default, Dask chooses it.
    checkpoint : str, Path or Checkpoint, optional
        A folder for checkpoints. If this process is interrupted, the same call resumes the
        selection and gives the same result, bit for bit.

    Returns
    -------
    ComponentSelection
        The candidates and the best model.

    Raises
    ------
    ValueError
        For parameters or rows that cannot be used.
    DegenerateCovarianceError
        A ValueError, if all candidates collapse. If only some collapse, they are part of the
        result.
    CheckpointError
        A ValueError, if the folder holds a checkpoint of another fit or selection.

    References
    ----------
    G. Schwarz (1978). Estimating the dimension of a model. Annals of Statistics 6, 461-464.

    H. Akaike (1974). A new look at the statistical model identification. IEEE Transactions on
    Automatic Control 19, 716-723.

    C. Biernacki, G. Celeux and G. Govaert (2000). Assessing a mixture model for clustering with
    the integrated completed likelihood. IEEE Transactions on Pattern Analysis and Machine
    Intelligence 22, 719-725.

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
    >>> selection = select_components(
    ...     rows, range(1, 4), ("full", "spherical"), estimator=GaussianMixture(random_state=0)
    ... )
    >>> selection.best.n_components, selection.best.covariance_type
    (2, 'spherical')
    """
    measure = criterion_of(criterion)
    prototype = clone(GaussianMixture() if estimator is None else estimator)
    prototype.check_parameters()
    check_shared(prototype.get_params(deep=False))
    if n_finalists < 1:
        raise ParameterError(f"n_finalists must be at least 1, not {n_finalists}")
    observer = observer or verbose_observer(prototype.verbose, prototype.verbose_interval)
    with fixed_scheduler(client):
        dataset = prototype._as_dataset(X, reset=True, sample_weight=sample_weight)
        models = _estimators(prototype, n_components, covariance_types)
        settings = [fit_settings(model, dataset, None) for model in models]
        if not dataset.layout.is_resident:
            plan_fit(dataset, _sum_of(settings), available_resources()).raise_for_memory()
        sizes = (f"{model.covariance_type} {model.n_components}" for model in models)
        selection = {
            "models": ", ".join(sizes),
            "criterion": criterion,
            "n_finalists": n_finalists,
        }
        checkpoints = open_checkpoints(checkpoint, prototype, dataset, selection=selection)
        comparison = compare(
            dataset,
            settings,
            measure,
            n_finalists=n_finalists,
            random=check_random_state(prototype.random_state),
            observer=log_to_cluster(observer, dataset),
            checkpoints=checkpoints,
        )
    finalists = _finalists(models, comparison)
    checkpoints.close()
    best = finalists[_key(comparison.best)]
    if not best.converged_ and best.max_iter > 0:
        warn_caller(
            f"The chosen model did not converge: it {best.outcome_}. Increase max_iter or tol of "
            f"the estimator. Expected remaining gain: {best.remaining_gain_:.1e} nats per row.",
            ConvergenceWarning,
        )
    return ComponentSelection(
        criterion, best, finalists, comparison.candidates, list(comparison.passes)
    )


def check_shared(parameters: Mapping[str, Any]) -> None:
    """Raise ParameterError for parameters of an estimator that several models cannot share.

    Parameters that are not given have their default.
    """
    wrong = [name for name in INITIAL_PARAMETERS if parameters.get(name) is not None]
    if parameters.get("warm_start"):
        wrong.append("warm_start")
    if not parameters.get("acceleration", True):
        wrong.append("acceleration")
    init_params = parameters.get("init_params", "")
    if not (isinstance(init_params, str) or callable(init_params)):
        wrong.append("init_params")
    if not parameters.get("sample_start", True):
        wrong.append("sample_start")
    if wrong:
        raise ParameterError(
            "a selection initializes every model and first fits it to a sample by accelerated "
            f"EM: leave the estimator's {', '.join(wrong)} at the default"
        )


def _estimators(
    prototype: GaussianMixture,
    n_components: int | Iterable[int],
    covariance_types: str | Iterable[str],
) -> list[GaussianMixture]:
    """One estimator per model, without duplicates, with valid parameters."""
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


def _finalists(
    models: Sequence[GaussianMixture], comparison: Comparison
) -> dict[Key, GaussianMixture]:
    """The models that were fitted to all rows, with their fitted attributes."""
    finalists = {}
    for model, candidate in zip(models, comparison.candidates, strict=True):
        state = candidate.state
        if candidate.is_finalist and state and candidate.outcome is not Outcome.DEGENERATE:
            fit = Fit(state, state.lower_bound, comparison.survey, comparison.passes)
            model._set_fit(fit, candidate.settings)
            finalists[_key(candidate)] = model
    return finalists


def _sum_of(settings: Sequence[Settings]) -> Settings:
    """Return the settings of one fit with at least as many components as all models together."""
    largest = max(settings, key=attrgetter("n_components"))
    n_components = sum(entry.n_components for entry in settings)
    return replace(largest, n_init=math.ceil(n_components / largest.n_components))


def _key(candidate: Candidate) -> Key:
    return candidate.settings.n_components, candidate.settings.family.name


def _score(candidate: Candidate, name: str) -> Any:
    """The value in a column of the table; NaN for a candidate without scores."""
    return attrgetter(SCORE_COLUMNS[name])(candidate.scores) if candidate.scores else math.nan
