"""What is done where a component's covariance collapses, or no row belongs to it any more."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.data.sample import Sample
from daskgmm.data.survey import Survey
from daskgmm.errors import DataError, DegenerateCovarianceError, name_components
from daskgmm.fit.state import Action, Event
from daskgmm.kernels.blas import one_blas_thread
from daskgmm.kernels.moments import Array
from daskgmm.model.covariance import Family
from daskgmm.model.densities import densities
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.mixture import Mixture

# What is added to a diagonal, in variances of the data: the first that is enough.
LADDER = tuple(10.0**power for power in range(-6, 1))

# A component that collapses again and again is let be.
MOST_REINITIALIZED = 3

# A share of the data's variances that must not matter, or its covariance counts as singular.
MARGIN = 1e-12

# New places are drawn from the worst explained of this share of the rows.
WORST = 0.1

SINGULAR = " (the data's own covariance is singular: any other would collapse as well)"

Components = NDArray[np.bool_]


@dataclass(frozen=True)
class Draft:
    """A mixture that may have collapsed, with what has been done to it before.

    Attributes
    ----------
    family, weights, means, covariances : as in `Mixture`
    empty : (n_components,) bool array
        Components that no row belongs to.
    n_pass : int
        The iteration that made it, 0 for a start.
    ridge : (n_components,) array
        What is to be added to each component's diagonal, in variances of the data.
    events : tuple of Event
        All of the candidate's so far.
    """

    family: Family
    weights: Array
    means: Array
    covariances: Array
    empty: Components
    n_pass: int
    ridge: Array
    events: tuple[Event, ...] = ()

    def noted(self, component: int | None, action: Action, sentence: str) -> "Draft":
        """The draft with one event more."""
        event = Event(self.n_pass, component, action, sentence)
        return replace(self, events=(*self.events, event))

    def count(self, component: int, action: Action) -> int:
        """How often this has been done to a component."""
        return sum(e.component == component and e.action is action for e in self.events)

    def selected(self, components: Components) -> "Draft":
        """Some of the components, with weights that sum to one."""
        weights = self.weights[components]
        total = weights.sum()
        return replace(
            self,
            weights=weights / total if total > 0.0 else np.full(len(weights), 1 / len(weights)),
            means=self.means[components],
            covariances=self.family.select(self.covariances, np.flatnonzero(components)),
            empty=self.empty[components],
            ridge=self.ridge[components],
        )

    def widened(self, scales: Array) -> "Draft":
        """The draft with what is to be added to its covariances, given the data's variances."""
        if not self.ridge.any():
            return self
        added = self.family.project(np.diag(scales))
        # An empty component's covariance is that of before, to which it has been added.
        ridge = self.ridge[:1] if self.family.shared else self.ridge * ~self.empty
        ridge = ridge.reshape(-1, *np.ones(added.ndim - 1, dtype=int))
        return replace(self, covariances=self.covariances + ridge * added)


@dataclass(frozen=True)
class Data:
    """What a policy knows of the rows.

    Attributes
    ----------
    sample : Sample
    mean : (n_features,) array
    covariance : (n_features, n_features) array
        Of all rows, with the regularization that each component gets.
    scales : (n_features,) array
        Variances of the features; of constant ones a substitute.
    seed : int
    """

    sample: Sample
    mean: Array
    covariance: Array
    scales: Array
    seed: int

    @classmethod
    def of(cls, survey: Survey, reg_covar: float | Array, seed: int) -> "Data":
        covariance = survey.covariance + reg_covar * np.eye(len(survey.mean))
        return cls(survey.sample, survey.mean, covariance, survey.scales, seed)

    def raise_for_overflow(self) -> None:
        """Raise DataError where the squares of the rows overflow: no remedy could help."""
        if not np.isfinite(self.covariance).all():
            raise DataError(
                "the rows hold values whose squares overflow float64 (beyond about 1e154): "
                "divide the data by a number"
            )

    def is_singular(self, family: Family) -> bool:
        """Whether not even the data as a whole has a sound covariance of this family."""
        margin = MARGIN * np.diag(np.diagonal(self.covariance))
        return not _is_sound(family, family.project(self.covariance - margin))


class Mended(NamedTuple):
    """A mixture whose covariances are sound, and what was done for it."""

    mixture: Mixture
    ridge: tuple[float, ...]
    events: tuple[Event, ...]


