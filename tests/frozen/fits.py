"""The rows and the fits behind the frozen files: `written_by.py` stops them, the test resumes them.

It uses the public API alone. The rows are sums of integers, so they are the same on any machine.
"""

import importlib.metadata
import lzma
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import yaml
from threadpoolctl import threadpool_info

from daskgmm import DaskDataset, GaussianMixture, select_components

FOLDER = Path(__file__).parent
CHUNK_ROWS = 80
COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


def rows(n_rows=240, n_components=3, spread=4, seed=1):
    """Clusters in three features, whose values are multiples of 1 / 64."""
    random = np.random.RandomState(seed)
    means = random.randint(-spread, spread + 1, size=(n_components, 3))
    shapes = random.randint(-2, 3, size=(n_components, 3, 3)) + 2 * np.eye(3, dtype=int)
    labels = random.randint(n_components, size=n_rows)
    noise = random.randint(-16, 17, size=(4, n_rows, 3)).sum(axis=0)  # nearly normal
    products = (shapes[labels] * noise[:, None, :]).sum(axis=2)
    return (64 * means[labels] + products) / 64


def with_missing(known):
    """The rows with a missing value in every tenth."""
    known = known.copy()
    known[::10, 1] = np.nan
    return known


def with_copies(known):
    """The rows and a row that occurs many times, on which a component collapses."""
    return np.vstack([known, np.tile([30.0, -30.0, 5.0], (40, 1))])


def weights(n_rows=240):
    """Sample weights from 0 to 2."""
    return np.arange(n_rows) % 9 / 4


def lazy(known):
    return da.from_array(known, chunks=(CHUNK_ROWS, *known.shape[1:]))


def data_frame(known, npartitions=3):
    return dd.from_pandas(pd.DataFrame(known, columns=list("abc")), npartitions=npartitions)


def estimator(n_components=3, **parameters):
    quick = {"init_params": "kmeans", "random_state": 0, "refine": False, "tol": 1e-9}
    return GaussianMixture(n_components, **{**quick, **parameters})


PLAIN = {"acceleration": None, "tol": 0.0, "max_iter": 8}


def accelerated(**how):
    model = estimator(4, n_init=2, max_iter=30, init_params="k-means++")
    return model.fit(lazy(rows()), sample_weight=lazy(weights()), **how)


def before_the_start(**how):
    return estimator(init_params="short-em", max_iter=6).fit(lazy(rows()), **how)


def plain(**how):
    model = estimator(covariance_type="tied", missing="omit", **PLAIN)
    return model.fit(with_missing(rows()), **how)


def sampled(**how):
    """The rows are more than the sample holds: `written_by.py` makes the sample small."""
    known = rows(480)
    known[::40] = 40 + known[::40] % 2  # a component that the sample hardly shows
    model = estimator(covariance_type="diag", refine=True, max_iter=12)
    return model.fit(lazy(known.astype(np.float32)), **how)


def marginal(**how):
    model = estimator(missing="marginal", max_iter=12)
    return model.fit(data_frame(with_missing(rows())), **how)


def dropped(**how):
    model = estimator(5, covariance_type="spherical", degenerate="drop", reg_covar=0.0, max_iter=12)
    return model.fit(lazy(with_copies(rows())), **how)


def reinitialized(**how):
    known = with_copies(rows())
    model = estimator(5, covariance_type="diag", degenerate="reinitialize", reg_covar=0.0)
    return model.set_params(max_iter=12).fit(lazy(known), **how)


def regularized(**how):
    model = estimator(5, degenerate="regularize", reg_covar=0.0, **PLAIN)
    return model.fit(lazy(with_copies(rows())), **how)


def moved(**how):
    """Components move when the fit has converged."""
    model = estimator(5, refine=True, tol=1e-3, init_params="random", init_distance="whitened")
    return model.fit(rows(240, 6, spread=6, seed=0), **how)


