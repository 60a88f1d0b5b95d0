"""Fits to rows that a filter and transforms make, against the same rows made by hand."""

import numpy as np
import pandas as pd
import pytest
from distributed import Client
from strategies import clusters, in_pairs, local_cluster

from daskgmm import GaussianMixture, open_dataset, select_components
from daskgmm.data.sources import parquet
from daskgmm.errors import (
    CheckpointError,
    DataError,
    DataWarning,
    ParameterError,
)
from daskgmm.model import model_file

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 900
FILTER = "day != 3 and delay > -2"
TRANSFORMS = [{"log1p": ["delay"]}, {"clip": {"speed": [-4, 4]}}]


@pytest.fixture
def frame():
    rows = clusters(N, 2, spread=4.0)
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "delay": np.expm1(np.abs(rows[:, 0])),
            "speed": 1e3 * rows[:, 1],
            "day": random.integers(7, size=N),
            "share": random.gamma(1.0, size=N),
        }
    )


@pytest.fixture
def path(tmp_path, frame):
    frame.loc[frame["day"] == 3, "delay"] = -5.0  # whose logarithm nobody asks for
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=128)
    return tmp_path / "rows.parquet"


@pytest.fixture
def made(frame, path):
    """The rows that count, by hand, and which those are."""
    counted = (frame["day"] != 3).to_numpy()
    some = frame[counted]
    return np.column_stack([np.log1p(some["delay"]), np.clip(some["speed"], -4, 4)]), counted


def opened(path, **options):
    told = {"columns": ["delay", "speed"], "filter": FILTER, "transforms": TRANSFORMS, **options}
    return open_dataset(path, **told)


def mixture(**changes):
    return GaussianMixture(3, random_state=0, max_iter=20, **changes)


def test_it_is_the_fit_to_rows_that_are_made_by_hand(path, made):
    rows, counted = made
    dataset = opened(path)
    model, expected = mixture().fit(dataset), mixture().fit(rows)
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-9)
    np.testing.assert_allclose(model.covariances_, expected.covariances_, rtol=1e-9)
    assert model.total_weight_ == counted.sum()
    assert model.lower_bound_ == pytest.approx(expected.lower_bound_, rel=1e-12)
    assert model.score(dataset) == pytest.approx(expected.score(rows), rel=1e-12)
    assert model.bic(dataset) == pytest.approx(expected.bic(rows), rel=1e-12)
    labels, density = model.predict(dataset).compute(), model.score_samples(dataset).compute()
    np.testing.assert_array_equal(labels[counted], expected.predict(rows))
    np.testing.assert_allclose(density[counted], expected.score_samples(rows), atol=1e-9)
    assert (labels[~counted] == -1).all()
    assert np.isnan(density[~counted]).all()
    assert np.isnan(model.predict_proba(dataset).compute()[~counted]).all()
    filled = model.impute(dataset).compute()
    np.testing.assert_allclose(filled[counted], rows, rtol=1e-12)
    means, covariances = model.predict_conditional(
        open_dataset(path, columns=["delay"], transforms=TRANSFORMS[:1], filter=FILTER)
    )
    assert np.isnan(means.compute()[~counted]).all()
    assert np.isfinite(covariances.compute()[counted]).all()


def test_workers_and_threads_find_the_same_bits(path):
    here = mixture().fit(opened(path))
    with local_cluster(2) as cluster, Client(cluster):
        there = mixture().fit(opened(path))
    np.testing.assert_array_equal(here.means_, there.means_)
    np.testing.assert_array_equal(here.covariances_, there.covariances_)


def test_a_column_may_weigh_the_rows_that_count(path, frame, made):
    rows, counted = made
    weights = frame["share"][counted].to_numpy()
    dataset = opened(path, columns=["delay", "share", "speed"])
    model = mixture().fit(dataset, sample_weight="share")
    expected = mixture().fit(rows, sample_weight=weights)
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-9)
    assert model.total_weight_ == pytest.approx(weights.sum(), rel=1e-12)
    assert model.recipe_["columns"] == ["delay", "speed"]
    other = opened(
        path, columns=["delay", "share", "speed"], transforms=[{"standardise": ["share"]}]
    )
    with pytest.raises(DataError, match="'share' holds the weights, not a feature"):
        mixture().fit(other, sample_weight="share")
    given = mixture().fit(opened(path), sample_weight=frame["share"].to_numpy())
    np.testing.assert_allclose(given.means_, expected.means_, rtol=1e-9)


