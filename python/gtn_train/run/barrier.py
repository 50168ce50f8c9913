"""Barrier: the meeting point, with a time limit, of the processes of one run under torchrun.

Process 0 works while the others wait for its result or its error. They communicate through
torchrun's key-value store, which needs no process group, and lets one process compute alone for
hours. Not here: collective operations of a training (training/fabric.py).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from gtn_label.cli.console import EXIT_FAILED, exit_code, os_message
from gtn_label.cli.interrupts import Interrupted

from ..training.processes import is_first_process, leave_group, processes

__all__ = ["VARIABLE", "Barrier", "FirstProcessFailed"]

VARIABLE = "GTN_TRAIN_BARRIER_SECONDS"  # an environment variable
LIMIT_SECONDS = 6 * 3600.0  # a million rows are matched, and a large set decoded, in less
CONNECT_SECONDS = 600.0
LEAVE_SECONDS = 10.0  # for the others to read the end of process 0
POLL_SECONDS = 0.1

_ENDED, _LEFT = "ended", "left"  # keys: the end of process 0, and the number of others that know it
_runs = itertools.count()  # of this process; each has its own keys

T = TypeVar("T")


class FirstProcessFailed(RuntimeError):
    """Process 0 failed; the message is that of its error.

    Attributes
    ----------
    exit_code : int
        The code with which the command ends in process 0, and here too.
    """

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Barrier:
    """The meeting point of the processes of one run; alone, a process never waits.

    Within the block an error of process 0 is raised in every process, as `FirstProcessFailed`, or
    as KeyboardInterrupt if a signal ended process 0.

    Parameters
    ----------
    store : torch.distributed.Store, optional
        torchrun's by default.
    first : bool, optional
        True for process 0; by default as torchrun says.
    count : int, optional
        Number of processes; by default as torchrun says.
    seconds : float, optional
        Time limit of each wait [default: the environment variable GTN_TRAIN_BARRIER_SECONDS, or
        21,600].

    Raises
    ------
    ValueError
        If the time limit is no positive number.
    TimeoutError
        From every wait that exceeds the limit.
    """

    def __init__(
        self,
        store: Any = None,
        *,
        first: bool | None = None,
        count: int | None = None,
        seconds: float | None = None,
    ) -> None:
        self.first_process = is_first_process() if first is None else first
        self._others = (processes() if count is None else count) - 1
        self._seconds = _limit() if seconds is None else seconds
        self._met = 0
        self._store = store
        if self._others and store is None:
            self._store = _torchrun_store(self._seconds)

    def first(self, work: Callable[[], T]) -> T | None:
        """Let process 0 work while the others wait; return the result there, and None elsewhere."""
        done: list[T] = []
        self.tell(lambda: done.append(work()))
        return done[0] if done else None

    def tell(self, work: Callable[[], Any]) -> Any:
        """Let process 0 compute a value of JSON types, and return that value in all processes."""
        self._met += 1
        if not self._others:
            return work()
        key = str(self._met)
        if self.first_process:
            value = work()
            self._store.set(key, json.dumps(value))
            return value
        self._wait(key)
        return json.loads(self._store.get(key))

    def __enter__(self) -> Barrier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._others:
            return
        if error is not None:
            # The others may wait for this process within a collective, until its connections are
            # closed. Models and tensors in the frames of the error keep them open.
            traceback.clear_frames(trace)
            gc.collect()
            leave_group()
        if self.first_process:
            with contextlib.suppress(RuntimeError):  # the store is gone, and the others with it
                self._store.set(_ENDED, json.dumps(_told(error)))
                self._until(lambda: bool(self._store.add(_LEFT, 0) >= self._others), LEAVE_SECONDS)
            return
        try:
            if error is None:
                self._wait(_ENDED)
                self._raise_if_failed()
            elif not isinstance(error, (KeyboardInterrupt, FirstProcessFailed, TimeoutError)):
                # This error may be a consequence of process 0's, which tells more.
                self._until(lambda: self._has(_ENDED), LEAVE_SECONDS / 2)
                self._raise_if_failed()
        finally:
            with contextlib.suppress(RuntimeError):  # process 0 is gone
                self._store.add(_LEFT, 1)

    def _wait(self, key: str) -> None:
        def told() -> bool:
            if self._has(key):
                return True
            self._raise_if_failed()
            return False

        if not self._until(told, self._seconds):
            raise TimeoutError(
                f"process 0 has not come to the next barrier within {self._seconds:g} s; the "
                f"environment variable {VARIABLE} sets this limit"
            )

    def _has(self, key: str) -> bool:
        try:
            return bool(self._store.check([key]))
        except RuntimeError as error:  # where process 0, not torchrun, holds the store
            raise FirstProcessFailed(f"process 0 is gone: {error}") from None

    def _raise_if_failed(self) -> None:
        if not self._has(_ENDED):
            return
        told = json.loads(self._store.get(_ENDED))
        if told is None:
            return
        if "signal" in told:
            raise Interrupted(told["signal"])
        raise FirstProcessFailed(f"process 0 failed: {told['error']}", told["exit_code"]) from None

    def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Ask again and again, as a wait inside the store would not hear Ctrl-C."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


def _told(error: BaseException | None) -> dict[str, Any] | None:
    """The message to the others about process 0's end."""
    if error is None:
        return None
    if isinstance(error, KeyboardInterrupt):
        return {"signal": exit_code(error) - 128}
    text = os_message(error) if isinstance(error, OSError) else str(error)
    return {"error": text or type(error).__name__, "exit_code": exit_code(error)}


def _limit() -> float:
    given = os.environ.get(VARIABLE, "")
    if not given:
        return LIMIT_SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"{VARIABLE} must be a number of seconds > 0, got {given!r}")
    return seconds


def _torchrun_store(seconds: float) -> Any:
    from torch import distributed  # here: a single process needs none of it

    limit = timedelta(seconds=min(seconds, CONNECT_SECONDS))
    store, _, _ = next(distributed.rendezvous("env://", timeout=limit))
    return distributed.PrefixStore(f"gtn-train/{next(_runs)}", store)
