"""Arrays from files, and pairs to files.

Reading: .npy (memory-mapped), .npz, .safetensors (memory-mapped), .pt/.pth (torch, imported only
then, weights_only). Writing and reading back pairs: .npz or .safetensors. Nothing here judges an
array's shape or values (arrays/convert.py and the engine do); nothing here unpickles.

The bytes written are a pure function of the arrays and the meta: little-endian, uncompressed, fixed
time stamps and order, and headers written here rather than by whichever NumPy or safetensors is
installed (see safetensors.py). Rows go out in blocks, so that writing never
holds a second copy of them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import pickle
import re
import stat
import struct
import textwrap
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..arrays.row_blocks import Array, RowsLike, StrPath, TakenRows, little_endian, row_blocks
from .atomic import atomic_file
from .safetensors import map_safetensor, open_safetensors, write_safetensors

__all__ = [
    "INPUT_SUFFIXES",
    "OUTPUT_SUFFIXES",
    "TakenRows",
    "check_output_suffix",
    "read_array",
    "read_npz",
    "read_pairs",
    "write_npz",
    "write_pairs",
]

INPUT_SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")
OUTPUT_SUFFIXES = (".npz", ".safetensors")

# ---------------------------------------------------------------------------------------- reading


def read_array(
    path: StrPath, key: str | None = None, *, name: str = "latents", key_name: str = "key"
) -> Array:
    """Read one array from a file, memory-mapped where the format allows.

    Parameters
    ----------
    path
        A .npy, .npz, .safetensors, .pt or .pth file.
    key
        Which array, in a file that holds several by name. Not needed when there is only one.
    name, key_name
        What the path and the key are called in messages, such as ``LATENTS`` and ``--key``.

    Returns
    -------
    numpy.ndarray
        The array as stored. Read-only if it is memory-mapped; bfloat16 becomes float32.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError, OSError
        If the file cannot be opened.
    ValueError
        If it is empty, truncated, not what its suffix says, or does not hold ``key``.
    TypeError
        If it holds Python objects or an element type that has no rows of numbers.
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
    size = _file_size(path, name)
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
        return _read_npy(path, shown)
    if suffix == ".npz":
        return _read_npz_array(path, key, shown, key_name)
    if suffix == ".safetensors":
        tensors, _ = open_safetensors(path, shown)
        key = _pick(list(tensors), key, shown, key_name)
        return map_safetensor(path, tensors[key], f"tensor '{key}' of {shown}")
    return _read_torch(path, key, shown, key_name)


def _file_size(path: Path, name: str) -> int:
    """Bytes of a regular file that can be opened; otherwise an error that says what it is."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{name} must be a file, and '{path}' is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{name} must be a regular file, and '{path}' is a pipe or a device")
        with path.open("rb"):
            return status.st_size
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} '{path}' does not exist") from None
    except OSError as error:
        if error.strerror is None:
            raise
        raise type(error)(f"{name} '{path}' cannot be read: {error.strerror}") from None
    except ValueError:  # an embedded null byte
        raise ValueError(f"{name} must be a path, and {str(path)!r} is none") from None


def _pick(keys: list[str], key: str | None, shown: str, key_name: str) -> str:
    """Return the key asked for, or the only one; otherwise raise with the keys there are."""
    listed = ", ".join(f"'{name}'" for name in keys[:20]) + (", ..." if len(keys) > 20 else "")
    if key is not None:
        if key in keys:
            return key
        raise ValueError(
            f"{key_name} '{key}' is not in {shown}, which holds: {listed or 'nothing'}"
        )
    if not keys:
        raise ValueError(f"{shown} holds no array")
    if len(keys) > 1:
        raise ValueError(f"{key_name} is needed to choose from {shown}, which holds: {listed}")
    return keys[0]


def _reason(error: BaseException) -> str:
    """Return the first line of another library's message, or as much of it as is readable."""
    lines = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()
    return textwrap.shorten(lines[0], 200, placeholder=" ...") if lines else type(error).__name__


