"""What a terminal shows below the lines while a pass runs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from math import isnan
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daskgmm.data.metered import Pass, Reading
from daskgmm.data.survey import Survey
from daskgmm.fit.events import ADVANCING
from daskgmm.fit.observers import NullObserver, Observer
from daskgmm.fit.standing import Standing
from daskgmm.fit.state import FitState
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.clusters.place import Place
from daskgmm.pipeline.lines import packed, say
from daskgmm.pipeline.outlook import Outlook

# Seconds between two looks at the workers.
LOOK_SECONDS = 2.0

BETWEEN = "   "

# What is done where no pass is under way.
BETWEEN_PASSES, AFTERWARDS = "between passes", {"labels": "report", "scores": "putting together"}


@contextmanager
def started(cluster: Cluster, console: Console) -> Iterator[Place]:
    """The place where Dask computes, and a line that says which; a terminal shows the wait."""
    with ExitStack() as outlives:
        with console.status("starting the cluster"):
            place = outlives.enter_context(cluster.connected(console.print))
        say(console, "cluster", place.description)
        yield place


@contextmanager
def displayed(console: Console, place: Place, outlook: Outlook | None) -> Iterator[Observer]:
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

    def __init__(self, console: Console, place: Place, outlook: Outlook | None) -> None:
        self._console = console
        self._place = place
        self._outlook = outlook
        self._began = self._since = self._came = monotonic()
        self._looked = -LOOK_SECONDS
        self._doing = "waiting"
        self._reading: Reading | None = None
        self._bound = ""
        self._standing = Standing()
        self._workers: list[str] = []

    def on_reading(self, reading: Reading) -> None:
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
