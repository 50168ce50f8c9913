"""The .safetensors format: its header, tensors memory-mapped, and files written byte for byte.

The safetensors package is not used, for three reasons: it has no bfloat16 for NumPy, copies every
tensor when it writes, and orders metadata at random, while the bytes of our files are a pure
function of their contents. Tests compare both: what that package refuses is refused here.

The format: a little-endian uint64 with the header's length; the header, a JSON object of names
to dtype, shape and offsets (and string metadata under `__metadata__`); the elements, little-endian,
each byte of them in one tensor. header_json.py has the JSON.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ..arrays.narrow import STORED, NarrowRows, bits_dtype
from ..arrays.row_blocks import Array, RowsLike, little_endian, row_blocks
from ..text import quoted
from .header_json import parse_header
from .reading import read_into

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
    "C64": "<c8",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_STORED_AS = {name: stored for stored, name in STORED.items()}
_PACKED_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # elements that share bytes
_HEADER_LIMIT = 100_000_000  # bytes, the format's own limit
_LARGEST = 2**64 - 1  # of the format's numbers


class Tensor(NamedTuple):
    """One entry of a header; `begin` and `end` are offsets in bytes from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def open_safetensors(
    path: Path | IO[bytes], shown: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a file's header; `shown` names the file in messages.

    Raises
    ------
    ValueError
        If the header breaks a rule of the format, or the file does not have the bytes it asks for.
    """
    if isinstance(path, Path):
        with path.open("rb") as file:
            return open_safetensors(file, shown)
    size = path.seek(0, os.SEEK_END)
    path.seek(0)
    broken = f"{shown} is truncated or not a .safetensors file: "
    prefix = path.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else None
    if length is None or length > min(size - 8, _HEADER_LIMIT):
        raise ValueError(f"{broken}its header does not fit into its {size} bytes")
    start = 8 + length
    try:
        entries, metadata = parse_header(path.read(length))
        tensors = {name: _tensor(name, entry, start) for name, entry in entries.items()}
        _check_cover(tensors, start, size)
    except ValueError as error:
        raise ValueError(f"{broken}{error}") from None
    return tensors, metadata


def _tensor(name: str, entry: dict[str, Any], start: int) -> Tensor:
    """Check one entry of a header by itself."""
    shown = f"tensor {quoted(name[:60])}"
    known = ("dtype", "shape", "data_offsets")
    if not isinstance(entry, dict) or any(field not in entry for field in known):
        raise ValueError(f"{shown} must have {', '.join(known)}")
    dtype, shape, offsets = (entry[field] for field in known)
    if not isinstance(dtype, str) or _bits(dtype) == 0:
        raise ValueError(f"{shown} has dtype {dtype!r:.40}, which the format lacks")
    for field, numbers in (("shape", shape), ("data_offsets", offsets)):
        # A bool is an int in Python, and no number in JSON.
        if not isinstance(numbers, list) or any(type(number) is not int for number in numbers):
            rule = "must be a list of integers from 0 to 2**64 - 1"
            raise ValueError(f"{shown}: {field} {rule}, got {numbers!r:.60}")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"{shown}: data_offsets must be [begin, end], got {offsets!r:.60}")
    elements = 1
    for extent in shape:
        elements *= extent
        if elements > _LARGEST:
            raise ValueError(f"{shown} has more than 2**64 elements")
    bits = elements * _bits(dtype)
    if bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        raise ValueError(
            f"{shown} has shape {tuple(shape)!s:.60} and dtype {dtype}, which do not go "
            f"with its {offsets[1] - offsets[0]} bytes"
        )
    return Tensor(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _bits(dtype: str) -> int:
    """Return the bits of an element; 0 if the format lacks the dtype."""
    if dtype in STORED:
        return 8 * bits_dtype(STORED[dtype]).itemsize
    return _PACKED_BITS.get(dtype) or 8 * np.dtype(_DTYPES.get(dtype, "V0")).itemsize


def _check_cover(tensors: Mapping[str, Tensor], start: int, size: int) -> None:
    """Check that the tensors follow each other without overlap and hole, up to the file's end."""
    at = start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if tensor.begin != at:
            kind = "overlaps another" if tensor.begin < at else "leaves a hole before it"
            raise ValueError(
                f"tensor {quoted(name[:60])} {kind}: it must begin at byte {at - start}"
            )
        at = tensor.end
    if at > size:
        raise ValueError(f"it needs {at} bytes, and the file has {size}")
    if at < size:
        raise ValueError(f"its tensors end at byte {at}, and the file has {size}")


def map_safetensor(path: Path | IO[bytes], tensor: Tensor, shown: str) -> Array | NarrowRows:
    """Map one tensor of a file, read-only; narrow floats by their bits. A stream's is read.

    Raises
    ------
    TypeError
        If NumPy has no such element type.
    ValueError
        If no array has the shape.
    """
    narrow = STORED.get(tensor.dtype)
    if narrow is None and tensor.dtype not in _DTYPES:
        raise TypeError(
            f"{shown} has dtype {tensor.dtype}, whose elements share bytes, and must have one of "
            f"{', '.join([*_DTYPES, *STORED])}"
        )
    dtype = bits_dtype(narrow) if narrow else np.dtype(_DTYPES[tensor.dtype])
    array: Array
    try:
        if math.prod(tensor.shape) == 0:  # nothing to map
            array = np.empty(tensor.shape, dtype)
        elif isinstance(path, Path):
            array = np.memmap(path, dtype, mode="r", offset=tensor.begin, shape=tensor.shape)
        else:
            array = np.empty(tensor.shape, dtype)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{shown} has shape {tensor.shape!s:.60}, which no array has: {error}"
        ) from None
    if not isinstance(path, Path):
        path.seek(tensor.begin)
        read_into(array, path, shown)
    return NarrowRows(array, narrow) if narrow else array


def write_safetensors(
    file: IO[bytes], arrays: Mapping[str, RowsLike], metadata: Mapping[str, str]
) -> None:
    """Write to an open file.

    Raises
    ------
    ValueError
        If the format lacks an array's dtype.
    OSError
        If writing fails.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    stored: dict[str, tuple[str, RowsLike]] = {}
    for key, array in arrays.items():
        if isinstance(array, NarrowRows) and array.name in _STORED_AS:
            stored[key] = (_STORED_AS[array.name], array.bits)
            continue
        name = _NAMES.get(little_endian(array.dtype).str)
        if name is None:
            raise ValueError(
                f"array {quoted(key)} has dtype {array.dtype}, which .safetensors lacks"
            )
        stored[key] = (name, array)
    # Widest elements first, as the format's own writer does: then every tensor is aligned.
    ordered = sorted(stored.items(), key=lambda item: -item[1][1].dtype.itemsize)
    offset = 0
    for key, (name, array) in ordered:
        end = offset + math.prod(array.shape) * array.dtype.itemsize
        header[key] = {
            "dtype": name,
            "shape": [int(extent) for extent in array.shape],
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # the data starts aligned
    file.write(struct.pack("<Q", len(text)) + text)
    for _, (_, array) in ordered:
        for block in row_blocks(array):
            file.write(block)