@contextlib.contextmanager
def _reading(broken: str) -> Iterator[None]:
    """Make one ValueError, `broken` and the reason, of whatever a reader makes of damaged bytes.

    NumPy, zipfile and torch were written for sound files: on others they raise what their innermost
    line happens to raise, from SyntaxError to IndexError. Memory that is not there and the disk's
    own errors are no fault of the bytes, and stay what they are.
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


def _read_npy_header(
    file: IO[bytes], size: int, shown: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and dtype, and hold them against the `size` bytes that there are."""
    broken = f"{shown} has a broken or truncated header"
    with _reading(broken):
        try:
            version = np.lib.format.read_magic(file)
            # 3.0 is 2.0 with UTF-8 field names, and there are no fields in rows of numbers.
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran_order, dtype = read(file)
        except MemoryError as error:  # headers are small: it is what their nesting asks of a parser
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


def _read_npy(path: Path, shown: str) -> Array:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError(f"{shown} is not a .npy file: it does not start with \\x93NUMPY")
        file.seek(0)
        shape, fortran_order, dtype = _read_npy_header(file, path.stat().st_size, shown)
        offset = file.tell()
    with _reading(f"{shown} is damaged: no array has the shape {shape} of its header"):
        if math.prod(shape) * dtype.itemsize == 0:  # nothing to map
            return np.empty(shape, dtype)
        return np.memmap(
            path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran_order else "C"
        )


def _open_npz(path: Path, shown: str) -> zipfile.ZipFile:
    with _reading(f"{shown} is not a readable .npz file"):
        if zipfile.is_zipfile(path):
            return zipfile.ZipFile(path)  # unlike np.load it leaves nothing open when it fails
    raise ValueError(f"{shown} is truncated or not a .npz file: no zip directory was found")


def _npz_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by the names that their arrays have."""
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _load_npz_member(archive: zipfile.ZipFile, key: str, shown: str) -> Array:
    member = f"array '{key}' of {shown}"
    info = _npz_members(archive)[key]
    with _reading(f"{member} is damaged"):
        with archive.open(info) as file:
            if file.read(6) != b"\x93NUMPY":
                raise ValueError(f"'{info.filename}' is not an array")
        file = archive.open(info)
    with file:
        # First the header alone: a damaged one could ask for more memory than there is.
        _read_npy_header(file, info.file_size, member)
    with _reading(f"{member} is damaged"), archive.open(info) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _read_npz_array(path: Path, key: str | None, shown: str, key_name: str) -> Array:
    with _open_npz(path, shown) as archive:
        key = _pick(list(_npz_members(archive)), key, shown, key_name)
        return _load_npz_member(archive, key, shown)


def _read_torch(path: Path, key: str | None, shown: str, key_name: str) -> Array:
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{shown} needs PyTorch to be read, and it is not installed: pip install torch, or "
            "save the tensor as .npy or .safetensors"
        ) from None
    with _reading(f"{shown} is truncated or not a file that torch.load can read"):
        try:
            content = _load_torch(path)
        except pickle.UnpicklingError as error:
            if not re.search("GLOBAL|Trying to|blocked", str(error)):
                raise
            content = error
        except RuntimeError as error:
            if "requires grad" not in str(error):
                raise
            content = error
    if isinstance(content, pickle.UnpicklingError):
        raise TypeError(
            f"{shown} must hold a tensor or a dict of tensors, and holds other Python objects, "
            "which are never unpickled (torch.load with weights_only=True refuses them)"
        )
    if isinstance(content, RuntimeError):
        raise TypeError(
            f"{shown} must hold a dense tensor of a type that NumPy has, and holds "
            f"{_torch_dtype(path, shown)} that requires grad, which torch.load cannot rebuild"
        )
    tensor: Any = content
    if isinstance(content, Mapping):
        tensors = {
            str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)
        }
        tensor = tensors[_pick(list(tensors), key, shown, key_name)]
    elif not isinstance(content, torch.Tensor):
        raise TypeError(
            f"{shown} must hold a tensor or a dict of tensors, and holds a {type(content).__name__}"
        )
    elif key is not None:
        raise ValueError(
            f"{key_name} '{key}' has no meaning for {shown}, which holds a single tensor"
        )
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    try:
        return np.asarray(tensor.numpy())
    except (TypeError, RuntimeError):
        raise TypeError(
            f"{shown} must hold a dense tensor of a type that NumPy has, and holds {tensor.dtype} "
            f"in layout {tensor.layout}"
        ) from None


def _load_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files of the format before torch 1.6 cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True)


def _torch_dtype(path: Path, shown: str) -> str:
    """Name the youngest element types of a file that torch.load gave up on: its newest format."""
    with _reading(f"{shown} is damaged"), zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        found = re.findall(rb"ctorch\n((?:float|uint|int|bits)\w+)\n", archive.read(pickled))
    return " and ".join(sorted({f"torch.{name.decode()}" for name in found})) or "another type"


# ---------------------------------------------------------------------------------------- writing


def check_output_suffix(path: StrPath, name: str = "path") -> None:
    """Refuse an output whose suffix names no format that can be written.

    Raises
    ------
    ValueError
        With the suffixes there are.
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
        By name: arrays, or `TakenRows`. Stored little-endian and C-ordered.
    meta
        What can be written as JSON. In .npz it is the string array ``meta``; in .safetensors the
        metadata entry ``meta``.

    Raises
    ------
    ValueError
        If the suffix is neither, or an array's dtype does not exist in .safetensors.
    OSError
        If writing fails. An earlier file at ``path`` is then as it was, and no other is left.

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
        write_safetensors(path, arrays, {"meta": _meta_text(meta)})


