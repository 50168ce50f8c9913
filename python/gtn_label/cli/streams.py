"""Standard input as a file of an array, and standard output as a file of pairs.

Both go through a temporary file without a name: readers and writers seek, and a stream then carries
the very bytes that a file would hold.
"""

from __future__ import annotations

import contextlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..io.atomic import worded
from ..io.files import read_array, read_stream
from ..io.temporary import unnamed_file, writing_unnamed
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
    shown = f"{name} '-'"
    with unnamed_file() as file:
        while chunk := _read(stream, shown):
            with writing_unnamed(shown):
                file.write(chunk)
        with writing_unnamed(shown):
            file.flush()
        return read_stream(file, _suffix(file, shown), key, shown=shown, key_name=key_name)


def _read(stream: IO[bytes], shown: str) -> bytes:
    try:
        return stream.read(1 << 20)
    except OSError as error:  # such as a folder
        raise worded(error, f"{shown} cannot be read: {error.strerror}") from None


def _suffix(file: IO[bytes], shown: str) -> str:
    """Tell the format of a file by its first bytes."""
    size = file.tell()
    file.seek(0)
    head = file.read(9)
    if head.startswith(b"\x93NUMPY"):
        return ".npy"
    if head.startswith(b"PK\x03\x04"):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
            if any(entry.endswith("/data.pkl") for entry in archive.namelist()):
                return ".pt"
        return ".npz"
    if head[8:] == b"{":  # after the length of the header
        return ".safetensors"
    raise ValueError(
        f"{shown} must be a .npy, .npz, .safetensors or .pt file, and its {size:,} bytes are none"
    )


def check_stdout() -> None:
    """Refuse `--out -` if nothing could take the bytes."""
    if getattr(sys.stdout, "buffer", None) is None:
        raise ValueError("--out '-' must be standard output, and there is none")
    if is_terminal(sys.stdout):
        raise ValueError("--out '-' must be a pipe or a file, and is a terminal")


@contextlib.contextmanager
def pairs_target(options: Options) -> Iterator[Path | IO[bytes]]:
    """Give the path to save pairs to, or standard output for `--out -`.

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
    try:
        # A buffer of our own: under PYTHONUNBUFFERED that of stdout writes in part.
        with open(sys.stdout.fileno(), "wb", closefd=False) as out:
            yield out
    except BrokenPipeError:
        raise Refused(
            "--out '-' was not read to its end: the reader of standard output has left", EXIT_PIPE
        ) from None
