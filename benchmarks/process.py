"""Starts a peer's process in its environment, sends it requests and ends it.

A request may have a time limit. A process that exceeds it, or dies, raises ``WorkerFailed`` with
the reason for the row of the peer. Processes get no terminal signals (the parent handles Ctrl-C)
and end with the pipe to their parent.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Settings of the caller's shell that would change the meaning of a row.
DROPPED_VARIABLES = ("OPENBLAS_CORETYPE", "GTN_LABEL_INSTRUCTION_SET", "OMP_WAIT_POLICY")


class WorkerFailed(RuntimeError):
    """A peer's process gave no answer; the message says why."""


class OutOfTime(WorkerFailed):
    """The process was ended because it gave no answer within its time."""


def environment(threads: int, extra: dict[str, str]) -> dict[str, str]:
    """Environment of a worker: the caller's, with thread counts and the peer's own settings."""
    env = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
    path = [str(ROOT), env.get("PYTHONPATH", "")]
    return {
        **env,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(part for part in path if part),
        **extra,
    }


class Worker:
    """One process; a context manager that ends it."""

    def __init__(self, threads: int, extra: dict[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            env=environment(threads, extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._unread = b""

    def __enter__(self) -> Worker:
        """Return the worker."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the process."""
        self.close()

    def ask(self, what: str, seconds: float | None = None, /, **arguments: Any) -> dict[str, Any]:
        """Send the request ``what`` and wait for its answer, at most ``seconds`` if given.

        Raises
        ------
        OutOfTime
            There is no answer within that time.
        WorkerFailed
            The process died, or it answered with an error.
        """
        try:
            self._requests.write(json.dumps({"do": what, "arguments": arguments}).encode() + b"\n")
            self._requests.flush()
        except OSError:
            raise WorkerFailed(self._last_words()) from None
        end = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self._replies], [], [], left)[0]:
                self.close()
                raise OutOfTime(f"not finished within {seconds:.0f} s")
            received = os.read(self._replies.fileno(), 1 << 16)
            if not received:
                raise WorkerFailed(self._last_words())
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerFailed(reply["error"])
        return reply

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._replies, self._errors):
            try:
                stream.close()
            except OSError:  # a request that nobody read
                continue

    def _last_words(self) -> str:
        """Why the process ended: its signal, or the last line it wrote."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "its process was killed, most likely for want of memory"
        if code < 0:
            return f"its process died of {signal.Signals(-code).name}"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        written = [line.strip() for line in lines if line.strip()]
        return written[-1] if written else f"its process ended with code {code}"
