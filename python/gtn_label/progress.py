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
# Group and groups, phase and expected phases, relative gap (negative if none was measured), and the
# number of sources of the sample whose phase that is (0: no sample).
Stage: TypeAlias = tuple[int, int, int, int, float, int]


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


class PhaseProgress(Progress):
    """Shows an auction: sources that hold a latent in this phase, the phase and the gap.

    Parameters
    ----------
    target, total
        As for `Progress`. A callable gets None for `seconds_left` until a source holds a latent,
        and in the first of several groups.
    stage : callable
        Returns what `_core.OptimalState.stage` does.
    """

    # A phase takes about this share of the time of the one before: 0.4 to 0.9 in runs of 20,000 to
    # 50,000 rows in 5 to 64 dimensions.
    _SHARE = 0.6
    # A phase that takes longer than that is expected to take this share of its time again.
    _LONGER = 0.25

    def __init__(
        self, target: bool | ProgressCallback | None, total: int, stage: Callable[[], Stage]
    ) -> None:
        super().__init__(target, total, total)
        self._stage = stage
        self._place = (0, 0)  # group, and phase of the whole group
        self._since = self._began  # when that phase began to be seen
        self._last: float | None = None  # seconds of the phase before
        self._solved: tuple[float, int] | None = None  # when a group began to be seen; sources then
        self._first = (self._began, 0)  # the same of the first group

    def __enter__(self) -> PhaseProgress:
        if self._target is True:
            layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} sources [{elapsed}{postfix}]"
            self._bar = progress_bar(True, total=self._total, bar_format=layout)
        return self

    def __call__(self, done: int) -> None:
        """Report that `done` sources hold a latent; the number falls when a phase begins."""
        now, stage = time.perf_counter(), self._stage()
        group, _, phase, _, _, sampled = stage
        self._follow(now, group, 0 if sampled else phase, done)
        left = self._left(now, stage, done)
        if self._bar is not None:
            self._bar.n = done
            self._bar.set_postfix_str(_stage_text(stage, left))
        elif callable(self._target):
            self._target(done, self._total, left)

    def _follow(self, now: float, group: int, phase: int, done: int) -> None:
        """Note when phases and groups begin."""
        if (group, phase) == self._place:
            return
        if group != self._place[0]:
            if self._place[0] == 0:
                self._first = (now, done)
            else:
                self._solved = (now, done)
        seen = phase - self._place[1] if group == self._place[0] else 0
        known = seen > 0 and self._place[1] > 0
        self._last = (now - self._since) / seen if known else None
        self._place, self._since = (group, phase), now

    def _left(self, now: float, stage: Stage, done: int) -> float | None:
        """Estimate the seconds left, roughly; None where nothing is known."""
        group, groups, phase, phases, _, sampled = stage
        spent = now - self._since
        if group < groups or (groups > 1 and self._last is None):
            return self._left_of_groups(now)
        if self._last is not None:
            whole = self._last * self._SHARE
            phase_left = max(whole - spent, self._LONGER * spent)
        elif phase == 1 and sampled == 0 and done > 0:
            whole = spent * self._total / done
            phase_left = whole - spent
        else:
            return None
        return phase_left + whole * sum(self._SHARE**at for at in range(1, phases - phase + 1))

    def _left_of_groups(self, now: float) -> float | None:
        """Estimate from the groups that are solved."""
        if self._solved is None or self._solved[1] <= self._first[1]:
            return None
        rate = (self._solved[0] - self._first[0]) / (self._solved[1] - self._first[1])
        spent = now - self._solved[0]
        return max(rate * (self._total - self._solved[1]) - spent, self._LONGER * spent)


def _stage_text(stage: Stage, left: float | None) -> str:
    """Say in words where an auction stands."""
    group, groups, phase, phases, gap, sampled = stage
    if phase == 0 and sampled == 0:
        return ""
    if sampled > 0:
        place = f"sample of {sampled:,} sources" + (f", phase {phase}" if phase > 0 else "")
    else:
        place = f"phase {phase}" + (
            f" of about {phases}" if phase < phases else ", likely the last"
        )
    return ", ".join(
        [
            *([f"group {group:,} of {groups:,}"] if groups > 1 else []),
            place,
            *([f"gap {gap:.1e}"] if gap >= 0 else []),
            *([f"about {left:.0f} s left"] if left is not None and left >= 1 else []),
        ]
    )


def check_progress(target: Any, name: str = "progress") -> bool | ProgressCallback | None:
    """Return `target` if it is None, a bool or callable; raise ArgumentTypeError otherwise."""
    if not (target is None or isinstance(target, bool) or callable(target)):
        raise ArgumentTypeError(
            name,
            "must be None, True or a callable (done, total, seconds_left)",
            f"{type(target).__name__} {target!r}",
        )
    return target  # type: ignore[no-any-return]
