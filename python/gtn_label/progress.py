"""Telling a caller how far a matching has come: a bar, or a callback.

The engine reports how many sources are decided; here that becomes a call or a bar on stderr.
Not here: when the engine reports (about ten times a second), and what else listens to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

ProgressCallback: TypeAlias = Callable[[int, int, float | None], object]


class Progress:
    """A context that turns "done so far" into a bar or a callback.

    Parameters
    ----------
    target : None, bool or callable
        None or False: silent. True: a tqdm bar on stderr. A callable is called with
        (done, total, seconds_left); seconds_left is None until there is a rate to go by.
    total : int
        Number of sources.
    latents : int
        Number of latents, for the estimate of the time left.
    start : int
        Sources decided by an earlier run.

    Raises
    ------
    TypeError
        If `target` is none of these.
    """

    def __init__(
        self, target: bool | ProgressCallback | None, total: int, latents: int, start: int = 0
    ) -> None:
        check_progress(target)
        self._target = target
        self._total = total
        self._latents = latents
        self._start = start
        self._began = time.perf_counter()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._target is True:
            from tqdm import tqdm  # here: a silent run needs no bar

            self._bar = tqdm(total=self._total, initial=self._start, unit=" sources")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int) -> None:
        """Report that `done` sources are decided."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif callable(self._target):
            self._target(done, self._total, self._seconds_left(done))

    def _seconds_left(self, done: int) -> float | None:
        """Estimate from the work done so far: source p is compared with latents - p free rows."""
        work_done = self._work(done) - self._work(self._start)
        if work_done <= 0:
            return None
        elapsed = time.perf_counter() - self._began
        return elapsed * (self._work(self._total) - self._work(done)) / work_done

    def _work(self, done: int) -> float:
        return done * (self._latents - (done - 1) / 2)


def check_progress(target: object) -> None:
    """Raise TypeError unless `target` is None, a bool or callable."""
    if not (target is None or isinstance(target, bool) or callable(target)):
        raise TypeError(
            "progress must be None, True or a callable (done, total, seconds_left), "
            f"got {type(target).__name__} {target!r}"
        )
