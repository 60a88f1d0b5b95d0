"""Record the bits of many small fits, to check that a change of the code changes no result.

Each fit gives one line: a name and a hash of its parameters, lower bounds, labels and
log-densities. The table has all covariance types, schedulers, sample weights and policies for
missing values. Further fits cover initialization, warm starts, incremental learning, model
selection, degenerate components, float32 rows, checkpoints, model files and the command line.

Write the hashes with the old code, then compare the new code with them on the same machine:

    python workflows/benchmarks/bits.py --write before.json
    python workflows/benchmarks/bits.py --against before.json

The exit code is 1 if a hash differs. Another CPU or another version of NumPy or SciPy may change
the last bits of a fit, so a file of hashes is valid on one machine only. The program uses
only the public API, so that it runs before and after internal modules are renamed. One case is
left out: `partial_fit` of a Dask array on processes or on a cluster, which fails at commit 65b5f28.
"""

import os

# Bits may depend on the number of BLAS threads. NumPy reads this when it is imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from distributed import Client, LocalCluster
from numpy.typing import NDArray

from daskgmm import Checkpoint, GaussianMixture, open_dataset, select_components
from daskgmm.errors import DegenerateCovarianceError

Array = NDArray[Any]
Parameters = dict[str, Any]
Case = Callable[[], str]

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
SCHEDULERS = ("memory", "threads", "synchronous", "processes", "cluster")
MISSING = ("none", "omit", "marginal")
N_ROWS, CHUNK_ROWS = 2_400, 600


def clusters(n_rows: int = N_ROWS, n_components: int = 3, spread: float = 2.0) -> Array:
    """Draw rows of overlapping clusters of different shapes, in random order."""
    random = np.random.RandomState(7)
    means = random.normal(scale=spread, size=(n_components, 3))
    shapes = random.normal(size=(n_components, 3, 3))
    labels = random.randint(n_components, size=n_rows)
    noise = random.normal(size=(n_rows, 3))
    return means[labels] + np.einsum("nij,nj->ni", shapes[labels], noise)


