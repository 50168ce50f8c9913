"""The .npy and .npz formats: arrays read, and archives written byte for byte.

Nothing here unpickles. The bytes written are a pure function of the arrays and the meta:
little-endian, uncompressed, with fixed time stamps and order, and with headers written here rather
than by whichever NumPy is installed. Rows go out in blocks, so that writing holds no second copy.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from ..arrays.narrow import NarrowRows, bits_dtype, narrow_name
from ..arrays.row_blocks import Array, RowsLike, StrPath, little_endian, row_blocks
from ..text import brief, quoted
from .atomic import atomic_file
from .reading import file_size, meta_text, parse_meta, pick, read_into, reading

__all__ = [
    "NpzFile",
    "npy_header",
    "read_npy",
    "read_npz",
    "read_npz_array",
    "write_npz",
    "write_npz_to",
]

_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 1 << 20  # bytes of a .npy header: NumPy's own limit is far below
_LOCAL_HEADER = 30  # bytes before the name of a zip member
# Bytes that one stored byte can become. Deflate writes at most 258 bytes in two bits.
_RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}


def read_npy(path: Path | IO[bytes], shown: str) -> Array:
    """Map the array of a .npy file, or read that of a stream; `shown` names it in messages."""
    with path.open("rb") if isinstance(path, Path) else contextlib.nullcontext(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if file.read(6) != _MAGIC:
            raise ValueError(f"{shown} is not a .npy file: it does not start with \\x93NUMPY")
        file.seek(0)
        header = _read_npy_header(file, size, shown)
        return _values(path, file, header, shown)


def read_npz_array(path: Path | IO[bytes], key: str | None, shown: str, key_name: str) -> Array:
    """Read one array of a .npz file."""
    with NpzFile(path, shown) as archive:
        return archive.load(pick(archive.names, key, shown, key_name))


def read_npz(path: StrPath, *, name: str = "path") -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the arrays and the meta that `write_npz` wrote; errors are those of `read_pairs`."""
    path = Path(path)
    file_size(path, name)
    shown = f"{name} {quoted(path)}"
    with NpzFile(path, shown) as archive:
        return {key: archive.load(key) for key in archive.names if key != "meta"}, archive.meta()


def write_npz(path: StrPath, arrays: Mapping[str, RowsLike], meta: Mapping[str, Any]) -> None:
    """Write a .npz file as `write_pairs` does, whatever the suffix of the path."""
    with atomic_file(path) as file:
        write_npz_to(file, arrays, meta)


def write_npz_to(file: IO[bytes], arrays: Mapping[str, RowsLike], meta: Mapping[str, Any]) -> None:
    """Write to an open file that is empty and seekable."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, array in {**arrays, "meta": np.array(meta_text(meta))}.items():
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, everywhere
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(npy_header(array))
                for block in row_blocks(array):
                    member.write(block)


def _open_npz(file: Path | IO[bytes], shown: str) -> zipfile.ZipFile:
    with reading(f"{shown} is not a readable .npz file"):
        if zipfile.is_zipfile(file):
            return zipfile.ZipFile(file)  # unlike np.load it leaves nothing open when it fails
    raise ValueError(f"{shown} is truncated or not a .npz file: no zip directory was found")


class NpzFile:
    """The arrays of a .npz file; entries that are none, such as a README, are ignored.

    Parameters
    ----------
    file
        The file, or a stream of it.
    shown
        Name of the file in messages.
    """

    def __init__(self, file: Path | IO[bytes], shown: str) -> None:
        self._file = file
        self._shown = shown
        self._archive = _open_npz(file, shown)
        self._bytes = file.stat().st_size if isinstance(file, Path) else file.seek(0, io.SEEK_END)
        self._members = {
            info.filename.removesuffix(".npy"): info
            for info in self._archive.infolist()
            if self._is_array(info)
        }

    def __enter__(self) -> NpzFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._members)

    def meta(self) -> dict[str, Any]:
        """Return the meta that `write_npz` wrote."""
        return parse_meta(str(self.load("meta")) if "meta" in self._members else None, self._shown)

    def load(self, key: str) -> Array:
        """Read an array into memory."""
        info, member = self._members[key], f"array {quoted(key[:60])} of {self._shown}"
        with reading(f"{member} is damaged"):
            self._check_promise(info)
            with self._archive.open(info) as file:
                if file.read(len(_MAGIC)) != _MAGIC:
                    raise ValueError(f"{quoted(info.filename[:60])} is not an array")
            file = self._archive.open(info)
        with file:
            # First the header alone: a damaged one could ask for more memory than there is.
            header = _read_npy_header(file, info.file_size, member)
        try:
            with reading(f"{member} is damaged"), self._archive.open(info) as file:
                if header.narrow is None:
                    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
                content = file.read()[-header.bytes :] if header.bytes else b""
                order: Literal["F", "C"] = "F" if header.fortran_order else "C"
                bits = np.frombuffer(content, header.dtype).reshape(header.shape, order=order)
                return NarrowRows(bits, header.narrow)[...]
        except MemoryError:
            raise MemoryError(
                f"{member} needs {header.bytes:,} bytes, more than there is"
            ) from None

    def map(self, key: str) -> Array:
        """Map an array that is stored uncompressed, read-only; its checksum is not looked at."""
        info, member = self._members[key], f"array {quoted(key[:60])} of {self._shown}"
        if info.compress_type != zipfile.ZIP_STORED or not isinstance(self._file, Path):
            raise ValueError(
                f"{member} is compressed and cannot be mapped; load it without mmap_mode"
            )
        with reading(f"{member} is damaged"), self._file.open("rb") as file:
            file.seek(info.header_offset)
            local = file.read(_LOCAL_HEADER)
            if local[:4] != b"PK\x03\x04":
                raise ValueError("no zip member begins where the directory says")
            name, extra = struct.unpack("<HH", local[26:30])
            begin = info.header_offset + _LOCAL_HEADER + name + extra
            file.seek(begin)
            header = _read_npy_header(file, begin + info.file_size, member)
            return _values(self._file, file, header, member)

    def _check_promise(self, info: zipfile.ZipInfo) -> None:
        """Refuse a member of more bytes than the archive can hold: they would be allocated."""
        most = (
            info.file_size
            if info.compress_type not in _RATIOS
            else (_RATIOS[info.compress_type] * info.compress_size + 1024)
        )
        if info.header_offset + info.compress_size > self._bytes or info.file_size > most:
            raise ValueError(
                f"the zip directory promises {info.file_size:,} bytes out of "
                f"{info.compress_size:,}, and the file has {self._bytes:,}"
            )

    def _is_array(self, info: zipfile.ZipInfo) -> bool:
        """Tell arrays from other members: by the suffix, or without one by the first bytes."""
        base = info.filename.rpartition("/")[2]
        # macOS adds a folder, and files with "._" before the name.
        if not base or base.startswith("._") or info.filename.startswith("__MACOSX/"):
            return False
        if info.filename.endswith(".npy"):
            return True
        try:
            with self._archive.open(info) as file:
                return file.read(len(_MAGIC)) == _MAGIC
        except Exception:  # damaged or encrypted, and nothing that could be asked for
            return False


class _Header(NamedTuple):
    """Header of an array; `dtype` are the bits if the header names a narrow float."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    narrow: str | None

    @property
    def bytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def _values(path: Path | IO[bytes], file: IO[bytes], header: _Header, shown: str) -> Array:
    """Map the elements at the position of an open file; read those of narrow floats and streams."""
    shape = brief(str(header.shape), 80)
    with reading(f"{shown} is damaged: no array has the shape {shape} of its header"):
        if header.bytes == 0:  # nothing to map
            return np.empty(header.shape, np.float32 if header.narrow else header.dtype)
        order: Literal["F", "C"] = "F" if header.fortran_order else "C"
        if isinstance(path, Path) and header.narrow is None:
            return np.memmap(
                path, header.dtype, mode="r", offset=file.tell(), shape=header.shape, order=order
            )
        array: Array = np.empty(header.shape, header.dtype, order)
    read_into(array, file, shown)
    return array if header.narrow is None else NarrowRows(array, header.narrow)[...]


