"""Temporary files: beside their targets, with the removal of stale ones, and without a name.

A temporary is named after its target and locked while it is open. A killed process leaves it
unlocked, and the next write or check of the same target removes it. (Linux has unnamed temporary
files, which would leave nothing, but `linkat` cannot replace an existing file with one.)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO

from ..text import quoted
from .lock import try_lock

__all__ = [
    "create_temporary",
    "lock_path",
    "remove_stale",
    "remove_unlocked",
    "unnamed_file",
    "writing_unnamed",
]

_SHOWN_BYTES = 80  # of the target's name: names stay far below 255 bytes, and below 143 of eCryptfs
_DAY = 86_400.0
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def create_temporary(target: Path, mode: int) -> tuple[Path, int]:
    """Create a locked temporary beside a target; return its path and its descriptor."""
    while True:
        path = target.parent / f"{_stem(target)}-{_host()}-{secrets.token_hex(4)}.tmp"
        # O_EXCL: nobody else's file is ever opened.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags, mode)
        try:
            # Before it is locked the file looks stale, and may be removed.
            if try_lock(descriptor) is not False and os.path.lexists(path):
                return path, descriptor
        except BaseException:  # Ctrl-C
            with contextlib.suppress(OSError):
                os.unlink(path)
            os.close(descriptor)
            raise
        os.close(descriptor)


def lock_path(target: Path) -> Path:
    """Return the lock file of a target, beside it."""
    return target.parent / f"{_stem(target)}.lock"


def remove_stale(target: Path) -> None:
    """Remove temporaries of this target whose processes are gone.

    One of another host is removed a day after its last change only: not every network file system
    tells one host of another's locks.
    """
    named = re.compile(re.escape(_stem(target)) + r"-([0-9a-f]{8})-[0-9a-f]{8}\.tmp")
    # The folder may be unreadable.
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if found := named.fullmatch(entry.name):
                remove_unlocked(Path(entry.path), here=found[1] == _host())


def remove_unlocked(path: Path, *, here: bool) -> None:
    """Remove a temporary that nobody writes; `here`: locks of its host are known to this one."""
    with contextlib.suppress(OSError):  # gone, or another user's
        descriptor = os.open(path, os.O_RDWR | _FLAGS)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return
            locked = try_lock(descriptor)
            old = time.time() - status.st_mtime > _DAY
            if locked is not False and (old or (here and locked)):
                os.unlink(path)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def unnamed_file() -> Iterator[IO[bytes]]:
    """Open a file in the temporary folder whose bytes go with the process, also if that is killed.

    Linux never gives the file a name, other Unix systems remove the name at once, and Windows
    removes the file when the last handle is closed.
    """
    with writing_unnamed("a temporary file"):
        file = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # a full disk, reported when it was written to
            file.close()


@contextlib.contextmanager
def writing_unnamed(what: str) -> Iterator[None]:
    """Name the temporary folder in errors of writing `what` to an `unnamed_file`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            error.errno,
            f"{what} could not be kept in the temporary folder {quoted(tempfile.gettempdir())}: "
            f"{error.strerror}; TMPDIR names another one",
        ) from None


def _stem(target: Path) -> str:
    """Begin the names of everything that belongs to a target."""
    name = os.fsencode(target.name)
    shown = name[:_SHOWN_BYTES].decode("utf-8", "ignore")
    return f".gtn-label-{shown}-{hashlib.sha256(name).hexdigest()[:8]}"


@cache
def _host() -> str:
    """Name the running kernel: its locks are known to all of its containers, and end with it."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        name = socket.gethostname()
    return hashlib.sha256(name.encode()).hexdigest()[:8]
