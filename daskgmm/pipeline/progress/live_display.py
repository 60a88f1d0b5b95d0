"""How long a fit may still take: what it can be told at the most, and what is likely."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from math import isnan
from statistics import median
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daskgmm.chunk import describe_skipped
from daskgmm.data.pass_log import OngoingPass, Pass
from daskgmm.data.survey import Survey
from daskgmm.fit.observers import ADVANCING, FitProgress, NullObserver, Observer
from daskgmm.fit.state import FitState
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.clusters.connection import Connection
from daskgmm.pipeline.progress.console import packed, say

# Of the readings that may follow the iterations: that of the last bound.
AFTER = 1

# Changes that say how they shrink.
OF_LATE = 4


class TimeEstimate:
    """Passes to go before the fit has ended, as far as those before tell.

    Parameters
    ----------
    tol : float
        Below which a fit ends (nats per row); 0 is not known.
    max_iter : int
    window : int
        How many iterations together must have changed the bound by less than that.
    """

    def __init__(self, tol: float, max_iter: int, window: int) -> None:
        self._tol = tol
        self._max_iter = max_iter
        self._window = window
        self._seconds: list[float] = []
        self._n_iter = 0
        self._live: list[FitState] = []
        self._has_begun = False

    def note(self, states: Sequence[FitState], seconds: float) -> None:
        """A pass has come to these candidates, and took so long."""
        self._has_begun = True
        self._n_iter = max(state.n_iter for state in states)
        self._live = [state for state in states if state.outcome is None]
        self._seconds.append(seconds)

    @property
    def most(self) -> int:
        """Passes to go, at the most."""
        is_over = self._has_begun and not self._live
        return AFTER if is_over else max(self._max_iter - self._n_iter, 0) + AFTER

    @property
    def likely(self) -> int | None:
        """Passes to go if changes go on to shrink as they did of late; None where they grow.

        A guess, for the slowest candidate: a fit may meet a plateau, or a better place to go.
        """
        found = [self._of(state) for state in self._live]
        known = [each for each in found if each is not None]
        return min(max(known), self.most) if known and len(known) == len(found) else None

    def _of(self, state: FitState) -> int | None:
        """Passes to go for one candidate."""
        bounds = (state.previous_bound, *state.lower_bounds)[-1 - OF_LATE :]
        changes = [abs(after - before) for before, after in pairwise(bounds)]
        changes = [each for each in changes if math.isfinite(each) and each > 0.0]
        if len(changes) < 2 or not self._tol:
            return None
        ratio = (changes[-1] / changes[0]) ** (1.0 / (len(changes) - 1))
        if ratio >= 1.0:
            return None
        together = changes[-1] * sum(ratio**-i for i in range(self._window))
        gain = state.memory.gain if state.memory else 0.0
        left = max(together, gain) / self._tol
        return max(math.ceil(-math.log(left) / math.log(ratio)), 1)

    def seconds(self, n_passes: int) -> float | None:
        """What so many passes take, if they are as long as most were; None before the first."""
        return n_passes * median(self._seconds) if self._seconds else None


# Of passes that are not the fit's own iterations.
HEADS = {"refinement": "refine"}


class PassLines(NullObserver):
    """Writes a line for the survey and for each pass.

    Attributes
    ----------
    survey : Survey
    """

    survey: Survey

    def __init__(self, console: Console) -> None:
        self._console = console
        self._reading: OngoingPass | None = None
        self._standing = FitProgress()

    def on_reading(self, reading: OngoingPass) -> None:
        self._reading = reading

    def on_read(self, ended: Pass) -> None:
        if ended.purpose in ("survey", *ADVANCING):  # told of with what they have found
            return
        n_rows = self._reading.n_rows if self._reading else None
        read = "" if n_rows is None else f"{n_rows / max(ended.seconds, 1e-9):>12,.0f} rows/s"
        what = "rows are counted" if n_rows is None else f"{n_rows:,} rows are read"
        self._say(ended.purpose, f"{what:<36}", read, f"{ended.seconds:.2f} s")

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self.survey = survey
        left_out = f", {survey.n_incomplete:,} with missing values"
        left_out += "" if survey.marginal else " left out"
        filtered = f", {survey.n_zero_weight:,} that don't meet the filter"
        self._say(
            "survey",
            f"{survey.n_rows:,} rows{left_out if survey.n_incomplete else ''}"
            f"{filtered if survey.n_zero_weight else ''}",
            f"{seconds:.2f} s",
        )
        if survey.skipped:
            self._say("skipped", describe_skipped(survey.skipped))

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self.survey = survey
        self._standing.resume(states)
        after = self._standing.n_passes
        self._say("resumed", f"after {f'pass {after}' if after else 'the survey'}")

    def on_start(self, states: Sequence[FitState]) -> None:
        sizes = sorted({state.mixture.n_components for state in states})
        size = f"{sizes[0]}{f' to {sizes[-1]}' if len(sizes) > 1 else ''}"
        self._say(
            "start",
            f"{size} components x {states[0].mixture.n_features} features"
            f"{f', {len(states)} starts share each pass' if len(states) > 1 else ''}",
        )
        self._events(states)

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        rows = len(self.survey.sample.keys)
        going = f", {len(states)} candidates go on" if len(states) > 1 else ""
        self._say("sample", f"converged on {rows:,} rows{going}", f"{seconds:.2f} s")

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        self._standing.advance(states)
        change = f"{self._standing.change:+.6f}".replace("+nan", "")
        purpose = self._reading.purpose if self._reading else ""
        self._say(
            f"{HEADS.get(purpose, 'pass')} {self._standing.n_passes}",
            f"lower bound {self._standing.lower_bound:>12.6f}",
            f"{change:>10}",
            f"{self.survey.n_complete / max(seconds, 1e-9):>12,.0f} rows/s",
            f"{seconds:.2f} s",
        )
        newest = max(state.n_iter for state in states)
        self._events([state for state in states if state.n_iter == newest])

    def _events(self, states: Sequence[FitState]) -> None:
        """One line for the newest events of all starts."""
        events = [event for state in states for event in state.new_events]
        if events:
            more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
            self._say("", f"{events[0].sentence}{more}")

    def _say(self, head: str, *facts: str) -> None:
        say(self._console, head, *facts)


# Seconds between two looks at the workers.
LOOK_SECONDS = 2.0

BETWEEN = "   "

# What is done where no pass is under way.
BETWEEN_PASSES, AFTERWARDS = "between passes", {"labels": "report", "scores": "putting together"}


@contextmanager
def started(cluster: Cluster, console: Console) -> Iterator[Connection]:
    """The place where Dask computes, and a line that says which; a terminal shows the wait."""
    with ExitStack() as outlives:
        with console.status("starting the cluster"):
            place = outlives.enter_context(cluster.connected(console.print))
        say(console, "cluster", place.description)
        yield place


@contextmanager
def displayed(
    console: Console, place: Connection, outlook: TimeEstimate | None
) -> Iterator[Observer]:
    """A display on a terminal for the length of the context, and who tells it what it shows.

    It leaves nothing behind, however the context ends; anywhere else there is none.
    """
    if not console.is_terminal or console.is_dumb_terminal or console.quiet:
        yield NullObserver()
        return
    display = Display(console, place, outlook)
    with Live(console=console, get_renderable=display.shown, transient=True):
        yield display


class Display(NullObserver):
    """A bar over the chunks of a pass, and what is known of the fit.

    Parameters
    ----------
    console : Console
    place : Place
        Whose workers are looked at.
    outlook : Outlook or None
        None where there is but one pass.
    """

    def __init__(self, console: Console, place: Connection, outlook: TimeEstimate | None) -> None:
        self._console = console
        self._place = place
        self._outlook = outlook
        self._began = self._since = self._came = monotonic()
        self._looked = -LOOK_SECONDS
        self._doing = "waiting"
        self._reading: OngoingPass | None = None
        self._bound = ""
        self._standing = FitProgress()
        self._workers: list[str] = []

    def on_reading(self, reading: OngoingPass) -> None:
        self._came = monotonic()
        if self._reading is None or not reading.chunks_done:
            self._since = self._came
            advances = reading.purpose in ADVANCING
            self._doing = f"pass {self._standing.n_passes + 1}" if advances else reading.purpose
        self._reading = reading
        if self._came >= self._looked + LOOK_SECONDS:
            with suppress(Exception):  # nobody who does not answer is worth a fit
                self._workers = self._place.now()
            self._looked = self._came

    def on_read(self, ended: Pass) -> None:
        self._between(AFTERWARDS.get(ended.purpose, BETWEEN_PASSES))

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self._between("starts")

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self._standing.resume(states)
        if states:
            self._know()

    def on_start(self, states: Sequence[FitState]) -> None:
        self._between("sample")

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        self._between(BETWEEN_PASSES)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        self._standing.advance(states)
        self._know()
        if self._outlook:
            self._outlook.note(states, seconds)

    def _know(self) -> None:
        now = self._standing
        change = "" if isnan(now.change) else f" ({now.change:+.6f})"
        self._bound = f"lower bound {now.lower_bound:.6f}{change}" if now.n_passes else ""

    def _between(self, doing: str) -> None:
        self._doing, self._reading, self._since = doing, None, monotonic()

    def shown(self) -> Group:
        """The lines of this moment, in the terminal's width."""
        now, width = monotonic(), self._console.width
        groups = [
            self._pace(),
            self._fit(),
            [*self._workers, f"{clock(now - self._began)} so far"],
        ]
        facts = [line for group in groups for line in packed(group, width - 1, BETWEEN)]
        return Group(self._bar(now), *(Text(line, no_wrap=True, style="dim") for line in facts))

    def _bar(self, now: float) -> Table:
        reading = self._reading
        grid = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None, None):
            grid.add_column(ratio=ratio, no_wrap=True)
        total = float(reading.n_chunks) if reading else None
        done = reading.chunks_done if reading else 0
        share = f"{done / total:4.0%}" if total else ""
        time = clock(now - self._since)
        if total and done:  # as fast as until the last of them came
            left = (self._came - self._since) * (total / done - 1) - (now - self._came)
            time = f"{clock(max(left, 0.0))} left"
        bar = ProgressBar(total, done, pulse=not done, animation_time=now)
        grid.add_row(Text(self._doing, style="bold"), bar, share, time)
        return grid

    def _pace(self) -> list[str]:
        """How far the pass is, and how fast."""
        reading = self._reading
        if reading is None:
            return []
        facts = [f"{reading.chunks_done:,} of {reading.n_chunks:,} chunks"]
        seconds = max(self._came - self._since, 1e-3)
        if reading.rows_done:
            facts.append(f"{reading.rows_done / seconds:,.0f} rows/s")
        if reading.rows_done and reading.n_rows and reading.n_bytes:
            read = reading.n_bytes * reading.rows_done / reading.n_rows
            facts.append(f"{read / seconds / 1e6:,.0f} MB/s")
        return facts

    def _fit(self) -> list[str]:
        """Where the fit is, and how far it may be to its end."""
        outlook, facts = self._outlook, [self._bound]
        if outlook is None or self._doing in ("labels", *AFTERWARDS.values()):
            return facts
        ways = {"at most": outlook.most}
        if outlook.likely is not None and outlook.likely < outlook.most:
            ways = {"about": outlook.likely, **ways}
        for words, n_passes in ways.items():
            if (seconds := outlook.seconds(n_passes)) is not None:
                facts.append(f"{words} {n_passes:,} more ({clock(seconds)})")
        return facts


def clock(seconds: float) -> str:
    """Seconds as people read them: 0:07, 12:40, 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
