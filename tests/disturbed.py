"""Fits that something happens to at a random moment, and what became of each."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from strategies import clusters

from daskgmm import Checkpoint, GaussianMixture
from daskgmm.errors import DaskgmmError
from daskgmm.fit.observers import NullObserver

ROWS = da.from_array(clusters(2400, spread=1.0), chunks=(60, 3))

SEEDS = range(3)  # of the moments

# What became of the fits, by the row of the matrix.
FATES: defaultdict[str, Counter[str]] = defaultdict(Counter)


def slowly(read=lambda block: block, array=ROWS, seconds=0.01):
    """The rows, whose chunks take a while each, so that faults meet a pass."""

    def slow(block):
        time.sleep(seconds)
        return read(block)

    return array.map_blocks(slow, meta=np.empty((0, 3)))


def fitted(data, folder=None, observer=None):
    """Ten iterations of plain EM, kept in a folder after each."""
    model = GaussianMixture(
        3, random_state=0, tol=0.0, max_iter=10, acceleration=None, init_params="kmeans"
    )
    checkpoint = None if folder is None else Checkpoint(folder, every=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Best performing initialization did not converge")
        return model.fit(data, checkpoint=checkpoint, observer=observer)


def bits(model):
    arrays = (model.weights_, model.means_, model.covariances_)
    return [*(each.tobytes() for each in arrays), model.lower_bounds_]


@cache
def undisturbed():
    """The bits of a fit that nothing happens to, on the threads of this process."""
    with dask.config.set(scheduler="threads"):
        return bits(fitted(ROWS))


class Begun(NullObserver):
    """Knows when the first iteration is done."""

    def __init__(self):
        self.event = threading.Event()

    def on_pass(self, states, seconds):
        self.event.set()


@contextmanager
def within(seconds=120):
    """Fail where what is inside does not end."""

    def hangs(*_):
        pytest.fail(f"nothing has happened for {seconds} seconds")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def happening(fault, seed, begun):
    """Let a fault happen at a random moment after a fit has begun to iterate."""
    errors = []

    def happen():
        begun.wait()
        time.sleep(random.Random(seed).uniform(0.0, 1.5))
        try:
            fault()
        except Exception as error:  # noqa: BLE001  it is raised below
            errors.append(error)

    thread = threading.Thread(target=happen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        begun.set()
        thread.join(60)
        for error in errors:
            raise error


def fate(row, fault, folder, seed, data):
    """Fit while a fault happens: None where the bits are right, else the one sentence.

    Then a fit goes on from the checkpoint to the right bits.
    """
    became, begun = "lost", Begun()
    try:
        with within(), happening(fault, seed, begun.event):
            try:
                model = fitted(data, folder, begun)
            except DaskgmmError as error:
                sentence = str(error)
            else:
                sentence = None
        if sentence is not None:
            assert list(Path(folder).glob("pass-*"))
            with dask.config.set(scheduler="threads"):
                model = fitted(ROWS, folder)
        assert bits(model) == undisturbed()
        became = "survived" if sentence is None else "refused"
        return sentence
    finally:
        FATES[row][became] += 1


def pids_of(client):
    """Of the worker processes."""
    return list(client.run(os.getpid).values())


def kill(pids, sent=signal.SIGKILL):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sent)


class Processes:
    """A scheduler and workers as somebody starts them from a shell, on this machine."""

    def __init__(self, *, prefix=(), python=sys.executable, host="127.0.0.1", **settings):
        self._running = []
        arguments = ("--host", host, "--port", "0", "--no-dashboard")
        self.scheduler = self._begin("scheduler", arguments, prefix, python, settings)
        for line in self.scheduler.stderr:
            if found := re.search(r"Scheduler at:\s+(\S+)", line):
                self.address = found[1]
                break
        threading.Thread(target=self.scheduler.stderr.read, daemon=True).start()

    def worker(self, *options, prefix=(), python=sys.executable, **settings):
        """Begin one; alone, unless the options say that a nanny is to replace it."""
        options = options or ("--no-nanny", "--memory-limit", "0")
        arguments = (self.address, "--nthreads", "1", "--no-dashboard", *options)
        return self._begin("worker", arguments, prefix, python, settings)

    def _begin(self, kind, arguments, prefix, python, settings):
        process = subprocess.Popen(
            [*prefix, python, "-P", "-m", f"distributed.cli.dask_{kind}", *arguments],
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if kind == "scheduler" else subprocess.DEVNULL,
            text=True,
        )
        self._running.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._running:
            process.kill()
            process.wait()


def table():
    """Faults by row, and what became of the fits."""
    columns = ("survived", "refused", "lost")
    wide = max(map(len, FATES), default=0)
    lines = [f"{'fault':<{wide}}  runs  survived  refused  lost"]
    total = Counter()
    for row, counts in [*sorted(FATES.items()), ("all", total)]:
        n = [counts[column] for column in columns]
        lines.append(f"{row:<{wide}} {sum(n):>5} {n[0]:>9} {n[1]:>8} {n[2]:>5}")
        total.update(counts)
    return lines
