"""The command line: one function per command, and one line per error."""

import json
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from daskgmm.errors import DaskgmmError, DegenerateCovarianceError
from daskgmm.pipeline import clusters, generate, resume, run, score
from daskgmm.pipeline.clusters import dask_config
from daskgmm.pipeline.config import commands, loader
from daskgmm.pipeline.config.fit import FitConfig, RunConfig
from daskgmm.pipeline.config.select import SelectConfig
from daskgmm.pipeline.progress import json_log
from daskgmm.pipeline.progress.console import WIDE_INDENT, print_line, standard_output
from daskgmm.pipeline.summary import print_summary
from daskgmm.version import __version__

# Exit codes.
BAD_INPUT = 2
INTERRUPTED, TERMINATED = 130, 143

_FILE = click.Path(path_type=Path, dir_okay=False)


def _cluster_option(default: str) -> Callable[[Any], Any]:
    return click.option(
        "--cluster",
        "cluster_file",
        type=_FILE,
        help=f"YAML file of the cluster; default: {default}.",
    )


_CLUSTER = _cluster_option("worker processes on this machine")

_CHANGES = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the configuration, such as model.n_components=12; may be repeated.",
)

_ANEW = click.option(
    "--anew", is_flag=True, help="Delete the checkpoints of a stopped run and start again."
)
_QUIET = click.option("--quiet", is_flag=True, help="Print errors only.")
_LOG = click.option(
    "--log-json",
    "log_file",
    type=_FILE,
    metavar="FILE",
    help="Append the events of the run to FILE, one JSON object per line.",
)


@click.group("gmm")  # the command `dask gmm`
@click.version_option(__version__)
def main() -> None:
    """Fit Gaussian mixtures with EM on Dask, to data that does not fit in memory."""


class _TerminatedError(KeyboardInterrupt):
    """The process has received SIGTERM, for example from a batch system."""


def _raise_terminated(*_: object) -> None:
    raise _TerminatedError


@contextmanager
def _one_line_errors() -> Iterator[list[RunConfig]]:
    """Turn errors of the user and interrupts into one line and an exit code.

    The context yields a list. If a run in this list has a checkpoint, the line names the command
    that resumes it.
    """
    runs: list[RunConfig] = []
    default_format = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"daskgmm: {message}\n"
    # These loggers print tracebacks when a connection ends. The error itself explains the failure.
    for name in ("distributed.batched", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    default_handler = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield runs
    except DegenerateCovarianceError as error:
        # With the same options, a resumed run would collapse again.
        _print_error(str(error), runs, "--force", "--set", "model.degenerate=reinitialize")
        sys.exit(BAD_INPUT)
    except DaskgmmError as error:
        _print_error(str(error), runs)
        sys.exit(BAD_INPUT)
    except _TerminatedError:
        _print_error("terminated", runs)
        sys.exit(TERMINATED)
    except KeyboardInterrupt:
        _print_error("interrupted", runs)
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, default_handler)
        warnings.formatwarning = default_format


def _print_error(sentence: str, runs: Sequence[RunConfig], *options: str) -> None:
    command = next(filter(None, (resume.resume_command(each, *options) for each in runs)), "")
    hint = f" (to resume from the last checkpoint: {command})" if command else ""
    click.echo(f"daskgmm: {' '.join(sentence.split())}{hint}", err=True)


def _cluster(file: Path | None) -> clusters.Cluster:
    """Return the cluster of a file, else of Dask's configuration, which is always checked."""
    default = dask_config.default_cluster()
    return loader.load(file, clusters.ClusterConfig).cluster if file else default


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
    """Print the passes and the memory that a fit of FILE would need.

    No row is read and no worker is started. The exit code is 2 if a chunk does not fit in the
    memory of a worker.
    """
    console = _console()
    with _one_line_errors():
        config = loader.load(file, FitConfig, changes)
        fit_plan = run.plan(config, _cluster(cluster_file))
        for label, value in fit_plan.lines().items():
            print_line(console, label, value, indent=WIDE_INDENT)
        fit_plan.raise_for_memory()


@main.command("fit", short_help="Fit a mixture, label its rows, write a report.")
@click.argument("file", type=_FILE)
@_CLUSTER
@_CHANGES
@_ANEW
@_LOG
@_QUIET
def fit_command(file: Path, **options: Any) -> None:
    """Fit the mixture that FILE describes, label its rows, and write a report.

    If the run was stopped, the same command resumes it.
    """
    _run_config(file, FitConfig, **options)


@main.command("select")
@click.argument("file", type=_FILE)
@_CLUSTER
@_CHANGES
@_ANEW
@_LOG
@_QUIET
def select_command(file: Path, **options: Any) -> None:
    """Compare the mixtures that FILE describes and keep the best one.

    All models share the passes over the data. Models that can no longer win are dropped. The
    results are the files of `fit` for the best model, and a table of all models. If the run was
    stopped, the same command resumes it.
    """
    _run_config(file, SelectConfig, **options)


