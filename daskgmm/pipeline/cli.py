"""The command line: ``daskgmm plan | fit CONFIG``, ``score MODEL SOURCE OUT`` and others."""

import json
import logging
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from daskgmm.errors import DaskgmmError, DegenerateCovarianceError
from daskgmm.pipeline import (
    clusters,
    generate,
    results,
    resume,
    run,
    score,
)
from daskgmm.pipeline.clusters import dask_config
from daskgmm.pipeline.config import commands, loader
from daskgmm.pipeline.config.fit import FitConfig, RunConfig
from daskgmm.pipeline.config.select import SelectConfig
from daskgmm.pipeline.progress import json_log
from daskgmm.pipeline.progress.console import WIDE_INDENT, print_table, say, standard_output
from daskgmm.pipeline.results import FitResult
from daskgmm.version import __version__

BAD_INPUT = 2
INTERRUPTED, TERMINATED = 130, 143

_FILE = click.Path(path_type=Path, dir_okay=False)
_CLUSTER = click.option(
    "--cluster",
    "cluster_file",
    type=_FILE,
    help="YAML that says on which machines; default worker processes here.",
)

_CHANGES = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the file, such as model.n_components=12; may be repeated.",
)

_QUIET = click.option("--quiet", is_flag=True, help="Say nothing but errors.")
_LOG = click.option(
    "--log-json",
    "log_file",
    type=_FILE,
    metavar="FILE",
    help="Write what happens to FILE, a JSON object per line.",
)


@click.group("gmm")  # Dask's own command knows it by this name
@click.version_option(__version__)
def main() -> None:
    """Gaussian mixtures, fitted by EM on Dask, for data that does not fit in memory."""


class _Terminated(KeyboardInterrupt):
    """Somebody, often a batch system, has sent SIGTERM."""


def _terminate(*_: object) -> None:
    raise _Terminated


