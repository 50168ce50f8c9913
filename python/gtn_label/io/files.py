"""Arrays from files, and pairs to files and back; the suffix of a path chooses the format.

Reading: .npy (memory-mapped), .npz, .safetensors (memory-mapped), .pt/.pth. Pairs: .npz or
.safetensors. The formats are in npy.py, safetensors.py and torch_file.py. Not here: checks of an
array's shape and values (arrays/convert.py and the engine).
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..arrays.narrow import STORED, NarrowRows
from ..arrays.row_blocks import Array, RowsLike, StrPath
from ..errors import ArgumentError, ArgumentTypeError
from ..text import quoted
from .atomic import atomic_file
from .npy import NpzFile, read_npy, read_npz, read_npz_array, write_npz, write_npz_to
from .reading import file_size, meta_text, parse_meta, pick
from .safetensors import map_safetensor, open_safetensors, write_safetensors
from .temporary import unnamed_file, writing_unnamed
from .torch_file import read_torch

__all__ = [
    "INPUT_SUFFIXES",
    "OUTPUT_SUFFIXES",
    "check_named",
    "check_output_suffix",
    "open_pairs",
    "read_array",
    "read_npz",
    "read_pairs",
    "read_stream",
    "write_npz",
    "write_pairs",
]

INPUT_SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")
OUTPUT_SUFFIXES = (".npz", ".safetensors")
FORMATS = ("npz", "safetensors")


def read_array(
    path: StrPath, key: str | None = None, *, name: str = "latents", key_name: str = "key"
) -> Array:
    """Read one array from a file, memory-mapped where the format allows.

    Parameters
    ----------
    path
        A .npy, .npz, .safetensors, .pt or .pth file.
    key
        Name of the array, in a file that holds several.
    name, key_name
        Names of the path and the key in messages, such as `LATENTS` and `--key`.

    Returns
    -------
    numpy.ndarray
        The array as stored. Read-only if it is memory-mapped; bfloat16 and float8 become float32.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError, OSError
        If the file cannot be opened.
    ValueError
        If the file is empty, truncated, not of its suffix's format, or does not hold `key`.
    TypeError
        If the file holds Python objects, or an element type that is no number.
    ImportError
        If reading it needs torch, and torch is not installed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "latents.npy"
    >>> np.save(file, np.ones((3, 2), np.float32))
    >>> read_array(file).shape
    (3, 2)
    """
    path = Path(path)
    shown = f"{name} {quoted(path)}"
    suffix = path.suffix.lower()
    size = file_size(path, name)
    check_named(path, INPUT_SUFFIXES, name)
    if suffix not in INPUT_SUFFIXES:
        raise ValueError(
            f"{shown} must be one of {', '.join(INPUT_SUFFIXES)}, and its suffix is "
            f"{quoted(path.suffix)}"
        )
    if size == 0:
        raise ValueError(f"{shown} is empty (0 bytes), and must hold an array")
    return _read(path, suffix, key, shown, key_name)


def read_stream(
    file: IO[bytes], suffix: str, key: str | None, *, shown: str, key_name: str
) -> Array:
    """Read one array from an open file, seekable and whole, into memory.

    Errors and the array are those of `read_array`; `shown` names the file in messages.
    """
    return _read(file, suffix, key, shown, key_name)


def _read(path: Path | IO[bytes], suffix: str, key: str | None, shown: str, key_name: str) -> Array:
    if suffix == ".npy":
        if key is not None:
            raise ValueError(
                f"{key_name} {quoted(key)} has no meaning for {shown}: a .npy file holds a single "
                "array"
            )
        return read_npy(path, shown)
    if suffix == ".npz":
        return read_npz_array(path, key, shown, key_name)
    if suffix == ".safetensors":
        tensors, _ = open_safetensors(path, shown)
        key = pick(list(tensors), key, shown, key_name)
        tensor, name = tensors[key], f"tensor {quoted(key[:60])} of {shown}"
        if isinstance(path, Path) and tensor.dtype in STORED:  # all of it is read and widened
            with path.open("rb") as file:
                return np.asarray(map_safetensor(file, tensor, name)[...])
        return np.asarray(map_safetensor(path, tensor, name)[...])
    return read_torch(path, key, shown, key_name)


def check_named(path: StrPath, suffixes: Collection[str], name: str) -> None:
    """Raise ValueError for a file whose name is a suffix and nothing else, such as ".npz"."""
    if Path(path).name.lower() in suffixes:
        raise ValueError(
            f"{name} must have a name before its suffix, and is {quoted(os.fspath(path))}"
        )


def check_output_suffix(path: StrPath, name: str = "path") -> None:
    """Raise ValueError for an output whose suffix is none of `OUTPUT_SUFFIXES`.

    `name` is the argument in the message.
    """
    check_named(path, OUTPUT_SUFFIXES, name)
    if os.fspath(path).endswith(("/", os.sep)) or (
        Path(path).suffix.lower() not in OUTPUT_SUFFIXES
    ):
        raise ValueError(
            f"{name} must end in {' or '.join(OUTPUT_SUFFIXES)}, and is {quoted(os.fspath(path))}"
        )


def write_pairs(
    path: StrPath | IO[bytes],
    arrays: Mapping[str, RowsLike],
    meta: Mapping[str, Any],
    form: str | None = None,
) -> int:
    """Write arrays and their meta as .npz or .safetensors, a file whole or not at all.

    Parameters
    ----------
    path
        The file; its suffix chooses the format if `form` does not. Or a binary file object.
    arrays
        Arrays, `TakenRows` or `NarrowRows`, by name. They are stored little-endian and C-ordered.
    meta
        Values of JSON types. In .npz they are the string array `meta`, in .safetensors the metadata
        entry `meta`.
    form
        "npz" or "safetensors"; a file object needs it.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    ValueError
        If there is no such format, or an array's dtype does not exist in .safetensors.
    OSError
        If writing fails. An earlier file at `path` is then as it was, and no other is left.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pairs.npz"
    >>> _ = write_pairs(file, {"assignment": np.arange(3)}, {"seed": 0})
    >>> read_pairs(file)[1]
    {'seed': 0}
    """
    if not isinstance(path, (str, os.PathLike)):
        _check_takes_bytes(path)
    elif form is None:
        check_output_suffix(path)
        form = Path(path).suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise ArgumentError("format", f"must be {' or '.join(map(repr, FORMATS))}", repr(form))

    def write(file: IO[bytes]) -> int:
        if form == "npz":
            write_npz_to(file, arrays, meta)
        else:
            write_safetensors(file, arrays, {"meta": meta_text(meta)})
        return file.tell()

    if isinstance(path, (str, os.PathLike)):
        with atomic_file(path) as file:
            return write(file)
    # Through a file of its own: a pipe cannot be written as a zip file of the same bytes is.
    with unnamed_file() as whole:
        with writing_unnamed("the pairs"):
            size = write(whole)
            whole.seek(0)
        shutil.copyfileobj(whole, path, 1 << 20)
    return size


def _check_takes_bytes(file: Any) -> None:
    """Raise ArgumentTypeError for an object that is no binary file, before the work of writing."""
    if not hasattr(file, "write"):
        rule = "must be a path or a binary file object"
        raise ArgumentTypeError("path", rule, f"{type(file).__name__} {file!r}")
    try:
        file.write(b"")
    except TypeError:
        raise _text_file("path", "wb") from None


def _text_file(name: str, mode: str) -> ArgumentTypeError:
    rule = "must be a path or a binary file object"
    return ArgumentTypeError(name, rule, "a text file", f"open it with mode {mode!r}")


def read_pairs(path: StrPath, *, name: str = "path") -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the arrays and the meta that `write_pairs` wrote.

    Returns
    -------
    arrays : dict of numpy.ndarray
        By name, in memory and writable; narrow floats as float32.
    meta : dict

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError, OSError
        If the file cannot be opened.
    ValueError
        If it is damaged, of another format, or holds no meta.
    """
    arrays, meta, _ = open_pairs(path, name=name)
    return {key: np.asarray(rows[...]) for key, rows in arrays.items()}, meta


