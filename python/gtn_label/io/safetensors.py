"""The .safetensors format: its header, tensors memory-mapped, and files written byte for byte.

The safetensors package is not used, for three reasons: it has no bfloat16 for NumPy, copies every
tensor when it writes, and orders metadata at random, while the bytes of our files are a pure
function of their contents. Tests compare both.

The format: a little-endian uint64 with the header's length; the header, a JSON object of names
to dtype, shape and offsets (and string metadata under `__metadata__`); the elements, little-endian.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arrays.row_blocks import Array, RowsLike, little_endian, row_blocks
from .atomic import atomic_file

__all__ = ["Tensor", "map_safetensor", "open_safetensors", "write_safetensors"]

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_HEADER_LIMIT = 100_000_000  # bytes, the format's own limit


class Tensor(NamedTuple):
    """One entry of a header; `begin` and `end` are offsets in bytes from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def open_safetensors(path: Path, shown: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a file's header; `shown` names the file in messages.

    Raises
    ------
    ValueError
        If the header is broken, or the file is too short for it.
    """
    size = path.stat().st_size
    broken = f"{shown} is truncated or not a .safetensors file: "
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else None
        if length is None or length > min(size - 8, _HEADER_LIMIT):
            raise ValueError(f"{broken}its header does not fit into its {size} bytes")
        start = 8 + length
        try:
            header = json.loads(file.read(length))
            metadata = dict(header.pop("__metadata__", {}))
            tensors = {
                str(key): Tensor(
                    str(entry["dtype"]),
                    tuple(int(extent) for extent in entry["shape"]),
                    start + int(entry["data_offsets"][0]),
                    start + int(entry["data_offsets"][1]),
                )
                for key, entry in header.items()
            }
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
            raise ValueError(f"{broken}its header is not the JSON it must be") from None
    end = max((tensor.end for tensor in tensors.values()), default=0)
    if end > size:
        raise ValueError(f"{shown} is truncated: it needs {end} bytes, and the file has {size}")
    if min((tensor.begin for tensor in tensors.values()), default=start) < start:
        raise ValueError(f"{broken}an offset is negative")
    return tensors, metadata


def map_safetensor(path: Path, tensor: Tensor, shown: str) -> Array:
    """Map one tensor of a file, read-only; bfloat16 is read and widened to float32.

    Raises
    ------
    TypeError
        If NumPy has no such element type.
    ValueError
        If shape and bytes do not fit each other.
    """
    bfloat16 = tensor.dtype == "BF16"
    if not bfloat16 and tensor.dtype not in _DTYPES:
        raise TypeError(
            f"{shown} has dtype {tensor.dtype}, and must have one of {', '.join(_DTYPES)}, BF16"
        )
    dtype = np.dtype("<u2" if bfloat16 else _DTYPES[tensor.dtype])
    elements = math.prod(tensor.shape)
    length = tensor.end - tensor.begin
    if min(tensor.shape, default=0) < 0 or length != elements * dtype.itemsize:
        raise ValueError(
            f"{shown} has shape {tensor.shape} and dtype {tensor.dtype}, which do not go with its "
            f"{length} bytes"
        )
    try:
        if elements == 0:  # nothing to map
            return np.empty(tensor.shape, np.float32 if bfloat16 else dtype)
        array: Array = np.memmap(path, dtype, mode="r", offset=tensor.begin, shape=tensor.shape)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{shown} has shape {tensor.shape}, which no array has: {error}") from None
    if not bfloat16:
        return array
    # A bfloat16 is the upper half of a float32.
    widened = np.asarray(array, dtype=np.uint32)
    widened <<= 16
    return widened.view(np.float32)


def write_safetensors(
    path: Path, arrays: Mapping[str, RowsLike], metadata: Mapping[str, str]
) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    ValueError
        If the format lacks an array's dtype.
    OSError
        If writing fails.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    # Widest elements first, as the format's own writer does: then every tensor is aligned.
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    offset = 0
    for key, array in ordered:
        name = _NAMES.get(little_endian(array.dtype).str)
        if name is None:
            raise ValueError(f"array '{key}' has dtype {array.dtype}, which .safetensors lacks")
        end = offset + math.prod(array.shape) * array.dtype.itemsize
        header[key] = {
            "dtype": name,
            "shape": [int(extent) for extent in array.shape],
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # the data starts aligned
    with atomic_file(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, array in ordered:
            for block in row_blocks(array):
                file.write(block)
