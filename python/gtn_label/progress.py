"""Progress of long work: a bar on stderr or in a notebook, or calls of a callback.

The engine reports the number of sources decided about ten times a second (csrc/bindings).
"""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

from .errors import ArgumentTypeError
from .text import visible

ProgressCallback: TypeAlias = Callable[[int, int, float | None], object]


def progress_bar(show: bool, *, total: int, desc: str = "", **options: Any) -> Any:
    """Return a bar of tqdm's, the kind that fits a terminal or a notebook.

    Parameters
    ----------
    show : bool
        False for a bar that shows nothing. Nothing is shown either if stderr is None, as under
        pythonw, and no harm is done if stderr is closed on the way.
    total : int
    desc : str
        Words before the bar.
    **options
        As tqdm has them.
    """
    if not show or sys.stderr is None:
        return _NoBar()
    try:
        return _tqdm_bar(total=total, desc=visible(desc), **options)
    except Exception as error:  # such as TQDM_MININTERVAL=abc, which tqdm reads on its import
        warnings.warn(f"no progress is shown, as tqdm fails: {error}", RuntimeWarning, stacklevel=2)
        return _NoBar()


def _tqdm_bar(**options: Any) -> Any:
    from tqdm import tqdm as kind  # here: a silent run of gtn-label needs no bar

    if "IPython" in sys.modules:  # elsewhere tqdm.auto would import asyncio, to choose the same
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without ipywidgets the bar is one of text
            from tqdm.auto import tqdm as kind
    if not kind.__module__.startswith("tqdm.notebook"):
        options["file"] = _Unbreakable(sys.stderr)
    return kind(**options)


class _NoBar:
    """A bar that shows nothing."""

    n = 0

    def update(self, n: int = 1) -> None:
        """Show nothing."""

    def set_postfix_str(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Unbreakable:
    """Stderr for a bar: a stream that nobody reads any more ends the bar, not the work."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, if that is possible."""
        with contextlib.suppress(OSError, ValueError):  # the latter: it is closed
            self._stream.write(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        return other is self._stream or other is self  # tqdm asks the width of stderr alone

    def __hash__(self) -> int:
        return hash(self._stream)


class Progress:
    """A context manager that shows the number of sources decided, as a bar or to a callback.

    Parameters
    ----------
    target : None, bool or callable
        None or False: silent. True: a bar on stderr, or in a notebook. A callable is called with
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
            self._bar = progress_bar(True, total=self._total, initial=self._start, unit=" sources")
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