def open_pairs(
    path: StrPath | IO[bytes],
    mapped: Collection[str] = (),
    form: str | None = None,
    *,
    name: str = "path",
) -> tuple[dict[str, Array | NarrowRows], dict[str, Any], str]:
    """Read pairs as `read_pairs` does, from a path or a binary file object.

    Parameters
    ----------
    path
        The file. A file object is read from its position to its end.
    mapped
        Names of arrays that stay on the disk, mapped into memory, read-only.
    form
        "npz" or "safetensors"; by default by the suffix, or a file object's first bytes.
    name
        Name of the path in messages.

    Returns
    -------
    arrays, meta
        Narrow floats by their bits.
    shown : str
        The file as messages name it.
    """
    if form is not None and form not in FORMATS:
        raise ArgumentError("format", f"must be {' or '.join(map(repr, FORMATS))}", repr(form))
    source: Path | IO[bytes]
    if isinstance(path, (str, os.PathLike)):
        source = Path(path)
        shown = f"{name} {quoted(source)}"
        file_size(source, name)
        if form is None:
            check_output_suffix(source, name)
            form = source.suffix.lower().removeprefix(".")
    else:
        shown = f"{name} {quoted(getattr(path, 'name', type(path).__name__))}"
        source = _stream(path, name, mapped)
        form = form or ("npz" if source.getvalue()[:2] == b"PK" else "safetensors")
    arrays: dict[str, Array | NarrowRows] = {}
    if form == "npz":
        with NpzFile(source, shown) as archive:
            meta = archive.meta()
            for key in archive.names:
                if key != "meta":
                    arrays[key] = archive.map(key) if key in mapped else archive.load(key)
        return arrays, meta, shown
    with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
        tensors, metadata = open_safetensors(file, shown)
        meta = parse_meta(metadata.get("meta"), shown)
        for key, tensor in tensors.items():
            place = source if key in mapped else file
            arrays[key] = map_safetensor(place, tensor, f"tensor {quoted(key[:60])} of {shown}")
    return arrays, meta, shown


def _stream(file: IO[bytes], name: str, mapped: Collection[str]) -> io.BytesIO:
    """Read a file object to its end."""
    if not hasattr(file, "read"):
        rule = "must be a path or a binary file object"
        raise ArgumentTypeError(name, rule, f"{type(file).__name__} {file!r}")
    nothing: Any = file.read(0)
    if isinstance(nothing, str):  # before bytes are taken for letters
        raise _text_file(name, "rb")
    if mapped:
        raise ArgumentError("mmap_mode", "must be None for a file object", "'r'", "pass a path")
    content: Any = file.read()
    if not isinstance(content, bytes):
        raise _text_file(name, "rb")
    return io.BytesIO(content)
