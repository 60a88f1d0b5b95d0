"""New rows seen by a model: labels, probabilities, log-densities, distances, outliers, to disk."""

import json
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from time import perf_counter
from typing import Any

from rich.console import Console

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.pass_log import LoggedDataset, PassPurpose
from daskgmm.data.policies import MissingPolicy
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
from daskgmm.fit.observers import EventListener, Events, ObserverGroup
from daskgmm.model.densities import densities
from daskgmm.model.row_scores import Scoring
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.config.commands import ScoreConfig
from daskgmm.pipeline.progress.console import say
from daskgmm.pipeline.progress.json_log import unheard
from daskgmm.pipeline.progress.live_display import displayed, started
from daskgmm.pipeline.scoring_model import ScoringModel
from daskgmm.storage.folder import Folder
from daskgmm.storage.location import (
    EXTRAS,
    explain_errors,
    install_hint,
    reason,
)
from daskgmm.version import __version__

ZARR = ".zarr"

# Chunks that are left out, of which a person still reads why.
MOST_REASONS = 3


def score(
    config: ScoreConfig, cluster: Cluster, console: Console, *, log: EventListener = unheard
) -> None:
    """Score the rows of a source; ``config.out`` is there when the last of them is written.

    Until then parts of it are in a folder beside it, and the same call goes on from them. Raises
    DaskgmmError for anything that a person can mend.
    """
    model = ScoringModel.read(config.model, **config.options_of(config.model))
    dataset = _opened(config, model)
    scoring, ids, rows = _scoring(config, model, dataset), None, dataset
    if config.id is not None:
        values, kind = open_id_column(config.source, config.id, config.storage_options)
        ids, rows = IdColumn(str(config.id), kind), dataset.with_extra(values)
    out, folder = _folders(config)
    parts = ScoreParts(folder, scoring, ids, _fingerprint(config, model, scoring, dataset))
    _check(out, parts, config)
    with explain_errors(out.url):
        is_there = out.exists()
    if is_there and not config.force:
        if _is_made_of(out, parts, dataset):
            parts.folder.clear()  # of a run that was killed at its very end
            say(console, "written", f"{out} is there, of this model, these rows and options")
            log("done", {"files": [out.url]})
            return
        if not _is_begun(out, parts):
            raise ConfigError(f"{out} is there already: choose another name, or add --force")
    with explain_errors(parts.folder.url):  # before anything starts
        parts.folder.make()
    with started(cluster, console) as place, ExitStack() as outlives:
        log("cluster", {"description": place.description, "output": out.url})
        began, kept = perf_counter(), parts.existing()
        shown = outlives.enter_context(displayed(console, place, None))
        watched = LoggedDataset(
            rows, PassPurpose.SCORES, observer=ObserverGroup(shown, Events(log))
        )
        if rows.layout.n_rows is None:  # CSV: a pass that counts
            watched = watched.prepare()
        layout = watched.layout
        plural = "s" * (layout.n_chunks != 1)
        say(console, "rows", f"{layout.n_rows:,} in {layout.n_chunks:,} chunk{plural}")
        say(console, "parts", f"{parts.folder}; if this stops, the same command goes on")
        if kept:
            say(console, "kept", f"{len(kept):,} parts that are there already")
        written = write_scores(watched, parts, kept, is_lenient=True)
        try:
            _put_together(parts, out, layout.longest or 1)
        except Exception as error:  # of disks and stores of any kind
            why = getattr(error, "strerror", None) or reason(error)
            raise ConfigError(f"{out} cannot be written: {why}") from error
        seconds = perf_counter() - began
    _tell(written, config, console)
    speed = written.n_rows / seconds
    say(console, "written", f"{out} in {seconds:.1f} s, {speed:,.0f} rows/s")
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
    """Where the scores go, and their parts until all are there; ConfigError where nobody can."""
    try:
        out, parts = (
            Folder(url, **config.options_of(url)) for url in (config.out, f"{config.out}.parts")
        )
    except ImportError as error:
        scheme = config.out.partition("://")[0]
        raise ConfigError(
            f"{config.out}: {install_hint(f'{scheme}://', EXTRAS.get(scheme))}"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{config.out} cannot be written to: {reason(error)}") from error
    return out, parts


def _opened(config: ScoreConfig, model: ScoringModel) -> DaskDataset:
    """The rows, by the columns that are named, or that the model was fitted to; else by all."""
    told = config.storage_options
    how: dict[str, Any] = {
        "missing": config.missing or model.missing,
        "on_bad_chunk": config.on_bad_chunk,
        "storage_options": told,
    }
    if model.recipe:
        if config.columns is not None:
            raise ConfigError(
                f"--columns: {config.model} has transforms or a filter, which name its columns: "
                "leave it out, and give the columns of the source those names"
            )
        return open_dataset(config.source, **how, **model.recipe)
    names, columns = column_names(config.source, told), config.columns
    if columns is None and model.columns and isinstance(model.columns[0], str) == bool(names):
        columns = model.columns
    if columns is None and config.id is not None:
        width = open_dataset(config.source, storage_options=told).n_features if names is None else 0
        columns = [each for each in names or range(width) if each != config.id]
    dataset = open_dataset(config.source, columns=columns, **how)
    if dataset.n_features != model.mixture.n_features:
        raise ConfigError(
            f"--columns: {', '.join(config.source)} is taken by {dataset.n_features} columns, and "
            f"{config.model} is of {model.mixture.n_features}: name them"
        )
    mine, theirs = list(dataset.columns or ()), list(model.columns or ())
    if mine != theirs and sorted(mine) == sorted(map(str, theirs)):
        raise ConfigError(
            f"--columns: {config.model} has these in another order: {','.join(map(str, theirs))}"
        )
    return dataset


def _scoring(config: ScoreConfig, model: ScoringModel, dataset: DaskDataset) -> Scoring:
    if config.top > model.mixture.n_components:
        raise ConfigError(f"--top: {config.model} has {model.mixture.n_components} components")
    threshold = None
    if config.outliers is not None:
        if model.log_density is None:
            raise ConfigError(
                f"--outliers: {config.model} does not say how its rows were distributed: fit it "
                "with `daskgmm fit` of this version"
            )
        try:
            threshold = model.log_density.at(config.outliers)
        except ParameterError as error:
            raise ConfigError(f"--outliers: {error}") from error
    sent = densities(model.mixture, marginal=dataset.missing == MissingPolicy.MARGINAL)
    return Scoring(sent, config.top, model.mixture, threshold)


def _fingerprint(
    config: ScoreConfig, model: ScoringModel, scoring: Scoring, dataset: DaskDataset
) -> str:
    """What the scores are made of: the same model, rows and options give the same.

    The name of a source's array tells its files, their times, the columns and the chunks.
    """
    identity = {
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
            *(["skip"] if config.on_bad_chunk == "skip" else []),
        ],
    }
    return sha256(json.dumps(identity).encode()).hexdigest()


