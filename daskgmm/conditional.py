"""Some features of a fitted mixture: alone, or where the values of others are known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_array

from daskgmm.data.dataset import Dataset, InMemoryDataset
from daskgmm.errors import ParameterError
from daskgmm.fitted import FittedMixture, Rows, of_dask
from daskgmm.model import conditioning
from daskgmm.model.mixture import Mixture
from daskgmm.prediction import conditional_moments
from daskgmm.xarrays import along_rows


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
