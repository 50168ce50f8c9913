"""Helpers of all file readers: the size of a file, the choice of an array, damaged bytes."""

from __future__ import annotations

import contextlib
import errno
import json
import stat
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..arrays.row_blocks import Array
from ..text import brief, quoted, visible
from .atomic import without_folder, worded

__all__ = ["file_size", "meta_text", "parse_meta", "pick", "read_into", "reading"]


def file_size(path: Path, name: str) -> int:
    """Return the bytes of a file; raise an error that says why it cannot be read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{name} must be a file, and {quoted(path)} is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(
                f"{name} must be a regular file, and {quoted(path)} is a pipe or a device"
            )
        with path.open("rb"):
            return status.st_size
    except FileNotFoundError:
        raise without_folder(path, name) or FileNotFoundError(
            f"{name} {quoted(path)} does not exist"
        ) from None
    except OSError as error:
        if error.strerror is None:
            raise
        raise worded(error, f"{name} {quoted(path)} cannot be read: {error.strerror}") from None
    except ValueError:  # an embedded null byte
        raise ValueError(f"{name} must be a path, and {str(path)!r} is none") from None


def pick(keys: list[str], key: str | None, shown: str, key_name: str) -> str:
    """Return the key asked for, or the only one; the error lists the keys of the file."""
    listed = brief(", ".join(quoted(name[:60]) for name in keys[:20]), 800)
    listed += ", ..." if len(keys) > 20 else ""
    if key is not None:
        if key in keys:
            return key
        raise ValueError(
            f"{key_name} {quoted(key[:60])} is not in {shown}, which holds: {listed or 'nothing'}"
        )
    if not keys:
        raise ValueError(f"{shown} holds no array")
    if len(keys) > 1:
        raise ValueError(f"{key_name} is needed to choose from {shown}, which holds: {listed}")
    return keys[0]


@contextlib.contextmanager
def reading(broken: str) -> Iterator[None]:
    """Make ValueError, `broken` and the reason, of any error that damaged bytes lead to.

    NumPy, zipfile and torch were written for sound files: on others they raise what their innermost
    line happens to raise, from SyntaxError to IndexError. MemoryError and errors of the disk are no
    fault of the bytes, and stay what they are.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on headers written by Python 2, odd literals, ...
            yield
    except MemoryError:
        raise
    except Exception as error:
        # EINVAL is a seek to where damaged offsets point to.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{broken}: {_reason(error)}") from None


def read_into(array: Array, file: IO[bytes], shown: str) -> None:
    """Fill an array, contiguous in either order, with the bytes at the position of a file."""
    content = array.reshape(-1, order="A").view(np.uint8).data
    while len(content):
        count = file.readinto(content)  # type: ignore[attr-defined]
        if not count:
            raise ValueError(f"{shown} is truncated: {len(content):,} bytes are missing")
        content = content[count:]


def _reason(error: BaseException) -> str:
    """Return the first line of another library's message, shortened."""
    lines = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()
    shown = textwrap.shorten(visible(lines[0]), 200, placeholder=" ...") if lines else ""
    return shown or type(error).__name__


def parse_meta(text: str | None, shown: str) -> dict[str, Any]:
    """Return the meta of a file that this package wrote."""
    try:
        meta = json.loads(text or "")
    except (ValueError, RecursionError):
        meta = None
    if not isinstance(meta, dict):
        raise ValueError(f"{shown} was not written by gtn-label: it has no meta")
    return meta


def meta_text(meta: Mapping[str, Any]) -> str:
    """Write a meta as JSON."""
    return json.dumps(meta, sort_keys=True, allow_nan=False)
