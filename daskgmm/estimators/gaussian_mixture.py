"""The Gaussian mixture estimator: maximum likelihood by EM, with scikit-learn's interface."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import sklearn.mixture
from distributed import Client
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED

from daskgmm.array_types import Array
from daskgmm.data.dataset import Dataset, InMemoryDataset
from daskgmm.data.execution.passes import available_resources, fixed_scheduler
from daskgmm.data.execution.resources import Resources
from daskgmm.data.pass_log import LoggedDataset, Pass, PassPurpose
from daskgmm.errors import ParameterError, warn_caller
from daskgmm.estimators import incremental, serialization
from daskgmm.estimators.callbacks import CallbackObserver, CallbackSupportMixin, with_callbacks
from daskgmm.estimators.checkpoint import Checkpoint, open_checkpoints
from daskgmm.estimators.fitted_mixture import FittedMixture, Rows
from daskgmm.estimators.parameters import CONSTRAINTS, fit_settings
from daskgmm.estimators.prediction import sufficient_statistics
from daskgmm.estimators.sample_weight import SampleWeight, split_weights
from daskgmm.estimators.serialization import ModelState, Shape
from daskgmm.fit.driver import Fit, fit_mixture
from daskgmm.fit.event_log import log_to_cluster
from daskgmm.fit.initialization.registry import InitParams
from daskgmm.fit.observers import Observer, ObserverGroup, verbose_observer
from daskgmm.fit.plan import Plan, plan_fit
from daskgmm.fit.settings import Settings
from daskgmm.fit.state import Event, FitState
from daskgmm.model import model_file
from daskgmm.model.mixture import Mixture


class GaussianMixture(CallbackSupportMixin, FittedMixture):  # type: ignore[misc]
    """Gaussian mixture fitted by expectation-maximization (EM) to data of any size.

    A replacement for `sklearn.mixture.GaussianMixture`. NumPy arrays and pandas dataframes give
    results at once. Dask arrays, Dask dataframes and the datasets of `daskgmm.open_dataset` are
    read chunk by chunk on the default Dask client or scheduler. For them `predict`,
    `predict_proba` and `score_samples` return lazy collections. For an xarray DataArray they
    return DataArrays.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        'full' has one covariance matrix per component, 'tied' has one for all components. 'diag'
        has one variance per component and feature, 'spherical' has one per component.
    tol : float, default=1e-3
        Convergence threshold in nats per row. An accelerated fit has converged when the expected
        remaining gain in the lower bound is below `tol`. This gain is estimated from the quadratic
        model of the accelerated steps and from the gains of the last iterations. With
        ``acceleration=None`` scikit-learn's rule applies: an iteration changes the lower bound by
        less than `tol`.
    reg_covar : float or 'scale', default=1e-6
        Added to the diagonal of the covariances, in squared units of the data. 'scale' adds
        1e-6 of each feature's variance over all rows, so that units do not matter. A constant
        feature takes the mean variance of the other features.
    max_iter : int, default=100
        Maximum number of iterations. Each iteration is one pass over the data.
    n_init : int, default=1
        Number of initializations. All of them share each pass; the best result is used.
    init_params : str, callable or array-like, default='short-em'
        Initialization method. It runs on a uniform sample of 50,000 rows, or of 100 rows per
        component and feature if this number is larger. The sample takes at most 256 MiB. If the
        data has fewer rows, all of them are used.

        - 'short-em': the best of 32 short runs of EM on a part of the sample. They start from
          k-means, k-means++ and random rows.
        - 'kmeans', 'k-means++', 'random', 'random_from_data': scikit-learn's methods.
        - 'k-means||': centers from all rows instead of the sample, in six passes.
        - callable: called as ``f(rows, n_components, random_state)`` with rows of the sample of
          shape (n, n_features) and a `RandomState`, once per initialization. It returns labels
          of shape (n,), with -1 for a row of no component, or responsibilities of shape
          (n, n_components).
        - array-like or dask array: labels or responsibilities of all rows. They are read in one
          pass, together with the rows.
    init_distance : {'scaled', 'whitened', 'euclidean'}, default='scaled'
        Distance used by the initialization. 'scaled' divides each feature by its standard
        deviation. 'whitened' uses the covariance of the data (Mahalanobis distance). With both,
        units of features do not matter. 'euclidean' does not scale the rows; scikit-learn's
        methods then draw the same random numbers as in scikit-learn. Half of the short runs of EM
        always use 'whitened'.
    acceleration : {'quasi-newton', None}, default='quasi-newton'
        'quasi-newton' takes quasi-Newton steps preconditioned by the EM step. It accepts a step
        only if the lower bound, corrected for the effect of `reg_covar`, does not fall. None is
        plain EM, as in scikit-learn.
    sample_start : bool or 'auto', default='auto'
        Whether all candidates converge on the sample before the first pass over all rows, if the
        data is larger than the sample. The fit then needs only a few passes. 'auto' means True for
        accelerated fits and False for ``acceleration=None``.
    refine : bool, default=True
        Whether to merge two components and insert a new one elsewhere. These moves are repeated
        while they lead to a better optimum. This runs on the sample before the first pass, or
        after convergence if the sample is all of the data. It applies to accelerated fits only. It
        does not apply if `means_init` or `init_params` set where components are, or if
        ``sample_start=False`` and the sample is not all of the data.
    weights_init : array-like of shape (n_components,), default=None
        Initial weights that sum to one. With None, they are estimated.
    means_init : array-like of shape (n_components, n_features), default=None
        Initial means in units of the data. With None, they are estimated.
    precisions_init : array-like, default=None
        Initial inverse covariances, in the shape of `covariances_`. With None, they are estimated.
    random_state : int, RandomState instance or None, default=None
        Seed of the sample, the initializations and `sample`.
    warm_start : bool, default=False
        Whether the next fit starts from the result of the last one.
    verbose : int, default=0
        1 prints each initialization and every `verbose_interval`-th iteration. 2 also prints
        changes of the lower bound and times in seconds.
    verbose_interval : int, default=10
        Number of iterations between two printed lines.
    degenerate : {'raise', 'regularize', 'reinitialize', 'drop'}, default='raise'
        Policy for a component whose covariance collapses, that is, stops being positive definite
        in floating point. 'raise' ends the fit with an error, as in scikit-learn, unless other
        initializations continue; the error's `mixture` is the last valid model. 'regularize'
        adds to the diagonal of the covariance. 'reinitialize' moves the component to a row with
        low density. 'drop' removes the component. 'reinitialize' and 'drop' also apply to a
        component without rows. With the other policies, such a component keeps its mean and
        covariance. See `events_`.
    missing : {'raise', 'omit', 'marginal'}, default='raise'
        Policy for rows with missing values (NaN), in a fit and in all other methods. 'raise'
        refuses them. 'omit' leaves them out; their label is -1. 'marginal' uses the marginal
        density of the observed values, which is correct if values are missing at random.

    Attributes
    ----------
    weights_ : array of shape (n_components,)
        Weights of the components, which sum to one. If components were dropped, there are fewer
        than the parameter `n_components`. Fitted arrays are float32 for rows of float32, else
        float64.
    means_ : array of shape (n_components, n_features)
        Means of the components, in units of the data.
    covariances_ : array
        Covariances, in squared units of the data. Shape (n_components, n_features, n_features)
        for 'full', (n_features, n_features) for 'tied', (n_components, n_features) for 'diag',
        (n_components,) for 'spherical'.
    precisions_ : array
        Inverse covariances, in the shape of `covariances_`.
    precisions_cholesky_ : array
        Upper triangular U with precision = U Uᵀ. 1 / sqrt(variance) for 'diag' and 'spherical'.
    converged_ : bool
        Whether the stopping rule of `tol` was met. False after a step of `partial_fit`.
    outcome_ : str
        Why the fit ended, as a sentence.
    remaining_gain_ : float
        Gain in the lower bound that further accelerated steps are expected to bring, in nats per
        row. NaN for plain EM and after a step of `partial_fit`.
    n_iter_ : int
        Number of iterations over all rows for the best initialization, plus the steps of
        `partial_fit`. Iterations on the sample do not count.
    lower_bound_ : float
        Mean log-likelihood of the fitted parameters, in nats per row. If the fit did not converge
        by the accelerated rule, this value takes one more pass. (scikit-learn gives the value
        before the last M-step, see its issue 14419.)
    lower_bounds_ : list of float
        Lower bound before each iteration, in nats per row.
    events_ : list of Event
        Events of the best initialization: components that were degenerate, and components that
        moved to rows that are rare in the sample. The fields are `n_pass` (0 is the
        initialization), `component` (its number before that pass; None for the covariance of
        'tied'), `action` ('regularized', 'reinitialized', 'dropped', 'kept' for a component
        without rows, 'moved') and `sentence`.
    n_passes_ : int
        Number of passes over the data, including the survey and the steps of `partial_fit`.
    passes_ : list of Pass
        One entry per pass. The fields are `purpose` ('prepare', 'survey', 'start', 'iteration',
        'refinement' for an iteration after components were moved, 'bound', 'batch' for a step of
        `partial_fit`), `seconds`, `n_bytes` and `lower_bound` (of the best candidate).
    total_weight_ : float
        Sum of the weights of all rows so far. Without weights, the number of rows.
    n_omitted_ : int
        Number of rows that the last fit left out for a missing value.
    reg_covar_ : float or array of shape (n_features,)
        What `reg_covar` added to the diagonals of the covariances, in squared units of the data.
    recipe_ : dict
        Columns, filter and transforms of the data, if `open_dataset` received any.
        ``open_dataset(url, **model.recipe_)`` opens other data in the same way.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of str of shape (n_features_in_,)
        Names of the features, such as "log1p(delay)". Defined if the columns of the data have
        names, or transforms define them.

    See Also
    --------
    select_components : Choose the number of components and the covariance type.

    References
    ----------
    C. M. Bishop (2006). Pattern Recognition and Machine Learning, chapter 9. Springer.

    M. Jamshidian and R. I. Jennrich (1997). Acceleration of the EM algorithm by using
    quasi-Newton methods. Journal of the Royal Statistical Society B 59, 569-587.

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
    >>> labels = model.predict(rows)
    >>> labels.chunks[0][:2], labels.dtype
    ((5000, 5000), dtype('int64'))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS
    # These arguments describe how the fit runs. They are not metadata of the rows.
    __metadata_request__fit: ClassVar[dict[str, str]] = {
        "observer": UNUSED,
        "client": UNUSED,
        "checkpoint": UNUSED,
    }
    __metadata_request__partial_fit: ClassVar[dict[str, str]] = {"forget": UNUSED}

    converged_: bool
    outcome_: str
    remaining_gain_: float
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]
    events_: list[Event]
    n_passes_: int
    passes_: list[Pass]
    total_weight_: float
    n_omitted_: int
    reg_covar_: float | Array
    _fit_state: FitState
    _requested_shape: Shape
    """The shape that the last fit requested. Dropped components do not change it."""

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
        sample_weight: SampleWeight = None,
        *,
        observer: Observer | None = None,
        client: Client | None = None,
        checkpoint: str | Path | Checkpoint | None = None,
    ) -> Self:
        """Fit the mixture to the rows of X.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows. Data that is not in memory is read chunk by chunk.
        y : None
            Ignored.
        sample_weight : array-like, dask array, dask series or str, optional
            Weights of the rows of shape (n_samples,), at least zero. A row of weight 2 counts as
            two rows. A str is the name of the column of a dataframe or file that holds the
            weights; this column is not a feature.
        observer : Observer, optional
            Called in this process after the survey and after each pass. The fit ends early if
            its `on_pass` returns True.
        client : distributed.Client, optional
            Client of the cluster that reads Dask collections. By default, Dask chooses it.
        checkpoint : str, Path or Checkpoint, optional
            A folder for checkpoints. If this process is interrupted, the same call resumes the
            fit and gives the same result, bit for bit.

        Returns
        -------
        self : GaussianMixture
            The fitted estimator.

        Raises
        ------
        ValueError
            For parameters or rows that cannot be used, with scikit-learn's messages. It is also
            raised, before the first pass, if a chunk does not fit into the memory of a worker.
        DegenerateCovarianceError
            A ValueError, if all initializations collapse, with ``degenerate='raise'`` or because
            another policy cannot repair them. Its `mixture` is the last valid model.
        CheckpointError
            A ValueError, if the folder holds a checkpoint of another fit.
        """
        self.check_parameters()
        observer = observer or verbose_observer(self.verbose, self.verbose_interval)
        callbacks = CallbackObserver(self, self.max_iter, X, y, sample_weight)
        with fixed_scheduler(client):
            dataset = self._as_dataset(X, reset=True, sample_weight=sample_weight)
            settings = self._settings(dataset)
            if not dataset.layout.is_resident:
                plan_fit(dataset, settings, available_resources()).raise_for_memory()
            initial_mixture = settings.warm_start.mixture if settings.warm_start else None
            checkpoints = open_checkpoints(checkpoint, self, dataset, initial_mixture)
            random = check_random_state(self.random_state)
            observers = ObserverGroup(log_to_cluster(observer, dataset), callbacks)
            fit = fit_mixture(dataset, settings, random, observers, checkpoints)
        self._set_fit(fit, settings)
        callbacks.end()
        checkpoints.close()
        if self.max_iter > 0:
            self._warn_unless_converged()
        return self

    def partial_fit(
        self,
        X: Rows,
        y: None = None,
        sample_weight: SampleWeight = None,
        *,
        forget: float | None = None,
    ) -> Self:
        """Learn incrementally from a batch of rows by one step of stepwise EM.

        The first call fits the mixture to its rows, like `fit`. Each further call makes one pass
        over its rows and one step: the statistics of the batch replace a share of the old ones.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The batch. A Dask collection is one batch, whatever its chunks.
        y : None
            Ignored.
        sample_weight : array-like, dask array, dask series or str, optional
            Weights of the rows, as for `fit`.
        forget : float, optional
            Share of the old statistics that the batch replaces, above 0 and at most 1. With a
            constant share, the model follows data that changes over time. The default is
            ``(n / N)**0.6`` with the weight n of the batch and the weight N of all rows so far,
            including the batch.

        Returns
        -------
        self : GaussianMixture
            `lower_bound_` is the lower bound of the batch under the parameters before the step.
            `converged_` is False, because steps have no stopping rule.

        Raises
        ------
        ValueError
            For rows that cannot be used or have no weight. ParameterError if `n_components` or
            `covariance_type` was changed.
        DegenerateCovarianceError
            A ValueError, if a component collapses. The model does not change.

        References
        ----------
        O. Cappé and E. Moulines (2009). On-line expectation-maximization algorithm for latent
        data models. Journal of the Royal Statistical Society B 71, 593-613.
        """
        if not hasattr(self, "weights_"):
            return self.fit(X, sample_weight=sample_weight)
        self._check_shape("partial_fit", self.n_features_in_)
        dataset = self._as_dataset(X, reset=False, sample_weight=sample_weight)
        batch = LoggedDataset(dataset, PassPurpose.BATCH)
        mixture = self.mixture_
        step = incremental.step(
            mixture,
            sufficient_statistics(batch, mixture),
            previous_weight=self.total_weight_,
            forget=forget,
            reg_covar=self.reg_covar_,
        )
        batch.record_lower_bound(step.lower_bound)
        self._set_mixture(step.mixture, self.means_.dtype.type)
        self.total_weight_ = step.total_weight
        self.lower_bound_ = step.lower_bound
        self.lower_bounds_ = [*self.lower_bounds_, step.lower_bound]
        self.n_iter_ += 1
        self.converged_ = False
        self.outcome_ = incremental.OUTCOME
        self.remaining_gain_ = math.nan
        self.passes_ = [*self.passes_, *batch.passes]
        self.n_passes_ = len(self.passes_)
        return self

    def fit_predict(self, X: Rows, y: None = None, sample_weight: SampleWeight = None) -> Any:
        """Fit the mixture and label the same rows.

        Parameters
        ----------
        X, y, sample_weight : as for fit

        Returns
        -------
        labels : int64 array of shape (n_samples,)
            The result of ``fit(X).predict(X)``.
        """
        rows, weights = split_weights(X, sample_weight)
        return self.fit(rows, sample_weight=weights).predict(rows)

    def plan(
        self, X: Rows, sample_weight: SampleWeight = None, *, where: Resources | None = None
    ) -> Plan:
        """Estimate the passes and the memory of ``fit(X)``, without reading the data.

        Parameters
        ----------
        X, sample_weight : as for fit
        where : Resources, optional
            The machines. The default is the machines of the client or scheduler that would run the
            fit, or one thread of this process for arrays in memory.

        Returns
        -------
        Plan
        """
        self.check_parameters()
        dataset = clone(self)._as_dataset(X, reset=True, sample_weight=sample_weight)
        if where is None:
            in_memory = isinstance(dataset, InMemoryDataset)
            where = Resources.of_threads(1) if in_memory else available_resources()
        return plan_fit(dataset, self._settings(dataset), where)

    def check_parameters(self) -> None:
        """Raise scikit-learn's InvalidParameterError, a ValueError, for an invalid parameter."""
        self._validate_params()

    def save(self, path: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> None:
        """Write the fitted model to a ``.npz`` file without pickle. An existing file is replaced.

        All fitted attributes keep every bit. The estimator's parameters are saved too, except
        arrays, functions and generators: `load` sets these parameters to their default.

        Parameters
        ----------
        path : str or Path
            A path, or a URL that fsspec supports.
        storage_options : dict, optional
            Options for fsspec.

        Raises
        ------
        NotFittedError
            Before a fit.
        ParameterError
            If attributes were set by hand and are not a valid mixture.
        """
        state, parameters = self._check_fitted()._model_state(), self.get_params(deep=False)
        serialization.write_file(path, state, parameters, storage_options)

    @classmethod
    def load(cls, path: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> Self:
        """Read a model file that `save` or a run of the command line wrote.

        Nothing in the file is executed. The file does not hold the curvature that an accelerated
        fit learned; a warm start learns it again.

        Parameters
        ----------
        path : str or Path
            A path, or a URL that fsspec supports.
        storage_options : dict, optional
            Options for fsspec.

        Returns
        -------
        GaussianMixture
            A fitted estimator.

        Raises
        ------
        ModelFileError
            A ValueError, if there is no such file, it is damaged, or a newer daskgmm wrote it.
        DataError
            A ValueError, if a store does not answer.
        """
        names = cls._get_param_names()
        parameters, state = serialization.read_file(path, cls.__name__, names, storage_options)
        with model_file.file_errors(path):
            model = cls(**parameters)
            model.check_parameters()
            model._set_model_state(state)
        return model

    def to_sklearn(self) -> sklearn.mixture.GaussianMixture:
        """Convert the fitted model to scikit-learn's class, in float64.

        Tools for scikit-learn's class, such as the ONNX converter skl2onnx, then work with it.
        Parameters whose value scikit-learn does not know, such as ``init_params='short-em'``,
        have scikit-learn's default. `n_components` is the number of fitted components.

        Returns
        -------
        sklearn.mixture.GaussianMixture
            It does not apply the transforms in `recipe_`. If there are transforms, a DataWarning
            says so.

        Raises
        ------
        NotFittedError
            Before a fit.
        """
        state = self._check_fitted()._model_state()
        return serialization.to_sklearn(state, self.get_params(deep=False))

    @classmethod
    def from_sklearn(cls, model: sklearn.mixture.GaussianMixture) -> Self:
        """Convert scikit-learn's fitted estimator, with its parameters and the record of its fit.

        A new fit runs scikit-learn's algorithm, for which the parameters were chosen: plain EM
        (``acceleration=None``) with ``init_distance='euclidean'``. `lower_bound_` is
        scikit-learn's value, before its last M-step. In `partial_fit` the model has weight zero,
        because the number of its rows is not known.

        Parameters
        ----------
        model : sklearn.mixture.GaussianMixture
            A fitted estimator.

        Returns
        -------
        GaussianMixture
            A fitted estimator.

        Raises
        ------
        NotFittedError
            If `model` is not fitted.
        ParameterError
            For another class, such as BayesianGaussianMixture, whose densities differ. Also if
            arrays were set by hand and are not a valid mixture.
        """
        parameters, state = serialization.from_sklearn(model, cls._get_param_names())
        estimator = cls(**parameters)
        estimator._set_model_state(state)
        return estimator

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        *,
        covariance_type: str = "full",
    ) -> Self:
        """Make a fitted estimator from the parameters of a mixture.

        In `partial_fit` it has weight zero: the first batch replaces the parameters in one step.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Probabilities that sum to one.
        means : array-like of shape (n_components, n_features)
            Means of the components.
        covariances : array-like
            Symmetric positive definite covariances, in the shape of `covariances_`.
        covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
            Type of the covariances.

        Returns
        -------
        GaussianMixture
            A fitted estimator.

        Raises
        ------
        ParameterError
            A ValueError, for an unknown `covariance_type`, shapes that do not match, weights
            that are not probabilities, or covariances that are not symmetric positive definite.
        """
        return cls.from_mixture(
            serialization.mixture_of_parameters(weights, means, covariances, covariance_type)
        )

    @classmethod
    def from_mixture(cls, mixture: Mixture) -> Self:
        """Make a fitted estimator from a mixture.

        The mixture may come from `mixture_`, `marginal`, `conditional` or `Mixture.updated`. In
        `partial_fit` the estimator has weight zero, as with `from_parameters`.

        Parameters
        ----------
        mixture : Mixture

        Returns
        -------
        GaussianMixture
            A fitted estimator.

        Raises
        ------
        ParameterError
            A ValueError, if `mixture` is not a valid Mixture.
        """
        mixture = serialization.check_mixture(mixture)
        model = cls(mixture.n_components, covariance_type=mixture.family.name)
        model._set_model_state(ModelState(mixture))
        return model

    def _settings(self, dataset: Dataset) -> Settings:
        """The settings of a fit to a dataset."""
        initial_state = None
        if self.warm_start and hasattr(self, "converged_"):
            self._check_shape("warm_start", dataset.n_features)
            initial_state = self._warm_start_state()
        return fit_settings(self, dataset, initial_state)

    def _warm_start_state(self) -> FitState:
        """The end of the last fit, with its curvature unless the attributes were changed."""
        state, mixture = self._fit_state, self.mixture_
        if mixture is not state.parameters:
            return FitState(mixture)
        pairs = state.accelerator.pairs if state.accelerator and self.acceleration else ()
        return FitState(mixture, (), state.lower_bound, ridge=state.ridge, pairs=pairs)

    def _shape(self, n_features: int) -> Shape:
        """The shape that the parameters request."""
        return self.covariance_type, self.n_components, n_features

    def _check_shape(self, name: str, n_features: int) -> None:
        """Raise ParameterError if parameters and rows request another shape than the last fit."""
        shape = self._shape(n_features)
        if shape != self._requested_shape:
            raise ParameterError(
                f"{name} continues a fit with (covariance_type, n_components, n_features) = "
                f"{self._requested_shape}, but the parameters and the data now ask for {shape}: "
                "use a new estimator, or `fit` with warm_start=False"
            )

    def _set_fit(self, fit: Fit, settings: Settings) -> None:
        """Set the fitted attributes from the result of a fit."""
        state, survey = fit.state, fit.survey
        self._requested_shape = self._shape(self.n_features_in_)
        self._set_mixture(state.mixture, np.float32 if survey.dtype == np.float32 else np.float64)
        self.total_weight_ = survey.total_weight
        self.n_omitted_ = 0 if survey.marginal else survey.n_incomplete
        self.reg_covar_ = settings.regularization(survey)
        self._fit_state = state
        self.converged_ = state.outcome is not None and state.outcome.is_converged
        self.outcome_ = "" if state.outcome is None else state.outcome.value
        self.remaining_gain_ = (
            math.nan if state.accelerator is None else state.accelerator.expected_gain
        )
        self.n_iter_ = state.n_iter
        self.lower_bound_ = fit.lower_bound
        self.lower_bounds_ = list(state.lower_bounds)
        self.events_ = list(state.events)
        self.passes_ = list(fit.passes)
        self.n_passes_ = len(self.passes_)

    def _model_state(self) -> ModelState:
        """The fitted estimator as a value, without the constructor's parameters."""
        names = getattr(self, "feature_names_in_", None)
        return ModelState(
            self.mixture_,
            serialization.precision(self.means_),
            None if names is None else names.tolist(),
            {name: getattr(self, name) for name in serialization.HISTORY},
            self._warm_start_state(),
            self._requested_shape,
        )

    def _set_model_state(self, state: ModelState) -> None:
        """Set the fitted attributes from a value."""
        mixture = state.mixture
        self._set_mixture(mixture, state.dtype)
        self._fit_state = state.warm_start
        self._requested_shape = state.requested_shape or self._shape(mixture.n_features)
        self.n_features_in_ = mixture.n_features
        if state.feature_names is not None:
            self.feature_names_in_ = np.array(state.feature_names, dtype=object)
        reg_covar = 0.0 if isinstance(self.reg_covar, str) else float(self.reg_covar)
        defaults = serialization.read_history({**serialization.NO_HISTORY, "reg_covar_": reg_covar})
        for name, value in {**defaults, **state.history}.items():
            setattr(self, name, value)

    def _warn_unless_converged(self) -> None:
        """Give scikit-learn's warning, with the gain that is still expected."""
        if self.converged_:
            return
        gain = f" Expected remaining gain: {self.remaining_gain_:.1e} nats per row."
        warn_caller(
            "Best performing initialization did not converge. Try different init "
            "parameters, or increase max_iter, tol, or check for degenerate data."
            + ("" if math.isnan(self.remaining_gain_) else gain),
            ConvergenceWarning,
        )