def with_bad_chunk(**how):
    """A chunk with an infinity is left out."""
    known = rows()
    known[100, 1] = np.inf
    dataset = DaskDataset.of(lazy(known), on_bad_chunk="skip")
    return estimator(covariance_type="diag", max_iter=12).fit(dataset, **how)


def warm_start(**how):
    with TemporaryDirectory() as folder:
        restore(FOLDER / "models", Path(folder))
        model = GaussianMixture.load(Path(folder) / "full.npz")
    return model.set_params(warm_start=True, tol=1e-9, max_iter=6).fit(lazy(rows()), **how)


def selection(**how):
    like = estimator(tol=1e-3)
    return select_components(lazy(rows()), (1, 3), ("full", "spherical"), estimator=like, **how)


@dataclass(frozen=True)
class Stop:
    """A fit, and the call of an observer that ends it.

    Attributes
    ----------
    fit : callable
        Takes `checkpoint` and `observer`; returns an estimator or a ComponentSelection.
    event : str
        The observer's method.
    count : int
        The number of the call.
    purpose : str
        Of the passes that count; empty for all.
    """

    fit: Callable[..., Any]
    event: str = "on_pass"
    count: int = 3
    purpose: str = ""


STOPS = {
    "accelerated": Stop(accelerated, count=7),
    "before_the_start": Stop(before_the_start, "on_start", 1),
    "plain": Stop(plain),
    "sampled": Stop(sampled, count=2),
    "marginal": Stop(marginal),
    "dropped": Stop(dropped, count=2),
    "reinitialized": Stop(reinitialized, count=2),
    "regularized": Stop(regularized),
    "moved": Stop(moved, count=1, purpose="refinement"),
    "with_bad_chunk": Stop(with_bad_chunk),
    "warm_start": Stop(warm_start, count=2),
    "selection_before_its_pass": Stop(selection, "on_pass_end", 1, purpose="comparison"),
    "selection": Stop(selection, count=2),
}

ROWS_OF_THE_RUNS = with_missing(rows())

# The configurations of the runs of the command line. `select` chooses its seed itself.
RUNS = {
    "fit": {
        "source": {"url": "rows.npy", "columns": [2, 1], "missing": "marginal"},
        "model": {"n_components": 3, "random_state": 0, "max_iter": 9, "tol": 1e-9},
        "output": {"dir": "results"},
    },
    "select": {
        "source": {"url": "rows.npy", "missing": "omit"},
        "model": {"init_params": "kmeans", "refine": False},
        "select": {"n_components": "1, 3", "covariance_types": ["diag"]},
        "output": {"dir": "results"},
    },
}
THREADS = {"cluster": {"kind": "threads", "n_threads": 1}}
SCORE = ("--outliers", "0.1", "--top", "2")


def machine():
    """What the last bits of a computed result depend on."""
    found = {
        f"{each['internal_api']} {each['version']} {each['architecture']}"
        for each in threadpool_info()
        if each["user_api"] == "blas"
    }
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    return {"blas": sorted(found), "simd": simd["baseline"] + simd["found"]}


def versions():
    """The versions that a checkpoint holds."""
    names = ("daskgmm", "numpy", "scipy", "scikit-learn")
    return {name: importlib.metadata.version(name) for name in names}


def hexadecimal(values):
    """An array as JSON: dtype, shape, and its bytes, little-endian."""
    array = np.asarray(values)
    array = array.astype(array.dtype.newbyteorder("<"), order="C")
    return {"dtype": array.dtype.str, "shape": list(array.shape), "hex": array.tobytes().hex()}


def array_of(written):
    """The array that `hexadecimal` wrote."""
    values = np.frombuffer(bytes.fromhex(written["hex"]), written["dtype"])
    return values.reshape(written["shape"])


