"""Arrays from files, and pairs to files and back; the suffix of a path chooses the format.

Reading: .npy (memory-mapped), .npz, .safetensors (memory-mapped), .pt/.pth. Pairs: .npz or
.safetensors. The formats are in npy.py, safetensors.py and torch_file.py. Not here: checks of an
array's shape and values (arrays/convert.py and the engine).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.row_blocks import Array, RowsLike, StrPath
from .npy import read_npy, read_npz, read_npz_array, write_npz
from .reading import file_size, meta_text, parse_meta, pick
from .safetensors import map_safetensor, open_safetensors, write_safetensors
from .torch_file import read_torch

__all__ = [
    "INPUT_SUFFIXES",
    "OUTPUT_SUFFIXES",
    "check_output_suffix",
    "read_array",
    "read_npz",
    "read_pairs",
    "write_npz",
    "write_pairs",
]

INPUT_SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")
OUTPUT_SUFFIXES = (".npz", ".safetensors")


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
        The array as stored. Read-only if it is memory-mapped; bfloat16 becomes float32.

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
    shown = f"{name} '{path}'"
    suffix = path.suffix.lower()
    size = file_size(path, name)
    if suffix not in INPUT_SUFFIXES:
        raise ValueError(
            f"{shown} must be one of {', '.join(INPUT_SUFFIXES)}, and its suffix is '{path.suffix}'"
        )
    if size == 0:
        raise ValueError(f"{shown} is empty (0 bytes), and must hold an array")
    if suffix == ".npy":
        if key is not None:
            raise ValueError(
                f"{key_name} '{key}' has no meaning for {shown}: a .npy file holds a single array"
            )
        return read_npy(path, shown)
    if suffix == ".npz":
        return read_npz_array(path, key, shown, key_name)
    if suffix == ".safetensors":
        tensors, _ = open_safetensors(path, shown)
        key = pick(list(tensors), key, shown, key_name)
        return map_safetensor(path, tensors[key], f"tensor '{key}' of {shown}")
    return read_torch(path, key, shown, key_name)


def check_output_suffix(path: StrPath, name: str = "path") -> None:
    """Raise ValueError for an output whose suffix is none of `OUTPUT_SUFFIXES`.

    `name` is the argument in the message.
    """
    if Path(path).suffix.lower() not in OUTPUT_SUFFIXES:
        raise ValueError(
            f"{name} must end in {' or '.join(OUTPUT_SUFFIXES)}, and is '{os.fspath(path)}'"
        )


def write_pairs(path: StrPath, arrays: Mapping[str, RowsLike], meta: Mapping[str, Any]) -> None:
    """Write arrays and their meta to a .npz or .safetensors file, whole or not at all.

    Parameters
    ----------
    path
        The file; its suffix chooses the format.
    arrays
        Arrays, or `TakenRows`, by name. They are stored little-endian and C-ordered.
    meta
        Values of JSON types. In .npz they are the string array `meta`, in .safetensors the metadata
        entry `meta`.

    Raises
    ------
    ValueError
        If the suffix is neither, or an array's dtype does not exist in .safetensors.
    OSError
        If writing fails. An earlier file at `path` is then as it was, and no other is left.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pairs.npz"
    >>> write_pairs(file, {"assignment": np.arange(3)}, {"seed": 0})
    >>> read_pairs(file)[1]
    {'seed': 0}
    """
    check_output_suffix(path)
    path = Path(path)
    if path.suffix.lower() == ".npz":
        write_npz(path, arrays, meta)
    else:
        write_safetensors(path, arrays, {"meta": meta_text(meta)})


def read_pairs(path: StrPath, *, name: str = "path") -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the arrays and the meta that `write_pairs` wrote.

    Returns
    -------
    arrays : dict of numpy.ndarray
        By name, in memory and writable.
    meta : dict

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError, OSError
        If the file cannot be opened.
    ValueError
        If it is damaged, of another format, or holds no meta.
    """
    path = Path(path)
    shown = f"{name} '{path}'"
    file_size(path, name)
    check_output_suffix(path, name)
    if path.suffix.lower() == ".npz":
        return read_npz(path, name=name)
    tensors, metadata = open_safetensors(path, shown)
    meta = parse_meta(metadata.get("meta"), shown)
    arrays = {
        key: np.array(map_safetensor(path, tensor, f"tensor '{key}' of {shown}"))
        for key, tensor in tensors.items()
    }
    return arrays, meta
