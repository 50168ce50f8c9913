"""Processes that start at once: forked from one that has imported torch and gtn_train already.

For tests that need a process of their own because of signals or a kill, and not because of how
Python starts. Each saves the seconds that these imports take.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "gtn_train.cli.group",
        "gtn_train.data.sets",
        "gtn_train.run.pipeline",
        "lightning_fabric",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "scipy.spatial.distance",
    ]
)


class Forked:
    """One process that calls a function, with the part of subprocess.Popen that tests use.

    Parameters
    ----------
    folder : path
        For files of what the process prints.
    function, args, kwargs
        The call; SystemExit ends it with that code.
    """

    def __init__(self, folder, function, *args, **kwargs):
        folder = Path(folder)
        number = len(list(folder.glob("*.printed")))
        self._printed = [folder / f"{number}.{name}.printed" for name in ("out", "err")]
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
            forkserver.ensure_running()
        self._process = _FORKS.Process(
            target=_child, args=(self._printed, Path.cwd(), function, args, kwargs)
        )
        self._process.start()

    def poll(self):
        return self._process.exitcode

    @property
    def returncode(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        self._process.kill()

    def wait(self, timeout=120):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self._process.exitcode

    def communicate(self, timeout=120):
        self.wait(timeout)
        return tuple(path.read_text() if path.exists() else "" for path in self._printed)


def run_script(path, *args):
    """Run a Python file as a program, for `Forked`; its folder comes first on sys.path."""
    sys.argv = [str(path), *map(str, args)]
    sys.path[:0] = [str(Path(path).parent)]
    runpy.run_path(str(path), run_name="__main__")


def run_command(*args):
    """Run gtn-train, for `Forked`."""
    from gtn_train.cli.main import main

    main([str(arg) for arg in args])


def run_killed(stage, *args):
    """Run gtn-train until SIGKILL at the start of the third epoch of a stage, for `Forked`."""
    from gtn_train.training.loop import _Run

    one_epoch = _Run.one_epoch

    def killed(self, epoch, bar):
        if self.job.stage == stage and epoch == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return one_epoch(self, epoch, bar)

    _Run.one_epoch = killed
    run_command(*args)


def _child(printed, folder, function, args, kwargs):
    for descriptor, path in enumerate(("/dev/null", *printed)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, descriptor)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    function(*args, **kwargs)