Remedy = Callable[[Draft], Mended]
"""Makes a mixture of a draft, or raises DegenerateCovarianceError."""

Policy = Callable[[Draft, Components, Data], Draft]
"""Mends a draft, given the components whose covariances have no factor."""


def refuse(draft: Draft) -> Mended:
    """scikit-learn's contract: a collapsed covariance is an error, an empty component is not."""
    return _made(_kept(draft, draft.empty))


def _made(draft: Draft) -> Mended:
    """A draft's mixture; DegenerateCovarianceError where there is none."""
    mixture = Mixture.from_covariances(draft.family, draft.weights, draft.means, draft.covariances)
    return Mended(mixture, tuple(draft.ridge.tolist()), draft.events)


def collapses(components: tuple[int, ...], n_pass: int) -> tuple[Event, ...]:
    """The events of a candidate that ends; no components: the covariance that all share."""
    return tuple(Event(n_pass, k, Action.COLLAPSED, _trouble(k)) for k in (components or (None,)))


@dataclass(frozen=True)
class Mend:
    """Goes on, as a policy says."""

    policy: Policy
    data: Data

    def __post_init__(self) -> None:
        self.data.raise_for_overflow()

    def __call__(self, draft: Draft) -> Mended:
        broken = np.zeros(len(draft.weights), dtype=np.bool_)
        try:
            mended = _made(draft.widened(self.data.scales))
        except DegenerateCovarianceError as error:
            broken[list(error.components) or slice(None)] = True
        else:
            if not draft.empty.any():
                return mended
        draft = self.policy(draft, broken, self.data)
        lost = ~np.isfinite(draft.means).all(axis=1)
        if lost.any():  # not a number: of sums that overflowed
            raise DegenerateCovarianceError(np.flatnonzero(lost).tolist())
        return _made(draft.widened(self.data.scales))


def regularize(draft: Draft, broken: Components, data: Data, why: str = "") -> Draft:
    """Add the smallest rung of `LADDER` that makes each broken covariance sound, for good.

    For good, so that the iterations to come have a fixed point and the fit can converge. Where
    no rung does (rounding has made it larger than the data, or no number), the data's variances
    take its place once. An empty component whose covariance is sound is kept, as in
    scikit-learn.
    """
    family, ridge, covariances = draft.family, draft.ridge.copy(), draft.covariances.copy()
    added = family.project(np.diag(data.scales))
    for k in np.flatnonzero(broken)[: 1 if family.shared else None].tolist():
        covariance = family.select(draft.covariances, np.array([k]))
        enough = (r for r in LADDER if r > ridge[k] and _is_sound(family, covariance + r * added))
        rung = next(enough, None)
        mine = slice(None) if family.shared else slice(k, k + 1)
        if rung is None:
            covariances[mine] = added
            what = "the data's variances take its place"
        else:
            ridge[mine] = rung
            what = f"{rung:g} of the data's variance is added to its diagonal from now on"
        component = None if family.shared else k
        empty = bool(draft.empty[k]) and not family.shared
        sentence = f"{_trouble(component, empty=empty)}: {what}{why}"
        draft = draft.noted(component, Action.REGULARIZED, sentence)
    kept = draft.empty & ~broken
    return replace(_kept(draft, kept, why), empty=kept, covariances=covariances, ridge=ridge)


def _kept(draft: Draft, components: Components, why: str = "") -> Draft:
    """The draft with empty components noted that are left alone, each once."""
    for k in np.flatnonzero(components).tolist():
        if not draft.count(k, Action.KEPT):
            sentence = f"{_trouble(k, empty=True)}: it is kept as it is{why}"
            draft = draft.noted(k, Action.KEPT, sentence)
    return draft


