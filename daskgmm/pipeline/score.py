"""Score new rows with a model: labels, probabilities, log-densities, distances, outliers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from time import perf_counter
from typing import Any

from rich.console import Console

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.pass_log import LoggedDataset, PassPurpose
from daskgmm.data.policies import BadChunkPolicy, MissingPolicy
from daskgmm.data.sources.registry import column_names, open_dataset, open_id_column
from daskgmm.data.writers.rows import atomic_output
from daskgmm.data.writers.scores import (
    UNFINISHED,
    IdColumn,
    ScoreParts,
    ScoreSummary,
    check_zarr_type,
    merge_parts,
    read_fingerprint,
    write_scores,
)
from daskgmm.errors import ConfigError, ParameterError
from daskgmm.fit.event_log import EventListener, EventLog
from daskgmm.fit.observers import ObserverGroup
from daskgmm.model.densities import densities
from daskgmm.model.row_scores import Scoring
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.config.commands import ScoreConfig, ScoreFormat
from daskgmm.pipeline.progress.console import print_line
from daskgmm.pipeline.progress.json_log import no_log
from daskgmm.pipeline.progress.live_display import connect, live_display
from daskgmm.pipeline.scoring_model import ScoringModel
from daskgmm.storage.folder import Folder
from daskgmm.storage.location import EXTRAS, explain_errors, install_hint, reason
from daskgmm.version import __version__

# Number of skipped chunks whose reasons are printed.
MAX_REASONS = 3


@dataclass(frozen=True)
class ScoreTarget:
    """The output of scores: first parts in a folder, then all scores under their final name.

    Attributes
    ----------
    out : Folder
    format : ScoreFormat
    parts : Parts
        One part per chunk, in a folder next to `out`.
    """

    out: Folder
    format: ScoreFormat
    parts: ScoreParts

    def exists(self) -> bool:
        """Whether a file or folder with the name of the scores exists."""
        with explain_errors(self.out.url):
            return self.out.exists()

    def is_complete(self, n_chunks: int) -> bool:
        """Whether `out` already holds the scores of this run."""
        if self.format is ScoreFormat.ZARR:
            return read_fingerprint(self.out) == self.parts.fingerprint
        return len(replace(self.parts, folder=self.out).existing()) == n_chunks

    def is_partial(self) -> bool:
        """Whether `out` holds only some of these scores, as a killed run leaves them in a store."""
        if self.format is ScoreFormat.ZARR:
            return read_fingerprint(self.out, UNFINISHED) == self.parts.fingerprint
        finished = replace(self.parts, folder=self.out).existing()
        return 0 < len(finished) == len(self.out.names())

    def merge(self, chunk_rows: int) -> None:
        """Merge the parts into `out`. All parts must exist."""
        if self.format is ScoreFormat.PARQUET:
            self.parts.folder.move_to(self.out)
        elif self.out.path is None:
            merge_parts(self.parts.folder, self.out, chunk_rows, self.parts.fingerprint)
            self.parts.folder.clear()
        else:
            with atomic_output(self.out.path) as draft:
                merge_parts(self.parts.folder, Folder(draft), chunk_rows, self.parts.fingerprint)
            self.parts.folder.clear()


def score(
    config: ScoreConfig, cluster: Cluster, console: Console, *, log: EventListener = no_log
) -> None:
    """Score the rows of a source and write the scores.

    The scores appear at ``config.out`` when they are complete. Until then, the parts are in a
    folder next to it, and the same call resumes from them.

    Parameters
    ----------
    config : ScoreConfig
    cluster : Cluster
    console : rich.console.Console
    log : callable
        Receives the events of the run.

    Raises
    ------
    DaskgmmError
        For any problem that the user can fix.
    """
    model = ScoringModel.read(config.model, **config.storage_options_for(config.model))
    dataset = _open_rows(config, model)
    scoring, ids, rows = _scoring(config, model, dataset), None, dataset
    if config.id is not None:
        values, kind = open_id_column(config.source, config.id, config.storage_options)
        ids, rows = IdColumn(str(config.id), kind), dataset.with_extra(values)
    out, folder = _folders(config)
    parts = ScoreParts(folder, scoring, ids, _fingerprint(config, model, scoring, dataset))
    target = ScoreTarget(out, config.format, parts)
    _check_target(target, config)
    if target.exists() and not config.force:
        if target.is_complete(dataset.layout.n_chunks):
            folder.clear()  # parts of a run that was killed just before its end
            print_line(console, "written", f"{out} already holds these scores")
            log("done", {"files": [out.url]})
            return
        if not target.is_partial():
            raise ConfigError(f"{out} exists already: choose another name, or add --force")
    with explain_errors(folder.url):  # check this before anything starts
        folder.make()
    with connect(cluster, console) as connection:
        log("cluster", {"description": connection.description, "output": out.url})
        start, finished = perf_counter(), parts.existing()
        with live_display(console, connection, None) as display:
            observed = LoggedDataset(
                rows, PassPurpose.SCORES, observer=ObserverGroup(display, EventLog(log))
            )
            if rows.layout.n_rows is None:  # CSV: a pass counts the rows
                observed = observed.prepare()
            layout = observed.layout
            plural = "s" * (layout.n_chunks != 1)
            print_line(console, "rows", f"{layout.n_rows:,} in {layout.n_chunks:,} chunk{plural}")
            print_line(console, "parts", f"{folder}; repeat the command to resume a stopped run")
            if finished:
                print_line(console, "resumed", f"{len(finished):,} parts are already written")
            written = write_scores(observed, parts, finished, is_lenient=True)
            with _write_errors(out):
                target.merge(layout.longest or 1)
            seconds = perf_counter() - start
    _print_counts(written, config, console)
    speed = written.n_rows / seconds
    print_line(console, "written", f"{out} in {seconds:.1f} s, {speed:,.0f} rows/s")
    log(
        "done",
        {
            "files": [out.url],
            "seconds": seconds,
            "n_rows": written.n_rows,
            "n_left_out": written.n_left_out,
            "n_outliers": written.n_outliers,
            "log_likelihood": float(written.log_likelihood),
        },
    )


def _folders(config: ScoreConfig) -> tuple[Folder, Folder]:
    """Folders of the scores and of their parts; raise ConfigError if they cannot be used."""
    try:
        out, parts = (
            Folder(url, **config.storage_options_for(url))
            for url in (config.out, f"{config.out}.parts")
        )
    except ImportError as error:
        scheme = config.out.partition("://")[0]
        raise ConfigError(
            f"{config.out}: {install_hint(f'{scheme}://', EXTRAS.get(scheme))}"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{config.out} cannot be written: {reason(error)}") from error
    return out, parts


@contextmanager
def _write_errors(out: Folder) -> Iterator[None]:
    """Raise any error of a disk or a store as a ConfigError."""
    try:
        yield
    except Exception as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise ConfigError(f"{out} cannot be written: {why}") from error


def _missing_policy(config: ScoreConfig, model: ScoringModel) -> MissingPolicy:
    """Return the policy for missing values: the option, else the policy of the fit."""
    return config.missing or MissingPolicy(model.missing)


def _open_rows(config: ScoreConfig, model: ScoringModel) -> DaskDataset:
    """Open the columns that the options name, else the columns of the fit, else all columns."""
    options: dict[str, Any] = {
        "missing": _missing_policy(config, model).value,
        "on_bad_chunk": config.on_bad_chunk.value,
        "storage_options": config.storage_options,
    }
    if model.recipe:
        if config.columns is not None:
            raise ConfigError(
                f"--columns: {config.model} has transforms or a filter, which name its columns: "
                "leave this option out, and use the same column names in the source"
            )
        return open_dataset(config.source, **options, **model.recipe)
    dataset = open_dataset(config.source, columns=_columns(config, model), **options)
    if dataset.n_features != model.mixture.n_features:
        raise ConfigError(
            f"--columns: {', '.join(config.source)} gives {dataset.n_features} "
            f"column{'s' * (dataset.n_features != 1)}, but {config.model} has "
            f"{model.mixture.n_features} features: name the columns to use"
        )
    names, fit_names = list(dataset.columns or ()), list(map(str, model.columns or ()))
    if names != fit_names and sorted(names) == sorted(fit_names):
        raise ConfigError(
            f"--columns: {config.model} needs its features in another order: {','.join(fit_names)}"
        )
    return dataset


def _columns(config: ScoreConfig, model: ScoringModel) -> list[str | int] | None:
    """Columns of the features; None means all."""
    if config.columns is not None:
        return config.columns
    names = column_names(config.source, config.storage_options)
    if model.columns and isinstance(model.columns[0], str) == bool(names):
        return model.columns
    if config.id is None:
        return None
    if names is not None:
        return [name for name in names if name != config.id]
    width = open_dataset(config.source, storage_options=config.storage_options).n_features
    return [number for number in range(width) if number != config.id]


def _scoring(config: ScoreConfig, model: ScoringModel, dataset: DaskDataset) -> Scoring:
    """The scores of a row."""
    if config.top > model.mixture.n_components:
        raise ConfigError(f"--top: {config.model} has only {model.mixture.n_components} components")
    threshold = None
    if config.outliers is not None:
        if model.log_density is None:
            raise ConfigError(
                f"--outliers: {config.model} does not hold the log-densities of its rows: fit the "
                "model with `daskgmm fit`"
            )
        try:
            threshold = model.log_density.at(config.outliers)
        except ParameterError as error:
            raise ConfigError(f"--outliers: {error}") from error
    is_marginal = dataset.missing == MissingPolicy.MARGINAL
    row_densities = densities(model.mixture, marginal=is_marginal)
    return Scoring(row_densities, config.top, model.mixture, threshold)


def _fingerprint(
    config: ScoreConfig, model: ScoringModel, scoring: Scoring, dataset: DaskDataset
) -> str:
    """Hash of model, rows and options: equal hashes mean equal scores.

    The name of a source's array depends on its files, their times, the columns and the chunks.
    """
    inputs = {
        "daskgmm": __version__,
        "model": model.mixture.fingerprint,
        "recipe": model.recipe,
        "threshold": scoring.outliers_below,
        "rows": dataset.collection.name,
        "options": [
            config.id,
            dataset.missing,
            config.top,
            config.outliers,
            *(["skip"] if config.on_bad_chunk is BadChunkPolicy.SKIP else []),
        ],
    }
    return sha256(json.dumps(inputs).encode()).hexdigest()


def _check_target(target: ScoreTarget, config: ScoreConfig) -> None:
    """Raise ConfigError or DataError if the scores cannot be written."""
    out, ids = target.out, target.parts.ids
    if ids and ids.name in target.parts.scoring.dtypes:
        raise ConfigError(f"--id: a column of the scores has the same name, {ids.name!r}")
    if ids and config.on_bad_chunk is BadChunkPolicy.SKIP:
        raise ConfigError("--id: rows of skipped chunks have no id: leave out --on-bad-chunk skip")
    if ids and target.format is ScoreFormat.ZARR:
        check_zarr_type(*ids)
    if out.path is None:
        return
    try:
        out.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot create the folder {out.path.parent}: {error.strerror}"
        ) from error


def _print_counts(written: ScoreSummary, config: ScoreConfig, console: Console) -> None:
    """Print how many rows were skipped, left out, scored, and flagged as outliers."""
    for why in written.reasons[:MAX_REASONS]:
        print_line(console, "skipped", " ".join(why.split()))
    if len(written.reasons) > MAX_REASONS:
        print_line(console, "skipped", f"and {len(written.reasons) - MAX_REASONS:,} more chunks")
    if written.n_left_out:
        print_line(console, "left out", f"{written.n_left_out:,} rows (label -1)")
    n_scored = written.n_rows - written.n_left_out
    if n_scored:
        mean = written.log_likelihood / n_scored
        print_line(console, "scored", f"{n_scored:,} rows, mean log-density {mean:.6f} nats")
    if config.outliers is not None:
        share = written.n_outliers / n_scored if n_scored else 0.0
        print_line(
            console, "outliers", f"{written.n_outliers:,} rows, {share:.3%} of the scored rows"
        )