def with_missing(rows: Array) -> Array:
    """Return the rows with a missing value in every eighth row."""
    rows = rows.copy()
    chosen = np.arange(0, len(rows), 8)
    rows[chosen, chosen // 8 % 3] = np.nan
    return rows


def with_copies(rows: Array) -> Array:
    """Return the rows and many copies of one row, on which a component collapses."""
    return np.vstack([rows, np.tile([30.0, -30.0, 5.0], (200, 1))])


X = clusters()
WEIGHTS = np.random.RandomState(8).uniform(0.0, 2.0, size=N_ROWS)


def lazy(rows: Array) -> Any:
    """Return the rows as a Dask array of a few chunks."""
    return da.from_array(rows, chunks=(CHUNK_ROWS, *rows.shape[1:]))


def digest(*values: Any) -> str:
    """Return a hash of the dtype, shape and bytes of arrays and numbers."""
    found = blake2b(digest_size=16)
    for each in values:
        array = np.ascontiguousarray(each)
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def bits(model: GaussianMixture, rows: Array | None = None) -> str:
    """Return a hash of a fitted model and of its labels and log-densities of some rows."""
    some = (X if rows is None else rows)[:200]
    parameters = (model.weights_, model.means_, model.covariances_, model.precisions_cholesky_)
    return digest(
        *(np.asarray(each, np.float64) for each in parameters),
        np.float64(model.lower_bound_),
        np.array(model.lower_bounds_, np.float64),
        np.array([model.n_iter_, model.n_passes_]),
        np.array([[-1 if each is None else each for each in event[:2]] for event in model.events_]),
        np.asarray(model.predict(some)),
        np.asarray(model.score_samples(some), np.float64),
    )


def estimator(n_components: int = 3, **parameters: Any) -> GaussianMixture:
    """Return an estimator; by default, its start is fast and it makes few iterations."""
    quick = {"init_params": "kmeans", "max_iter": 6, "tol": 1e-6, "random_state": 0}
    return GaussianMixture(n_components, **{**quick, **parameters})


def fit(
    rows: Array, weights: Array | None = None, *, is_lazy: bool = True, **parameters: Any
) -> str:
    """Fit the rows, by default as a Dask array; return the hash of the model."""
    known = np.nan_to_num(rows) if parameters.get("missing", "raise") == "raise" else rows
    if is_lazy:
        model = estimator(**parameters).fit(
            lazy(rows), sample_weight=None if weights is None else lazy(weights)
        )
    else:
        model = estimator(**parameters).fit(rows, sample_weight=weights)
    return bits(model, known)


def table(scheduler: str) -> Iterator[tuple[str, Case]]:
    """Yield fits of all covariance types, with and without sample weights and missing values."""
    for name in COVARIANCE_TYPES:
        for weighted in (False, True):
            for missing in MISSING:
                weights = WEIGHTS if weighted else None
                rows = X if missing == "none" else with_missing(X)
                how: Parameters = {"covariance_type": name, "is_lazy": scheduler != "memory"}
                if missing != "none":
                    how["missing"] = missing
                words = (name, scheduler, "weights" if weighted else "rows", missing)
                yield " ".join(words), partial(fit, rows, weights, max_iter=4, **how)


class Interrupt:
    """An observer that raises an exception in the n-th pass of a fit."""

    def __init__(self, n_passes: int) -> None:
        self._left = n_passes

    def on_pass(self, states: Any, seconds: float) -> None:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("on_"):
            return lambda *_, **__: None
        raise AttributeError(name)


def interrupted(action: Callable[..., Any], n_passes: int) -> Any:
    """Interrupt a fit in its n-th pass, then resume it from its checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            action(observer=Interrupt(n_passes), checkpoint=Checkpoint(folder, every=0))
        except KeyboardInterrupt:
            if not list(Path(folder).iterdir()):
                raise RuntimeError("the interrupted fit left no checkpoint") from None
            return action(checkpoint=Checkpoint(folder, every=0))
        raise RuntimeError(f"the fit ended before its pass {n_passes}")


def resumed(n_passes: int, rows: Array, **parameters: Any) -> str:
    """Return the hash of a fit that was interrupted and resumed."""
    return bits(interrupted(partial(estimator(**parameters).fit, lazy(rows)), n_passes))


def warm_start(**parameters: Any) -> str:
    """Return the hash of a warm start from the end of a short fit."""
    model = estimator(**parameters, max_iter=2).fit(lazy(X))
    return bits(model.set_params(warm_start=True, max_iter=8).fit(lazy(X)))


def loaded(**parameters: Any) -> str:
    """Return the hashes of a saved and loaded model, and of a warm start from it."""
    with tempfile.TemporaryDirectory() as folder:
        estimator(**parameters, max_iter=2).fit(X).save(Path(folder) / "model.npz")
        model = GaussianMixture.load(Path(folder) / "model.npz")
    first = bits(model)
    return first + bits(model.set_params(warm_start=True, max_iter=8).fit(X))


def batches(*, is_lazy: bool, forget: float | None = None, **parameters: Any) -> str:
    """Return the hash after incremental learning on four batches."""
    model = estimator(**parameters)
    for batch in np.array_split(X, 4):
        model.partial_fit(lazy(batch) if is_lazy else batch, forget=forget)
    return bits(model)


def selection(*, stop_after: int = 0, **parameters: Any) -> str:
    """Compare eight models; return the hash of the table and of the best model."""
    choose = partial(
        select_components,
        lazy(X),
        range(1, 5),
        ("full", "diag"),
        estimator=GaussianMixture(random_state=0, refine=False, init_params="kmeans"),
        **parameters,
    )
    found = interrupted(choose, stop_after) if stop_after else choose()
    frame = found.to_frame()
    columns = ("n_components", "n_parameters", "log_likelihood", "bic", "icl", "held_out", "passes")
    scores = [frame[name].to_numpy(np.float64) for name in columns]
    return bits(found.best) + digest(*scores, np.concatenate(list(frame["effective_counts"])))


def degenerate(policy: str, covariance_type: str) -> str:
    """Return the hash of a fit in which a component collapses, or of its error."""
    rows = with_copies(X)
    how: Parameters = {"degenerate": policy, "reg_covar": 0.0, "covariance_type": covariance_type}
    try:
        return fit(rows, n_components=5, **how)
    except DegenerateCovarianceError as error:
        known = error.mixture  # None if all starts collapsed
        arrays = (known.weights, known.means, known.covariances) if known else ()
        return digest(np.array(list(error.components)), *arrays)


def labels(rows: Array, n_components: int, _: Any) -> Array:
    """Return labels by the first feature; a callable for `init_params`."""
    cuts = np.quantile(rows[:, 0], np.arange(1, n_components) / n_components)
    return np.searchsorted(cuts, rows[:, 0])


def data_frame() -> str:
    """Return the hash of a fit to a Dask dataframe with a column of weights."""
    frame = pd.DataFrame(X, columns=list("abc")).assign(w=WEIGHTS)
    model = estimator().fit(dd.from_pandas(frame, npartitions=4), sample_weight="w")
    return bits(model)


def transformed() -> str:
    """Return the hash of a fit to a file with a filter and transforms."""
    with tempfile.TemporaryDirectory() as folder:
        frame = pd.DataFrame(X, columns=list("abc")).assign(d=np.exp(X[:, 0]))
        frame.to_parquet(Path(folder) / "rows.parquet", row_group_size=CHUNK_ROWS)
        dataset = open_dataset(
            str(Path(folder) / "rows.parquet"),
            columns=["d", "b", "c"],
            filter="b > -3",
            transforms=[{"log1p": ["d"]}, {"standardise": ["c"]}],
        )
        model = estimator().fit(dataset)
    return digest(
        model.weights_, model.means_, model.covariances_, np.array(model.lower_bounds_)
    ) + digest(json.dumps(model.recipe_, sort_keys=True))


RUN: Parameters = {
    "source": {"url": "rows.npy"},
    "model": {"n_components": 3, "random_state": 0, "max_iter": 6},
    "output": {"dir": "results"},
}
SELECTION: Parameters = {
    **RUN,
    "model": {"random_state": 0, "init_params": "kmeans", "refine": False},
    "select": {"n_components": "1-3", "covariance_types": ["full", "diag"]},
}


def command_line(command: str, config: dict[str, Any]) -> str:
    """Run `fit` or `select` and then `score`; return the hash of their output files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "rows.npy", X)
        (folder / "run.yaml").write_text(yaml.safe_dump(config))
        (folder / "threads.yaml").write_text("cluster: {kind: threads, n_threads: 2}")
        score = ("score", "results/model.npz", "rows.npy", "scores.parquet", "--outliers", "0.01")
        for words in ((command, "run.yaml"), (*score, "--top", "2")):
            subprocess.run(
                [sys.executable, "-m", "daskgmm", *words, "--cluster", "threads.yaml", "--quiet"],
                cwd=folder,
                check=True,
            )
        with np.load(folder / "results/model.npz") as file:
            arrays = [file[each] for each in sorted(file.files) if each != "header"]
        written = [
            column.to_numpy()
            for result in ("results/labels.parquet", "scores.parquet")
            for column in pq.read_table(folder / result).columns
        ]
        table = folder / "results/selection.csv"
        if table.exists():  # compare only the numbers, because the words may change
            numbers = pd.read_csv(table).select_dtypes("number")
            written += [numbers.to_numpy(np.float64)]
        return digest(*arrays, *written)


