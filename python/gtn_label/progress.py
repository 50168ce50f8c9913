"""Progress of a matching: a bar on stderr, or calls of a callback.

The engine reports the number of sources decided about ten times a second (csrc/bindings).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

from .errors import ArgumentTypeError

ProgressCallback: TypeAlias = Callable[[int, int, float | None], object]


class Progress:
    """A context manager that shows the number of sources decided, as a bar or to a callback.

    Parameters
    ----------
    target : None, bool or callable
        None or False: silent. True: a tqdm bar on stderr. A callable is called with
        (done, total, seconds_left); seconds_left is None until there is a rate to go by.
    total : int
        Number of sources.
    latents : int
        Number of latents; the estimate of the time left depends on it.
    start : int
        Number of sources that an earlier run decided.

    """

    def __init__(
        self, target: bool | ProgressCallback | None, total: int, latents: int, start: int = 0
    ) -> None:
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


def check_progress(target: Any, name: str = "progress") -> bool | ProgressCallback | None:
    """Return `target` if it is None, a bool or callable; raise ArgumentTypeError otherwise."""
    if not (target is None or isinstance(target, bool) or callable(target)):
        raise ArgumentTypeError(
            name,
            "must be None, True or a callable (done, total, seconds_left)",
            f"{type(target).__name__} {target!r}",
        )
    return target  # type: ignore[no-any-return]
