"""New rows seen by a model: labels, probabilities, log-densities, distances, outliers, to disk."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter

from rich.console import Console

from daskgmm.data.dataset import DaskDataset
from daskgmm.data.gathering import check_kind, gather, made_of
from daskgmm.data.sinks import Ids, Parts, Written, write_scores
from daskgmm.data.sources import names_in, open_dataset, open_ids
from daskgmm.data.sources.place import local_path
from daskgmm.data.stores import draft_of, put, remove
from daskgmm.errors import ConfigError, ParameterError
from daskgmm.model.likelihood import densities
from daskgmm.model.scores import Scoring
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.config import ScoreConfig
from daskgmm.pipeline.trained import Trained
from daskgmm.version import __version__

ZARR = ".zarr"


def score(config: ScoreConfig, cluster: Cluster, console: Console) -> None:
    """Score the rows of a source; ``config.out`` is there when the last of them is written.

    Until then parts of it are in a folder beside it, and the same call goes on from them. Raises
    DaskgmmError for anything that a person can mend.
    """
    out = local_path(config.out).absolute()
    model = Trained.read(config.model)
    dataset = _opened(config, model)
    scoring, ids, rows = _scoring(config, model, dataset), None, dataset
    if config.id is not None:
        values, kind = open_ids(config.source, config.id)
        ids, rows = Ids(str(config.id), kind), dataset.beside(values)
    folder = out.with_name(f"{out.name}.parts")
    parts = Parts(folder, scoring, ids, _fingerprint(config, dataset))
    _check(out, parts)
    if out.exists() and not config.force:
        if not _is_made_of(out, parts, dataset):
            raise ConfigError(f"{out} is there already: choose another name, or add --force")
        remove(parts.folder)  # of a run that was killed at its very end
        console.print(f"written   {out} is there, of this model, these rows and options")
        return
    with cluster.connected(console.print) as place:
        console.print(f"cluster   {place.description}")
        began, kept = perf_counter(), parts.kept()
        if rows.layout.n_rows is None:  # CSV: a pass that counts
            rows = rows.prepared()
        layout = rows.layout
        console.print(f"rows      {layout.n_rows:,} in {layout.n_chunks:,} chunks")
        console.print(f"parts     {parts.folder}; if this stops, the same command goes on")
        if kept:
            console.print(f"kept      {len(kept):,} parts that are there already")
        written = write_scores(rows, parts, kept)
        try:
            _put_together(parts, out, layout.longest or 1)
        except OSError as error:
            raise ConfigError(f"{out} cannot be written: {error.strerror or error}") from error
        seconds = perf_counter() - began
    _say(written, config, console)
    speed = written.n_rows / seconds
    console.print(f"written   {out} in {seconds:.1f} s, {speed:,.0f} rows/s")


def _opened(config: ScoreConfig, model: Trained) -> DaskDataset:
    """The rows, by the columns that are named, or that the model was fitted to; else by all."""
    names, columns = names_in(config.source), config.columns
    if columns is None and model.columns and isinstance(model.columns[0], str) == bool(names):
        columns = model.columns
    if columns is None and config.id is not None:
        width = open_dataset(config.source).n_features if names is None else 0
        columns = [each for each in names or range(width) if each != config.id]
    missing = config.missing or model.missing
    dataset = open_dataset(config.source, columns=columns, missing=missing)
    if dataset.n_features != model.mixture.n_features:
        raise ConfigError(
            f"--columns: {config.source} is taken by {dataset.n_features} columns, and "
            f"{config.model} is of {model.mixture.n_features}: name them"
        )
    mine, theirs = list(dataset.columns or ()), list(model.columns or ())
    if mine != theirs and sorted(mine) == sorted(map(str, theirs)):
        raise ConfigError(
            f"--columns: {config.model} has these in another order: {','.join(map(str, theirs))}"
        )
    return dataset


def _scoring(config: ScoreConfig, model: Trained, dataset: DaskDataset) -> Scoring:
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
    sent = densities(model.mixture, marginal=dataset.missing == "marginal")
    return Scoring(sent, config.top, model.mixture, threshold)


def _fingerprint(config: ScoreConfig, dataset: DaskDataset) -> str:
    """What the scores are made of: the same bytes of a model, rows and options give the same.

    The name of a source's array tells its files, their times, the columns and the chunks.
    """
    made_of = {
        "daskgmm": __version__,
        "model": sha256(config.model.read_bytes()).hexdigest(),
        "rows": dataset.collection.name,
        "options": [config.id, dataset.missing, config.top, config.outliers],
    }
    return sha256(json.dumps(made_of).encode()).hexdigest()


def _check(out: Path, parts: Parts) -> None:
    """Raise ConfigError or DataError where what is asked for can't be written."""
    if parts.ids and parts.ids.name in parts.scoring.dtypes:
        raise ConfigError(f"--id: {parts.ids.name!r} is the name of a column of the scores")
    if parts.ids and out.suffix == ZARR:
        check_kind(*parts.ids)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {out.parent}: {error.strerror}") from error


def _is_made_of(out: Path, parts: Parts, dataset: DaskDataset) -> bool:
    """Whether what is at a path is what the parts would become."""
    if out.suffix == ZARR:
        return made_of(out) == parts.made_of
    return len(replace(parts, folder=out).kept()) == dataset.layout.n_chunks


def _put_together(parts: Parts, out: Path, chunk_rows: int) -> None:
    """The parts, which are all there, under the name of what they were written for."""
    if out.suffix != ZARR:
        put(parts.folder, out)
        return
    with draft_of(out) as draft:
        gather(parts.folder, draft, chunk_rows, parts.made_of)
    remove(parts.folder)


def _say(written: Written, config: ScoreConfig, console: Console) -> None:
    """What there was to see."""
    n_scored = written.n_rows - written.n_left_out
    if written.n_left_out:
        console.print(f"left out  {written.n_left_out:,} rows (label -1)")
    if n_scored:
        mean = written.log_likelihood / n_scored
        console.print(f"density   {mean:.6f} nats, the mean of {n_scored:,} rows' logarithms")
    if config.outliers is not None:
        share = written.n_outliers / n_scored if n_scored else 0.0
        console.print(f"outliers  {written.n_outliers:,} rows, {share:.3%} of those with a label")
