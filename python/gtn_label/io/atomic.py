"""Files that appear whole or not at all.

`atomic_file` writes every file of the package (pairs, plots, checkpoints) under a temporary name in
the same folder, flushes it to the disk, and renames it over the target. After any failure (full
disk, Ctrl-C, a bug) the temporary file is removed, and an earlier file is as it was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_file", "check_target"]


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends without an exception.

    A symbolic link is followed: the file it points to is replaced, the link stays. The new file
    has the permissions that the umask gives, as if it had been written in place.

    Raises
    ------
    OSError
        If the file cannot be created, written, or renamed. `path` is then as it was, and is the
        error's `filename`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "hello.txt"
    >>> with atomic_file(target) as file:
    ...     _ = file.write(b"hello")
    >>> target.read_bytes()
    b'hello'
    """
    target = Path(os.path.realpath(path))
    folder = target.parent
    # The name does not contain the target's: that may already be as long as the system allows.
    temporary = folder / f".gtn-label-{secrets.token_hex(8)}.tmp"
    try:
        # 0o666 less the umask, and O_EXCL: nobody else's file is ever opened.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):  # there may be none, not even a folder for it
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:
            # With the caller's path: the temporary's says nothing, and a full disk gives none.
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        if isinstance(error, OSError):  # NumPy's, which says how many elements it wrote
            raise OSError(
                errno.EIO, f"not all could be written ({error}); the disk may be full", str(path)
            ) from None
        raise
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Flush the folder where the system can, so that the rename survives a power cut."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_target(path: str | os.PathLike[str], name: str) -> None:
    """Check that `path` can be written later, by creating and removing a file beside it.

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
    shown = os.fspath(path)
    target = Path(os.path.realpath(path))
    try:
        target.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # a new file, or a reason that is found below
    except OSError as error:  # such as a name that is too long
        raise OSError(f"{name} '{shown}' cannot be written: {error.strerror}") from None
    if target.is_dir():
        raise IsADirectoryError(f"{name} must be a file, and '{shown}' is a directory")
    if target.exists() and not target.is_file():
        raise OSError(f"{name} must be a regular file, and '{shown}' is none")
    folder = target.parent
    if not folder.exists():
        raise FileNotFoundError(
            f"{name} must be in a folder that exists, and '{folder}' does not (for '{shown}')"
        )
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{name} must be in a folder, and '{folder}' is not one (for '{shown}')"
        )
    probe = folder / f".gtn-label-{secrets.token_hex(8)}.tmp"
    try:
        # A real file: permission bits say little to root, on read-only media, or under quotas.
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise PermissionError(
            f"{name} must be in a folder that can be written to, and '{folder}' is not: "
            f"{error.strerror} (for '{shown}')"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(probe)