def read_pairs(path: StrPath, *, name: str = "path") -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `write_pairs` wrote.

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
    _file_size(path, name)
    check_output_suffix(path, name)
    if path.suffix.lower() == ".npz":
        return read_npz(path, name=name)
    tensors, metadata = open_safetensors(path, shown)
    meta = _parse_meta(metadata.get("meta"), shown)
    arrays = {
        key: np.array(map_safetensor(path, tensor, f"tensor '{key}' of {shown}"))
        for key, tensor in tensors.items()
    }
    return arrays, meta


def read_npz(path: StrPath, *, name: str = "path") -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `write_npz` wrote, whatever the suffix; raises as `read_pairs` does."""
    path = Path(path)
    _file_size(path, name)
    shown = f"{name} '{path}'"
    with _open_npz(path, shown) as archive:
        arrays = {key: _load_npz_member(archive, key, shown) for key in _npz_members(archive)}
    text = arrays.pop("meta", None)
    return arrays, _parse_meta(None if text is None else str(text), shown)


def _parse_meta(text: str | None, shown: str) -> dict[str, Any]:
    try:
        meta = json.loads(text or "")
    except (ValueError, RecursionError):
        meta = None
    if not isinstance(meta, dict):
        raise ValueError(f"{shown} was not written by gtn-label: it has no meta")
    return meta


def _meta_text(meta: Mapping[str, Any]) -> str:
    return json.dumps(meta, sort_keys=True, allow_nan=False)


def _npy_header(array: RowsLike) -> bytes:
    """Version 1.0, padded to 64 bytes as the format asks."""
    descr = little_endian(array.dtype).str
    shape = tuple(int(extent) for extent in array.shape)
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    padded = text.ljust(length - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + padded.encode("latin1")


def write_npz(path: StrPath, arrays: Mapping[str, RowsLike], meta: Mapping[str, Any]) -> None:
    """Write a .npz file, whatever the suffix; otherwise as `write_pairs`."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, array in {**arrays, "meta": np.array(_meta_text(meta))}.items():
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, everywhere
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(_npy_header(array))
                for block in row_blocks(array):
                    member.write(block)
