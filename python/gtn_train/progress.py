"""Progress of long work: a bar in a terminal or a notebook, a line a minute in a log.

Every bar of the package is made here. Not here: the bars themselves (`gtn_label.progress`), curves
of a training (training/progress.py).
"""

from __future__ import annotations

import sys
import time
from typing import Any

from gtn_label import progress
from gtn_label.cli import console

__all__ = ["LINE_SECONDS", "progress_bar"]

LINE_SECONDS = 60.0  # between two lines of a log


def progress_bar(show: bool, *, total: int, desc: str = "", **options: Any) -> Any:
    """Return a bar, or what writes a line a minute where stderr is no terminal.

    Parameters
    ----------
    show : bool
        False for a bar that shows nothing.
    total : int
        Units of work in all.
    desc : str
        Name of the work.
    **options
        As tqdm has them. A log uses `initial` alone.

    Examples
    --------
    >>> with progress_bar(False, total=3) as bar:
    ...     bar.update(3)
    """
    terminal = console.is_terminal(sys.stderr) or "IPython" in sys.modules
    if show and sys.stderr is not None and not terminal:
        return _Lines(total, desc, int(options.get("initial", 0)))
    return progress.progress_bar(show, total=total, desc=desc, **options)


class _Lines:
    """Lines on stderr in place of a bar: the work, its latest figures, the share and time left."""

    def __init__(self, total: int, desc: str, initial: int) -> None:
        self.n = initial
        self._total, self._desc, self._initial = total, desc or "progress", initial
        self._figures = ""
        self._began = self._said = time.monotonic()

    def update(self, n: int = 1) -> None:
        """Count work that is done, and write a line if one is due."""
        self.n += n
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS:
            self._said = now
            console.say("gtn-train", f"{self._desc}: {', '.join(self._parts(now))}")

    def _parts(self, now: float) -> list[str]:
        parts = [self._figures] if self._figures else []
        done = self.n - self._initial
        if self._total > 0:
            parts.append(f"{100 * self.n / self._total:.0f} %")
        if 0 < done <= self._total - self._initial:
            left = (now - self._began) * (self._total - self.n) / done
            parts.append(f"{console.format_seconds(left)} left")
        return parts

    def set_postfix_str(self, text: str) -> None:
        """Take figures for the lines to come."""
        self._figures = text

    def close(self) -> None:
        """Write nothing more."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass
