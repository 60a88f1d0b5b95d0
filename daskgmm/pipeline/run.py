"""The composition root: a configuration in, a folder of results out."""

import importlib.metadata
import platform
import secrets
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import perf_counter

import yaml
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.pass_log import LoggedDataset, PassPurpose
from daskgmm.data.policies import MissingPolicy
from daskgmm.data.sources.registry import open_dataset
from daskgmm.data.writers.scores import ScoreParts, write_scores
from daskgmm.errors import ConfigError, DataWarning, DegenerateCovarianceError
from daskgmm.estimators.checkpoint import Checkpoint
from daskgmm.estimators.gaussian_mixture import GaussianMixture
from daskgmm.fit.convergence import ExpectedGain
from daskgmm.fit.observers import EventListener, Events, Observer, ObserverGroup
from daskgmm.fit.plan import Plan
from daskgmm.model import model_file
from daskgmm.model.densities import densities
from daskgmm.model.diagnostics import Quantiles
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.row_scores import Scoring
from daskgmm.model_selection import ComponentSelection, select_components
from daskgmm.pipeline import results, resume
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.config.fit import FitConfig, RunConfig
from daskgmm.pipeline.config.select import SelectConfig
from daskgmm.pipeline.progress.json_log import unheard
from daskgmm.pipeline.progress.live_display import PassLines, TimeEstimate, displayed, started
from daskgmm.pipeline.report import report
from daskgmm.pipeline.results import FitResult
from daskgmm.pipeline.scoring_model import ScoringModel
from daskgmm.storage.folder import Folder
from daskgmm.storage.location import EXTRAS, install_hint, reason

VERSIONED = ("daskgmm", "dask", "distributed", "numpy", "scipy", "scikit-learn", "pyarrow", "zarr")


def plan(config: FitConfig, cluster: Cluster) -> Plan:
    """What `fit` would read and hold; reads no row and starts no worker."""
    dataset = open_source(config)
    made = _estimator(config).plan(dataset, where=cluster.expected_resources())
    least, most = made.n_passes
    return replace(made, n_passes=(least + 1, most + 1))  # the labels'


def open_source(config: RunConfig) -> DaskDataset:
    """The rows that a configuration names."""
    source = config.source
    return open_dataset(
        source.url,
        columns=source.columns,
        filter=source.filter,
        transforms=source.transforms,
        missing=source.missing,
        on_bad_chunk=source.on_bad_chunk,
        retries=source.retries,
        storage_options=source.storage_options,
    )


