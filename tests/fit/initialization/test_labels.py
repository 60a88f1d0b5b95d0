import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from strategies import clusters

from daskgmm import GaussianMixture
from daskgmm.data.dataset import DaskDataset

X = clusters(700)
LABELS = np.random.default_rng(0).integers(3, size=700)
SHARES = np.random.default_rng(1).dirichlet([1.0, 1.0, 1.0], size=700)
FRAME = pd.DataFrame(X, columns=list("abc"))


def started(rows, init_params, name="full", **more):
    parameters = {"n_components": 3, "covariance_type": name, "max_iter": 0, "random_state": 0}
    return GaussianMixture(**parameters | more, init_params=init_params).fit(rows)


def expected(shares):
    """Weights, means and covariances by the formula."""
    counts = shares.sum(axis=0)
    means = shares.T @ X / counts[:, None]
    covariances = [np.cov(X.T, aweights=r, bias=True) + 1e-6 * np.eye(3) for r in shares.T]
    return counts / counts.sum(), means, np.array(covariances)


ROWS = {
    "memory": lambda: X,
    "dask": lambda: da.from_array(X, chunks=(90, 3)),
    "columns": lambda: da.from_array(X, chunks=(90, 1)),
    "frame": lambda: dd.from_pandas(FRAME, npartitions=6),
    "filtered": lambda: dd.from_pandas(FRAME, npartitions=6)[["a", "b", "c"]].query("a > -1e9"),
    "common": lambda: (x := da.from_array(X, chunks=(40, 3))) - x.mean(axis=0) + X.mean(axis=0),
}
KNOWN = {
    "labels": (LABELS, np.eye(3)[LABELS]),
    "responsibilities": (SHARES, SHARES),
    "some in none": (
        np.where(np.arange(700) % 5, LABELS, -1),
        np.eye(3)[LABELS] * (np.arange(700) % 5 > 0)[:, None],
    ),
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize(("known", "shares"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("lazy", [False, True])
def test_a_start_is_the_estimates_of_what_is_known(rows, known, shares, lazy):
    array = da.from_array(known, chunks=(250, *known.shape[1:])) if lazy else known
    model = started(rows(), array)
    weights, means, covariances = expected(shares)
    np.testing.assert_allclose(model.weights_, weights, rtol=1e-10)
    np.testing.assert_allclose(model.means_, means, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.covariances_, covariances, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("known", [LABELS, SHARES])
def test_a_function_gives_the_same_from_the_sample(family_name, known):
    by_array = started(X, known, family_name)
    by_function = started(X, lambda *_: known, family_name)
    np.testing.assert_allclose(by_function.means_, by_array.means_, rtol=1e-12)
    np.testing.assert_allclose(by_function.covariances_, by_array.covariances_, rtol=1e-9)
    listed = started(X, known.tolist(), family_name)
    np.testing.assert_array_equal(listed.means_, by_array.means_)


def test_a_function_is_called_for_each_start():
    seen = []

    def cluster(rows, n_components, random_state):
        seen.append((rows.shape, rows.dtype, n_components, random_state.randint(1000)))
        return KMeans(n_components, random_state=random_state).fit_predict(rows)

    GaussianMixture(3, init_params=cluster, n_init=2, random_state=0).fit(X.astype(np.float32))
    (first, second) = seen
    assert first[:3] == second[:3] == ((700, 3), np.float64, 3)
    assert first[3] != second[3]


def test_the_pass_is_counted():
    def purposes(rows, init_params):
        return [each.purpose for each in started(rows, init_params).passes_]

    assert purposes(X, LABELS) == ["survey", "start", "bound"]
    assert purposes(ROWS["frame"](), LABELS) == ["prepare", "survey", "start", "bound"]
    assert purposes(X, lambda *_: LABELS) == ["survey", "bound"]
    assert purposes(ROWS["dask"](), LABELS) == ["survey", "start", "bound"]
    # What all chunks need is not computed anew.
    assert purposes(ROWS["common"](), LABELS) == ["prepare", "survey", "start", "bound"]


def test_rows_with_gaps_and_rows_of_no_weight_do_not_count():
    rows = np.vstack([X, X[:50], X[:50]])
    rows[700:750, 1] = np.nan
    weights = da.from_array(np.repeat([1.0, 1.0, 0.0], [700, 50, 50]), chunks=100)
    dataset = DaskDataset.of(da.from_array(rows, chunks=(100, 3)), weights=weights, missing="omit")
    labels = np.concatenate([LABELS, np.zeros(100, int)])
    np.testing.assert_allclose(started(dataset, labels).means_, started(X, LABELS).means_)


def test_workers_give_the_same_bits(client):
    rows, labels = ROWS["dask"](), da.from_array(LABELS, chunks=300)
    spread = started(rows, labels)
    with client.as_current():
        persisted = client.persist(rows)
        kept = started(persisted, labels)
    assert spread.means_.tobytes() == kept.means_.tobytes()


def changed(array, row, value):
    array = array.astype(float)
    array[row] = value
    return array


WRONG = {
    "too few": (LABELS[:-1], r"have shape \(699,\), where \(700,\) or \(700, 3\) is needed"),
    "too wide": (SHARES[:, :2], r"have shape \(700, 2\), where"),
    "a component too many": (changed(LABELS, 605, 3), r"row 605 3.0 as its label, where 0 to 2"),
    "below none": (changed(LABELS, 605, -2), "row 605 -2.0 as its label"),
    "a half": (changed(LABELS, 5, 0.5), "row 5 0.5 as its label"),
    "no label": (changed(LABELS, 5, np.nan), "row 5 nan as its label"),
    "a negative share": (changed(SHARES, 605, [-0.1, 1.0, 0.1]), "row 605 .* as its respons"),
    "no share": (changed(SHARES, 605, [np.nan, 1.0, 0.1]), "row 605 .* as its responsibilities"),
    "too much": (changed(SHARES, 605, [1.0, 1.0, 0.1]), "a sum of at most 1"),
    "words": (np.array(["a"] * 700), "init_params gives are not numbers"),
}


@pytest.mark.parametrize("rows", ["memory", "dask", "frame"])
@pytest.mark.parametrize(("known", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(rows, known, sentence):
    with pytest.raises(ValueError, match=sentence):
        started(ROWS[rows](), known)
    with pytest.raises(ValueError, match=sentence):
        started(ROWS[rows](), lambda *_: known)


def test_labels_of_unknown_length_are_refused():
    labels = da.from_array(LABELS, chunks=100)
    with pytest.raises(ValueError, match="has an unknown length"):
        started(ROWS["dask"](), labels[labels >= 0])


@pytest.mark.parametrize("init_params", ["means", 3, None])
def test_other_things_are_no_start(init_params):
    with pytest.raises(ValueError, match="The 'init_params' parameter of GaussianMixture must be"):
        started(X, init_params)


@pytest.mark.parametrize("nothing", [np.full(700, -1), np.zeros((700, 3))])
def test_some_row_has_to_belong_somewhere(nothing):
    for rows, init_params in ((X, nothing), (ROWS["dask"](), nothing), (X, lambda *_: nothing)):
        with pytest.raises(ValueError, match="says of no row"):
            started(rows, init_params)