def parameters_of(model):
    """All arrays that a model file holds, and the lower bounds."""
    return {
        "weights": model.weights_,
        "means": model.means_,
        "covariances": model.covariances_,
        "precisions_cholesky": model.precisions_cholesky_,
        "lower_bound": np.float64(model.lower_bound_),
        "lower_bounds": np.array(model.lower_bounds_, np.float64),
        "total_weight": np.float64(model.total_weight_),
        "reg_covar": np.asarray(model.reg_covar_, np.float64),
    }


def history_of(model):
    """Other attributes that a model file holds, as JSON has them."""
    names = getattr(model, "feature_names_in_", None)
    return {
        "converged": model.converged_,
        "outcome": model.outcome_,
        "n_iter": model.n_iter_,
        "n_passes": model.n_passes_,
        "n_features_in": model.n_features_in_,
        "feature_names_in": None if names is None else list(names),
        "events": [[*event[:2], str(event[2].value), event[3]] for event in model.events_],
        "passes": [list(each) for each in model.passes_],
        "recipe": model.recipe_,
        "parameters": model.get_params(),
    }


def steps_of(model):
    """The numbers that a resumed fit must reproduce, without sentences and seconds."""
    return {
        "n_iter": model.n_iter_,
        "events": [list(event[:2]) for event in model.events_],
        "purposes": [str(each[0]) for each in model.passes_],
    }


def answers_of(model, known):
    """Labels, log-densities and probabilities of some rows."""
    return {
        "predict": np.asarray(model.predict(known), np.int64),
        "score_samples": np.asarray(model.score_samples(known), np.float64),
        "predict_proba": np.asarray(model.predict_proba(known), np.float64),
    }


def continuations_of(load, known):
    """What a loaded model becomes by a warm start and by incremental learning."""
    warm = load().set_params(warm_start=True, max_iter=2, acceleration=None, tol=0.0).fit(known)
    stepped = load().partial_fit(known[:50])
    return {
        f"{how} {name}": parameters_of(model)[name]
        for how, model in (("warm start", warm), ("partial_fit", stepped))
        for name in ("weights", "means", "covariances", "lower_bound")
    }


def passes_of(found, n_passes=None):
    """The first passes of a fit, with the seconds that they took when they were made."""
    return [list(each) for each in found.passes_[:n_passes]]


def n_passes_in(stored):
    """The number of passes before a fit was stopped, which its checkpoint has in its name."""
    (file,) = stored.glob("pass-*")
    return int(file.name.split(".")[0].removeprefix("pass-"))


def result_of(found):
    """Arrays and steps of a fit, or of a comparison and the best model in it."""
    if isinstance(found, GaussianMixture):
        return parameters_of(found), steps_of(found)
    frame = found.to_frame()
    names = ("n_components", "n_parameters", "log_likelihood", "bic", "icl", "held_out", "passes")
    table = {name: frame[name].to_numpy(np.float64) for name in names}
    return {**parameters_of(found.best), **table}, steps_of(found.best)


def columns_of(table):
    """The first rows of an Arrow table, column by column, as arrays."""
    return {name: table[name].to_numpy()[:20] for name in table.column_names}


def restore(stored, folder):
    """Put the compressed files of a folder into another, as they were."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in stored.glob("*.xz"):
        (folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))


def prepare(place, config):
    """The rows and configurations of a run in a folder."""
    np.save(place / "rows.npy", ROWS_OF_THE_RUNS)
    (place / "threads.yaml").write_text(yaml.safe_dump(THREADS))
    shutil.copy(config, place / f"{config.parent.name}.yaml")


def put_back(stored, place):
    """A stopped run in a folder."""
    prepare(place, stored / "run.yaml")
    restore(stored / "checkpoint", place / "results" / "checkpoint")
    text = (stored / "checkpoint" / "run.yaml").read_text().replace("@FOLDER@", str(place))
    (place / "results" / "checkpoint" / "run.yaml").write_text(text)


def resuming(name):
    """The words that resume a run: `resume`, or the same command once more."""
    if name == "fit":
        return ("resume", "results/checkpoint")
    return (name, f"{name}.yaml", "--cluster", "threads.yaml")