def fit(
    config: RunConfig,
    cluster: Cluster,
    console: Console,
    *,
    force: bool = False,
    log: EventListener = unheard,
) -> FitResult:
    """Fit, label, and write ``model.npz``, ``labels.parquet``, ``config.yaml``, ``report.html``.

    Of a selection, the model is the best of several, and ``selection.csv`` is their table.

    Goes on where a run like this one was stopped; with `force` also where it was told something
    else. What happens is told to `console` and to `log`. Raises DaskgmmError for anything that a
    person can mend. Where it is a collapse, the model from before goes to ``before_collapse.npz``.
    """
    dataset = open_source(config)
    if (missing := config.model.get("missing", "raise")) != "raise":
        dataset = replace(dataset, missing=MissingPolicy(missing))
    numbers = config.source.columns or range(dataset.n_features)
    columns = dataset.columns or tuple(f"x{number}" for number in numbers)
    with _writing_to(config.output.dir):
        folder = Folder(config.output.dir)
        folder.make()
    # A seed that nobody chose is chosen here, and written down.
    seeds = (config.model.get("random_state"), resume.seed_of(config), secrets.randbelow(2**31))
    seed = next(each for each in seeds if each is not None)
    config = config.model_copy(update={"model": {**config.model, "random_state": seed}})
    estimator = _estimator(config)
    every = config.checkpoint.every
    checkpoint = Checkpoint(config.checkpoint_dir, every=every, force=force, stays=True)
    with (
        resume.kept(config, cluster),
        started(cluster, console) as place,
        ExitStack() as outlives,
    ):
        log("cluster", {"description": place.description, "output": config.output.dir})
        began = perf_counter()
        progress = PassLines(console)
        shown = outlives.enter_context(displayed(console, place, _outlook(config, estimator)))
        observer = ObserverGroup(progress, shown, Events(log))
        with warnings.catch_warnings(), _keeping_what_collapses(dataset, folder):
            for said in (ConvergenceWarning, DataWarning):  # by the summary, by a line
                warnings.simplefilter("ignore", said)
            estimator, selection = _found(config, estimator, dataset, observer, checkpoint)
        mixture = estimator.mixture_
        survey = progress.survey
        rows = LoggedDataset(
            dataset.without_chunks(survey.skipped),
            PassPurpose.LABELS,
            checksums=survey.checksums,
            observer=observer,
        )
        marginal = dataset.missing == MissingPolicy.MARGINAL
        sent = densities(mixture, survey.mean, marginal=marginal)
        found = Quantiles.of(log_prob_norm(survey.sample.rows, sent))
        with _writing_to(config.output.dir):
            estimator.save(config.output.at("model.npz"))
            trained = ScoringModel(mixture, config.source.columns, dataset.missing, found)
            trained.note(config.output.at("model.npz"))
            if selection:
                folder.write("selection.csv", results.csv(selection).encode())
        labels = Folder(config.output.at("labels.parquet"))
        written = write_scores(rows, ScoreParts(labels, Scoring(sent)), existing={})
        seconds = perf_counter() - began
        peak_driver, peak_worker = place.peak_memory()
        result = FitResult(
            url=", ".join(config.source.urls),
            resolved=_resolved(config, cluster, estimator),
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
        with _writing_to(config.output.dir):
            folder.write("config.yaml", result.resolved.encode())
            folder.write("report.html", page.encode())
        log("done", result.summary)
    return result


def _estimator(config: RunConfig) -> GaussianMixture:
    """The estimator with the parameters of a configuration."""
    estimator = GaussianMixture(**config.model)
    if isinstance(config, SelectConfig):
        estimator.n_init = config.select.n_init
    return estimator


def _outlook(config: RunConfig, estimator: GaussianMixture) -> TimeEstimate:
    """What is known of the passes to come; of a selection not when it will have converged."""
    window = 1 if estimator.acceleration is None else ExpectedGain.window
    tol = 0.0 if isinstance(config, SelectConfig) else estimator.tol
    return TimeEstimate(tol, estimator.max_iter, window)


def _found(
    config: RunConfig,
    estimator: GaussianMixture,
    dataset: DaskDataset,
    observer: Observer,
    checkpoint: Checkpoint,
) -> tuple[GaussianMixture, ComponentSelection | None]:
    """The model that a run comes to, and what it was chosen among."""
    if not isinstance(config, SelectConfig):
        return estimator.fit(dataset, observer=observer, checkpoint=checkpoint), None
    told = config.select
    found = select_components(
        dataset,
        told.n_components,
        told.covariance_types,
        told.criterion,
        estimator=estimator,
        n_finalists=told.n_finalists,
        observer=observer,
        checkpoint=checkpoint,
    )
    return found.best, found


@contextmanager
def _keeping_what_collapses(dataset: DaskDataset, folder: Folder) -> Iterator[None]:
    """Write the model from before a collapse."""
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
        kept = f"{folder}/{name}"
        try:
            with _writing_to(folder.url):
                folder.write(name, model_file.to_bytes(error.mixture, dataset.columns, about))
        except ConfigError as refused:
            kept = f"lost ({refused})"
        raise DegenerateCovarianceError(
            error.components, n_pass=error.n_pass, mixture=error.mixture, kept=kept
        ) from error


@contextmanager
def _writing_to(folder: str) -> Iterator[None]:
    """Say as a ConfigError what a disk or a store refuses."""
    try:
        yield
    except ImportError as error:
        scheme = folder.partition("://")[0]
        what = install_hint(f"{scheme}://", EXTRAS.get(scheme))
        raise ConfigError(f"output.dir: {folder}: {what}") from error
    except Exception as error:  # libraries of stores raise what they like
        why = getattr(error, "strerror", None) or reason(error)
        raise ConfigError(f"output.dir: cannot write to {folder}: {why}") from error


def _resolved(config: RunConfig, cluster: Cluster, estimator: GaussianMixture) -> str:
    """The configuration as it ran, with every default and the seed, to run again.

    Versions and machines stand in comments: they are facts, not wishes.
    """
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    facts = {"python": platform.python_version(), **versions, "cluster": cluster.as_written()}
    model = {k: v for k, v in estimator.get_params().items() if k not in config.elsewhere}
    wishes = {**config.as_written(), "model": model}
    return "".join(f"# {name}: {fact}\n" for name, fact in facts.items()) + yaml.safe_dump(
        wishes, sort_keys=False, allow_unicode=True
    )
