"""Signals that ask the command to stop (Ctrl-C, SIGTERM, SIGHUP) become KeyboardInterrupt.

One path then cleans up, saves and leaves. main.py saves the checkpoint and reports it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupts"]

GRACE_SECONDS = 2.0  # time after a first signal in which further ones are ignored


class Interrupts:
    """Context manager in which the signals raise KeyboardInterrupt; it restores the handlers.

    A second Ctrl-C, or the second copy that a process group gets, is ignored for two seconds, since
    files are then being removed and saved. A later one raises again. Signals that the parent had
    ignored (nohup, background jobs) stay ignored.
    """

    def __init__(self) -> None:
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
            signal.signal(number, handler)

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
        if self._held:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is not None and now - self._first < GRACE_SECONDS:
            return
        self._first = now
        if self._holding and not self._held:
            self._held = True
            return
        raise KeyboardInterrupt
