import dask
import numpy as np
import pandas as pd
import pytest
from strategies import in_pairs

from daskgmm import DaskDataset, GaussianMixture, open_dataset
from daskgmm.data.preprocessing.preprocessing import Preprocessing
from daskgmm.errors import DataError

N = 500
TOLD = {
    "filter": "x3 > 0.2 and not x1 > 3",
    "transforms": [
        {"log1p": [2]},
        {"clip": {"x0": [-1, 1.5], 2: [None, 1]}},
        {"standardise": "all"},
    ],
}
NAMED = {
    "filter": "weight > 0.2 and not `dep delay` > 3",
    "transforms": [
        {"log1p": ["air"]},
        {"clip": {"a": [-1, 1.5], "air": [None, 1]}},
        {"standardise": "all"},
    ],
}
COLUMNS = ["a", "dep delay", "air", "weight"]


def made_up():
    """Rows with a missing value, and a column that is not a feature."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(N, 4))
    rows[:, 2] = np.exp(rows[:, 2])
    rows[:, 3] = random.uniform(size=N)
    rows[::9, 1] += 4.0
    rows[7, 2] = np.nan
    return rows


@pytest.fixture
def stored():
    return made_up()


def by_hand(stored):
    """The features, and which rows meet the filter."""
    made = stored[:, :3].copy()
    made[:, 2] = np.minimum(np.log1p(made[:, 2]), 1)
    made[:, 0] = np.clip(made[:, 0], -1, 1.5)
    return made, (stored[:, 3] > 0.2) & ~(stored[:, 1] > 3)


WRITERS = {
    "npy": lambda place, rows: np.save(place / "rows.npy", rows),
    "zarr": lambda place, rows: pytest.importorskip("zarr").create_array(
        place / "rows.zarr", data=rows, chunks=(90, 4)
    ),
    "h5": lambda place, rows: _write_hdf5(place / "rows.h5", rows),
    "parquet": lambda place, rows: pd.DataFrame(rows, columns=COLUMNS).to_parquet(
        place / "rows.parquet", row_group_size=90
    ),
    "csv": lambda place, rows: pd.DataFrame(rows, columns=COLUMNS).to_csv(
        place / "rows.csv", index=False, float_format="%.17g"
    ),
}


def _write_hdf5(path, rows):
    with pytest.importorskip("h5py").File(path, "w") as file:
        file.create_dataset("rows", data=rows, chunks=(90, 4))


@pytest.fixture
def opened(tmp_path, stored):
    def of(kind, dtype="float64", **options):
        WRITERS[kind](tmp_path, stored.astype(dtype))
        named = kind in ("parquet", "csv")
        features = ["a", "dep delay", "air"] if named else [0, 1, 2]
        inside = "::/rows" if kind == "h5" else ""
        told = {**(NAMED if named else TOLD), **options}
        return open_dataset(f"{tmp_path}/rows.{kind}{inside}", columns=features, **told)

    return of


@pytest.mark.parametrize(
    ("kind", "dtype", "where"),
    in_pairs(tuple(WRITERS), ("float64", "float32"), ("threads", "processes")),
)
def test_every_source_gives_what_numpy_makes_of_its_rows(opened, request, kind, dtype, where):
    dataset, stored = opened(kind, dtype), made_up()
    if where == "processes":
        request.getfixturevalue("client")
    chunks = dataset.prepare().map(_rows_and_weights)
    made, counted = by_hand(stored.astype(dtype))
    rows = np.concatenate([rows for rows, _ in chunks])
    weights = np.concatenate([weights for _, weights in chunks])
    np.testing.assert_array_equal(weights, counted)
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(rows[counted], made[counted], rtol=tolerance)
    assert not rows[~counted].any()
    assert rows.dtype == (np.float64 if kind == "csv" else dtype)
    named = kind in ("parquet", "csv")
    first, second, third = ("a", "dep delay", "air") if named else ("x0", "x1", "x2")
    expected = (f"clip({first}, -1, 1.5)", second, f"clip(log1p({third}), -inf, 1)")
    assert dataset.columns == expected
    assert (dataset.n_features, dataset.layout.n_features) == (3, 3)


def _rows_and_weights(chunk):
    return chunk.rows, chunk.weights


def test_a_filter_alone_leaves_names_and_values(tmp_path, stored):
    np.save(tmp_path / "rows.npy", stored)
    dataset = open_dataset(tmp_path / "rows.npy", filter="`3` > 0.5")
    assert dataset.columns is None
    (chunk,) = dataset.map(_rows_and_weights)
    np.testing.assert_array_equal(chunk[0], np.where(stored[:, 3:] > 0.5, stored, 0.0))
    assert dataset.preprocessing.options() == {
        "columns": [0, 1, 2, 3],
        "filter": "`3` > 0.5",
        "transforms": [],
    }


def test_only_what_is_used_is_read(opened):
    assert opened("parquet").preprocessing.stored_columns == ("a", "dep delay", "air", "weight")
    assert opened("parquet", filter=None).collection.shape == (N, 3)
    recipe = opened("parquet").preprocessing
    columns, condition, transforms = recipe.options().values()
    assert Preprocessing.of(columns, condition, transforms) == recipe


@pytest.mark.parametrize(
    ("told", "part"),
    [
        ({"filter": "nobody > 1"}, "filter: there is no column 'nobody'"),
        ({"filter": "1 +"}, "not an expression"),
        ({"transforms": [{"log": ["nobody"]}]}, "log: there is no column 'nobody'"),
        ({"transforms": [{"log": ["weight"]}]}, "log: there is no column 'weight'"),
        ({"transforms": [{"clip": {"nobody": [0, 1]}}]}, "clip: there is no column 'nobody'"),
        (
            {"transforms": [{"standardise": ["a"]}, {"log": ["a"]}]},
            "'a' is transformed after standardise",
        ),
        ({"transforms": [{"standardise": "all"}, {"standardise": ["a"]}]}, "put standardise last"),
        ({"transforms": {"log": ["a"]}}, "must be a list"),
    ],
)
def test_what_cannot_be_meant_is_said_before_a_row_is_read(opened, told, part):
    with pytest.raises(DataError) as caught:
        opened("parquet", **told)
    assert part in str(caught.value)


def test_the_filter_of_an_array_names_columns_that_are_there(tmp_path, stored):
    np.save(tmp_path / "rows.npy", stored)
    for name in ("x4", "`4`", "speed"):
        with pytest.raises(DataError, match="filter: there is no column"):
            open_dataset(tmp_path / "rows.npy", columns=[0], filter=f"{name} > 1")


def test_a_value_without_a_logarithm_is_named_with_its_place(opened, stored):
    stored[350, 0] = -0.25
    stored[400, 0] = 0.0
    stored[:, 0] = np.where(stored[:, 0] < -0.25, 1.0, np.abs(stored[:, 0]))
    stored[350, 0] = -0.25
    told = {"filter": None, "transforms": [{"log": ["a"]}]}
    with pytest.raises(DataError) as caught:
        opened("parquet", **told).map(_rows_and_weights)
    expected = "column 'a' is -0.25 in row 350 of the data (chunk 3): log needs values above 0"
    assert str(caught.value).startswith(expected)
    twice = Preprocessing.of(["a"], None, [{"log": ["a"]}, {"log": ["a"]}])
    with pytest.raises(DataError, match=r"^log\(a\) is -0.69\d+ in row 1 of the input: log"):
        twice.apply(np.array([[3.0], [0.5]]))
    with pytest.raises(DataError, match="row 350 of chunk 0"):  # before it is counted
        opened("csv", **told).prepare()
    kept = opened("parquet", filter="a > 0", transforms=told["transforms"])
    assert (
        sum(weights.sum() for _, weights in kept.map(_rows_and_weights)) == (stored[:, 0] > 0).sum()
    )
    clipped = opened(
        "parquet", filter=None, transforms=[{"clip": {"a": [0.5, None]}}, *told["transforms"]]
    )
    assert clipped.map(_rows_and_weights)[0][1] is None


def test_empty_chunks_and_chunks_that_nothing_is_left_of(stored):
    array = dask.array.from_array(stored, chunks=((0, 1, 0, 499), 4))
    recipe = Preprocessing.of([0, 1, 2, 3], "x0 > 1e9", [{"clip": {0: [0, None]}}])
    dataset = DaskDataset.of(array, preprocessing=recipe)
    assert [rows.shape for rows, _ in dataset.map(_rows_and_weights)] == [
        (0, 4),
        (1, 4),
        (0, 4),
        (499, 4),
    ]
    assert not any(weights.any() for _, weights in dataset.map(_rows_and_weights))


def test_blocks_do_not_show(stored, monkeypatch):
    recipe = Preprocessing.of([0, 1, 2], "x3 > 0.2", [{"log1p": [2]}])
    rows = stored[:, [0, 1, 2, 3]]
    made, counted = recipe.apply(rows)
    monkeypatch.setattr("daskgmm.data.preprocessing.preprocessing.BLOCK_BYTES", 200)
    again, counted_again = recipe.apply(np.asfortranarray(rows))
    np.testing.assert_array_equal(again, made)
    np.testing.assert_array_equal(counted_again, counted)


def test_nothing_is_copied_where_nothing_is_made(stored):
    rows = stored[:, :2]
    made, counted = Preprocessing.of([0, 1], None, [{"standardise": "all"}]).apply(rows)
    assert made is rows
    assert counted is None


def test_several_files_have_the_columns_of_the_first(tmp_path, stored):
    np.save(tmp_path / "1.npy", stored)
    np.save(tmp_path / "2.npy", stored[:90])
    told = {"columns": [2, 0], "filter": "x3 > 0.2", "transforms": [{"log1p": [2]}]}
    chunks = open_dataset(tmp_path / "*.npy", **told).map(_rows_and_weights)
    rows = np.column_stack([np.log1p(stored[:, 2]), stored[:, 0]])
    for (found, weights), n_rows in zip(chunks, (N, 90), strict=True):
        counted = stored[:n_rows, 3] > 0.2
        np.testing.assert_array_equal(weights, counted)
        np.testing.assert_array_equal(found[counted], rows[:n_rows][counted])
    np.save(tmp_path / "2.npy", np.hstack([stored, stored]))
    with pytest.raises(DataError, match="has 8 columns, but"):
        open_dataset(tmp_path / "*.npy", filter="x3 > 0.2")


def test_results_of_rows_none_of_which_counts(stored):
    array = dask.array.from_array(stored[:, :2], chunks=((0, 1, 499), 2))
    recipe = Preprocessing.of([0, 1], "x0 > 1e9", [{"clip": {0: [0, None]}}])
    model = GaussianMixture(2, random_state=0).fit(stored[:, :2])
    with pytest.warns(UserWarning, match="feature names"):
        model.predict(DaskDataset.of(array, preprocessing=recipe))
    model.feature_names_in_ = np.array(["clip(x0, 0, inf)", "x1"], dtype=object)
    dataset = DaskDataset.of(array, preprocessing=recipe)
    assert (model.predict(dataset).compute() == -1).all()
    for found in (
        model.predict_proba(dataset),
        model.score_samples(dataset),
        model.impute(dataset),
    ):
        assert found.shape[0] == N
        assert np.isnan(found.compute()).all()
    with pytest.raises(DataError, match="all rows have weight zero"):
        model.score(dataset)
