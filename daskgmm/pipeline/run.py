"""Run a fit or a model selection: from a configuration to a folder of results."""

import importlib.metadata
import platform
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter

import yaml
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.pass_log import LoggedDataset, PassPurpose
from daskgmm.data.sources.registry import open_dataset
from daskgmm.data.writers.scores import ScoreParts, write_scores
from daskgmm.errors import ConfigError, DataWarning, DegenerateCovarianceError
from daskgmm.estimators.checkpoint import Checkpoint
from daskgmm.estimators.gaussian_mixture import GaussianMixture
from daskgmm.fit.convergence import ExpectedGain
from daskgmm.fit.event_log import EventListener, EventLog
from daskgmm.fit.observers import Observer, ObserverGroup
from daskgmm.fit.plan import Plan
from daskgmm.model import model_file
from daskgmm.model.densities import densities
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.row_scores import Quantiles, Scoring
from daskgmm.model_selection import ComponentSelection, select_components
from daskgmm.pipeline import resume
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.config.fit import FitConfig, RunConfig
from daskgmm.pipeline.config.select import SelectConfig
from daskgmm.pipeline.progress.json_log import no_log
from daskgmm.pipeline.progress.live_display import connect, live_display
from daskgmm.pipeline.progress.pass_lines import PassLines
from daskgmm.pipeline.progress.time_estimate import TimeEstimate
from daskgmm.pipeline.report import report
from daskgmm.pipeline.results import FitResult, selection_csv
from daskgmm.pipeline.scoring_model import ScoringModel
from daskgmm.storage.folder import Folder
from daskgmm.storage.location import EXTRAS, install_hint, reason

# Packages whose versions are recorded with the results.
VERSIONED = ("daskgmm", "dask", "distributed", "numpy", "scipy", "scikit-learn", "pyarrow", "zarr")


def plan(config: FitConfig, cluster: Cluster) -> Plan:
    """Plan a run: its passes and its memory. No row is read, and no worker is started."""
    dataset = open_source(config)
    fit_plan = _estimator(config).plan(dataset, where=cluster.expected_resources())
    fewest, most = fit_plan.n_passes
    return replace(fit_plan, n_passes=(fewest + 1, most + 1))  # one more pass writes the labels


def open_source(config: RunConfig) -> DaskDataset:
    """Open the rows of a configuration."""
    source = config.source
    return open_dataset(
        source.url,
        columns=source.columns,
        filter=source.filter,
        transforms=source.transforms,
        missing=source.missing.value,
        on_bad_chunk=source.on_bad_chunk.value,
        retries=source.retries,
        storage_options=source.storage_options,
    )


def fit(
    config: RunConfig,
    cluster: Cluster,
    console: Console,
    *,
    force: bool = False,
    log: EventListener = no_log,
) -> FitResult:
    """Fit a mixture, label the rows, and write the results.

    The files are ``model.npz``, ``labels.parquet``, ``config.yaml`` and ``report.html``. A model
    selection writes the best model, and ``selection.csv`` with a row per model. If there are
    checkpoints of the same run, it is resumed.

    Parameters
    ----------
    config : FitConfig or SelectConfig
    cluster : Cluster
    console : rich.console.Console
        Console that shows the progress of the run.
    force : bool
        Resume even if data, parameters or versions have changed.
    log : callable
        Receives the events of the run.

    Returns
    -------
    FitResult

    Raises
    ------
    DaskgmmError
        For any problem that the user can fix. If components collapse, the last valid model is
        written to ``before_collapse.npz``.
    """
    dataset = open_source(config)
    if config.missing is not config.source.missing:
        dataset = replace(dataset, missing=config.missing)
    numbers = config.source.columns or range(dataset.n_features)
    columns = dataset.columns or tuple(f"x{number}" for number in numbers)
    with _output_errors(config.output.dir):
        folder = Folder(config.output.dir)
        folder.make()
    config = _with_seed(config)
    estimator = _estimator(config)
    with resume.resumable(config, cluster), connect(cluster, console) as connection:
        log("cluster", {"description": connection.description, "output": config.output.dir})
        start = perf_counter()
        lines = PassLines(console)
        with live_display(console, connection, _time_estimate(config, estimator)) as display:
            observer = ObserverGroup(lines, display, EventLog(log))
            with warnings.catch_warnings(), _save_before_collapse(dataset, folder):
                for category in (ConvergenceWarning, DataWarning):  # the output already says this
                    warnings.simplefilter("ignore", category)
                estimator, selection = _fit_model(
                    config, estimator, dataset, observer, _checkpoint(config, force=force)
                )
            mixture, survey = estimator.mixture_, lines.survey
            rows = LoggedDataset(
                dataset.without_chunks(survey.skipped),
                PassPurpose.LABELS,
                checksums=survey.checksums,
                observer=observer,
            )
            row_densities = densities(mixture, survey.mean, marginal=survey.marginal)
            with _output_errors(config.output.dir):
                path = config.output.path("model.npz")
                estimator.save(path)
                log_density = Quantiles.of(log_prob_norm(survey.sample.rows, row_densities))
                ScoringModel(
                    mixture, config.source.columns, dataset.missing, log_density
                ).add_to_file(path)
                if selection:
                    folder.write("selection.csv", selection_csv(selection).encode())
            labels = Folder(config.output.path("labels.parquet"))
            written = write_scores(rows, ScoreParts(labels, Scoring(row_densities)), existing={})
            seconds = perf_counter() - start
            peak_driver, peak_worker = connection.peak_memory()
            result = FitResult(
                url=", ".join(config.source.urls),
                config_text=_config_text(config, cluster, estimator),
                columns=columns,
                mixture=mixture,
                survey=survey,
                written=written,
                lower_bounds=estimator.lower_bounds_,
                events=estimator.events_,
                converged=estimator.converged_,
                outcome=estimator.outcome_,
                passes=[*estimator.passes_, *rows.passes],
                seconds=seconds,
                peak_driver=peak_driver,
                peak_worker=peak_worker,
                selection=selection,
            )
            page = report.render_report(result)
            with _output_errors(config.output.dir):
                folder.write("config.yaml", result.config_text.encode())
                folder.write("report.html", page.encode())
            log("done", result.log_values)
    return result


