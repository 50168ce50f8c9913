"""Standard input as a file of an array, and standard output as a file of pairs.

Both go through a temporary file: readers map and seek, and a stream then carries the very bytes
that a file would hold.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..io.files import read_array
from ..text import quoted
from .console import EXIT_PIPE, Refused, is_terminal
from .options import Options
from .sections import STREAM

__all__ = ["check_stdout", "pairs_target", "read_input"]


def read_input(path: Path, key: str | None, *, name: str, key_name: str) -> Any:
    """Read an array as `read_array` does, from standard input if the path is `STREAM`.

    The format of standard input is told by its first bytes, and the array is held in memory.
    """
    if path != STREAM:
        return read_array(path, key, name=name, key_name=key_name)
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise ValueError(f"{name} '-' must be standard input, and there is none")
    if is_terminal(sys.stdin):
        raise ValueError(f"{name} '-' must be a pipe or a file, and is a terminal")
    with _temporary_folder() as folder:
        spooled = folder / "stdin"
        with spooled.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        spooled = spooled.rename(folder / f"stdin{_suffix(spooled, name)}")
        try:
            array = read_array(spooled, key, name=name, key_name=key_name)
        except (ValueError, TypeError, MemoryError) as error:
            kinds = (ValueError, TypeError, MemoryError)
            kind = next(kind for kind in kinds if isinstance(error, kind))
            raise kind(str(error).replace(quoted(spooled), "'-'")) from None
        return np.array(array) if isinstance(array, np.memmap) else array


def _suffix(path: Path, name: str) -> str:
    """Tell the format of a file by its first bytes."""
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith(b"\x93NUMPY"):
        return ".npy"
    if head.startswith(b"PK\x03\x04"):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            if any(entry.endswith("/data.pkl") for entry in archive.namelist()):
                return ".pt"
        return ".npz"
    if head[8:] == b"{":  # after the length of the header
        return ".safetensors"
    size = path.stat().st_size
    raise ValueError(
        f"{name} '-' must be a .npy, .npz, .safetensors or .pt file, and its {size:,} bytes are "
        "none"
    )


def check_stdout() -> None:
    """Refuse `--out -` if nothing could take the bytes."""
    if getattr(sys.stdout, "buffer", None) is None:
        raise ValueError("--out '-' must be standard output, and there is none")
    if is_terminal(sys.stdout):
        raise ValueError("--out '-' must be a pipe or a file, and is a terminal")


@contextlib.contextmanager
def pairs_target(options: Options) -> Iterator[Path]:
    """Give the path to save pairs to; for `--out -` the bytes are copied to standard output.

    Raises
    ------
    Refused
        If the reader of standard output has left.
    OSError
        If standard output cannot be written.
    """
    if options.out_file is not None:
        yield options.out_file
        return
    with _temporary_folder() as folder:
        path = folder / f"stdout.{options.stream_format}"
        yield path
        try:
            # A buffer of our own: under PYTHONUNBUFFERED that of stdout writes in part.
            with path.open("rb") as file, open(sys.stdout.fileno(), "wb", closefd=False) as out:
                shutil.copyfileobj(file, out, 1 << 20)
        except BrokenPipeError:
            raise Refused(
                "--out '-' was not read to its end: the reader of standard output has left",
                EXIT_PIPE,
            ) from None


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gtn-label-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
