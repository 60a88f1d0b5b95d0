"""Policies for degenerate components, whose covariance collapses or which have no rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskgmm.array_types import Array
from daskgmm.data.sample import Sample
from daskgmm.data.survey import Survey
from daskgmm.errors import DataError, DegenerateCovarianceError, name_components
from daskgmm.fit.state import Action, Event
from daskgmm.kernels.blas import one_blas_thread
from daskgmm.model.covariance import Family
from daskgmm.model.densities import densities
from daskgmm.model.e_step import log_prob_norm
from daskgmm.model.mixture import Mixture

# Amounts that may be added to a diagonal, in variances of the data. The smallest that suffices is
# used.
RIDGES = tuple(10.0**power for power in range(-6, 1))

# A component that collapses again after this number of reinitializations is regularized.
MAX_REINITIALIZATIONS = 3

# The data's covariance is singular if it is not positive definite after this share of the variances
# is subtracted.
MARGIN = 1e-12

# New means are drawn from this share of the rows, those of lowest density.
WORST_SHARE = 0.1

SINGULAR = " (the covariance of the data is singular, so every component would collapse)"

Components = NDArray[np.bool_]


@dataclass(frozen=True)
class Proposal:
    """Estimates of a mixture, whose covariances may not be positive definite.

    Attributes
    ----------
    family, weights, means, covariances
        As in `Mixture`.
    empty : (n_components,) bool array
        Components without rows.
    n_pass : int
        Number of the iteration; 0 for the start.
    ridge : (n_components,) array
        Amount that is added to the diagonal of each component's covariance, in variances of the
        data.
    events : tuple of Event
        All events of the candidate.
    """

    family: Family
    weights: Array
    means: Array
    covariances: Array
    empty: Components
    n_pass: int
    ridge: Array
    events: tuple[Event, ...] = ()

    def with_event(self, component: int | None, action: Action, sentence: str) -> "Proposal":
        """Return the proposal with one more event."""
        event = Event(self.n_pass, component, action, sentence)
        return replace(self, events=(*self.events, event))

    def count(self, component: int, action: Action) -> int:
        """Return how many events of a component have this action."""
        return sum(e.component == component and e.action is action for e in self.events)

    def subset(self, components: Components) -> "Proposal":
        """Return some of the components, with weights that sum to one."""
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

    def with_ridge(self, scales: Array) -> "Proposal":
        """Return the proposal with the ridge added to its covariances.

        `scales` are the variances of the data.
        """
        if not self.ridge.any():
            return self
        unit = self.family.project(np.diag(scales))
        # An empty component keeps its covariance, which contains the ridge already.
        ridge = self.ridge[:1] if self.family.shared else self.ridge * ~self.empty
        ridge = ridge.reshape(-1, *np.ones(unit.ndim - 1, dtype=int))
        return replace(self, covariances=self.covariances + ridge * unit)


@dataclass(frozen=True)
class DataSummary:
    """The summary of the data that policies use.

    Attributes
    ----------
    sample : Sample
    mean : (n_features,) array
    covariance : (n_features, n_features) array
        Covariance of all rows plus the regularization of a component.
    scales : (n_features,) array
        Variances of the features. Constant features have a substitute.
    seed : int
    """

    sample: Sample
    mean: Array
    covariance: Array
    scales: Array
    seed: int

    @classmethod
    def of(cls, survey: Survey, reg_covar: float | Array, seed: int) -> "DataSummary":
        """Return the summary of a survey."""
        covariance = survey.covariance + reg_covar * np.eye(len(survey.mean))
        return cls(survey.sample, survey.mean, covariance, survey.scales, seed)

    def raise_for_overflow(self) -> None:
        """Raise DataError if the squares of the rows overflow. No policy can repair that."""
        if not np.isfinite(self.covariance).all():
            raise DataError(
                "the rows hold values whose squares overflow float64 (beyond about 1e154): "
                "rescale the data"
            )

    def is_singular(self, family: Family) -> bool:
        """Return whether the covariance of the data is singular in this family."""
        margin = MARGIN * np.diag(np.diagonal(self.covariance))
        return not _is_positive_definite(family, family.project(self.covariance - margin))


class SoundMixture(NamedTuple):
    """A mixture with positive definite covariances, the ridge and the events that led to it."""

    mixture: Mixture
    ridge: tuple[float, ...]
    events: tuple[Event, ...]


Remedy = Callable[[Proposal], SoundMixture]
"""Makes a mixture of a proposal, or raises DegenerateCovarianceError."""

Policy = Callable[[Proposal, Components, DataSummary], Proposal]
"""Repairs a proposal, given the components whose covariances are not positive definite."""


def refuse(proposal: Proposal) -> SoundMixture:
    """Raise DegenerateCovarianceError if a covariance collapsed; keep empty components.

    This is the behaviour of scikit-learn.
    """
    return _factorize(_keep_empty(proposal, proposal.empty))


def _factorize(proposal: Proposal) -> SoundMixture:
    """Return the mixture of a proposal; DegenerateCovarianceError if a covariance collapsed."""
    mixture = Mixture.from_covariances(
        proposal.family, proposal.weights, proposal.means, proposal.covariances
    )
    return SoundMixture(mixture, tuple(proposal.ridge.tolist()), proposal.events)


def collapses(components: tuple[int, ...], n_pass: int) -> tuple[Event, ...]:
    """Return the events of a candidate that collapsed. No components means a shared covariance."""
    return tuple(Event(n_pass, k, Action.COLLAPSED, _describe(k)) for k in (components or (None,)))


@dataclass(frozen=True)
class PolicyRemedy:
    """Repairs proposals by a policy."""

    policy: Policy
    data: DataSummary

    def __post_init__(self) -> None:
        self.data.raise_for_overflow()

    def __call__(self, proposal: Proposal) -> SoundMixture:
        singular = np.zeros(len(proposal.weights), dtype=np.bool_)
        try:
            mixture = _factorize(proposal.with_ridge(self.data.scales))
        except DegenerateCovarianceError as error:
            singular[list(error.components) or slice(None)] = True
        else:
            if not proposal.empty.any():
                return mixture
        proposal = self.policy(proposal, singular, self.data)
        is_invalid = ~np.isfinite(proposal.means).all(axis=1)
        if is_invalid.any():  # NaN or infinity: sums overflowed
            raise DegenerateCovarianceError(np.flatnonzero(is_invalid).tolist())
        return _factorize(proposal.with_ridge(self.data.scales))


def regularize(
    proposal: Proposal, singular: Components, data: DataSummary, why: str = ""
) -> Proposal:
    """Add the smallest of `RIDGES` that makes each singular covariance positive definite.

    The ridge is permanent, so that the next iterations have a fixed point and the fit can
    converge. If no ridge suffices, the variances of the data replace the covariance once. This
    happens if rounding made the covariance NaN, or larger than the covariance of the data. An
    empty component with a positive definite covariance is kept, as in scikit-learn.
    """
    family, ridge, covariances = proposal.family, proposal.ridge.copy(), proposal.covariances.copy()
    unit = family.project(np.diag(data.scales))
    for k in np.flatnonzero(singular)[: 1 if family.shared else None].tolist():
        covariance = family.select(proposal.covariances, np.array([k]))
        sufficient = (
            r
            for r in RIDGES
            if r > ridge[k] and _is_positive_definite(family, covariance + r * unit)
        )
        smallest = next(sufficient, None)
        slot = slice(None) if family.shared else slice(k, k + 1)
        if smallest is None:
            covariances[slot] = unit
            measure = "its covariance is replaced by the variances of the data"
        else:
            ridge[slot] = smallest
            measure = f"{smallest:g} of the data's variance is added to its diagonal permanently"
        component = None if family.shared else k
        empty = bool(proposal.empty[k]) and not family.shared
        sentence = f"{_describe(component, empty=empty)}: {measure}{why}"
        proposal = proposal.with_event(component, Action.REGULARIZED, sentence)
    to_keep = proposal.empty & ~singular
    return replace(
        _keep_empty(proposal, to_keep, why), empty=to_keep, covariances=covariances, ridge=ridge
    )


def _keep_empty(proposal: Proposal, components: Components, why: str = "") -> Proposal:
    """Return the proposal with one event for each empty component that is kept."""
    for k in np.flatnonzero(components).tolist():
        if not proposal.count(k, Action.KEPT):
            sentence = f"{_describe(k, empty=True)}: it keeps its mean and covariance{why}"
            proposal = proposal.with_event(k, Action.KEPT, sentence)
    return proposal


def reinitialize(proposal: Proposal, singular: Components, data: DataSummary) -> Proposal:
    """Move components to rows of low density, with the covariance of the data.

    Some components cannot be moved and are regularized instead: components with a shared
    covariance, all components if the covariance of the data is singular, and components that
    collapsed again after several moves.
    """
    family, n_components = proposal.family, len(proposal.weights)
    is_exhausted = [
        proposal.count(k, Action.REINITIALIZED) >= MAX_REINITIALIZATIONS
        for k in range(n_components)
    ]
    to_move = _removable(proposal, singular) & ~np.array(is_exhausted)
    why = f" (it was reinitialized {MAX_REINITIALIZATIONS} times)" if any(is_exhausted) else ""
    if not family.shared and data.is_singular(family):
        to_move[:] = False
        why = SINGULAR
    # A shared covariance stays singular wherever the means are.
    result = replace(proposal, empty=proposal.empty & ~to_move)
    result = regularize(result, singular if family.shared else singular & ~to_move, data, why)
    weights, means = np.full(n_components, 1.0 / n_components), result.means.copy()
    covariances, ridge = result.covariances.copy(), result.ridge.copy()
    if not to_move.all():
        weights[~to_move] = (1.0 - to_move.mean()) * result.subset(~to_move).weights
    means[to_move] = _low_density_rows(result, to_move, data)
    if not family.shared:
        covariances[to_move] = family.project(data.covariance)
        ridge[to_move] = 0.0
    for k in np.flatnonzero(to_move).tolist():
        description = _describe(k, empty=bool(proposal.empty[k]))
        sentence = f"{description}: it is reinitialized at a row of low density"
        result = result.with_event(k, Action.REINITIALIZED, sentence)
    return replace(result, weights=weights, means=means, covariances=covariances, ridge=ridge)


def drop(proposal: Proposal, singular: Components, data: DataSummary) -> Proposal:
    """Drop components.

    If the covariance of the data is singular, or if no component would remain, components with
    rows are regularized instead.
    """
    to_drop, why = _removable(proposal, singular), ""
    if not proposal.family.shared and data.is_singular(proposal.family):
        to_drop, why = proposal.empty.copy(), SINGULAR
    elif to_drop.all():
        to_drop, why = (
            proposal.empty.copy(),
            " (otherwise no component would remain)",
        )
    to_drop &= not to_drop.all()
    result = replace(proposal, empty=proposal.empty & ~to_drop)
    result = regularize(
        result, singular if proposal.family.shared else singular & ~to_drop, data, why
    )
    for k in np.flatnonzero(to_drop).tolist():
        description = _describe(k, empty=bool(proposal.empty[k]))
        result = result.with_event(k, Action.DROPPED, f"{description}: it is dropped")
    return result.subset(~to_drop)


class DegeneracyPolicy(StrEnum):
    """How a fit treats a degenerate component."""

    RAISE = "raise"
    REGULARIZE = "regularize"
    REINITIALIZE = "reinitialize"
    DROP = "drop"


POLICIES: dict[DegeneracyPolicy, Callable[[DataSummary], Remedy]] = {
    DegeneracyPolicy.RAISE: lambda _: refuse,
    DegeneracyPolicy.REGULARIZE: lambda data: PolicyRemedy(regularize, data),
    DegeneracyPolicy.REINITIALIZE: lambda data: PolicyRemedy(reinitialize, data),
    DegeneracyPolicy.DROP: lambda data: PolicyRemedy(drop, data),
}


def _removable(proposal: Proposal, singular: Components) -> Components:
    """Return the components that can be moved or dropped: none if the covariance is shared."""
    return proposal.empty.copy() if proposal.family.shared else proposal.empty | singular


def _low_density_rows(proposal: Proposal, to_move: Components, data: DataSummary) -> Array:
    """Return a row for each component that moves, drawn among those of lowest density.

    The density is that of the other components. The draw depends on the seed, the pass and the
    component only.
    """
    rows, weights = data.sample.rows, data.sample.weights
    rows = rows if weights is None else rows[weights > 0.0]  # rows of zero weight do not count
    order = np.arange(len(rows))
    if not to_move.all():
        others = _factorize(proposal.subset(~to_move).with_ridge(data.scales)).mixture
        with one_blas_thread():
            density = log_prob_norm(rows, densities(others, data.mean, marginal=True))
        worst = max(int(WORST_SHARE * len(rows)), int(to_move.sum()))
        order = np.argsort(density, kind="stable")[:worst]
    indices = []
    for k in np.flatnonzero(to_move).tolist():
        position = np.random.default_rng((data.seed, proposal.n_pass, k)).integers(len(order))
        indices.append(order[position])
        order = np.delete(order, position) if len(order) > 1 else order
    return np.where(np.isnan(rows[indices]), data.mean, rows[indices]).astype(np.float64)


def _is_positive_definite(family: Family, covariances: Array) -> bool:
    try:
        family.precision_cholesky(covariances)
    except DegenerateCovarianceError:
        return False
    return True


def _describe(component: int | None, *, empty: bool = False) -> str:
    name = name_components(() if component is None else (component,))
    return f"{name} has no rows" if empty else f"{name} collapsed"
