"""Files that appear whole or not at all.

`atomic_file` writes every file of both packages (pairs, plots, checkpoints) under a temporary name
in the same folder, flushes it to the disk, and renames it over the target. After any failure (full
disk, Ctrl-C, a bug) the temporary file is removed, and an earlier file is as it was. Not here: what
becomes of an earlier file's permissions (replacing.py), and of leftovers (temporary.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from ..text import quoted
from .replacing import inherit, replace, status_if_writable, why_in_place
from .temporary import create_temporary, remove_stale

__all__ = [
    "WrittenInPlace",
    "atomic_file",
    "check_target",
    "resolved",
    "telling",
    "without_folder",
    "worded",
]

# Errors of opening a file that another path or mode mends; Windows lacks the last. Folders such as
# /proc give ENOENT: they exist, and take no files.
_FORBIDDEN = frozenset(
    [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, getattr(errno, "ETXTBSY", None)]
)


class WrittenInPlace(RuntimeWarning):
    """A file could not be renamed over, and its bytes were copied over the old ones."""


def _warn(message: str) -> None:
    warnings.warn(message, WrittenInPlace, stacklevel=4)


_tell: ContextVar[Callable[[str], None]] = ContextVar("_tell", default=_warn)


@contextlib.contextmanager
def telling(tell: Callable[[str], None]) -> Iterator[None]:
    """Hand messages about files written in place to `tell`, in place of a `WrittenInPlace`."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends without an exception.

    A symbolic link is followed: the file it points to is replaced, the link stays. A new file has
    the permissions that the umask gives. One that replaces another keeps the other's mode, and,
    where that is permitted, owner, group, access control list and extended attributes.

    Raises
    ------
    OSError
        If the file cannot be created, written, or renamed, or if `path` exists and must not be
        written. `path` is then as it was, and is the error's `filename`.

    Warns
    -----
    WrittenInPlace
        If the system lets `path` be written but not replaced, as for a mount point. The finished
        bytes were then copied over the old ones.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "hello.txt"
    >>> with atomic_file(target) as file:
    ...     _ = file.write(b"hello")
    >>> target.read_bytes()
    b'hello'
    """
    target = resolved(path)
    temporary, in_place = None, None
    try:
        before = status_if_writable(target)
        remove_stale(target)
        # The system gives a new file the umask's mode. Others never read more than they could.
        temporary, descriptor = create_temporary(target, 0o666 if before is None else 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
            if before is not None:
                inherit(descriptor, target, before)
            if os.name == "nt":  # where open files cannot be renamed
                file.close()
            in_place = replace(temporary, target, before)
        if in_place is not None:
            os.unlink(temporary)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:
            # With the caller's path: the temporary's says nothing, and a full disk gives none.
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        if isinstance(error, OSError):  # NumPy's, which says how many elements it wrote
            raise OSError(
                errno.EIO, f"not all could be written ({error}); the disk may be full", str(path)
            ) from None
        raise
    if in_place is None:
        _sync_folder(target.parent)
    else:
        _tell.get()(
            f"{quoted(os.fspath(path))} was written in place, as it cannot be replaced: {in_place}"
        )


def _sync_folder(folder: Path) -> None:
    """Flush the folder where the system can, so that the rename survives a power cut."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def resolved(path: str | os.PathLike[str], name: str = "path") -> Path:
    """Return the absolute path of the file that `path` is or links to, which need not exist.

    Raises
    ------
    FileNotFoundError
        If the path is relative, and the working folder is gone.
    ValueError
        If no file can have that path.
    """
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError:
        raise without_folder(path, name) or FileNotFoundError(
            f"{name} {quoted(os.fspath(path))} does not exist"
        ) from None
    except ValueError:  # an embedded null byte
        raise ValueError(f"{name} must be a path, and {os.fspath(path)!r} is none") from None


def without_folder(path: str | os.PathLike[str], name: str) -> FileNotFoundError | None:
    """Return an error if a path is relative and the working folder is gone; otherwise None."""
    if not Path(path).is_absolute():
        try:
            Path.cwd()
        except FileNotFoundError:
            return FileNotFoundError(
                f"{name} {quoted(os.fspath(path))} is relative, and the working folder no longer "
                "exists; change to another folder, or give an absolute path"
            )
    return None


def check_target(path: str | os.PathLike[str], name: str) -> None:
    """Check that `path` can be written later, by creating and removing a file beside it.

    Leftovers of killed writes to `path` are removed. A file that cannot be replaced, and will be
    written in place, is told of (`telling`).

    Parameters
    ----------
    path
        The file that will be written.
    name
        The argument in the message, such as `--out`.

    Raises
    ------
    IsADirectoryError, FileNotFoundError, NotADirectoryError, PermissionError, OSError
        With a message that names the argument, the rule and the path.
    """
    shown = quoted(os.fspath(path))
    target = resolved(path, name)
    _check_kind(path, name)
    folder = target.parent
    if not folder.exists():
        raise FileNotFoundError(
            f"{name} must be in a folder that exists, and {quoted(folder)} does not (for {shown})"
        )
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{name} must be in a folder, and {quoted(folder)} is not one (for {shown})"
        )
    try:
        before = status_if_writable(target)
    except OSError as error:
        raise _unwritable(
            error,
            f"{name} must be a file that can be written to, and {shown} is not: {error.strerror}",
        ) from None
    remove_stale(target)
    try:
        # A real file: permission bits say little to root, on read-only media, or under quotas.
        probe, descriptor = create_temporary(target, 0o600)
    except OSError as error:
        raise _unwritable(
            error,
            f"{name} must be in a folder that can be written to, and {quoted(folder)} is not: "
            f"{error.strerror} (for {shown})",
        ) from None
    with contextlib.suppress(OSError):
        os.unlink(probe)
    os.close(descriptor)
    reason = None if before is None else why_in_place(target, before)
    if reason is not None:
        _tell.get()(
            f"{name} {shown} {reason}: it is written in place, and a process killed at that "
            "moment leaves it damaged"
        )


def worded(error: OSError, message: str) -> OSError:
    """Return an error of the same kind and number with another message.

    By the number the commands tell a failure of the machine from a path to change.
    """
    other = type(error)(message)
    other.errno = error.errno
    return other


def _unwritable(error: OSError, message: str) -> OSError:
    return PermissionError(message) if error.errno in _FORBIDDEN else worded(error, message)


def _check_kind(path: str | os.PathLike[str], name: str) -> None:
    """Refuse what is no file, or is no file of its own."""
    shown = quoted(os.fspath(path))
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return  # a new file, or a reason that is found later
    except OSError as error:  # such as a name that is too long
        raise worded(error, f"{name} {shown} cannot be written: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{name} must be a file, and {shown} is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{name} must be a regular file, and {shown} is none")
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed
            if os.path.samestat(status, os.fstat(descriptor)):
                raise ValueError(
                    f"{name} must be a file of its own, and {shown} is where "
                    f"standard {'output' if descriptor == 1 else 'error'} goes"
                )
