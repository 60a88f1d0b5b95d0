"""The base class of fitted estimators: it labels, scores, samples and imputes rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import dask.array as da
import dask.dataframe as dd
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from daskgmm.data.dataset import DaskDataset, Dataset, InMemoryDataset
from daskgmm.data.pass_log import describe_purposes
from daskgmm.data.policies import MissingPolicy
from daskgmm.data.synthetic import synthetic_labels, synthetic_rows
from daskgmm.errors import ParameterError
from daskgmm.estimators.conditional import column_features, conditional_moments, feature_numbers
from daskgmm.estimators.prediction import (
    RowFunction,
    explain_missing_values,
    map_dataset,
    sufficient_statistics,
    total_log_density,
)
from daskgmm.estimators.sample_weight import SampleWeight, split_weights, with_weights
from daskgmm.estimators.xarray_results import along_rows, like_input
from daskgmm.html_repr import mixture_html
from daskgmm.model import conditioning, e_step
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture
from daskgmm.model.sufficient_statistics import SufficientStatistics

Rows = ArrayLike | da.Array | dd.DataFrame | Dataset
"""Rows of shape (n_samples, n_features), in memory or lazy."""


class FittedMixture(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Base class of estimators whose fit gives a Gaussian mixture.

    A subclass has the parameters `covariance_type`, `random_state` and `missing`, and its fit
    calls `_set_mixture`.

    Attributes
    ----------
    weights_ : array of shape (n_components,)
        Probabilities that sum to one.
    means_ : array of shape (n_components, n_features)
        In units of the data.
    covariances_, precisions_, precisions_cholesky_ : arrays
        Their shape depends on `covariance_type`.
    n_features_in_ : int
    recipe_ : dict
        Columns, filter and transforms of the data.
    """

    covariance_type: str
    random_state: int | np.random.RandomState | None
    missing: str = "raise"
    weights_: NDArray[Any]
    means_: NDArray[Any]
    covariances_: NDArray[Any]
    precisions_cholesky_: NDArray[Any]
    precisions_: NDArray[Any]
    n_features_in_: int
    recipe_: dict[str, Any]
    _exact: Mixture | None = None
    """The mixture in float64. The attributes are rounded from it."""

    def predict(self, X: Rows) -> Any:
        """Label each row with its most probable component.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        labels : int64 array of shape (n_samples,)
            -1 for rows that ``missing='omit'`` leaves out. Lazy for Dask collections.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            For rows with other features, infinity, or NaN that `missing` does not allow. Dask
            collections raise the last two when they are computed.
        """
        return self._map_rows(X, e_step.labels, None, "label")

    def predict_proba(self, X: Rows) -> Any:
        """Compute the responsibility of each component for each row.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        responsibilities : float array of shape (n_samples, n_components)
            Posterior probabilities, which sum to one in each row. float32 for rows of float32.
            Lazy for Dask collections.

        Raises
        ------
        NotFittedError, ValueError
            As for `predict`.
        """
        n_components = len(self._check_fitted().weights_)
        return self._map_rows(X, e_step.responsibilities, n_components, "probability")

    def score_samples(self, X: Rows) -> Any:
        """Compute the log-density of each row.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_density : float array of shape (n_samples,)
            In nats. float32 for rows of float32. Lazy for Dask collections.

        Raises
        ------
        NotFittedError, ValueError
            As for `predict`.
        """
        return self._map_rows(X, e_step.log_prob_norm, None, "log_density")

    def impute(self, X: Rows) -> Any:
        """Replace missing values (NaN) by their conditional means.

        The conditional mean is the expectation under the mixture, given the observed values of
        the row: the regressions of the components, weighted by their responsibilities.
        Observed values do not change.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        X : array of shape (n_samples, n_features)
            A lazy Dask array or dataframe for a Dask collection; a dataframe keeps its columns,
            index and divisions. A DataArray for a DataArray. A NumPy array for all other rows in
            memory, including pandas dataframes.

        Raises
        ------
        NotFittedError, ValueError
            As for `predict`, but NaN is always allowed.

        References
        ----------
        R. J. A. Little and D. B. Rubin (2020). Statistical Analysis with Missing Data, 3rd
        edition, section 11.2. Wiley.
        """
        dataset = self._check_fitted()._as_dataset(X, reset=False, missing="marginal")
        rows = map_dataset(
            e_step.impute,
            dataset,
            self.mixture_,
            width=dataset.n_features,
            name="imputed",
            columns=list(getattr(dataset.header, "columns", ())),
        )
        return like_input(X, rows)

    def score(self, X: Rows, y: None = None, sample_weight: SampleWeight = None) -> float:
        """Compute the weighted mean log-density of the rows; one pass over Dask collections.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_features)
            The rows.
        y : None
            Ignored.
        sample_weight : array-like, dask array, dask series or str, optional
            Weights of the rows, as for `fit`.

        Returns
        -------
        score : float
            In nats per unit of weight. The mean is taken in float32 for rows of float32 in
            memory, as in scikit-learn.

        Raises
        ------
        NotFittedError, ValueError
            As for `predict`. A ValueError is also raised if no row has a positive weight.
        """
        dataset = self._check_fitted()._as_dataset(X, reset=False, sample_weight=sample_weight)
        if isinstance(dataset, InMemoryDataset) and dataset.rows.dtype == np.float32:
            log_density = self.score_samples(dataset.rows)
            is_scored = ~np.isnan(log_density)  # rows with missing values may be left out
            weights = dataset.weights if dataset.weights is None else dataset.weights[is_scored]
            return float(np.average(log_density[is_scored], weights=weights))
        total, total_weight = total_log_density(dataset, self.mixture_)
        return total / total_weight

    def aic(self, X: Rows, sample_weight: SampleWeight = None) -> float:
        """Compute Akaike's information criterion; one pass over the data.

        Parameters
        ----------
        X, sample_weight : as for score

        Returns
        -------
        aic : float
            Lower is better.
        """
        total, _ = self._total_log_density(X, sample_weight)
        return -2.0 * total + 2.0 * self._n_parameters()

    def bic(self, X: Rows, sample_weight: SampleWeight = None) -> float:
        """Compute the Bayesian information criterion; one pass over the data.

        Parameters
        ----------
        X, sample_weight : as for score
            The total weight counts as the number of rows.

        Returns
        -------
        bic : float
            Lower is better.
        """
        total, total_weight = self._total_log_density(X, sample_weight)
        return -2.0 * total + self._n_parameters() * float(np.log(total_weight))

    def statistics(self, X: Rows, sample_weight: SampleWeight = None) -> SufficientStatistics:
        """Compute sufficient statistics of the rows under the fitted mixture; one pass.

        Statistics of several sets of rows can be added (`+`) if the mixtures are equal to the
        last bit. They may come from different machines. `mixture_.updated` takes a step from
        the sum.

        Parameters
        ----------
        X, sample_weight : as for score
            The parameter `missing` decides on rows with missing values.

        Returns
        -------
        SufficientStatistics

        Raises
        ------
        NotFittedError, ValueError
            As for `predict`.
        """
        dataset = self._check_fitted()._as_dataset(X, reset=False, sample_weight=sample_weight)
        return sufficient_statistics(dataset, self.mixture_)

    def sample(self, n_samples: int = 1, chunks: int | None = None) -> tuple[Any, Any]:
        """Draw rows from the fitted mixture.

        An integer `random_state` gives the same rows on each call.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        chunks : int, optional
            Rows per chunk. The rows are then a Dask array, drawn chunk by chunk when it is
            computed, and never all in memory.

        Returns
        -------
        X : float64 array of shape (n_samples, n_features)
            Grouped by component. With `chunks`, a Dask array with the components mixed.
        y : int64 array of shape (n_samples,)
            The component of each row. With `chunks`, a Dask array that can be computed without
            the rows.

        Raises
        ------
        NotFittedError
            Before a fit.
        ValueError
            If `n_samples` or `chunks` is less than one.
        """
        self._check_fitted()
        if n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at "
                "least one sample."
            )
        random = check_random_state(self.random_state)
        if chunks is None:
            return self.mixture_.sample(n_samples, random)
        if chunks < 1:
            raise ParameterError(f"chunks must be a number of rows of at least 1, not {chunks}")
        seed = int(random.randint(np.iinfo(np.int32).max))
        mixture = self.mixture_
        return (
            synthetic_rows(mixture, n_samples, chunk_rows=chunks, seed=seed, dtype=np.float64),
            synthetic_labels(mixture, n_samples, chunk_rows=chunks, seed=seed, dtype=np.float64),
        )

    def marginal(self, features: Sequence[int | str]) -> Mixture:
        """Compute the marginal mixture of some features.

        Parameters
        ----------
        features : sequence of int or str
            Numbers of the features, or names if the data had names, in the order of the result.

        Returns
        -------
        Mixture
            In float64, with the same covariance type (Bishop 2006, eq. 2.98).

        Raises
        ------
        NotFittedError
            Before a fit.
        ParameterError
            If there is no such feature, a feature occurs twice, or there is none.

        References
        ----------
        C. M. Bishop (2006). Pattern Recognition and Machine Learning. Springer.
        """
        self._check_fitted()
        return conditioning.marginal(self.mixture_, feature_numbers(features, self._feature_names))

    def conditional(self, given: Mapping[Any, float]) -> Mixture:
        """Compute the mixture of the remaining features, given values of the others.

        Parameters
        ----------
        given : dict
            Values of the given features, by their number or name.

        Returns
        -------
        Mixture
            In float64, with the same covariance type, over the remaining features in the order
            of the fit (Bishop 2006, eq. 2.81-2.82). Its weights are the responsibilities of the
            components for the given values.

        Raises
        ------
        NotFittedError
            Before a fit.
        ParameterError
            If there is no such feature, none or all features are given, or a value is not
            finite.

        References
        ----------
        C. M. Bishop (2006). Pattern Recognition and Machine Learning. Springer.
        """
        numbers = feature_numbers(list(given), self._check_fitted()._feature_names)
        return conditioning.conditional(self.mixture_, numbers, list(given.values()))

    def predict_conditional(
        self, X: Rows, given: Sequence[int | str] | None = None
    ) -> tuple[Any, Any]:
        """Compute mean and covariance of the remaining features, given the others, for each row.

        This is Gaussian mixture regression. The covariance describes the features, not the
        uncertainty of their mean.

        Parameters
        ----------
        X : array-like, dask array, dask dataframe or Dataset of shape (n_samples, n_given)
            Rows that contain only the given features.
        given : sequence of int or str, optional
            The feature that each column of X holds, by its number or name. By default, these are
            the names of the columns, if the model's features have these names.

        Returns
        -------
        means : float array of shape (n_samples, n_remaining)
            Remaining features in the order of the fit. Lazy for Dask collections; a Dask
            dataframe gives a dataframe with its index and divisions.
        covariances : float array of shape (n_samples, n_remaining, n_remaining)
            A lazy array for Dask collections. It can be computed without the means.

        Raises
        ------
        NotFittedError
            Before a fit.
        ParameterError
            If `given` is missing, or does not match the model or the columns of X.
        ValueError
            For NaN and infinity. Dask collections raise it when they are computed.

        References
        ----------
        Z. Ghahramani and M. I. Jordan (1994). Supervised learning from incomplete data via an
        EM approach. NIPS 6.

        D. A. Cohn, Z. Ghahramani and M. I. Jordan (1996). Active learning with statistical
        models. Journal of Artificial Intelligence Research 4, section 4.
        """
        names = self._check_fitted()._feature_names
        rows = wrap_dask(X)
        numbers = column_features(rows, given, names)
        if not isinstance(rows, Dataset):
            array = check_array(
                rows, dtype=[np.float64, np.float32], estimator=self, input_name="X"
            )
            rows = InMemoryDataset(array)
        if rows.n_features != len(numbers):
            raise ParameterError(
                f"X has {rows.n_features} columns, but given names {len(numbers)} features: name "
                "one feature for each column"
            )
        remaining = conditioning.remaining(numbers, self.n_features_in_)
        labels = names or list(range(self.n_features_in_))
        columns = [labels[number] for number in remaining]
        regression = conditioning.MixtureRegression.of(self.mixture_, numbers)
        means, covariances = conditional_moments(rows, regression, columns)
        axes = ("feature", "other_feature")
        return (
            along_rows(X, means, "mean", axes[0], names=columns),
            along_rows(X, covariances, "covariance", *axes, names=columns),
        )

    @property
    def mixture_(self) -> Mixture:
        """The fitted mixture as a value, in float64 even if the attributes are float32.

        Parameters that are set on the estimator after the fit have no effect on it.
        ParameterError if attributes were set by hand and their shapes do not match.
        """
        arrays = (self.weights_, self.means_, self.covariances_, self.precisions_cholesky_)
        exact = self._exact
        if exact is not None:
            values = (exact.weights, exact.means, exact.covariances, exact.precision_cholesky)
            if all(
                np.issubdtype(array.dtype, np.floating)
                and np.array_equal(value.astype(array.dtype), array)
                for value, array in zip(values, arrays, strict=True)
            ):
                return exact
        mixture = Mixture(
            FAMILIES[self.covariance_type], *(np.asarray(array, np.float64) for array in arrays)
        )
        expected = mixture.family.shape(*mixture.means.shape)
        for shape in (mixture.covariances.shape, mixture.precision_cholesky.shape):
            if shape != expected:
                raise ParameterError(
                    f"covariances_ or precisions_cholesky_ have the shape {shape}, but "
                    f"covariance_type={self.covariance_type!r} and means_ require {expected}"
                )
        return mixture

    @property
    def _feature_names(self) -> list[Any]:
        """Names of the features; empty if they have none."""
        return list(getattr(self, "feature_names_in_", ()))

    def _set_mixture(self, mixture: Mixture, dtype: type[np.floating[Any]]) -> None:
        """Set the fitted parameters, rounded to a precision."""
        self._exact = mixture
        self.weights_ = mixture.weights.astype(dtype)
        self.means_ = mixture.means.astype(dtype)
        self.covariances_ = mixture.covariances.astype(dtype)
        self.precisions_cholesky_ = mixture.precision_cholesky.astype(dtype)
        self.precisions_ = mixture.precisions.astype(dtype)

    def _check_fitted(self) -> Self:
        """Return the estimator. Raises NotFittedError before a fit."""
        check_is_fitted(self)
        return self

    def _n_parameters(self) -> int:
        """Number of free parameters; scikit-learn's tests use this name."""
        return self.mixture_.n_parameters

    def _as_dataset(
        self,
        X: Rows,
        *,
        reset: bool,
        sample_weight: SampleWeight = None,
        missing: str | None = None,
    ) -> Dataset:
        """Turn any input into a dataset, and check the names and the number of its features.

        Parameters
        ----------
        X, sample_weight : as for score
        reset : bool
            Whether to record the features, as in a fit, instead of checking them.
        missing : str, optional
            The policy for missing values, instead of the estimator's parameter. If the estimator's
            policy is 'raise', the policy of the dataset applies.
        """
        X, weights = split_weights(X, sample_weight)
        X = wrap_dask(X)
        policy = MissingPolicy(missing or self.missing)
        if isinstance(X, DaskDataset | InMemoryDataset) and policy is not MissingPolicy.RAISE:
            X = replace(X, missing=policy)
        if isinstance(X, Dataset):
            # The header has no rows. Only the names and the number of features are checked.
            validate_data(self, X.header, skip_check_array=True, reset=reset)
            if reset:
                self.recipe_ = X.preprocessing.options() if X.preprocessing else {}
            return with_weights(X, weights)
        if reset:
            self.recipe_ = {}
        with explain_missing_values():
            rows = validate_data(
                self,
                X,
                dtype=[np.float64, np.float32],
                ensure_all_finite=policy is MissingPolicy.RAISE or "allow-nan",
                ensure_min_samples=2 if reset else 1,
                reset=reset,
            )
        return with_weights(InMemoryDataset(rows, missing=policy), weights)

    def _map_rows(self, X: Rows, fn: RowFunction, width: int | None, name: str) -> Any:
        """Return one result per row: at once for rows in memory, lazy for Dask collections."""
        dataset = self._check_fitted()._as_dataset(X, reset=False)
        result = map_dataset(fn, dataset, self.mixture_, width=width, name=name)
        axes = () if width is None else ("component",)
        return along_rows(X, result, name, *axes)

    def _total_log_density(self, X: Rows, sample_weight: SampleWeight) -> tuple[float, float]:
        """Weighted sum of the rows' log-densities, and their total weight."""
        dataset = self._check_fitted()._as_dataset(X, reset=False, sample_weight=sample_weight)
        return total_log_density(dataset, self.mixture_)

    def _html_repr(self) -> str:
        """scikit-learn's diagram for notebooks, with the fitted mixture below it."""
        diagram = super()._html_repr()
        if not (hasattr(self, "weights_") and hasattr(self, "means_")):
            return diagram
        names = getattr(self, "feature_names_in_", None)
        summary = self._fit_summary()
        return diagram + mixture_html(self.weights_, self.means_, features=names, about=summary)

    def _fit_summary(self) -> dict[str, str]:
        """The outcome, the passes and the lower bound of the fit, as far as they are known."""
        passes = getattr(self, "passes_", ())
        bound = getattr(self, "lower_bound_", -np.inf)
        lines = {
            "outcome": getattr(self, "outcome_", ""),
            "passes": f"{len(passes)} ({describe_purposes(passes)})" if passes else "",
            "lower bound": f"{bound:.6g} nats per row" if np.isfinite(bound) else "",
        }
        return {name: text for name, text in lines.items() if text}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "raise"
        return tags


def wrap_dask(X: Any) -> Any:
    """Turn a Dask collection, or a DataArray of one, into a dataset; other input stays as it is."""
    inner = getattr(X, "data", None)
    rows = inner if isinstance(inner, da.Array) else X
    return DaskDataset.of(rows) if isinstance(rows, da.Array | dd.DataFrame) else X
