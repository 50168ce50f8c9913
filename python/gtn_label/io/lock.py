"""FileLock: a lock on a path, which the system frees with its process, however that ends.

The lock is that of an open descriptor (`flock`; a locked byte on Windows), so that two threads of
one process exclude each other too. The file holds the number and the host of the holder, for
messages. It is removed under the lock, and a lock on a removed file counts for nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import weakref
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "Locked", "try_lock"]

_HELD = (errno.EAGAIN, errno.EACCES, errno.EBADF)  # EBADF: NFS wants a descriptor for writing
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_TRIES = 1000
_LOCKED_BYTE = 1 << 30  # on Windows, where a locked byte cannot be read


class Locked(Exception):
    """Somebody else has the lock; the message names the process where that is known."""


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for as long as the descriptor is open.

    Returns
    -------
    bool or None
        False if somebody else has the lock, None if the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


class FileLock:
    """The lock on a path; freed by `release`, by the object's end, and by the process's.

    Parameters
    ----------
    path
        The lock file. It is created, and its folder must exist.
    remove
        Remove the file when the lock is freed. A killed process leaves it, unlocked.
    """

    def __init__(self, path: Path, *, remove: bool = True) -> None:
        self._path = path
        self._remove = remove
        self._descriptor = -1
        self._free: weakref.finalize[[int, Path, bool], FileLock] | None = None

    def acquire(self) -> bool:
        """Take the lock; return False if the file system has none, and nothing is left there.

        Raises
        ------
        Locked
            If another process, or another lock of this one, has it.
        OSError
            If the file cannot be created.
        """
        for _ in range(_TRIES):
            descriptor = _open(self._path)
            got = try_lock(descriptor)
            if got is False:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise Locked(holder)
            if got is None:
                _free(descriptor, self._path, self._remove)
                return False
            if _is_at(descriptor, self._path):
                _write_holder(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
                self._descriptor = descriptor
                self._free = weakref.finalize(self, _free, descriptor, self._path, self._remove)
                _held.add(self)
                return True
            os.close(descriptor)  # the holder before removed the file when we had it open
        return False  # a file system that does not know its files again

    def release(self) -> None:
        """Free the lock, if this object has it."""
        if self._free is not None:
            self._free()

    def _forget(self) -> None:
        """Leave the lock to the parent of this process, which was forked."""
        if self._free is not None and self._free.detach() is not None:
            os.close(self._descriptor)


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _after_fork() -> None:
    """Close the descriptors of locks: a child that outlives a killed parent must not hold them."""
    for lock in list(_held):
        with contextlib.suppress(OSError):
            lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _open(path: Path) -> int:
    """Open the lock file, also one that another user has created."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
    except PermissionError:
        try:
            return os.open(path, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            pass
        raise


def _free(descriptor: int, path: Path, remove: bool) -> None:
    """Remove the file first: nobody can have locked another one of that name meanwhile."""
    with contextlib.suppress(OSError):
        if remove and _is_at(descriptor, path):
            path.unlink()
        elif not remove:
            _write_holder(descriptor, b"")
    os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell if the path still is the open file."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _write_holder(descriptor: int, holder: bytes) -> None:
    """Say who has the lock, in a file of our own that nobody has linked to another name."""
    there = os.fstat(descriptor)
    if there.st_nlink != 1 or (hasattr(os, "geteuid") and there.st_uid != os.geteuid()):
        return
    with contextlib.suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder)


def _holder(descriptor: int) -> str:
    """Name the process that has the lock, or return an empty string."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        process, host = os.read(descriptor, 400).decode().split()
        number = int(process)
    except (OSError, ValueError):
        return ""
    if host != socket.gethostname():
        return f"process {number} on {host}"
    return "this process" if number == os.getpid() else f"process {number}"
