"""What a fitted mixture answers, whichever way it was fitted."""

from collections import Counter
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
from daskgmm.data.policies import MissingPolicy
from daskgmm.data.synthetic import synthetic_labels, synthetic_rows
from daskgmm.errors import ParameterError
from daskgmm.estimators.prediction import (
    RowFunction,
    conditional_moments,
    of_rows,
    saying_what_missing_does,
    total_log_density,
)
from daskgmm.estimators.sample_weight import Weights, apart, weighted
from daskgmm.estimators.xarray_results import along_rows, like_input
from daskgmm.html_repr import mixture_html
from daskgmm.model import conditioning, e_step
from daskgmm.model.covariance import FAMILIES
from daskgmm.model.mixture import Mixture

Rows = ArrayLike | da.Array | dd.DataFrame | Dataset


def of_dask(X: Any) -> Any:
    """Dask collections, those within a DataArray too, as datasets; all else as it is."""
    inner = getattr(X, "data", None)
    rows = inner if isinstance(inner, da.Array) else X
    return DaskDataset.of(rows) if isinstance(rows, da.Array | dd.DataFrame) else X


class FittedMixture(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Labels, probabilities, densities, criteria and samples, from fitted parameters.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_cholesky_ : arrays
        What a fit leaves.
    """

    covariance_type: str
    random_state: int | np.random.RandomState | None
    weights_: NDArray[Any]
    means_: NDArray[Any]
    covariances_: NDArray[Any]
    precisions_cholesky_: NDArray[Any]
    precisions_: NDArray[Any]
    missing: str = "raise"
    n_features_in_: int
    recipe_: dict[str, Any]
    _exact: Mixture | None = None
    """What the attributes are rounded from, unless somebody sets them."""

    def predict(self, X: Rows) -> Any:
        """Most probable component of each row, int64 of shape (n_samples,)."""
        return self._of_rows(X, e_step.labels, None, "label")

    def predict_proba(self, X: Rows) -> Any:
        """Posterior probability of each component, (n_samples, n_components)."""
        width = len(self._fitted().weights_)
        return self._of_rows(X, e_step.responsibilities, width, "probability")

    def score_samples(self, X: Rows) -> Any:
        """Log-density of each row in nats, (n_samples,)."""
        return self._of_rows(X, e_step.log_prob_norm, None, "log_density")

    def impute(self, X: Rows) -> Any:
        """X with conditional means in place of missing values (NaN), (n_samples, n_features).

        What the mixture expects of them given the row's observed features: the components'
        regressions (Little & Rubin 2020, section 11.2), by their responsibilities for the row.
        Observed values are kept as they are.

        Lazy for Dask collections: a Dask dataframe stays one, with its columns, index and
        divisions. A DataArray stays one. What else is in memory becomes a NumPy array, pandas
        dataframes too, as by scikit-learn's imputers unless they are told otherwise.
        """
        dataset = self._fitted()._dataset(X, reset=False, missing="marginal")
        filled = of_rows(
            e_step.impute,
            dataset,
            self.mixture_,
            width=dataset.n_features,
            name="imputed",
            columns=list(getattr(dataset.header, "columns", ())),
        )
        return like_input(X, filled)

    def score(self, X: Rows, y: None = None, sample_weight: Weights = None) -> float:
        """Mean log-density of the rows in nats, by weight; reads Dask collections once.

        Of float32 rows in memory the mean of `score_samples`, in float32 as scikit-learn's.
        """
        dataset = self._fitted()._dataset(X, reset=False, sample_weight=sample_weight)
        if isinstance(dataset, InMemoryDataset) and dataset.rows.dtype == np.float32:
            log_density = self.score_samples(dataset.rows)
            counted = ~np.isnan(log_density)  # all but rows with gaps that are left out
            weights = dataset.weights if dataset.weights is None else dataset.weights[counted]
            return float(np.average(log_density[counted], weights=weights))
        total, total_weight = total_log_density(dataset, self.mixture_)
        return total / total_weight

    def aic(self, X: Rows, sample_weight: Weights = None) -> float:
        """Akaike information criterion on X, lower is better; reads X once."""
        total, _ = self._total_log_density(X, sample_weight)
        return -2.0 * total + 2.0 * self._n_parameters()

    def bic(self, X: Rows, sample_weight: Weights = None) -> float:
        """Bayesian information criterion on X, lower is better; reads X once.

        The number of rows is their total weight.
        """
        total, total_weight = self._total_log_density(X, sample_weight)
        return -2.0 * total + self._n_parameters() * float(np.log(total_weight))

    def sample(self, n_samples: int = 1, chunks: int | None = None) -> tuple[Any, Any]:
        """Draw rows from the fitted mixture, anew on each call unless the seed is an int.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows.
        chunks : int, optional
            Rows per chunk. With it the rows are never all in memory: each chunk is drawn where
            it is used, from the seed and its number, as often as it is used.

        Returns
        -------
        X : array of shape (n_samples, n_features)
            Grouped by component; with `chunks` a Dask array, components mixed.
        y : int64 array of shape (n_samples,)
            The component of each row; with `chunks` a Dask array, drawn without the rows.

        Raises
        ------
        ValueError
            Where `n_samples` or `chunks` is less than one.
        """
        self._fitted()
        if n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at "
                "least one sample."
            )
        random = check_random_state(self.random_state)
        if chunks is None:
            return self.mixture_.sample(n_samples, random)
        if chunks < 1:
            raise ParameterError(f"chunks are rows per chunk, at least 1; got {chunks}")
        seed = int(random.randint(np.iinfo(np.int32).max))
        mixture = self.mixture_
        return (
            synthetic_rows(mixture, n_samples, chunk_rows=chunks, seed=seed, dtype=np.float64),
            synthetic_labels(mixture, n_samples, chunk_rows=chunks, seed=seed, dtype=np.float64),
        )

    @property
    def mixture_(self) -> Mixture:
        """The fitted mixture as a value, in float64 even where the attributes are float32.

        Parameters that have been set since are those of the next fit. ParameterError where
        attributes that were set by hand do not fit together.
        """
        arrays = (self.weights_, self.means_, self.covariances_, self.precisions_cholesky_)
        exact = self._exact
        if exact is not None:
            values = (exact.weights, exact.means, exact.covariances, exact.precision_cholesky)
            pairs = zip(values, arrays, strict=True)
            if all(
                np.issubdtype(each.dtype, np.floating)
                and np.array_equal(value.astype(each.dtype), each)
                for value, each in pairs
            ):
                return exact
        mixture = Mixture(
            FAMILIES[self.covariance_type], *(np.asarray(each, np.float64) for each in arrays)
        )
        needed = mixture.family.shape(*mixture.means.shape)
        for shape in (mixture.covariances.shape, mixture.precision_cholesky.shape):
            if shape != needed:
                raise ParameterError(
                    f"covariances_ or precisions_cholesky_ have the shape {shape}, where "
                    f"covariance_type={self.covariance_type!r} and means_ ask for {needed}"
                )
        return mixture

    def _hold(self, mixture: Mixture, dtype: type[np.floating[Any]]) -> None:
        """Set the fitted parameters, in a precision."""
        self._exact = mixture
        self.weights_ = mixture.weights.astype(dtype)
        self.means_ = mixture.means.astype(dtype)
        self.covariances_ = mixture.covariances.astype(dtype)
        self.precisions_cholesky_ = mixture.precision_cholesky.astype(dtype)
        self.precisions_ = mixture.precisions.astype(dtype)

    def _html_repr(self) -> str:
        """scikit-learn's diagram, for notebooks; under it the mixture, where there is one."""
        diagram = super()._html_repr()
        if not (hasattr(self, "weights_") and hasattr(self, "means_")):
            return diagram
        names = getattr(self, "feature_names_in_", None)
        return diagram + mixture_html(self.weights_, self.means_, features=names, about=self._about)

    @property
    def _about(self) -> dict[str, str]:
        """What is known of how the mixture was found, by what it says."""
        purposes = Counter(each.purpose for each in getattr(self, "passes_", ()))
        counts = ", ".join(f"{n} {purpose}" for purpose, n in purposes.items())
        bound = getattr(self, "lower_bound_", -np.inf)
        lines = {
            "outcome": getattr(self, "outcome_", ""),
            "passes": f"{purposes.total()} ({counts})" if purposes else "",
            "lower bound": f"{bound:.6g} nats per row" if np.isfinite(bound) else "",
        }
        return {name: text for name, text in lines.items() if text}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "raise"
        return tags

    def _fitted(self) -> Self:
        check_is_fitted(self)
        return self

    def _n_parameters(self) -> int:
        """Free parameters of the fitted mixture (scikit-learn's tests know it by this name)."""
        return self.mixture_.n_parameters

    def _dataset(
        self,
        X: Rows,
        *,
        reset: bool,
        sample_weight: Weights = None,
        missing: str | None = None,
    ) -> Dataset:
        """Anything that holds rows, as a dataset; checks and records names and width.

        What it does about missing values is told, or as the estimator's parameter has it; a
        dataset that doesn't refuse them has its own way where the parameter says nothing else.
        """
        X, weights = apart(X, sample_weight)
        X = of_dask(X)
        policy = MissingPolicy(missing or self.missing)
        if isinstance(X, DaskDataset | InMemoryDataset) and policy != MissingPolicy.RAISE:
            X = replace(X, missing=policy)
        if isinstance(X, Dataset):
            # Names and width can be checked without a row.
            validate_data(self, X.header, skip_check_array=True, reset=reset)
            if reset:
                self.recipe_ = X.preprocessing.options() if X.preprocessing else {}
            return weighted(X, weights)
        if reset:
            self.recipe_ = {}
        with saying_what_missing_does():
            rows = validate_data(
                self,
                X,
                dtype=[np.float64, np.float32],
                ensure_all_finite=policy == MissingPolicy.RAISE or "allow-nan",
                ensure_min_samples=2 if reset else 1,
                reset=reset,
            )
        return weighted(InMemoryDataset(rows, missing=policy), weights)

    def _of_rows(self, X: Rows, fn: RowFunction, width: int | None, name: str) -> Any:
        """A row-wise result: at once for arrays in memory, lazy for Dask collections."""
        dataset = self._fitted()._dataset(X, reset=False)
        found = of_rows(fn, dataset, self.mixture_, width=width, name=name)
        return along_rows(X, found, name, *(() if width is None else ("component",)))

    def _total_log_density(self, X: Rows, sample_weight: Weights) -> tuple[float, float]:
        """Sum of the rows' weighted log-densities, and of their weights."""
        dataset = self._fitted()._dataset(X, reset=False, sample_weight=sample_weight)
        return total_log_density(dataset, self.mixture_)


class Conditional(FittedMixture):
    """Marginals, conditionals, and Gaussian mixture regression."""

    def marginal(self, features: Sequence[int | str]) -> Mixture:
        """The mixture of some features, whatever the others are.

        Parameters
        ----------
        features : sequence of int or str
            Numbers, or names where the model was fitted to features with names, in the order
            that the result is to have them in.

        Returns
        -------
        Mixture
            In float64, of the same covariance type; Bishop 2006, eq. 2.98.

        Raises
        ------
        ParameterError
            Where there is no such feature, one is named twice, or none is.
        """
        return conditioning.marginal(self._fitted().mixture_, self._numbers(features))

    def conditional(self, given: Mapping[Any, float]) -> Mixture:
        """The mixture of the remaining features where the values of some are known.

        Parameters
        ----------
        given : dict of {feature number or name: value}
            What is known.

        Returns
        -------
        Mixture
            In float64, of the same covariance type, over the remaining features in the order
            of the fit; Bishop 2006, eq. 2.81-2.82. Its weights are the components'
            probabilities given the values.

        Raises
        ------
        ParameterError
            Where there is no such feature, none is given or all are, or a value is not finite.
        """
        numbers = self._fitted()._numbers(list(given))
        return conditioning.conditional(self.mixture_, numbers, list(given.values()))

    def predict_conditional(
        self, X: Rows, given: Sequence[int | str] | None = None
    ) -> tuple[Any, Any]:
        """Mean and covariance of the remaining features, given each row's values of some.

        Gaussian mixture regression (Ghahramani & Jordan 1994; Cohn, Ghahramani & Jordan 1996,
        section 4). The covariance is that of the remaining features, not of their mean.

        Parameters
        ----------
        X : array, dataframe, dataset or DataArray of shape (n_samples, n_given)
            The given features alone.
        given : sequence of int or str, optional
            Which features the columns of X are, one by one: numbers or names. May be left out
            where X is a dataframe whose columns have names of the model's features.

        Returns
        -------
        means : array of shape (n_samples, n_rest)
            Of the remaining features in the order of the fit. For Dask collections lazy, with
            their chunks, or a dataframe with their index and divisions.
        covariances : array of shape (n_samples, n_rest, n_rest)
            For Dask collections a lazy array, that does not depend on the means.

        Raises
        ------
        ParameterError
            Where `given` is missing, or does not fit to the model or to the columns of X.
        ValueError
            In scikit-learn's words, for NaN and infinity; for Dask collections when they are
            computed.
        """
        like, X = X, of_dask(X)
        numbers = self._fitted()._given(X, given)
        if not isinstance(X, Dataset):
            checked = check_array(X, dtype=[np.float64, np.float32], estimator=self, input_name="X")
            X = InMemoryDataset(checked)
        if X.n_features != len(numbers):
            raise ParameterError(
                f"X has {X.n_features} columns, but given names {len(numbers)} features: one for "
                "each column is needed"
            )
        rest = conditioning.remaining(numbers, self.n_features_in_)
        names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))
        regression = conditioning.MixtureRegression.of(self.mixture_, numbers)
        of_rest = list(names[rest])
        means, covariances = conditional_moments(X, regression, of_rest)
        axes = ("feature", "other_feature")
        return (
            along_rows(like, means, "mean", axes[0], names=of_rest),
            along_rows(like, covariances, "covariance", *axes, names=of_rest),
        )

    def _numbers(self, features: Sequence[Any]) -> list[Any]:
        """Names of features to their numbers; what is no name stays as it is."""
        chosen = [features] if isinstance(features, str) else list(features)
        numbers = {name: i for i, name in enumerate(getattr(self, "feature_names_in_", ()))}
        for each in chosen:
            if isinstance(each, str) and each not in numbers:
                why = "not in feature_names_in_" if numbers else "the model's have no names"
                raise ParameterError(f"there is no feature {each!r}: {why}")
        return [numbers[each] if isinstance(each, str) else each for each in chosen]

    def _given(self, X: Rows, given: Sequence[Any] | None) -> list[Any]:
        """Numbers of the features that the columns of X are."""
        found = getattr(X, "columns", None)
        columns = [] if found is None else np.asarray(found).tolist()
        known = set(columns) <= set(getattr(self, "feature_names_in_", ())) and bool(columns)
        if given is None and not known:
            raise ParameterError(
                "given must say which features the columns of X are, as these do not have names "
                "of the model's features"
            )
        numbers = self._numbers(columns if given is None else given)
        if known and numbers != self._numbers(columns):
            raise ParameterError(
                f"the columns of X are the features {columns}, but given says {given}: leave it "
                "out, or give columns and features one order"
            )
        return numbers