def others() -> Iterator[tuple[str, Case]]:
    """Yield further fits."""
    whole: Parameters = {"init_params": "short-em", "max_iter": 50}
    for name in COVARIANCE_TYPES:
        kind: Parameters = {"covariance_type": name}
        yield f"defaults {name}", partial(fit, X, **whole, **kind)
        yield f"plain EM {name}", partial(fit, X, acceleration=None, **kind)
        yield f"float32 rows {name}", partial(fit, X.astype(np.float32), **kind)
        yield f"warm start {name}", partial(warm_start, **kind)
        yield f"saved and loaded {name}", partial(loaded, **kind)
        yield f"batches in memory {name}", partial(batches, is_lazy=False, **kind)
        yield f"checkpoint {name}", partial(resumed, 3, X, tol=1e-9, max_iter=20, **kind)
        plain: Parameters = {"acceleration": None, "tol": 0.0, "max_iter": 8}
        yield f"checkpoint of plain EM {name}", partial(resumed, 4, X, **plain, **kind)
        for policy in ("raise", "regularize", "reinitialize", "drop"):
            yield f"degenerate {policy} {name}", partial(degenerate, policy, name)
    for start in ("k-means++", "random", "random_from_data", "k-means||"):
        yield f"start {start}", partial(fit, X, init_params=start)
    for distance in ("whitened", "euclidean"):
        yield f"distance {distance}", partial(fit, X, init_distance=distance)
    groups = labels(X, 3, None)
    yield "start callable", partial(fit, X, init_params=labels)
    yield "start labels", partial(fit, X, init_params=groups)
    yield "start responsibilities", partial(fit, X, init_params=np.eye(3)[groups])
    given: Parameters = {"means_init": X[:3], "weights_init": np.full(3, 1 / 3)}
    yield "start means and weights", partial(fit, X, **given)
    yield "three starts", partial(fit, X, n_init=3)
    yield (
        "seven components, moved",
        partial(
            fit, clusters(n_components=7, spread=4.0), n_components=7, **{**whole, "tol": 1e-3}
        ),
    )
    yield "reg_covar scale", partial(fit, X * [1.0, 1e4, 1e-4], reg_covar="scale")
    yield "max_iter 0", partial(fit, X, max_iter=0)
    large = clusters(60_000)
    yield "more rows than the sample", partial(fit, large, max_iter=20)
    yield "more rows, plain EM", partial(fit, large, acceleration=None, sample_start=True)
    yield "batches of Dask arrays", partial(batches, is_lazy=True)
    yield "batches with forget", partial(batches, is_lazy=False, forget=0.3)
    yield "data frame with a column of weights", data_frame
    yield "filter and transforms", transformed
    for criterion in ("bic", "held-out"):
        yield f"selection by {criterion}", partial(selection, criterion=criterion)
    yield "checkpoint of a selection", partial(selection, stop_after=2)
    yield "command fit", partial(command_line, "fit", RUN)
    yield "command select", partial(command_line, "select", SELECTION)