def reinitialize(draft: Draft, broken: Components, data: Data) -> Draft:
    """Move components to rows that the others explain badly, as wide as the whole data.

    What cannot be moved is regularized: a covariance that all share, and everything where
    the data's own covariance is singular or where moving has not helped.
    """
    family, n_components = draft.family, len(draft.weights)
    often = [
        draft.count(k, Action.REINITIALIZED) >= MOST_REINITIALIZED for k in range(n_components)
    ]
    moved = _movable(draft, broken) & ~np.array(often)
    why = f" (it has begun anew {MOST_REINITIALIZED} times)" if any(often) else ""
    if not family.shared and data.is_singular(family):
        moved[:] = False
        why = SINGULAR
    # A shared covariance stays broken wherever the means go.
    left = replace(draft, empty=draft.empty & ~moved)
    left = regularize(left, broken if family.shared else broken & ~moved, data, why)
    weights, means = np.full(n_components, 1.0 / n_components), left.means.copy()
    covariances, ridge = left.covariances.copy(), left.ridge.copy()
    if not moved.all():
        weights[~moved] = (1.0 - moved.mean()) * left.selected(~moved).weights
    means[moved] = _badly_explained(left, moved, data)
    if not family.shared:
        covariances[moved] = family.project(data.covariance)
        ridge[moved] = 0.0
    for k in np.flatnonzero(moved).tolist():
        trouble = _trouble(k, empty=bool(draft.empty[k]))
        sentence = f"{trouble}: it begins anew at a row that the others explain badly"
        left = left.noted(k, Action.REINITIALIZED, sentence)
    return replace(left, weights=weights, means=means, covariances=covariances, ridge=ridge)


def drop(draft: Draft, broken: Components, data: Data) -> Draft:
    """Leave components out.

    Those with rows are regularized instead where all would collapse, sooner or later.
    """
    leaving, why = _movable(draft, broken), ""
    if not draft.family.shared and data.is_singular(draft.family):
        leaving, why = draft.empty.copy(), SINGULAR
    elif leaving.all():
        leaving, why = draft.empty.copy(), " (no sound component would be left without it)"
    leaving &= not leaving.all()
    left = replace(draft, empty=draft.empty & ~leaving)
    left = regularize(left, broken if draft.family.shared else broken & ~leaving, data, why)
    for k in np.flatnonzero(leaving).tolist():
        trouble = _trouble(k, empty=bool(draft.empty[k]))
        left = left.noted(k, Action.DROPPED, f"{trouble}: it is dropped")
    return left.selected(~leaving)


class DegeneracyPolicy(StrEnum):
    """What happens to a degenerate component."""

    RAISE = "raise"
    REGULARIZE = "regularize"
    REINITIALIZE = "reinitialize"
    DROP = "drop"


POLICIES: dict[DegeneracyPolicy, Callable[[Data], Remedy]] = {
    DegeneracyPolicy.RAISE: lambda _: refuse,
    DegeneracyPolicy.REGULARIZE: lambda data: Mend(regularize, data),
    DegeneracyPolicy.REINITIALIZE: lambda data: Mend(reinitialize, data),
    DegeneracyPolicy.DROP: lambda data: Mend(drop, data),
}


def _movable(draft: Draft, broken: Components) -> Components:
    """Components in trouble of their own: a broken covariance that all share is nobody's."""
    return draft.empty.copy() if draft.family.shared else draft.empty | broken


def _badly_explained(draft: Draft, moved: Components, data: Data) -> Array:
    """A row for each component that moves, drawn among those of low density under the rest.

    The draw depends on seed, pass and component alone.
    """
    rows, weights = data.sample.rows, data.sample.weights
    rows = rows if weights is None else rows[weights > 0.0]  # a row of no weight is no row
    order = np.arange(len(rows))
    if not moved.all():
        rest = _made(draft.selected(~moved).widened(data.scales)).mixture
        with one_blas_thread():
            density = log_prob_norm(rows, densities(rest, data.mean, marginal=True))
        worst = max(int(WORST * len(rows)), int(moved.sum()))
        order = np.argsort(density, kind="stable")[:worst]
    chosen = []
    for k in np.flatnonzero(moved).tolist():
        place = np.random.default_rng((data.seed, draft.n_pass, k)).integers(len(order))
        chosen.append(order[place])
        order = np.delete(order, place) if len(order) > 1 else order
    return np.where(np.isnan(rows[chosen]), data.mean, rows[chosen]).astype(np.float64)


def _is_sound(family: Family, covariances: Array) -> bool:
    try:
        family.precision_cholesky(covariances)
    except DegenerateCovarianceError:
        return False
    return True


def _trouble(component: int | None, *, empty: bool = False) -> str:
    name = name_components(() if component is None else (component,))
    return f"no row belongs to {name}" if empty else f"{name} collapsed"
