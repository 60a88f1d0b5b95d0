"""The mixtures as scikit-learn estimators, on NumPy arrays and on Dask collections."""

import math
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from distributed import Client
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED

from daskgmm.data.dataset import Dataset, InMemoryDataset
from daskgmm.data.execution.passes import available_resources, fixed_scheduler
from daskgmm.data.execution.resources import Resources
from daskgmm.data.pass_log import LoggedDataset, Pass, PassPurpose
from daskgmm.errors import ParameterError, warn_caller
from daskgmm.estimators.callbacks import Callbacks, CallbackSupportMixin, with_callbacks
from daskgmm.estimators.checkpoint import Checkpoint, checkpoints_of
from daskgmm.estimators.fitted_mixture import Conditional, FittedMixture, Rows
from daskgmm.estimators.parameters import CONSTRAINTS, settings_of
from daskgmm.estimators.prediction import raise_for_no_rows, sums_of
from daskgmm.estimators.sample_weight import Weights, apart
from daskgmm.estimators.serialization import Portable
from daskgmm.fit.driver import Fit, fit_mixture
from daskgmm.fit.initialization.registry import InitParams
from daskgmm.fit.observers import Observer, ObserverGroup, log_to_cluster, observer_of
from daskgmm.fit.plan import Plan, plan_fit
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import FitState
from daskgmm.kernels.moments import Array
from daskgmm.model.sufficient_statistics import SufficientStatistics


class Kept(FittedMixture):
    """The attributes that say how a fit went."""

    n_components: int
    covariance_type: str
    acceleration: str | None
    reg_covar: float | str
    warm_start: bool
    _asked_for: tuple[str, int, int]
    _state: FitState

    def _settings(self, dataset: Dataset) -> Settings:
        resumed = None
        if self.warm_start and hasattr(self, "converged_"):
            self._raise_unless_asked_for("warm_start", dataset.n_features)
            resumed = self._resumed()
        return settings_of(self, dataset, resumed)

    def _resumed(self) -> FitState:
        """Where the last fit ended, with what it had learnt, unless somebody has set parameters."""
        state, mixture = self._state, self.mixture_
        if mixture is not state.parameters:
            return FitState(mixture)
        pairs = state.memory.pairs if state.memory and self.acceleration else ()
        return FitState(mixture, (), state.lower_bound, ridge=state.ridge, pairs=pairs)

    def _raise_unless_asked_for(self, what: str, n_features: int) -> None:
        """Raise ParameterError where parameters and rows now ask for another model.

        As asked for, not as fitted: a fit that has dropped components goes on without.
        """
        asked = self._shape(n_features)
        if asked != self._asked_for:
            raise ParameterError(
                f"{what} continues a fit with (covariance_type, n_components, n_features) = "
                f"{self._asked_for}, but the parameters and the data now ask for {asked}: use a "
                "new estimator, or `fit` with warm_start=False"
            )

    def _shape(self, n_features: int) -> tuple[str, int, int]:
        return self.covariance_type, self.n_components, n_features

    def _keep(self, fit: Fit, settings: Settings) -> None:
        self._asked_for = self._shape(self.n_features_in_)
        state = fit.state
        self._hold(state.mixture, np.float32 if fit.survey.dtype == np.float32 else np.float64)
        self.total_weight_ = fit.survey.total_weight
        self.n_omitted_ = 0 if fit.survey.marginal else fit.survey.n_incomplete
        self.reg_covar_ = settings.regularization(fit.survey)
        self._state = state
        self.converged_ = state.outcome is not None and state.outcome.is_met
        self.outcome_ = "" if state.outcome is None else state.outcome.value
        self.remaining_gain_ = math.nan if state.memory is None else state.memory.gain
        self.n_iter_ = state.n_iter
        self.lower_bound_ = fit.lower_bound
        self.lower_bounds_ = list(state.lower_bounds)
        self.events_ = list(state.events)
        self.passes_ = list(fit.passes)
        self.n_passes_ = len(self.passes_)

    def _warn_unless_converged(self) -> None:
        """scikit-learn's warning, with what is still expected to be gained."""
        if self.converged_:
            return
        left = f" Still expected to be gained: {self.remaining_gain_:.1e} nats per row."
        warn_caller(
            "Best performing initialization did not converge. Try different init "
            "parameters, or increase max_iter, tol, or check for degenerate data."
            + ("" if math.isnan(self.remaining_gain_) else left),
            ConvergenceWarning,
        )


