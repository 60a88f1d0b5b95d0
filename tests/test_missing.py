"""What becomes of missing values, from one end to the other."""

import pickle
import warnings

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from strategies import clusters, mixture

from daskgmm import GaussianMixture
from daskgmm.errors import DataError


def drawn(name, n_rows=2000, n_features=10, share=0.3, seed=2):
    """Rows of a mixture of three, and the same without a share of their cells."""
    random = np.random.RandomState(seed)
    rows = random.permutation(mixture(name, 3, n_features, seed=seed).sample(n_rows, random)[0])
    return rows, np.where(random.uniform(size=rows.shape) < share, np.nan, rows)


def fitted(rows, name="full", **others):
    settings = {"covariance_type": name, "missing": "marginal", "tol": 1e-5}
    settings |= {"random_state": 0, "init_params": "kmeans"}
    return GaussianMixture(3, **{**settings, **others}).fit(rows)


def by_first_mean(model):
    order = np.argsort(model.means_[:, 0])
    return model.weights_[order], model.means_[order], model.mixture_.dense_covariances[order]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_fit_without_cells_is_that_of_all_within_sampling_error(family_name):
    rows, holes = drawn(family_name)
    weights, means, covariances = by_first_mean(fitted(rows, family_name))
    w, m, c = by_first_mean(fitted(holes, family_name))
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    n = len(rows) * weights
    assert (np.abs(w - weights) < 0.01).all()
    assert (np.abs(m - means) < 4.0 * np.sqrt(variances / n[:, None])).all()
    scale = np.sqrt(variances[:, :, None] * variances[:, None, :])
    assert (np.abs(c - covariances) < 6.0 * scale / np.sqrt(n)[:, None, None]).all()


def test_the_bound_never_goes_down(family_name):
    _, holes = drawn(family_name, n_rows=600, n_features=4, share=0.5)
    for acceleration in (None, "quasi-newton"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = fitted(
                holes,
                family_name,
                acceleration=acceleration,
                init_params="random",
                refine=False,
                tol=0.0,
                max_iter=40,
                reg_covar=0.0,
            )
        bounds = np.array(model.lower_bounds_)
        assert len(bounds) > 2
        if acceleration is None:
            assert (np.diff(bounds) >= -1e-12 * np.abs(bounds[1:])).all()
        else:
            assert bounds[-1] == pytest.approx(bounds.max(), abs=1e-9)


def test_quasi_newton_ends_where_em_does(family_name):
    _, holes = drawn(family_name, n_rows=300, n_features=5)
    start = {"means_init": mixture(family_name, 3, 5, seed=2).means, "max_iter": 2000}
    em = fitted(holes, family_name, acceleration=None, tol=1e-10, **start)
    fast = fitted(holes, family_name, tol=1e-9, **start)
    assert fast.n_iter_ < em.n_iter_
    assert fast.score(holes) == pytest.approx(em.score(holes), abs=1e-6)


def test_chunks_do_not_matter(family_name):
    _, holes = drawn(family_name, n_rows=240, n_features=3)
    whole = fitted(holes, family_name)
    for chunks in (240, 90):
        cut = fitted(da.from_array(holes, chunks=(chunks, 3)), family_name)
        np.testing.assert_allclose(cut.means_, whole.means_, atol=1e-6)
        assert cut.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-9)


def test_rows_outside_the_sample(monkeypatch):
    monkeypatch.setattr("daskgmm.fit.settings.MIN_SAMPLE_ROWS", 1000)
    monkeypatch.setattr("daskgmm.fit.settings.START_GAP", 1.0)
    _, holes = drawn("diag", n_rows=9000, n_features=3)
    model = fitted(holes, "diag")
    assert model.score(holes) >= mixture_score(holes, "diag") - 1e-3


def mixture_score(holes, name):
    """The score of the mixture that the rows were drawn from."""
    model = fitted(holes[:50], name, max_iter=0, init_params="random")
    true = mixture(name, 3, holes.shape[1], seed=2)
    model.weights_, model.means_, model.covariances_ = true.weights, true.means, true.covariances
    model.precisions_cholesky_ = true.precision_cholesky
    return model.score(holes)


@pytest.mark.parametrize("init", ["short-em", "kmeans", "k-means++", "k-means||", "random"])
def test_every_start_takes_them_where_no_row_is_complete(init):
    _, holes = drawn("full", n_rows=200, n_features=4, share=0.2)
    holes[np.arange(200), np.arange(200) % 4] = np.nan
    assert np.isnan(holes).any(axis=1).all()
    model = fitted(holes, init_params=init, tol=1e-2)
    assert np.isfinite(model.means_).all()
    assert np.isfinite(model.score_samples(holes)).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("policy", ["regularize", "reinitialize", "drop"])
def test_remedies_take_them(policy):
    rows = clusters(200)
    rows[:100] = rows[0]
    rows[150:, 1] = np.nan
    model = fitted(rows, reg_covar=0.0, degenerate=policy, max_iter=20, tol=1e-2)
    assert np.isfinite(model.means_).all()