def _with_seed(config: RunConfig) -> RunConfig:
    """Return the configuration with its own seed, the seed of a stopped run, or a new seed."""
    seeds = (
        config.model.get("random_state"),
        resume.stopped_seed(config),
        secrets.randbelow(2**31),
    )
    seed = next(each for each in seeds if each is not None)
    return config.model_copy(update={"model": {**config.model, "random_state": seed}})


def _checkpoint(config: RunConfig, *, force: bool) -> Checkpoint:
    """Checkpoints that stay after the fit, because labels and report follow."""
    every = config.checkpoint.every
    return Checkpoint(config.checkpoint_dir, every=every, force=force, stays=True)


def _estimator(config: RunConfig) -> GaussianMixture:
    """The estimator with the parameters of a configuration."""
    estimator = GaussianMixture(**config.model)
    if isinstance(config, SelectConfig):
        estimator.n_init = config.select.n_init
    return estimator


def _time_estimate(config: RunConfig, estimator: GaussianMixture) -> TimeEstimate:
    """Estimate of the remaining passes. For a selection, only the largest number is known."""
    window = 1 if estimator.acceleration is None else ExpectedGain.window
    tol = 0.0 if isinstance(config, SelectConfig) else estimator.tol
    return TimeEstimate(tol, estimator.max_iter, window)


def _fit_model(
    config: RunConfig,
    estimator: GaussianMixture,
    dataset: DaskDataset,
    observer: Observer,
    checkpoint: Checkpoint,
) -> tuple[GaussianMixture, ComponentSelection | None]:
    """Fit one model, or select the best of several."""
    if not isinstance(config, SelectConfig):
        return estimator.fit(dataset, observer=observer, checkpoint=checkpoint), None
    options = config.select
    selection = select_components(
        dataset,
        options.n_components,
        options.covariance_types,
        options.criterion,
        estimator=estimator,
        n_finalists=options.n_finalists,
        observer=observer,
        checkpoint=checkpoint,
    )
    return selection.best, selection


@contextmanager
def _save_before_collapse(dataset: DaskDataset, folder: Folder) -> Iterator[None]:
    """Write the last valid model if components collapse."""
    try:
        yield
    except DegenerateCovarianceError as error:
        if error.mixture is None:
            raise
        name, recipe = (
            "before_collapse.npz",
            dataset.preprocessing and dataset.preprocessing.options(),
        )
        about = {"history": {"recipe_": recipe or {}}}
        place = f"{folder}/{name}"
        try:
            with _output_errors(folder.url):
                folder.write(name, model_file.to_bytes(error.mixture, dataset.columns, about))
        except ConfigError as write_error:
            place = f"lost ({write_error})"
        raise DegenerateCovarianceError(
            error.components, n_pass=error.n_pass, mixture=error.mixture, model_location=place
        ) from error


@contextmanager
def _output_errors(folder: str) -> Iterator[None]:
    """Raise any error of a disk or a store as a ConfigError."""
    try:
        yield
    except ImportError as error:
        scheme = folder.partition("://")[0]
        message = install_hint(f"{scheme}://", EXTRAS.get(scheme))
        raise ConfigError(f"output.dir: {folder}: {message}") from error
    except Exception as error:  # stores raise errors of any kind
        why = getattr(error, "strerror", None) or reason(error)
        raise ConfigError(f"output.dir: cannot write to {folder}: {why}") from error


def _config_text(config: RunConfig, cluster: Cluster, estimator: GaussianMixture) -> str:
    """Return the configuration with all defaults and the seed, as YAML that can be run again.

    Versions and the cluster are comments, because they do not configure a run.
    """
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    facts = {"python": platform.python_version(), **versions, "cluster": cluster.as_dict()}
    model = {
        name: value
        for name, value in estimator.get_params().items()
        if name not in config.excluded_parameters
    }
    content = {**config.as_dict(), "model": model}
    return "".join(f"# {name}: {fact}\n" for name, fact in facts.items()) + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True
    )