def test_rows_that_do_not_count_may_lie_anywhere(path, frame, made):
    """As far as that rounding at zero, which stands in their place, costs digits."""
    rows, counted = made
    frame["speed"] += 1e9
    frame.loc[0, "day"] = 3
    frame.to_parquet(path, row_group_size=128)
    counted = (frame["day"] != 3).to_numpy()
    dataset = opened(path, transforms=[{"log1p": ["delay"]}])
    rows = np.column_stack([np.log1p(frame["delay"].clip(lower=0)), frame["speed"]])[counted]
    model, expected = mixture().fit(dataset), mixture().fit(rows)
    np.testing.assert_allclose(model.covariances_, expected.covariances_, rtol=1e-9)


@pytest.mark.parametrize(
    ("family", "distance", "acceleration", "reg_covar"),
    in_pairs(
        ["full", "tied", "diag"], ["whitened", "euclidean"], ["quasi-newton", None], [1e-3, "scale"]
    ),
)
def test_standardised_is_the_fit_to_standardised_rows_in_the_rows_own_units(
    tmp_path, family, distance, acceleration, reg_covar
):
    rows = clusters(600, 3) * [1.0, 1e3, 1e-4] + [1e3, 5.0, 0.0]
    np.save(tmp_path / "rows.npy", rows)
    told = {
        "covariance_type": family,
        "init_distance": distance,
        "init_params": "kmeans",
        "acceleration": acceleration,
        "reg_covar": reg_covar,
        "refine": False,
    }
    dataset = open_dataset(tmp_path / "rows.npy", transforms=[{"standardise": "all"}])
    model = mixture(**told).fit(dataset)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    expected = mixture(**told).fit((rows - mean) / deviation)
    np.testing.assert_allclose((model.means_ - mean) / deviation, expected.means_, atol=1e-7)
    squared = np.square(deviation) if family == "diag" else np.outer(deviation, deviation)
    np.testing.assert_allclose(model.covariances_ / squared, expected.covariances_, atol=1e-7)
    np.testing.assert_allclose(model.reg_covar_ / np.square(deviation), expected.reg_covar_)
    assert model.n_iter_ == expected.n_iter_
    # It is told in the rows' units, so the rows themselves are what it takes.
    np.testing.assert_array_equal(model.predict(rows), model.predict(dataset).compute())


def test_some_may_be_standardised_and_others_not(path, made):
    transforms = [*TRANSFORMS, {"standardise": ["speed"]}]
    model = mixture(reg_covar=1e-2).fit(opened(path, transforms=transforms))
    rows, _ = made
    np.testing.assert_allclose(model.reg_covar_, [1e-2, 1e-2 * rows[:, 1].var()])


def test_spherical_covariances_have_no_units_of_their_own(path):
    dataset = opened(path, transforms=[{"standardise": "all"}])
    path.unlink()
    with pytest.raises(ParameterError, match="a spherical covariance of standardised features"):
        mixture(covariance_type="spherical").fit(dataset)


def test_a_file_keeps_what_the_rows_were_made_by(path, tmp_path):
    dataset = opened(path)
    model = mixture().fit(dataset)
    model.save(tmp_path / "model.npz")
    again = GaussianMixture.load(tmp_path / "model.npz")
    assert (
        again.recipe_
        == model.recipe_
        == {
            "columns": ["delay", "speed"],
            "filter": FILTER,
            "transforms": TRANSFORMS,
        }
    )
    expected = model.predict(dataset).compute()
    found = again.predict(open_dataset(path, **again.recipe_)).compute()
    np.testing.assert_array_equal(found, expected)
    assert GaussianMixture.load(tmp_path / "model.npz").fit(np.eye(3)[:, :2]).recipe_ == {}


def test_raw_rows_are_not_taken_for_transformed_ones(path, frame, tmp_path):
    model = mixture().fit(opened(path))
    assert model.feature_names_in_.tolist() == ["log1p(delay)", "clip(speed, -4, 4)"]
    raw = frame[["delay", "speed"]]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(raw)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(open_dataset(path, columns=["delay", "speed"]))
    np.save(tmp_path / "rows.npy", np.abs(raw.to_numpy()))
    of_array = mixture().fit(open_dataset(tmp_path / "rows.npy", transforms=[{"log1p": [0]}]))
    with pytest.warns(UserWarning, match="feature names"):
        of_array.predict(open_dataset(tmp_path / "rows.npy"))
    with pytest.warns(DataWarning, match="does not apply transforms"):
        model.to_sklearn()
    mixture().fit(opened(path, transforms=[{"standardise": "all"}])).to_sklearn()


