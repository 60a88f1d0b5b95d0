from functools import cache

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn
from pyarrow import parquet
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from strategies import clusters

from daskgmm import GaussianMixture, open_dataset
from daskgmm.data.dataset import DaskDataset
from daskgmm.errors import DataError
from daskgmm.estimators.sample_weight import split_weights
from daskgmm.fit.initialization.registry import INITIALIZERS

X = clusters(400)
WEIGHTS = np.random.default_rng(1).integers(0, 4, size=400)
REPEATED = np.repeat(X, WEIGHTS, axis=0)
NAMED = pd.DataFrame(X, columns=list("abc")).assign(w=WEIGHTS)

START = {"means_init": X[[0, 150, 300]], "weights_init": [0.3, 0.3, 0.4], "tol": 1e-9}
START["max_iter"] = 500
FORMS = {
    "numpy": (X, WEIGHTS),
    "list": (X, WEIGHTS.tolist()),
    "float32": (X, WEIGHTS.astype(np.float32)),
    "pandas": (NAMED[list("abc")], NAMED["w"]),
    "pandas column": (NAMED, "w"),
    "dask": (da.from_array(X, chunks=(90, 3)), da.from_array(WEIGHTS, chunks=90)),
    "dask, other chunks": (da.from_array(X, chunks=(90, 3)), da.from_array(WEIGHTS, chunks=77)),
    "dask rows": (da.from_array(X, chunks=(90, 3)), WEIGHTS),
    "dask weights": (X, da.from_array(WEIGHTS, chunks=90)),
    "dataframe column": (dd.from_pandas(NAMED, npartitions=3), "w"),
    "dataframe series": (
        dd.from_pandas(NAMED, npartitions=3)[list("abc")],
        dd.from_pandas(NAMED, npartitions=3)["w"],
    ),
    "dataset column": (DaskDataset.of(dd.from_pandas(NAMED, npartitions=3)), "w"),
    "dataset": (DaskDataset.of(da.from_array(X, chunks=(90, 3))), WEIGHTS),
}


def model(**parameters):
    parameters = {"random_state": 0, **parameters}
    return GaussianMixture(**{"n_components": 3, **parameters})


@cache
def of_repeated():
    return model(**START).fit(REPEATED)


def assert_same(result, expected, rtol=1e-10):
    for name in ("weights_", "means_", "covariances_", "lower_bound_"):
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), rtol=rtol)


@pytest.mark.parametrize("form", FORMS)
def test_whole_weights_are_repeated_rows_in_every_form(form):
    rows, weights = FORMS[form]
    expected = of_repeated()
    result = model(**START).fit(rows, sample_weight=weights)
    assert_same(result, expected)
    assert result.n_features_in_ == 3
    score = result.score(rows, sample_weight=weights)
    assert score == pytest.approx(expected.score(REPEATED), rel=1e-10)
    aic, bic = result.aic(rows, sample_weight=weights), result.bic(rows, sample_weight=weights)
    assert aic == pytest.approx(expected.aic(REPEATED), rel=1e-10)
    assert bic == pytest.approx(expected.bic(REPEATED), rel=1e-10)


@pytest.mark.parametrize("acceleration", ["quasi-newton", None])
def test_whole_weights_are_repeated_rows_in_all_families(family_name, acceleration):
    given = {**START, "covariance_type": family_name, "acceleration": acceleration}
    expected = model(**given).fit(REPEATED)
    assert_same(model(**given).fit(X, sample_weight=WEIGHTS), expected)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_initialization_uses_weights(name):
    # The distant rows have no weight: no component may be there.
    far = np.vstack([X, X + 1000.0])
    weights = np.repeat([1.0, 0.0], 400)
    result = model(init_params=name, tol=1e-6, max_iter=500).fit(far, sample_weight=weights)
    assert result.means_.max() < 100.0
    assert np.isfinite(result.lower_bound_)


def test_initial_means_are_among_rows_with_weight():
    weights = np.where(np.arange(800) < 400, 1.0, 1e-9)
    far = np.vstack([X, X + 1000.0])
    result = model(n_init=3).fit(far, sample_weight=weights)
    plain = model(n_init=3).fit(X)
    assert result.score(X) == pytest.approx(plain.score(X), abs=1e-2)


def test_all_rows_have_labels_whatever_their_weight():
    labels = model(**START).fit_predict(X, sample_weight=WEIGHTS)
    np.testing.assert_array_equal(labels, of_repeated().predict(X))
    frame = dd.from_pandas(NAMED, npartitions=3)
    of_frame = model(**START).fit_predict(frame, sample_weight="w")
    np.testing.assert_array_equal(of_frame.compute(), labels)


def test_unit_weights_change_nothing(family_name):
    given = {"covariance_type": family_name, "random_state": 3}
    plain = model(**given).fit(X)
    weighed = model(**given).fit(X, sample_weight=np.ones(len(X)))
    assert_same(weighed, plain, rtol=1e-9)


@pytest.mark.parametrize("rows", [X, X.tolist(), NAMED[list("abc")], FORMS["dask"][0]])
@pytest.mark.parametrize("weight", [2, np.float32(2.0), np.array(2)])
def test_a_number_is_the_weight_of_each_row(rows, weight):
    assert model(max_iter=5).fit(rows, sample_weight=weight).total_weight_ == 800.0


