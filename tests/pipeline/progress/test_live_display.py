import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
import yaml
from rich.console import Console
from strategies import clusters, mixture

from daskgmm.data.pass_log import OngoingPass, Pass
from daskgmm.fit.state import FitState
from daskgmm.pipeline.clusters.connection import Connection
from daskgmm.pipeline.progress.live_display import Display
from daskgmm.pipeline.progress.time_estimate import TimeEstimate, clock

HIDDEN, SEEN = "\x1b[?25l", "\x1b[?25h"


class Terminal:
    """A program on a real terminal of some width."""

    def __init__(self, arguments, columns, **more):
        self.mine, theirs = pty.openpty()
        size = struct.pack("HHHH", 40, columns, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        command = [sys.executable, "-m", "daskgmm", *arguments]
        env = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"}
        env.pop("COLUMNS", None)
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, **more
        )
        self.theirs = theirs
        self.raw = ""

    def read(self, until=None):
        """All that comes, to the end or to something."""
        os.set_blocking(self.mine, False)
        while until is None or until not in self.raw:
            done = self.process.poll() is not None
            try:
                self.raw += os.read(self.mine, 1 << 16).decode(errors="replace")
            except BlockingIOError:
                if done:
                    break
                time.sleep(0.02)
        return self.raw

    @property
    def is_sane(self):
        after = termios.tcgetattr(self.theirs)
        return after[:4] == self.before[:4] and self.raw.rfind(SEEN) > self.raw.rfind(HIDDEN)

    @property
    def lines(self):
        """What was ever drawn, without escapes."""
        return re.split(r"[\r\n]+", re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", self.raw))


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", clusters(1_500_000, 4))
    (tmp_path / "threads.yaml").write_text("cluster: {kind: threads, n_threads: 2}")
    # Passes of half a second, as what is shown changes four times in one.
    model = {"n_components": 30, "max_iter": 4, "random_state": 0, "acceleration": None, "tol": 0}
    config = {
        "source": {"url": "rows.npy"},
        "model": {**model, "init_params": "kmeans"},
        "output": {"dir": "results"},
        "checkpoint": {"every": 0},
    }
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "fit.yaml", "--cluster", "threads.yaml"]


@pytest.mark.parametrize("columns", [60, pytest.param(140, marks=pytest.mark.slow)])
def test_a_terminal_shows_a_bar_and_keeps_the_lines(arguments, columns):
    terminal = Terminal(arguments, columns)
    terminal.read()
    assert terminal.process.returncode == 0, terminal.raw
    assert terminal.is_sane
    shown = [line for line in terminal.lines if "━" in line]
    assert shown
    assert all(len(line) <= columns for line in shown)
    for part in ("of 2 chunks", "2 threads", "driver", "elapsed", "at most"):
        assert part in terminal.raw
    passes = [line for line in terminal.lines if re.match(r"pass \d+ +lower bound", line)]
    assert [int(line.split()[1]) for line in passes] == list(range(1, 5))
    assert all(len(line) <= columns for line in passes)


def test_an_interrupt_leaves_the_terminal_as_it_was(arguments):
    arguments += ["--set", "model.max_iter=100000"]
    terminal = Terminal(arguments, 80, start_new_session=True)
    terminal.read(until="pass 3")
    os.killpg(terminal.process.pid, signal.SIGINT)
    terminal.read()
    assert terminal.process.returncode == 130
    assert terminal.is_sane
    assert "to resume from the last checkpoint" in "".join(terminal.lines[-4:])


@pytest.mark.slow
def test_quiet_is_quiet_on_a_terminal_too(arguments):
    terminal = Terminal([*arguments, "--quiet"], 80)
    assert terminal.read() == ""
    assert terminal.process.returncode == 0


def shown(width, *, n_workers=None):
    """The display in the middle of the fourth pass, without a terminal."""
    console = Console(file=io.StringIO(), width=width)
    display = Display(console, Connection("2 threads"), TimeEstimate(1e-3, 50, 3))
    for n in range(1, 4):
        display.on_pass_progress(OngoingPass("iteration", 1000, 10**9, 10**11))
        display.on_pass_end(Pass("iteration", 60.0, 10**11))
        bounds = (-8.0, -4.0, -2.0)[:n]
        display.on_pass([FitState(mixture("full"), bounds)], 60.0)
    display.on_pass_progress(OngoingPass("iteration", 1000, 10**9, 10**11))
    display.on_pass_progress(OngoingPass("iteration", 1000, 10**9, 10**11, 620, 620_000_000))
    console.print(display.render())
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 140])
def test_no_line_is_wider_than_the_terminal_and_no_fact_is_lost(width):
    lines = shown(width)
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    assert lines[0].startswith("pass 4")
    assert " 62%" in lines[0]
    for part in (
        "620 of 1,000 chunks",
        "rows/s",
        "MB/s",
        "lower bound -2.000000 (+2.000000)",
        "about 14 more passes (14:00)",
        "at most 48 more passes (48:00)",
        "2 threads",
        "elapsed",
    ):
        assert part in text


def test_seconds_are_shown_as_minutes_and_hours():
    assert [clock(7.4), clock(760), clock(11_100)] == ["0:07", "12:40", "3:05:00"]
