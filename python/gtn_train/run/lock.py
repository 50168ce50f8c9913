"""RunLock: one process at a time writes into a run's folder."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

from gtn_label.io.lock import FileLock, Locked
from gtn_label.text import quoted

from .store import RunFolder

__all__ = ["LOCK_FILE", "RunLock"]

LOCK_FILE = ".lock"


class RunLock:
    """The lock of a run's folder, taken before the first write.

    Parameters
    ----------
    out : path
        The run's folder; made together with the lock.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._lock: FileLock | None = None
        self._made: list[Path] = []

    def acquire(self) -> bool:
        """Take the lock; return False if this process has it already.

        Raises
        ------
        ValueError
            If another process has it.
        """
        if self._lock is not None:
            return False
        new = [path for path in (self._out, *self._out.parents) if not path.exists()]
        path = RunFolder(self._out).path / LOCK_FILE
        self._made = [*([] if path.exists() else [path]), *new]
        lock = FileLock(path, remove=False)
        try:
            if not lock.acquire():
                warnings.warn(
                    f"{quoted(self._out)} is on a file system without locks: no other gtn-train "
                    "must be at work there",
                    RuntimeWarning,
                    stacklevel=2,
                )
        except Locked as error:
            holder = f" ({error})" if str(error) else ""
            raise ValueError(
                f"{quoted(self._out)} is in use: another gtn-train is at work there{holder}; "
                "wait for it, or choose another --out"
            ) from None
        self._lock = lock
        return True

    def release(self, *, keep: bool) -> None:
        """Give the lock back; without `keep`, remove the empty folders that `acquire` made."""
        if self._lock is None:
            return
        if not keep:
            with contextlib.suppress(OSError):
                for path in self._made:
                    path.unlink() if path.name == LOCK_FILE else path.rmdir()
        self._lock.release()
        self._lock = None