def test_a_column_of_weights_is_not_a_feature():
    result = model().fit(NAMED, sample_weight="w")
    assert list(result.feature_names_in_) == list("abc")
    assert result.predict(NAMED[list("abc")]).shape == (400,)


@pytest.mark.parametrize(
    ("rows", "weights", "sentence"),
    [
        (X, WEIGHTS[:-1], r"sample_weight.shape == \(399,\), expected \(400,\)"),
        (X, WEIGHTS - 2.0, "Negative values in data passed to `sample_weight`"),
        (X, np.where(WEIGHTS == 1, np.nan, 1.0), "Input sample_weight contains NaN"),
        (X, np.zeros(400), "at least one non-zero number"),
        (X, -1.0, "Negative values in data passed to `sample_weight`"),
        (X, "w", "names a column, but the columns of a ndarray have no names"),
        (NAMED, "v", r"not one of the columns: \['a', 'b', 'c', 'w'\]"),
        (FORMS["dask"][0], WEIGHTS[:-1], r"has shape \(399,\), but there are 400 rows"),
        (FORMS["dask"][0], WEIGHTS - 2.0, r"chunk \d are not all finite and >= 0"),
        (FORMS["dask"][0], np.zeros(400), "at least one non-zero number"),
        (dd.from_pandas(NAMED[list("abc")], npartitions=3), WEIGHTS, "pass the name of a column"),
    ],
)
def test_invalid_weights_are_refused(rows, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        model().fit(rows, sample_weight=weights)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_column_of_a_file_may_hold_the_weights(place, tmp_path, monkeypatch):
    names = list("abc")
    names.insert(place, "w")
    NAMED[names].to_parquet(tmp_path / "rows.parquet", row_group_size=90)
    rows = open_dataset(tmp_path / "rows.parquet")
    read, reads = parquet.ParquetFile.read_row_group, []
    monkeypatch.setattr(
        parquet.ParquetFile, "read_row_group", lambda *a, **k: reads.append(1) or read(*a, **k)
    )
    result = model(**START).fit(rows, sample_weight="w")
    assert len(reads) == 5 * result.n_passes_  # each row group once in each
    assert_same(result, model(**START).fit(REPEATED))
    assert result.feature_names_in_.tolist() == list("abc")
    labels = model(**START).fit_predict(rows, sample_weight="w")
    np.testing.assert_array_equal(labels.compute(), result.predict(X))
    assert result.bic(rows, sample_weight="w") == pytest.approx(result.bic(REPEATED), rel=1e-10)
    with pytest.raises(DataError, match=r"not one of the columns: \['"):
        result.score(rows, sample_weight="v")
    with pytest.raises(DataError, match="already has weights"):
        model().fit(split_weights(rows, "w").rows, sample_weight="a")


def test_a_dataset_has_one_set_of_weights():
    rows, weights = FORMS["dask"]
    dataset = DaskDataset.of(rows, weights=weights.rechunk(90))
    with pytest.raises(DataError, match="already has weights"):
        model().fit(dataset, sample_weight=weights)
    assert_same(model(**START).fit(dataset), of_repeated())


def test_weights_pass_through_pipelines_and_searches():
    with sklearn.config_context(enable_metadata_routing=True):
        asks = model(**START).set_fit_request(sample_weight=True)
        asks.set_score_request(sample_weight=True)
        line = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), asks)
        line[-1].set_params(means_init=None)
        line.fit(X, sample_weight=WEIGHTS)
        twice = make_pipeline(StandardScaler(), model(**START).set_params(means_init=None))
        twice.fit(REPEATED)
        assert line.score(X, sample_weight=WEIGHTS) == pytest.approx(
            twice.score(REPEATED), abs=1e-3
        )
        search = GridSearchCV(
            asks, {"covariance_type": ["full", "tied"]}, cv=3, error_score="raise"
        )
        search.fit(X, sample_weight=WEIGHTS)
        assert search.best_params_["covariance_type"] in ("full", "tied")
        unasked = GridSearchCV(model(**START), {"n_components": [3]}, cv=3)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
            unasked.fit(X, sample_weight=WEIGHTS)


@pytest.mark.parametrize("n_weighted", [4, 9, 30])
def test_a_few_rows_may_have_all_the_weight(n_weighted):
    rows = np.random.default_rng(0).normal(size=(120_000, 2))
    weights = np.zeros(len(rows))
    weights[:: len(rows) // n_weighted][:n_weighted] = 1.0
    result = model(n_components=4).fit(
        da.from_array(rows, chunks=(40_000, 2)), sample_weight=weights
    )
    assert np.isfinite(result.lower_bound_)
    few = model(n_components=4).fit(rows[weights > 0.0])
    assert result.total_weight_ == few.total_weight_ == n_weighted


def test_a_collapsed_initialization_does_not_affect_others():
    random = np.random.default_rng(0)
    rows = np.vstack(
        [
            random.normal(size=(300, 2)),
            np.repeat(random.normal(size=(3, 2)), 4, axis=0),
            random.normal(size=(100, 2)).round(),
        ]
    )
    for seed in range(6):
        result = GaussianMixture(6, reg_covar=0.0, tol=1e-6, max_iter=400, random_state=seed)
        try:
            result.fit(rows)
        except ValueError:
            continue  # all of them have collapsed
        assert result.converged_
        assert result.outcome_.startswith("converged")
