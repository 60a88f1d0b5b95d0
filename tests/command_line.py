"""Programs in a process of their own, forked from one that has imported all they need.

They start at once. ``python -m daskgmm`` spends seconds on imports.
"""

import atexit
import os
import runpy
import signal
import sys
from multiprocessing import get_context
from pathlib import Path

import dask

_CONTEXT = get_context("forkserver")


class Command:
    """A run of ``daskgmm``, or of another program; `stdout` and `stderr` are files of text.

    Parameters
    ----------
    *arguments : str
    program : path of a Python file, or None for ``python -m daskgmm``
    """

    def __init__(self, *arguments, program=None):
        pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(2)]
        argv = [str(each) for each in (program or "daskgmm", *arguments)]
        ends = (theirs for _, theirs in pipes)
        self._process = _CONTEXT.Process(target=_run, args=(*ends, dict(os.environ), argv))
        self._process.start()
        self.stdout, self.stderr = (
            os.fdopen(os.dup(ours.fileno()), encoding="utf-8") for ours, _ in pipes
        )
        for pipe in pipes:
            for end in pipe:
                end.close()
        self.pid = self._process.pid

    @property
    def returncode(self):
        """None while it runs; minus the signal that has ended it."""
        return self._process.exitcode

    @property
    def is_running(self):
        return self._process.is_alive()

    def wait(self, timeout=None):
        self._process.join(timeout)
        return self.returncode

    def send_signal(self, sent):
        os.kill(self.pid, sent)

    def kill(self):
        """Kill it, and wait until it has ended; what it has printed is not read."""
        if self.is_running:
            self.send_signal(signal.SIGKILL)
        self.wait()
        self.stdout.close()
        self.stderr.close()

    def communicate(self):
        """What it prints from here to its end."""
        with self.stdout, self.stderr:
            printed = self.stdout.read(), self.stderr.read()
        self.wait()
        return printed


def _run(stdout, stderr, environment, argv):
    for number, pipe in enumerate((stdout, stderr), start=1):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    os.environ.clear()
    os.environ.update(environment)
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    sys.argv = argv
    try:
        if argv[0] == "daskgmm":
            runpy.run_module("daskgmm", run_name="__main__")
        else:
            sys.path.insert(0, str(Path(argv[0]).parent))
            runpy.run_path(argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