def _read_npy_header(file: IO[bytes], size: int, shown: str) -> _Header:
    """Read shape, order and dtype, and check them against the `size` of the file."""
    with reading(f"{shown} has a broken or truncated header"):
        narrow = None
        try:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError("it is not an array")
            version = tuple(file.read(2))
            if version not in ((1, 0), (2, 0), (3, 0)):
                raise ValueError(
                    f"its version is {'.'.join(map(str, version))}, and must be 1.0, 2.0 or 3.0; "
                    "save the array again with numpy.save"
                )
            head, narrow = _without_names(_read_head(file, version))
            # 3.0 is 2.0 with UTF-8 field names, and there are no fields in rows of numbers.
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran_order, dtype = read(io.BytesIO(head))
        except MemoryError as error:  # raised by the parser for deep nesting
            raise ValueError(str(error) or "it cannot be parsed") from None
        if any(type(extent) is not int or extent < 0 for extent in shape):
            raise ValueError(f"its shape is {shape}")
    element = narrow or brief(str(dtype), 80)
    if dtype.hasobject:
        raise TypeError(
            f"{shown} must hold numbers, and holds Python objects (dtype {element}), which are "
            "never unpickled"
        )
    if dtype.names is not None or dtype.subdtype is not None:
        raise TypeError(
            f"{shown} must hold numbers, and holds records of several (dtype {element}); save "
            "one field of them, or their numbers as one array [rows, dim]"
        )
    if dtype.kind == "V":
        raise TypeError(
            f"{shown} must hold numbers, and holds bytes without a type (dtype {dtype.str}), as "
            "numpy.save writes bfloat16 and float8; save array.astype('float32') instead, or "
            "a .safetensors file"
        )
    header = _Header(shape, fortran_order, dtype, narrow)
    needed = file.tell() + header.bytes
    if size < needed:
        raise ValueError(
            f"{shown} is truncated: an array of shape {brief(str(shape), 80)} and dtype "
            f"{element} needs {needed} bytes, and the file has {size}"
        )
    return header


def _read_head(file: IO[bytes], version: tuple[int, ...]) -> bytes:
    """Read the length and the text of a header."""
    prefix = file.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(prefix, "little")
    return prefix + file.read(min(length, _MOST_HEADER))


def _without_names(head: bytes) -> tuple[bytes, str | None]:
    """Put the bits of a narrow float in place of its name, which NumPy alone does not know."""
    found = re.search(rb"(['\"]descr['\"]\s*:\s*['\"])[<=|]?(b?float\w+)(['\"])", head)
    name = found[2].decode() if found else ""
    if found is None or narrow_name(name) is None:
        return head, None
    bits = bits_dtype(name).str.encode()
    text = head.replace(found[0], found[1] + bits + found[3], 1)
    # The length in front stays that of the text.
    return text.ljust(len(head)), name


def npy_header(array: RowsLike) -> bytes:
    """Return a header of version 1.0, padded to 64 bytes as the format asks."""
    descr = little_endian(array.dtype).str
    shape = tuple(int(extent) for extent in array.shape)
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    padded = text.ljust(length - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + padded.encode("latin1")