# The n-th of like steps, of size n^-0.6, forgets the first ones and still settles, as with any
# exponent above 1/2 and up to 1 (Cappe & Moulines 2009, sec. 4).
STEP_EXPONENT = 0.6

STEPPED = "went on: one step for each batch of partial_fit, which has no rule to stop by"


class Streaming(FittedMixture):
    """What a mixture learns from rows that it sees once.

    Attributes
    ----------
    total_weight_ : float
        Of all rows so far.
    reg_covar_ : float or (n_features,) array
        What is added to the diagonals of covariances, in squared units of the data.
    """

    total_weight_: float
    reg_covar_: float | Array
    lower_bound_: float
    lower_bounds_: list[float]
    n_iter_: int
    converged_: bool
    outcome_: str
    remaining_gain_: float
    passes_: list[Pass]
    n_passes_: int

    @abstractmethod
    def fit(self, X: Rows, y: None = None, sample_weight: Weights = None) -> Self:
        """Fit the mixture to the rows of X."""

    @abstractmethod
    def _raise_unless_asked_for(self, what: str, n_features: int) -> None:
        """Raise ParameterError where the parameters now ask for another model."""

    def partial_fit(
        self,
        X: Rows,
        y: None = None,
        sample_weight: Weights = None,
        *,
        forget: float | None = None,
    ) -> Self:
        """Go on with rows that are read once: stepwise EM (Cappe & Moulines 2009).

        The first call fits the mixture to its rows, as `fit` does. Each of those that follow is one
        reading and one step: the statistics of its rows, of weight n, replace the share
        (n / N)**0.6 of what is known, where N is the weight of all rows so far, these included.

        Parameters
        ----------
        X : as for fit
            A Dask collection is one batch, however many chunks it has.
        y : None
            Ignored.
        sample_weight : as for fit, optional
            Weights of the rows.
        forget : float, optional
            Another share, above 0 and at most 1: one that stays follows data that change.

        Returns
        -------
        self
            `lower_bound_` is that of the batch under the parameters that it was met with;
            `converged_` is False, as steps have no rule to stop by.

        Raises
        ------
        ValueError
            For rows that cannot be used, or without weight; a ParameterError where `n_components`
            or `covariance_type` has been set to another since.
        DegenerateCovarianceError
            A ValueError, where a component collapses. The model stays as it was.
        """
        if not hasattr(self, "weights_"):
            return self.fit(X, sample_weight=sample_weight)
        self._raise_unless_asked_for("partial_fit", self.n_features_in_)
        dataset = self._dataset(X, reset=False, sample_weight=sample_weight)
        rows = LoggedDataset(dataset, PassPurpose.BATCH)
        statistics = self._summed(rows)
        raise_for_no_rows(statistics.total_weight)
        total_weight = self.total_weight_ + statistics.total_weight
        if forget is None:
            forget = (statistics.total_weight / total_weight) ** STEP_EXPONENT
        mixture = self.mixture_.updated(statistics, forget=forget, reg_covar=self.reg_covar_)
        self._hold(mixture, self.means_.dtype.type)
        self.total_weight_ = total_weight
        self.lower_bound_ = statistics.log_likelihood / statistics.total_weight
        self.lower_bounds_ = [*self.lower_bounds_, self.lower_bound_]
        self.n_iter_ += 1
        self.converged_, self.outcome_, self.remaining_gain_ = False, STEPPED, math.nan
        rows.record_lower_bound(self.lower_bound_)
        self.passes_ = [*self.passes_, *rows.passes]
        self.n_passes_ = len(self.passes_)
        return self

    def statistics(self, X: Rows, sample_weight: Weights = None) -> SufficientStatistics:
        """Sufficient statistics of the rows under the fitted mixture; reads X once.

        Those of several sets of rows add up (`+`), whoever has read them, if all are under the
        same parameters, to the bit; `mixture_.updated` takes a step from them. Rows with a missing
        value are refused, left out or taken as `missing` says.
        """
        self._fitted()
        return self._summed(self._dataset(X, reset=False, sample_weight=sample_weight))

    def _summed(self, rows: Dataset) -> SufficientStatistics:
        mixture = self.mixture_
        return replace(sums_of(rows, mixture), fingerprint=mixture.fingerprint)


