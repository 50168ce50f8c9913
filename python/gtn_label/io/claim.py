"""Claim a file that a run goes on writing: check that it can be written, and lock it.

Of checkpoints (checkpoint.py) and of journals of sharded runs (cluster/journal.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..text import quoted
from .atomic import check_target, resolved, telling, worded
from .lock import FileLock, Locked
from .temporary import lock_path

__all__ = ["claim", "identity"]


def claim(path: Path, name: str, warn: Callable[[str], None]) -> tuple[Path, FileLock]:
    """Check that a file can be written, and lock it.

    Parameters
    ----------
    path
        The file. A symbolic link is followed.
    name
        The argument in messages.
    warn
        Called with a message if the file is written in place, or cannot be locked.

    Returns
    -------
    file : Path
        The file behind links.
    lock : FileLock

    Raises
    ------
    ValueError
        If another run has locked the file.
    OSError
        If the file could not be written later.
    """
    shown = quoted(path)
    with telling(warn):
        check_target(path, name)
    file = resolved(path, name)
    lock = FileLock(lock_path(file))
    try:
        if not lock.acquire():
            warn(
                f"{name} {shown} is on a file system without locks: no other run "
                "must use it at the same time"
            )
    except Locked as error:
        holder = f" ({error})" if str(error) else ""
        raise ValueError(
            f"{name} must be a file that no other run uses, and {shown} is "
            f"in use{holder}; wait for that run to end, or give another file"
        ) from None
    except OSError as error:  # such as a lock file that only another user may open
        what = f"{error.strerror} for {quoted(error.filename)}"
        raise worded(error, f"{name} {shown} cannot be locked: {what}") from None
    return file, lock


def identity(path: Path) -> tuple[int, ...] | None:
    """Return numbers that differ after any other write to the path; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