@contextmanager
def on(scheduler: str) -> Iterator[None]:
    """Run Dask's collections on a scheduler."""
    with ExitStack() as stack:
        if scheduler == "cluster":
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0
                )
            )
            stack.enter_context(Client(cluster))
        elif scheduler == "processes":
            # Dask would start new processes for each pass. This pool serves all passes.
            pool = stack.enter_context(ProcessPoolExecutor(2, get_context("forkserver")))
            stack.enter_context(dask.config.set(scheduler="processes", pool=pool))
        else:
            name = "synchronous" if scheduler == "synchronous" else "threads"
            stack.enter_context(dask.config.set(scheduler=name, num_workers=2))
        yield


def measure() -> dict[str, str]:
    """Run each fit and print a line; return the hashes by name."""
    found: dict[str, str] = {}
    groups = [(name, table(name)) for name in SCHEDULERS] + [("threads", others())]
    for scheduler, cases in groups:
        with on(scheduler):
            for name, case in cases:
                found[name] = case()
                print(f"{found[name][:16]}  {name}", flush=True)
    return found


def compared(found: dict[str, str], before: dict[str, str]) -> bool:
    """Print which fits differ from the earlier ones; return whether all are equal."""
    different = [name for name in found | before if found.get(name) != before.get(name)]
    for name in different:
        what = "different"
        if name not in before:
            what = "not recorded before"
        elif name not in found:
            what = "not run now"
        print(f"{what}: {name}")
    n_equal = len(found | before) - len(different)
    print(f"{n_equal} equal, {len(different)} different")
    return not different


def main() -> None:
    """Run all fits, then write or compare their hashes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the hashes to FILE")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with FILE")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = measure()
    if arguments.write:
        arguments.write.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.against and not compared(found, json.loads(arguments.against.read_text())):
        sys.exit(1)


if __name__ == "__main__":
    main()