def _check(out: Folder, parts: ScoreParts, config: ScoreConfig) -> None:
    """Raise ConfigError or DataError where what is asked for can't be written."""
    if parts.ids and parts.ids.name in parts.scoring.dtypes:
        raise ConfigError(f"--id: {parts.ids.name!r} is the name of a column of the scores")
    if parts.ids and config.on_bad_chunk == "skip":
        raise ConfigError("--id: rows of a chunk that is left out have none: drop --on-bad-chunk")
    if parts.ids and _is_zarr(out):
        check_zarr_type(*parts.ids)
    if out.path is None:
        return
    try:
        out.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {out.path.parent}: {error.strerror}") from error


def _is_zarr(out: Folder) -> bool:
    return out.url.endswith(ZARR)


def _is_made_of(out: Folder, parts: ScoreParts, dataset: DaskDataset) -> bool:
    """Whether what is at a place is what the parts would become."""
    if _is_zarr(out):
        return read_fingerprint(out) == parts.fingerprint
    return len(replace(parts, folder=out).existing()) == dataset.layout.n_chunks


def _is_begun(out: Folder, parts: ScoreParts) -> bool:
    """Whether it is a part of that: a store shows what a killed run has put there."""
    if _is_zarr(out):
        return read_fingerprint(out, UNFINISHED) == parts.fingerprint
    return 0 < len(replace(parts, folder=out).existing()) == len(out.names())


def _put_together(parts: ScoreParts, out: Folder, chunk_rows: int) -> None:
    """The parts, which are all there, under the name of what they were written for."""
    if not _is_zarr(out):
        parts.folder.move_to(out)
    elif out.path is None:
        merge_parts(parts.folder, out, chunk_rows, parts.fingerprint)
        parts.folder.clear()
    else:
        with atomic_output(out.path) as draft:
            merge_parts(parts.folder, Folder(draft), chunk_rows, parts.fingerprint)
        parts.folder.clear()


def _tell(written: ScoreSummary, config: ScoreConfig, console: Console) -> None:
    """What there was to see."""
    n_scored = written.n_rows - written.n_left_out
    for why in written.reasons[:MOST_REASONS]:
        say(console, "skipped", " ".join(why.split()))
    if len(written.reasons) > MOST_REASONS:
        say(console, "skipped", f"and {len(written.reasons) - MOST_REASONS:,} chunks more")
    if written.n_left_out:
        say(console, "left out", f"{written.n_left_out:,} rows (label -1)")
    if n_scored:
        mean = written.log_likelihood / n_scored
        say(console, "density", f"{mean:.6f} nats, the mean of {n_scored:,} rows' logarithms")
    if config.outliers is not None:
        share = written.n_outliers / n_scored if n_scored else 0.0
        say(console, "outliers", f"{written.n_outliers:,} rows, {share:.3%} of those with a label")