def test_what_is_said_of_rows_in_memory_and_lazily():
    rows, holes = drawn("full", n_rows=500)
    holes[7] = np.nan
    model = fitted(holes)
    labels, densities = model.predict(holes), model.score_samples(holes)
    assert labels.min() >= 0
    assert densities[7] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(model.predict_proba(holes)[7], model.weights_)
    assert model.score(holes) == pytest.approx(densities.mean())
    filled = model.impute(holes)
    known = ~np.isnan(holes)
    np.testing.assert_array_equal(filled[known], holes[known])
    assert np.mean((filled - rows)[~known] ** 2) < 0.5 * np.nanvar(holes)
    lazy = da.from_array(holes, chunks=(120, 10))
    np.testing.assert_array_equal(model.predict(lazy).compute(), labels)
    np.testing.assert_allclose(model.score_samples(lazy).compute(), densities)
    assert model.impute(lazy).chunks == lazy.chunks
    np.testing.assert_allclose(model.impute(lazy).compute(), filled)
    frame = dd.from_pandas(pd.DataFrame(holes, columns=list("abcdefghij")), npartitions=3)
    np.testing.assert_allclose(fitted(frame).impute(frame).compute(), filled, rtol=1e-6)


def test_imputed_dask_frames_keep_columns_index_and_divisions():
    _, holes = drawn("full", n_rows=300, n_features=3)
    index = pd.RangeIndex(1000, 1300, name="id")
    for columns in (["u", "v", "w"], [7, 5, 6]):
        frame = pd.DataFrame(holes, columns=columns, index=index)
        lazy = dd.from_pandas(frame, npartitions=3)
        model = fitted(lazy)
        with dask.config.set(scheduler=lambda *_, **__: pytest.fail("computed")):
            filled = model.impute(lazy)
        assert filled.divisions == lazy.divisions
        assert list(filled.columns) == columns
        now = model.impute(frame)
        assert isinstance(now, np.ndarray)
        expected = pd.DataFrame(now, columns=columns, index=index)
        pd.testing.assert_frame_equal(filled.compute(), expected)


def test_omitting_is_told_by_the_estimator_too():
    _, holes = drawn("full", n_rows=500, n_features=4)
    whole = ~np.isnan(holes).any(axis=1)
    omitting = fitted(holes, missing="omit")
    np.testing.assert_allclose(omitting.means_, fitted(holes[whole], missing="raise").means_, 1e-6)
    assert (omitting.predict(holes)[~whole] == -1).all()


def test_refusing_is_the_default():
    _, holes = drawn("full", n_rows=100, n_features=4)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted(holes, missing="raise")
    model = clone(fitted(holes)).set_params(missing="raise").fit(np.nan_to_num(holes))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(holes)
    assert np.isfinite(model.impute(holes)).all()


def test_the_refusal_says_what_can_be_done():
    _, holes = drawn("full", n_rows=100, n_features=4)
    model, lazy = fitted(np.nan_to_num(holes), missing="raise"), da.from_array(holes)
    for refused in (
        lambda: fitted(holes, missing="raise"),
        lambda: fitted(lazy, missing="raise"),
        lambda: model.predict(holes),
        lambda: model.score(holes),
        lambda: model.score_samples(lazy).compute(),
        lambda: model.partial_fit(holes),
    ):
        with pytest.raises(ValueError, match=r"contains NaN(.|\n)*missing='marginal', or fill"):
            refused()


def test_infinity_is_refused_in_any_mode():
    _, holes = drawn("full", n_rows=100, n_features=4)
    holes[3] = [np.nan, np.inf, 0.0, 0.0]
    with pytest.raises(ValueError, match="infinity"):
        fitted(da.from_array(holes))
    with pytest.raises(ValueError, match="infinity"):
        fitted(holes)


def test_a_column_of_nothing_is_named():
    _, holes = drawn("full", n_rows=100, n_features=4)
    holes[:, 2] = np.nan
    with pytest.raises(DataError, match="column 2 has no value"):
        fitted(holes)


def test_without_missing_values_it_is_the_ordinary_fit(family_name):
    rows, _ = drawn(family_name, n_rows=400)
    marginal, plain = fitted(rows, family_name), fitted(rows, family_name, missing="raise")
    np.testing.assert_array_equal(marginal.means_, plain.means_)
    assert pickle.loads(pickle.dumps(marginal)).missing == "marginal"


def test_rows_left_out_are_left_out_of_float32_scores_too():
    rows = clusters(300).astype(np.float32)
    whole = GaussianMixture(2, random_state=0, missing="omit").fit(rows)
    gaps = np.vstack([rows, np.full((5, 3), np.nan, np.float32)])
    assert whole.score(gaps) == pytest.approx(whole.score(rows), rel=1e-6)
    weights = np.arange(1.0, 306.0)
    weighed = whole.score(gaps, sample_weight=weights)
    assert weighed == pytest.approx(whole.score(rows, sample_weight=weights[:300]), rel=1e-6)


def test_scikit_learn_is_told_whether_gaps_are_taken():
    taken = {
        way: GaussianMixture(missing=way).__sklearn_tags__().input_tags.allow_nan
        for way in ("raise", "omit", "marginal")
    }
    assert taken == {"raise": False, "omit": True, "marginal": True}


def test_rows_left_out_are_counted_and_reported(capsys):
    rows = np.random.default_rng(0).normal(size=(100, 2))
    rows[:7, 1] = np.nan
    model = GaussianMixture(1, missing="omit", verbose=1).fit(rows)
    assert model.n_omitted_ == 7
    assert "7 of 100 rows left out: a value is missing" in capsys.readouterr().out
    assert GaussianMixture(1, missing="marginal").fit(rows).n_omitted_ == 0
