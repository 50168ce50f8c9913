"""Signals that ask the command to stop (Ctrl-C, SIGTERM, SIGHUP) become `Interrupted`.

One path then cleans up, saves and leaves. main.py saves the checkpoint and reports it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "Interrupts"]

GRACE_SECONDS = 2.0  # time after a first signal in which further ones are ignored


class Interrupted(KeyboardInterrupt):
    """A signal asked this process, or the first process of its run, to stop.

    Attributes
    ----------
    signal : int
        Number of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.signal = int(number)


class Interrupts:
    """Context manager in which the signals raise `Interrupted`.

    A second Ctrl-C, or the second copy that a process group gets, is ignored for two seconds, since
    files are then being removed and saved. A later one raises again. Signals that the parent had
    ignored (nohup, background jobs) stay ignored.

    Parameters
    ----------
    last : bool
        True if the process ends with the block. Signals are then ignored until the process has
        gone, which would otherwise end by the signal and lose its exit code; one that comes more
        than two seconds after the first ends a process that still waits for its threads. False
        restores the handlers.

    Attributes
    ----------
    signal : int or None
        Number of the signal that came last.
    """

    def __init__(self, last: bool = False) -> None:
        self.signal: int | None = None
        self._last = last
        self._first: float | None = None
        self._holding = self._held = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, self._leave if self._last else handler)
        if self._last:
            atexit.register(self._ignore)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make a first signal wait for the end of this block, such as of imports.

        Compiled modules whose import is interrupted report other errors, or print a traceback.
        """
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._held and self.signal is not None:
            raise Interrupted(self.signal)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._repeated():
            return
        self.signal = number
        if self._holding and not self._held:
            self._held = True
            return
        raise Interrupted(number)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        """Serve a signal that comes while the process ends."""
        first = self._first is None
        if not self._repeated() and not first:
            os._exit(128 + number)

    def _ignore(self) -> None:
        """Ignore signals in the interpreter's own end, which resets all other handlers."""
        for number in self._previous:
            signal.signal(number, signal.SIG_IGN)

    def _repeated(self) -> bool:
        """Return True within the time of grace; otherwise a new one begins."""
        now = time.monotonic()
        if self._first is not None and now - self._first < GRACE_SECONDS:
            return True
        self._first = now
        return False