def test_a_file_from_before_has_no_recipe(path, tmp_path, frame):
    model = mixture().fit(frame[["speed", "share"]])
    model.save(tmp_path / "model.npz")
    saved = model_file.read(tmp_path / "model.npz")
    del saved.about["history"]["recipe_"]
    model_file.save(saved.mixture, tmp_path / "old.npz", saved.columns, saved.about)
    assert GaussianMixture.load(tmp_path / "old.npz").recipe_ == {}


def test_a_checkpoint_of_other_transforms_is_refused(path, tmp_path):
    class Stopped(Exception):  # noqa: N818
        pass

    class Stopping:
        def __getattr__(self, name):
            if name == "on_pass":
                raise Stopped
            return lambda *_: None

    folder = tmp_path / "kept"
    with pytest.raises(Stopped):
        mixture(acceleration=None).fit(opened(path), observer=Stopping(), checkpoint=folder)
    for other in (
        {"transforms": [TRANSFORMS[0], {"clip": {"speed": [-5, 4]}}]},
        {"transforms": [*TRANSFORMS, {"standardise": "all"}]},
        {"filter": "day != 3 and delay > -1"},
    ):
        with pytest.raises(CheckpointError, match=r"recipe|clip\(speed, -5, 4\)"):
            mixture(acceleration=None).fit(opened(path, **other), checkpoint=folder)
    went_on = mixture(acceleration=None).fit(opened(path), checkpoint=folder)
    expected = mixture(acceleration=None).fit(opened(path))
    np.testing.assert_array_equal(went_on.means_, expected.means_)


def test_a_chunk_with_a_value_that_has_no_logarithm_may_be_skipped(path):
    told = {"filter": None, "transforms": [{"log1p": ["delay"]}]}
    with pytest.raises(DataError, match=r"column 'delay' is -5 in row \d+ of the data \(chunk 0\)"):
        mixture().fit(opened(path, **told))
    frame = pd.read_parquet(path)
    frame["delay"] = frame["delay"].abs()
    frame.loc[300, "delay"] = -2.0
    frame.to_parquet(path, row_group_size=128)
    with pytest.warns(DataWarning, match=r"1 chunk left out \(128 rows\): column 'delay' is -2"):
        model = mixture().fit(opened(path, on_bad_chunk="skip", **told))
    assert model.total_weight_ == N - 128
    with pytest.warns(DataWarning, match="1 chunk left out"):
        model = mixture().fit(opened(path, on_bad_chunk="skip", **{**told, "filter": "day != 3"}))
    assert model.total_weight_ == (frame["day"].drop(range(256, 384)) != 3).sum()


def test_missing_values_are_dealt_with_among_the_rows_that_count(path, frame):
    frame.loc[frame["day"] == 3, "speed"] = np.nan
    frame.to_parquet(path, row_group_size=128)
    mixture().fit(opened(path))
    frame.loc[frame["day"] == 4, "speed"] = np.nan
    frame.to_parquet(path, row_group_size=128)
    with pytest.raises(DataError, match="contains NaN"):
        mixture().fit(opened(path))
    omitted = mixture().fit(opened(path, missing="omit"))
    assert omitted.total_weight_ == (~frame["day"].isin([3, 4])).sum()
    assert omitted.n_omitted_ == (frame["day"] == 4).sum()
    marginal = mixture().fit(opened(path, missing="marginal"))
    assert marginal.total_weight_ == (frame["day"] != 3).sum()


@pytest.mark.parametrize("condition", ["day > 99", "day == 3 and delay > 0"])
def test_a_filter_that_no_row_meets_is_one_sentence(path, condition):
    with pytest.raises(DataError, match="900 of 900 rows have weight zero, or do not meet"):
        mixture().fit(opened(path, filter=condition))


def test_sizes_are_compared_on_the_rows_that_count(path, made):
    rows, _ = made
    found = select_components(opened(path), [2, 3], estimator=mixture())
    expected = select_components(rows, [2, 3], estimator=mixture())
    assert found.best.n_components == expected.best.n_components
    # The sample is drawn by rows' numbers in the source, so it is another one.
    np.testing.assert_allclose(found.to_frame()["bic"], expected.to_frame()["bic"], rtol=1e-4)
    assert found.best.recipe_["filter"] == FILTER


def test_one_reading_of_a_chunk_serves_rows_weights_and_filter(path, monkeypatch):
    reads = []
    plain = parquet._read
    monkeypatch.setattr(parquet, "_read", lambda *args: reads.append(args) or plain(*args))
    model = mixture().fit(opened(path, columns=["delay", "share", "speed"]), sample_weight="share")
    assert len(reads) == 8 * model.n_passes_