@contextmanager
def _one_sentence() -> Iterator[list[RunConfig]]:
    """What a person can mend, and an interrupt, as one line and an exit code.

    Of the runs that are put into the list, the line says how to go on.
    """
    runs: list[RunConfig] = []
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"daskgmm: {message}\n"
    # Their tracebacks of a connection that ends: the sentence says what that means.
    for name in ("distributed.batched", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield runs
    except DegenerateCovarianceError as error:
        # As it was told to, it would collapse anew.
        _complain(str(error), runs, "--force", "--set", "model.degenerate=reinitialize")
        sys.exit(BAD_INPUT)
    except DaskgmmError as error:
        _complain(str(error), runs)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt as interrupt:
        is_term = isinstance(interrupt, _Terminated)
        _complain("terminated" if is_term else "interrupted", runs)
        sys.exit(TERMINATED if is_term else INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)
        warnings.formatwarning = usual


def _complain(sentence: str, runs: Sequence[RunConfig], *options: str) -> None:
    ways = [way for each in runs if (way := resume.command(each, *options))]
    more = f" (to go on from the last checkpoint: {ways[0]})" if ways else ""
    click.echo(f"daskgmm: {' '.join(sentence.split())}{more}", err=True)


def _cluster(file: Path | None) -> clusters.Cluster:
    """The cluster that a file describes; without a file, that of Dask's configuration."""
    usual = dask_config.default_cluster()  # looks at the rest of it, too
    return loader.load(file, clusters.ClusterConfig).cluster if file else usual


def _console(*, quiet: bool = False) -> Console:
    return Console(
        file=standard_output(),
        highlight=False,
        soft_wrap=True,
        markup=False,
        emoji=False,
        quiet=quiet,
    )


@main.command()
@click.argument("file", type=_FILE)
@_CLUSTER
@_CHANGES
def plan(file: Path, cluster_file: Path | None, changes: tuple[str, ...]) -> None:
    """Say what a fit of FILE would read and hold, before anything runs.

    Exit code 2 where a chunk does not fit the memory of a worker.
    """
    console = _console()
    with _one_sentence():
        settings = loader.load(file, FitConfig, changes)
        planned = run.plan(settings, _cluster(cluster_file))
        console.print(str(planned))
        planned.raise_for_memory()


@main.command("fit")
@click.argument("file", type=_FILE)
@_CLUSTER
@_CHANGES
@click.option("--anew", is_flag=True, help="Forget what a run that was stopped has left.")
@_LOG
@_QUIET
def fit_command(file: Path, **told: Any) -> None:
    """Fit the mixture that FILE describes; label its rows; write a report.

    Goes on where the same run was stopped.
    """
    _begin(file, FitConfig, **told)


@main.command("select")
@click.argument("file", type=_FILE)
@_CLUSTER
@_CHANGES
@click.option("--anew", is_flag=True, help="Forget what a run that was stopped has left.")
@_LOG
@_QUIET
def select_command(file: Path, **told: Any) -> None:
    """Fit the mixtures that FILE names together; keep the best; write their table.

    All share the readings of the data, and those that fall behind are dropped. What is written of
    the best is what `fit` writes. Goes on where the same run was stopped.
    """
    _begin(file, SelectConfig, **told)


def _begin(
    file: Path,
    kind: type[RunConfig],
    cluster_file: Path | None,
    changes: Sequence[str],
    log_file: Path | None,
    *,
    anew: bool,
    quiet: bool,
) -> None:
    """A run from a file, and what it found."""
    console = _console(quiet=quiet)
    with _one_sentence() as runs:
        settings = loader.load(file, kind, changes)
        cluster = _cluster(cluster_file)
        if anew:
            resume.forget(settings)
        runs.append(settings)
        with json_log.json_log(log_file, settings.command) as log:
            result = run.fit(settings, cluster, console, log=log)
    _summary(result, settings.output.dir, console)


@main.command("resume")
@click.argument("folder")
@_CLUSTER
@_CHANGES
@click.option(
    "--force", is_flag=True, help="Go on though data, parameters or versions are others now."
)
@_LOG
@_QUIET
def resume_command(
    folder: str,
    cluster_file: Path | None,
    changes: tuple[str, ...],
    log_file: Path | None,
    *,
    force: bool,
    quiet: bool,
) -> None:
    """Go on with a run that was stopped, from the checkpoints in FOLDER, to the same bits.

    On the machines that it ran on, or on those of --cluster.
    """
    console = _console(quiet=quiet)
    with _one_sentence() as runs:
        settings, cluster = resume.left(folder, changes)
        runs.append(settings)
        cluster = _cluster(cluster_file) if cluster_file else cluster
        with json_log.json_log(log_file, "resume") as log:
            result = run.fit(settings, cluster, console, force=force, log=log)
    _summary(result, settings.output.dir, console)


@main.command()
@click.argument("kind", type=click.Choice(["fit", "select", "cluster"]))
def schema(kind: str) -> None:
    """Print the JSON schema of a file that `fit`, `select` or `--cluster` reads, for editors."""
    kinds: dict[str, type[loader.StrictModel]] = {
        "fit": FitConfig,
        "select": SelectConfig,
        "cluster": clusters.ClusterConfig,
    }
    click.echo(json.dumps(kinds[kind].model_json_schema(), indent=2))


@main.command("score")
@click.argument("model")
@click.argument("source", nargs=-1, required=True)
@click.argument("out")
@click.option("--columns", metavar="A,B", help="The features; default those of the fit.")
@click.option("--id", metavar="COLUMN", help="A column to write beside the scores.")
@click.option("--top", default="1", metavar="N", help="Label and probability of N components.")
@click.option(
    "--outliers",
    metavar="Q",
    help="Flag rows of lower log-density than the share Q of the fit's rows, such as 0.001.",
)
@click.option("--missing", help="raise, omit or marginal; default what the fit did.")
@click.option("--on-bad-chunk", default="raise", help="raise, or skip: its rows have no label.")
@click.option(
    "--storage-options",
    default="{}",
    metavar="YAML",
    help="For the stores of all three, such as '{key: \"${S3_KEY}\", anon: false}'.",
)
@click.option("--force", is_flag=True, help="Replace what is at OUT.")
@_LOG
@_QUIET
@_CLUSTER
def score_rows(
    cluster_file: Path | None, log_file: Path | None, *, quiet: bool, **told: Any
) -> None:
    """Say of each row of SOURCE how the mixture in the file MODEL sees it, in OUT.

    SOURCE may be several. All may be on a disk or in a store (s3://...). OUT ends in .parquet or
    .zarr. It holds label, probability, log_density and mahalanobis (the distance to the label's
    component), row by row in SOURCE's order. The same command goes on where one was stopped.
    """
    with _one_sentence():
        settings = loader.from_options(told, commands.ScoreConfig)
        cluster, console = _cluster(cluster_file), _console(quiet=quiet)
        with json_log.json_log(log_file, "score") as log:
            score.score(settings, cluster, console, log=log)


@main.command("generate", context_settings={"show_default": True})
@click.argument("out")
@click.option("--rows", required=True, metavar="N", help="How many: 1000000, 1_000_000 or 1e6.")
@click.option("--features", required=True, metavar="D", help="Columns of numbers.")
@click.option("--components", required=True, metavar="K", help="Gaussians in the mixture.")
@click.option("--separation", default="4", help="Between means, in sigmas.")
@click.option("--dtype", default="float32", help="float32 or float64.")
@click.option("--chunk-bytes", default="32 MiB", help="Rows that are drawn and stored together.")
@click.option("--random-state", default="0", help="The seed; the same seed gives the same rows.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@_CLUSTER
def generate_rows(cluster_file: Path | None, **told: str | bool) -> None:
    """Write rows of a random mixture to OUT.

    OUT ends in .zarr, .npy or .parquet; the mixture itself goes beside it, as .truth.npz.
    """
    with _one_sentence():
        settings = loader.from_options(told, commands.GenerateConfig)
        generate.generate(settings, _cluster(cluster_file), _console())


def _summary(result: FitResult, folder: str, console: Console) -> None:
    """Weights and means, then what the fit cost."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("label", "weight", *result.columns):
        table.add_column(name, justify="right", no_wrap=True)
    mixture = result.mixture
    for k in mixture.weights.argsort()[::-1]:
        means = (f"{mean:,.4g}" for mean in mixture.means[k])
        table.add_row(str(k), f"{mixture.weights[k]:.4f}", *means)
    survey, total = result.survey, result.written.log_likelihood
    workers = result.peak_worker
    if result.selection:
        print_table(results.table(result.selection), "models", console)
        say(console, "~", "expected, from a fit to the sample", indent=2)
        say(console, "smallest:", "rows of its smallest component")
        console.print()
        say(console, "chosen", results.sentence(result.selection))
    print_table(table, "components, heaviest first: weight and means", console)
    console.print()
    if not result.converged:
        console.print("not converged: raise model.max_iter, or model.tol", style="bold")
    purposes = Counter(each.purpose for each in result.passes)
    for name, value in {
        "log-likelihood": f"{total:,.1f}  ({total / survey.n_usable:.6f} per row)",
        "BIC": f"{result.bic:,.1f}",
        "fit": result.outcome,
        "passes": f"{len(result.passes)} "
        f"({', '.join(f'{n} {purpose}' for purpose, n in purposes.items())})",
        "rows": f"{survey.n_rows:,}, of which {result.written.n_left_out:,} left out (label -1)",
        "time": f"{result.seconds:.1f} s; {result.rows_per_second:,.0f} rows/s in iterations",
        "peak memory": f"driver {result.peak_driver / 2**20:,.0f} MiB"
        + (f", largest worker {workers / 2**20:,.0f} MiB" if workers else ""),
        "written": f"{folder}/: {', '.join(result.files)}",
    }.items():
        say(console, name, value, indent=WIDE_INDENT)