class GaussianMixture(CallbackSupportMixin, Kept, Portable, Streaming, Conditional):  # type: ignore[misc]
    """Gaussian mixture fitted by expectation-maximization, on data of any size.

    A drop-in for `sklearn.mixture.GaussianMixture`. NumPy arrays and pandas
    dataframes give results at once; Dask arrays, Dask dataframes and what
    `daskgmm.open_dataset` returns are read chunk by chunk, on the default Dask client
    or scheduler, and `predict`, `predict_proba` and `score_samples` return lazy collections;
    of an xarray DataArray they return DataArrays.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    covariance_type : one of {'full', 'tied', 'diag', 'spherical'}, default='full'
        A covariance matrix per component; one for all; a variance per component and
        feature; a variance per component.
    tol : float, default=1e-3
        The fit ends where less than this is still expected to be gained in mean log-likelihood
        (nats per row): by the quadratic model of the accelerated steps, and where the last
        iterations have gained less, too. With ``acceleration=None`` scikit-learn's rule: where an
        iteration changes it by less.
    reg_covar : float or the word 'scale', default=1e-6
        Added to the diagonal of the covariances, in squared units of the data. 'scale' adds
        1e-6 of each feature's variance over all rows (of the others' mean variance for a
        constant feature), so that units do not matter.
    max_iter : int, default=100
        Iterations at the most. Each reads the data once.
    n_init : int, default=1
        Starts. All of them share each reading; the best is kept.
    init_params : a name, a callable or an array, default='short-em'
        How a start is found, on a uniform sample: 50,000 rows or 100 per component and
        feature, in 256 MiB at the most; all rows where there are no more.

        - 'short-em': the best of thirty-two short runs of EM on part of the sample, from k-means,
          k-means++ and rows drawn at random.
        - 'kmeans', 'k-means++', 'random', 'random_from_data': scikit-learn's.
        - 'k-means||': centers drawn from all rows, not from the sample, by six passes.
        - callable: called with rows of the sample (n, n_features), `n_components` and a
          `RandomState` for each start. Returns labels (n,), -1 for a row of no component, or
          responsibilities (n, n_components).
        - array-like or dask array: such labels or responsibilities of all rows, read once beside
          them.
    init_distance : one of {'scaled', 'whitened', 'euclidean'}, default='scaled'
        What is near for a start. 'scaled' counts in standard deviations of each feature,
        'whitened' by the data's covariance (Mahalanobis): units of features do not matter.
        'euclidean' takes the rows as they stand; with it, scikit-learn's starts are its own,
        draw for draw. Half of the short runs are whitened in any case.
    acceleration : one of {'quasi-newton', None}, default='quasi-newton'
        Quasi-Newton steps preconditioned by the EM step, never accepted where they would lower
        the bound, less what regularization adds to it; or plain EM, as scikit-learn does it.
    sample_start : bool or the word 'auto', default='auto'
        Whether candidates converge on the sample before they meet all rows, where there are
        more rows than it holds: then a handful of passes is left. 'auto' is yes, but for
        ``acceleration=None``.
    refine : bool, default=True
        Whether components are moved on the sample, two merged and one inserted elsewhere, for as
        long as that leads to a better optimum: before the first pass, or, where the sample
        is all of the data, when the fit has converged. Accelerated fits only, and not where
        `means_init` or `init_params` says where components belong, nor where the sample is not
        all of the data and ``sample_start=False`` keeps candidates from it.
    weights_init : array-like of shape (n_components,), default=None
        Weights that a fit begins with, probabilities that sum to one; None finds some.
    means_init : array-like of shape (n_components, n_features), default=None
        Means that it begins with.
    precisions_init : array-like of the shape of covariances_, default=None
        Inverse covariances that it begins with.
    random_state : int, RandomState instance or None, default=None
        Seeds the sample, the starts, and `sample`.
    warm_start : bool, default=False
        Begin the next fit where the last one ended.
    verbose : int, default=0
        1 prints each start and every `verbose_interval`-th iteration, 2 changes of the
        lower bound and seconds, too.
    verbose_interval : int, default=10
        Iterations from one that is printed to the next.
    degenerate : one of {'raise', 'regularize', 'reinitialize', 'drop'}, default='raise'
        What is done where a component's covariance collapses (is not positive definite in
        floating point). 'raise' ends the fit, as scikit-learn does, unless other starts go
        on; the error's `mixture` is the last sound model. The others go on: 'regularize' adds to
        its diagonal, 'reinitialize' moves it to a row that the others explain badly, 'drop'
        leaves it out. A component that no row belongs to any more is moved or left out as well, or
        else kept as it is. See `events_`.
    missing : one of {'raise', 'omit', 'marginal'}, default='raise'
        What is done about rows with a missing value (NaN): refuse them, leave them out (their
        label is -1), or take them by the marginal of what is observed, which is exact where
        values miss at random. Then `predict`, `score_samples` and the others take them, too.

    Attributes
    ----------
    weights_ : array of shape (n_components,)
        As of all that follows, there are fewer components where some were dropped.
    means_ : array of shape (n_components, n_features)
        Of the components, in the units of the data.
    covariances_ : array
        Of shape (n_components, n_features, n_features) if 'full', (n_features, n_features)
        if 'tied', (n_components, n_features) if 'diag', (n_components,) if 'spherical'.
    precisions_ : array
        Inverse covariances.
    precisions_cholesky_ : array
        Upper-triangular U with precision = U Uᵀ; 1 / sqrt(variance) if 'diag' or 'spherical'.
    converged_ : bool
        Whether the rule that `tol` belongs to was met; False after a step of `partial_fit`.
    outcome_ : str
        Why the fit ended, as a sentence.
    remaining_gain_ : float
        What the accelerated steps' model still expects to be gained (nats per row); NaN for
        plain EM, and after a step of `partial_fit`.
    n_iter_ : int
        Iterations over all rows of the best start, and steps of `partial_fit`; those on the
        sample are not counted.
    lower_bound_ : float
        Mean log-likelihood (nats per row) of the fitted parameters. Where the fit has not
        converged by the accelerated rule, it takes one more reading. (scikit-learn's is that of
        the parameters before the last M-step, its issue #14419.)
    lower_bounds_ : list of float
        That of the parameters that each iteration began with.
    events_ : list of Event
        What became of components of the best start that were degenerate, or that moved to rows
        which few of the sample are of: `n_pass` (0 is the start), `component` (its number before
        that pass; None for the covariance of 'tied'), `action` ('regularized', 'reinitialized',
        'dropped', 'kept' for one without rows, 'moved'), `sentence`.
    n_passes_ : int
        Readings of the data that the fit took, the survey's included, and `partial_fit` since.
    passes_ : list of Pass
        Each of them: `purpose` ('prepare', 'survey', 'start', 'iteration', 'refinement' for an
        iteration after components have moved, 'bound', 'batch' for a step of `partial_fit`),
        `seconds`, `n_bytes` and the best `lower_bound` seen.
    total_weight_ : float
        Of all rows so far; their number, where they have no weights.
    n_omitted_ : int
        Rows that the last fit has left out for a missing value.
    reg_covar_ : float or array of shape (n_features,)
        What `reg_covar` has added to the diagonals of covariances, in squared units of the data.
    recipe_ : dict
        What `open_dataset` was told of columns, filter and transforms, where it was told some:
        ``open_dataset(url, **model.recipe_)`` are other rows as this fit had them.
    n_features_in_ : int
        Features that the fit has seen.
    feature_names_in_ : array of str
        Where the data has names for its columns, or transforms give it some: "log1p(delay)".

    Examples
    --------
    >>> import dask.array as da
    >>> from daskgmm import GaussianMixture
    >>> rows = da.concatenate(
    ...     [
    ...         da.random.default_rng(0).normal(0, 1, size=(10_000, 2), chunks=(5_000, 2)),
    ...         da.random.default_rng(1).normal(9, 1, size=(30_000, 2), chunks=(5_000, 2)),
    ...     ]
    ... )
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(rows)
    >>> sorted(model.weights_.round(2).tolist())
    [0.25, 0.75]
    >>> model.predict(rows)
    dask.array<_on_block, shape=(40000,), dtype=int64, chunksize=(5000,), chunktype=numpy.ndarray>
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS
    # Who watches a fit, and where it runs, is no metadata of its rows.
    __metadata_request__fit: ClassVar[dict[str, str]] = {
        "observer": UNUSED,
        "client": UNUSED,
        "checkpoint": UNUSED,
    }
    __metadata_request__partial_fit: ClassVar[dict[str, str]] = {"forget": UNUSED}

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float | str = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: InitParams = "short-em",
        init_distance: str = "scaled",
        acceleration: str | None = "quasi-newton",
        sample_start: bool | str = "auto",
        refine: bool = True,
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        degenerate: str = "raise",
        missing: str = "raise",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.init_distance = init_distance
        self.acceleration = acceleration
        self.sample_start = sample_start
        self.refine = refine
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.degenerate = degenerate
        self.missing = missing

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(
        self,
        X: Rows,
        y: None = None,
        sample_weight: Weights = None,
        *,
        observer: Observer | None = None,
        client: Client | None = None,
        checkpoint: str | Path | Checkpoint | None = None,
    ) -> Self:
        """Fit the mixture to the rows of X.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset, (n_samples, n_features)
            The rows. What is not in memory is read chunk by chunk.
        y : None
            Ignored; scikit-learn's pipelines hand it over.
        sample_weight : array-like, dask array, dask series or str, (n_samples,), optional
            Weights of the rows, at least zero: a row of weight 2 is two rows. For a dataframe, or
            a file with names, the name of the column that holds them, which then is no feature.
        observer : Observer, optional
            Told of the survey and of each pass, in this process; its `on_pass` ends the fit by
            returning True.
        client : distributed.Client, optional
            Of the cluster that visits Dask collections; default where Dask would compute.
        checkpoint : str, Path or Checkpoint, optional
            A folder that a fit is kept in while it runs: if this process dies, the same call goes
            on from there, to the same bits.

        Returns
        -------
        self
            The estimator, fitted.

        Raises
        ------
        ValueError
            For parameters or rows that cannot be used, in scikit-learn's words; before
            anything is read, where a chunk does not fit the memory of a worker.
        DegenerateCovarianceError
            A ValueError, where all starts collapse: under ``degenerate='raise'``, or beyond
            the remedy chosen. Its `mixture` is the last sound model.
        CheckpointError
            A ValueError, where the folder holds a checkpoint of another fit.
        """
        self.check_parameters()
        observer = observer or observer_of(self.verbose, self.verbose_interval)
        called = Callbacks(self, self.max_iter, X, y, sample_weight)
        with fixed_scheduler(client):
            dataset = self._dataset(X, reset=True, sample_weight=sample_weight)
            settings = self._settings(dataset)
            if not dataset.layout.is_resident:
                plan_fit(dataset, settings, available_resources()).raise_for_memory()
            before = settings.warm_start.mixture if settings.warm_start else None
            checkpoints = checkpoints_of(checkpoint, self, dataset, before)
            random = check_random_state(self.random_state)
            watching = ObserverGroup(log_to_cluster(observer, dataset), called)
            fit = fit_mixture(dataset, settings, random, watching, checkpoints)
        self._keep(fit, settings)
        called.done()
        checkpoints.close()
        if self.max_iter > 0:
            self._warn_unless_converged()
        return self

    def plan(
        self, X: Rows, sample_weight: Weights = None, *, where: Resources | None = None
    ) -> Plan:
        """What `fit(X)` would read and hold; reads nothing and changes nothing.

        Parameters
        ----------
        X, sample_weight : as for fit
            What the fit would be given.
        where : Machines, default those that would run it now
            The client's or scheduler's; for arrays in memory a thread of this process.
        """
        self.check_parameters()
        dataset = clone(self)._dataset(X, reset=True, sample_weight=sample_weight)
        if where is None:
            in_memory = isinstance(dataset, InMemoryDataset)
            where = Resources.of_threads(1) if in_memory else available_resources()
        return plan_fit(dataset, self._settings(dataset), where)

    def check_parameters(self) -> None:
        """Raise scikit-learn's InvalidParameterError, a ValueError, for a value that can't be."""
        self._validate_params()

    def fit_predict(self, X: Rows, y: None = None, sample_weight: Weights = None) -> Any:
        """Fit, then label the same rows: `fit(X).predict(X)`."""
        rows, weights = apart(X, sample_weight)
        return self.fit(rows, sample_weight=weights).predict(rows)
