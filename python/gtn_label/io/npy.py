"""The .npy and .npz formats: arrays read, and archives written byte for byte.

Nothing here unpickles. The bytes written are a pure function of the arrays and the meta:
little-endian, uncompressed, with fixed time stamps and order, and with headers written here rather
than by whichever NumPy is installed. Rows go out in blocks, so that writing holds no second copy.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..arrays.row_blocks import Array, RowsLike, StrPath, little_endian, row_blocks
from .atomic import atomic_file
from .reading import file_size, meta_text, parse_meta, pick, reading

__all__ = ["read_npy", "read_npz", "read_npz_array", "write_npz"]


def read_npy(path: Path, shown: str) -> Array:
    """Map the array of a .npy file; `shown` is the file's name in messages."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError(f"{shown} is not a .npy file: it does not start with \\x93NUMPY")
        file.seek(0)
        shape, fortran_order, dtype = _read_npy_header(file, path.stat().st_size, shown)
        offset = file.tell()
    with reading(f"{shown} is damaged: no array has the shape {shape} of its header"):
        if math.prod(shape) * dtype.itemsize == 0:  # nothing to map
            return np.empty(shape, dtype)
        return np.memmap(
            path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran_order else "C"
        )


def read_npz_array(path: Path, key: str | None, shown: str, key_name: str) -> Array:
    """Read one array of a .npz file."""
    with _open_npz(path, shown) as archive:
        key = pick(list(_npz_members(archive)), key, shown, key_name)
        return _load_npz_member(archive, key, shown)


def read_npz(path: StrPath, *, name: str = "path") -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the arrays and the meta that `write_npz` wrote; errors are those of `read_pairs`."""
    path = Path(path)
    file_size(path, name)
    shown = f"{name} '{path}'"
    with _open_npz(path, shown) as archive:
        arrays = {key: _load_npz_member(archive, key, shown) for key in _npz_members(archive)}
    text = arrays.pop("meta", None)
    return arrays, parse_meta(None if text is None else str(text), shown)


def write_npz(path: StrPath, arrays: Mapping[str, RowsLike], meta: Mapping[str, Any]) -> None:
    """Write a .npz file as `write_pairs` does, whatever the suffix of the path."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, array in {**arrays, "meta": np.array(meta_text(meta))}.items():
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, everywhere
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(_npy_header(array))
                for block in row_blocks(array):
                    member.write(block)


def _read_npy_header(
    file: IO[bytes], size: int, shown: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and dtype, and check them against the `size` of the file."""
    broken = f"{shown} has a broken or truncated header"
    with reading(broken):
        try:
            version = np.lib.format.read_magic(file)
            # 3.0 is 2.0 with UTF-8 field names, and there are no fields in rows of numbers.
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran_order, dtype = read(file)
        except MemoryError as error:  # raised by the parser for deep nesting
            raise ValueError(str(error) or "it cannot be parsed") from None
        if any(type(extent) is not int or extent < 0 for extent in shape):
            raise ValueError(f"its shape is {shape}")
    if dtype.hasobject:
        raise TypeError(
            f"{shown} must hold numbers, and holds Python objects (dtype {dtype}), which are "
            "never unpickled"
        )
    needed = file.tell() + math.prod(shape) * dtype.itemsize
    if size < needed:
        raise ValueError(
            f"{shown} is truncated: an array of shape {shape} and dtype {dtype} needs {needed} "
            f"bytes, and the file has {size}"
        )
    return shape, fortran_order, dtype


def _open_npz(path: Path, shown: str) -> zipfile.ZipFile:
    with reading(f"{shown} is not a readable .npz file"):
        if zipfile.is_zipfile(path):
            return zipfile.ZipFile(path)  # unlike np.load it leaves nothing open when it fails
    raise ValueError(f"{shown} is truncated or not a .npz file: no zip directory was found")


def _npz_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by the names of their arrays."""
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _load_npz_member(archive: zipfile.ZipFile, key: str, shown: str) -> Array:
    member = f"array '{key}' of {shown}"
    info = _npz_members(archive)[key]
    with reading(f"{member} is damaged"):
        with archive.open(info) as file:
            if file.read(6) != b"\x93NUMPY":
                raise ValueError(f"'{info.filename}' is not an array")
        file = archive.open(info)
    with file:
        # First the header alone: a damaged one could ask for more memory than there is.
        _read_npy_header(file, info.file_size, member)
    with reading(f"{member} is damaged"), archive.open(info) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _npy_header(array: RowsLike) -> bytes:
    """Return a header of version 1.0, padded to 64 bytes as the format asks."""
    descr = little_endian(array.dtype).str
    shape = tuple(int(extent) for extent in array.shape)
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    padded = text.ljust(length - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + padded.encode("latin1")
