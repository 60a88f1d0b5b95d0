"""A display on a terminal while a cluster starts and passes run. It disappears afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from math import isnan
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daskgmm.data.pass_log import OngoingPass, Pass, PassPurpose
from daskgmm.data.survey import Survey
from daskgmm.fit.observers import ADVANCING, FitProgress, NullObserver, Observer
from daskgmm.fit.state import FitState
from daskgmm.pipeline.clusters import Cluster
from daskgmm.pipeline.clusters.connection import Connection
from daskgmm.pipeline.progress.console import pack_facts, print_line
from daskgmm.pipeline.progress.time_estimate import TimeEstimate, clock

# Seconds between two requests for the state of the workers.
STATUS_SECONDS = 2.0

SEPARATOR = "   "

# Activities while no pass runs, by the purpose of the last pass.
BETWEEN_PASSES = "between passes"
FINAL_ACTIVITIES: dict[str, str] = {
    PassPurpose.LABELS: "writing the report",
    PassPurpose.SCORES: "merging the parts",
}


@contextmanager
def connect(cluster: Cluster, console: Console) -> Iterator[Connection]:
    """Connect to a cluster, and print a line that describes it."""
    with ExitStack() as stack:
        with console.status("starting the cluster"):
            connection = stack.enter_context(cluster.connect(console.print))
        print_line(console, "cluster", connection.description)
        yield connection


@contextmanager
def live_display(
    console: Console, connection: Connection, estimate: TimeEstimate | None
) -> Iterator[Observer]:
    """Show a display on a terminal while the context lasts; its observer updates it.

    Without a terminal nothing is shown.
    """
    if not console.is_terminal or console.is_dumb_terminal or console.quiet:
        yield NullObserver()
        return
    display = Display(console, connection, estimate)
    with Live(console=console, get_renderable=display.render, transient=True):
        yield display


class Display(NullObserver):
    """A progress bar of the current pass, and the state of the fit and of the workers.

    Parameters
    ----------
    console : Console
    connection : Connection
        Connection to the workers.
    estimate : TimeEstimate or None
        Estimate of the remaining time; None if there is only one pass.
    """

    def __init__(
        self, console: Console, connection: Connection, estimate: TimeEstimate | None
    ) -> None:
        self._console = console
        self._connection = connection
        self._estimate = estimate
        self._run_start = self._activity_start = self._last_update = monotonic()
        self._last_status = -STATUS_SECONDS
        self._activity = "waiting"
        self._ongoing: OngoingPass | None = None
        self._bound = ""
        self._progress = FitProgress()
        self._workers: list[str] = []

    def on_pass_progress(self, ongoing: OngoingPass) -> None:
        self._last_update = monotonic()
        if self._ongoing is None or not ongoing.chunks_done:
            self._activity_start = self._last_update
            is_iteration = ongoing.purpose in ADVANCING
            self._activity = (
                f"pass {self._progress.n_passes + 1}" if is_iteration else ongoing.purpose
            )
        self._ongoing = ongoing
        if self._last_update >= self._last_status + STATUS_SECONDS:
            with suppress(Exception):  # a scheduler that does not answer must not stop the fit
                self._workers = self._connection.status()
            self._last_status = self._last_update

    def on_pass_end(self, pass_: Pass) -> None:
        self._set_activity(FINAL_ACTIVITIES.get(pass_.purpose, BETWEEN_PASSES))

    def on_survey(self, survey: Survey, seconds: float) -> None:
        self._set_activity("initialization")

    def on_resume(self, survey: Survey, states: Sequence[FitState]) -> None:
        self._progress.resume(states)
        if states:
            self._update_bound()

    def on_start(self, states: Sequence[FitState]) -> None:
        self._set_activity("fitting the sample")

    def on_sample(self, states: Sequence[FitState], seconds: float) -> None:
        self._set_activity(BETWEEN_PASSES)

    def on_pass(self, states: Sequence[FitState], seconds: float) -> None:
        self._progress.advance(states)
        self._update_bound()
        if self._estimate:
            self._estimate.add_pass(states, seconds)

    def _update_bound(self) -> None:
        fit = self._progress
        change = "" if isnan(fit.change) else f" ({fit.change:+.6f})"
        self._bound = f"lower bound {fit.lower_bound:.6f}{change}" if fit.n_passes else ""

    def _set_activity(self, activity: str) -> None:
        self._activity, self._ongoing, self._activity_start = activity, None, monotonic()

    def render(self) -> Group:
        """Return the current lines, within the terminal's width."""
        now, width = monotonic(), self._console.width
        groups = [
            self._pass_facts(),
            self._fit_facts(),
            [*self._workers, f"{clock(now - self._run_start)} elapsed"],
        ]
        lines = [line for group in groups for line in pack_facts(group, width - 1, SEPARATOR)]
        return Group(self._bar(now), *(Text(line, no_wrap=True, style="dim") for line in lines))

    def _bar(self, now: float) -> Table:
        ongoing = self._ongoing
        grid = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None, None):
            grid.add_column(ratio=ratio, no_wrap=True)
        total = float(ongoing.n_chunks) if ongoing else None
        done = ongoing.chunks_done if ongoing else 0
        share = f"{done / total:4.0%}" if total else ""
        time = clock(now - self._activity_start)
        if total and done:  # estimated from the speed of the chunks so far
            seconds = self._last_update - self._activity_start
            remaining = seconds * (total / done - 1) - (now - self._last_update)
            time = f"{clock(max(remaining, 0.0))} left"
        bar = ProgressBar(total, done, pulse=not done, animation_time=now)
        grid.add_row(Text(self._activity, style="bold"), bar, share, time)
        return grid

    def _pass_facts(self) -> list[str]:
        """Chunks and speed of the current pass."""
        ongoing = self._ongoing
        if ongoing is None:
            return []
        facts = [f"{ongoing.chunks_done:,} of {ongoing.n_chunks:,} chunks"]
        seconds = max(self._last_update - self._activity_start, 1e-3)
        if ongoing.rows_done:
            facts.append(f"{ongoing.rows_done / seconds:,.0f} rows/s")
        if ongoing.rows_done and ongoing.n_rows and ongoing.n_bytes:
            n_bytes = ongoing.n_bytes * ongoing.rows_done / ongoing.n_rows
            facts.append(f"{n_bytes / seconds / 1e6:,.0f} MB/s")
        return facts

    def _fit_facts(self) -> list[str]:
        """The lower bound, and the passes that may follow."""
        estimate, facts = self._estimate, [self._bound]
        if estimate is None or self._activity in (PassPurpose.LABELS, *FINAL_ACTIVITIES.values()):
            return facts
        numbers = {"at most": estimate.max_passes}
        if estimate.likely_passes is not None and estimate.likely_passes < estimate.max_passes:
            numbers = {"about": estimate.likely_passes, **numbers}
        for word, n_passes in numbers.items():
            if (seconds := estimate.seconds(n_passes)) is not None:
                plural = "es" * (n_passes != 1)
                facts.append(f"{word} {n_passes:,} more pass{plural} ({clock(seconds)})")
        return facts