def _run_config(
    file: Path,
    kind: type[RunConfig],
    cluster_file: Path | None,
    changes: Sequence[str],
    log_file: Path | None,
    *,
    anew: bool,
    quiet: bool,
) -> None:
    """Run a configuration file, and print a summary."""
    console = _console(quiet=quiet)
    with _one_line_errors() as runs:
        config = loader.load(file, kind, changes)
        cluster = _cluster(cluster_file)
        if anew:
            resume.delete_checkpoints(config)
        runs.append(config)
        with json_log.json_log(log_file, config.command) as log:
            result = run.fit(config, cluster, console, log=log)
    print_summary(result, config.output.dir, console)


@main.command("resume", short_help="Resume a stopped run from its checkpoints.")
@click.argument("folder")
@_cluster_option("the cluster of the stopped run")
@_CHANGES
@click.option(
    "--force", is_flag=True, help="Resume even if data, parameters or versions have changed."
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
    """Resume a stopped run from the checkpoints in FOLDER.

    Without --set and --force, the result has the same bits as without the stop. The run uses the
    kind of cluster that it was started on, unless --cluster names another.
    """
    console = _console(quiet=quiet)
    with _one_line_errors() as runs:
        config, cluster = resume.stopped_run(folder, changes)
        runs.append(config)
        cluster = _cluster(cluster_file) if cluster_file else cluster
        with json_log.json_log(log_file, "resume") as log:
            result = run.fit(config, cluster, console, force=force, log=log)
    print_summary(result, config.output.dir, console)


@main.command()
@click.argument("kind", type=click.Choice(["fit", "select", "cluster"]))
def schema(kind: str) -> None:
    """Print the JSON schema of a configuration file, for editors.

    Choose the file of `fit`, the file of `select`, or the file of the option --cluster.
    """
    kinds: dict[str, type[loader.StrictModel]] = {
        "fit": FitConfig,
        "select": SelectConfig,
        "cluster": clusters.ClusterConfig,
    }
    click.echo(json.dumps(kinds[kind].model_json_schema(), indent=2))


@main.command("score", short_help="Label rows with a model and write the scores.")
@click.argument("model")
@click.argument("source", nargs=-1, required=True)
@click.argument("out")
@click.option("--columns", metavar="A,B", help="Columns to use; default: the columns of the fit.")
@click.option("--id", metavar="COLUMN", help="Column to copy into the scores.")
@click.option(
    "--top",
    default="1",
    metavar="N",
    help="Write labels and probabilities of the N most probable components; default: 1.",
)
@click.option(
    "--outliers",
    metavar="Q",
    help="Flag rows whose log-density is below the quantile Q (such as 0.001) of the fit's rows.",
)
@click.option("--missing", help="raise, omit or marginal; default: as in the fit.")
@click.option(
    "--on-bad-chunk",
    default="raise",
    help="raise: an unusable chunk stops the run (default). skip: its rows get no label.",
)
@click.option(
    "--storage-options",
    default="{}",
    metavar="YAML",
    help="Options of the stores, such as '{key: \"${S3_KEY}\", anon: false}'.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@_LOG
@_QUIET
@_CLUSTER
def score_rows(
    cluster_file: Path | None, log_file: Path | None, *, quiet: bool, **options: Any
) -> None:
    """Label the rows of SOURCE with MODEL and write the scores to OUT.

    There can be several sources. Model, sources and scores can be on a disk or in a store
    (s3://...). OUT ends in .parquet or .zarr. It has one row for every row of SOURCE, in the
    same order. Its columns are label, probability, log_density and mahalanobis (the distance to
    the component of the label). If the run was stopped, the same command resumes it.
    """
    with _one_line_errors():
        config = loader.from_options(options, commands.ScoreConfig)
        cluster, console = _cluster(cluster_file), _console(quiet=quiet)
        with json_log.json_log(log_file, "score") as log:
            score.score(config, cluster, console, log=log)


@main.command("generate", context_settings={"show_default": True})
@click.argument("out")
@click.option(
    "--rows", required=True, metavar="N", help="Number of rows: 1000000, 1_000_000 or 1e6."
)
@click.option("--features", required=True, metavar="D", help="Number of features.")
@click.option("--components", required=True, metavar="K", help="Number of components.")
@click.option("--separation", default="4", help="Distance between means, in standard deviations.")
@click.option("--dtype", default="float32", help="float32 or float64.")
@click.option("--chunk-bytes", default="32 MiB", help="Size of a chunk.")
@click.option("--random-state", default="0", help="Seed; the same seed gives the same rows.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@_CLUSTER
def generate_rows(cluster_file: Path | None, **options: str | bool) -> None:
    """Draw rows from a random mixture and write them to OUT.

    OUT ends in .zarr, .npy or .parquet. The mixture is written to the same folder, to a
    file that ends in .truth.npz.
    """
    with _one_line_errors():
        config = loader.from_options(options, commands.GenerateConfig)
        generate.generate(config, _cluster(cluster_file), _console())
