"""From any array-like to the rows the engine reads.

Here: NumPy arrays (memory maps, any layout and byte order), torch CPU tensors, `__dlpack__`
objects and lists become C-contiguous native float32 or float64, without a copy where they already
are; their dtype and shape are checked; sources are drawn; bytes are hashed.
Not here: the way back to the caller's kind of array (kinds.py), options, and checks of values that
the engine makes itself (NaN, zero rows, norms).

Widening (numeric contract, 1): float16 and bfloat16 to float32, integers to float64, both exact
but for integers beyond 2**53. torch is never imported: a tensor's own module is already loaded.
"""

from __future__ import annotations

import hashlib
import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .kinds import Given, GivenArray, GivenTensor
from .row_blocks import RowsLike, little_endian, row_blocks

_DRAW_VALUES = 1 << 20  # at a time: some milliseconds

CPU_DLPACK_DEVICES = (1, 3, 11)  # kDLCPU, kDLCUDAHost and kDLROCMHost (pinned host memory)


@dataclass(frozen=True)
class Rows:
    """One checked input.

    Attributes
    ----------
    given : Given
        The rows as the caller has them.
    rows : ndarray [n, dim]
        The same values, C-contiguous, aligned, native float32 or float64.
    """

    given: Given
    rows: npt.NDArray[Any]


def as_rows(value: Any, name: str) -> Rows:
    """Check and convert a two-dimensional array of rows.

    Parameters
    ----------
    value : array_like [n, dim]
        NumPy array, torch CPU tensor, object with `__dlpack__` in CPU memory, or nested lists.
    name : str
        What to call it in messages: "latents" or "sources".

    Raises
    ------
    TypeError
        If the dtype is none of float16/32/64, bfloat16 and integers, or the array is sparse.
    ValueError
        If it is not 2-D, has no rows or columns, is ragged, masked, or not in CPU memory.
    """
    given, array = _read(value, name)
    _check_real(array, name)
    check_shape(array.shape, name)
    return Rows(given, _engine_rows(array))


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Refuse what is not 2-D, or has no rows or columns."""
    if len(shape) != 2:
        raise ValueError(f"{name} must be 2-D [rows, dim], got {_advice(shape)}")
    if shape[0] == 0:
        raise ValueError(f"{name} must have at least one row (n >= 1), got shape {shape}")
    if shape[1] == 0:
        raise ValueError(f"{name} must have at least one column (dim >= 1), got shape {shape}")


def check_dense(tensor: Any, name: str) -> None:
    """Refuse a torch tensor of another layout than rows of memory."""
    if str(tensor.layout) != "torch.strided":
        raise TypeError(
            f"{name} must be a dense tensor, got layout {tensor.layout}; pass {name}.to_dense()"
        )


def dtype_message(name: str, dtype: str) -> str:
    """Say which dtypes there may be instead."""
    message = (
        f"{name} must have dtype float16, float32, float64, bfloat16 or an integer, got {dtype}"
    )
    if dtype.startswith("float"):  # numpy.longdouble would lose bits without a word
        message += f"; convert it yourself if that may be: {name}.astype('float64')"
    return message


def as_column(value: Any, name: str) -> Rows:
    """Check and convert one column of numbers, [n] or [n, 1], for the 1-D labeling.

    `given` keeps its shape; `rows` is [n]. Errors as in `as_rows`.
    """
    given, array = _read(value, name)
    _check_real(array, name)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise ValueError(
            f"{name} must be one column, shape [n] or [n, 1], got shape {array.shape}; "
            "rows of two or more columns are for match()"
        )
    if array.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row (n >= 1), got shape {array.shape}")
    return Rows(given, _engine_rows(array).reshape(-1))


def as_labels(value: Any, name: str, length: int, rows_name: str) -> npt.NDArray[np.int64]:
    """Check and convert group labels: 1-D integers, one a row of `rows_name`.

    Raises
    ------
    TypeError
        If they are not integers (bool is not).
    ValueError
        If they are not 1-D, not `length` long, or beyond int64.
    """
    _, array = _read(value, name)
    if array.ndim != 1 or array.shape[0] != length:
        raise ValueError(
            f"{name} must be 1-D with one label for each of the {length} {rows_name}, "
            f"got shape {array.shape}"
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {array.dtype}")
    if array.dtype.kind == "u" and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must fit int64, got {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int64)


def draw_sources(n: int, dim: int, seed: int) -> npt.NDArray[np.float32]:
    """Draw `n` rows of N(0, I): NumPy's Philox generator, float32, row after row [n, dim].

    In blocks, so that Ctrl-C is served in between. The stream is that of a single call.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    rows = np.empty((n, dim), dtype=np.float32)
    step = max(1, _DRAW_VALUES // max(dim, 1))
    for begin in range(0, n, step):
        generator.standard_normal(out=rows[begin : begin + step], dtype=np.float32)
    return rows


def refuse_non_finite(rows: npt.NDArray[Any], name: str) -> None:
    """Raise ValueError if a row holds NaN or infinity, in the engine's words.

    For callers that compute with the rows before the engine sees them, or without it.
    """
    finite = np.isfinite(rows)
    if finite.all():
        return
    bad = np.flatnonzero(~finite if rows.ndim == 1 else ~finite.all(axis=1))
    first = ", ".join(str(index) for index in bad[:5]) + (", ..." if len(bad) > 5 else "")
    raise ValueError(
        f"{name} must be finite, but NaN or infinity was found in {len(bad)} of {len(rows)} rows: "
        f"{'row' if len(bad) == 1 else 'rows'} {first}"
    )


def sha256(array: RowsLike) -> str:
    r"""Hash an array: SHA-256 of its dtype and shape as text, then its bytes in C order.

    The header is `"<f4 1000 64\n"`: `dtype.str` and the lengths, so equal bytes of another dtype
    or shape hash differently. Layout and byte order do not matter; nothing large is copied.
    """
    digest = hashlib.sha256()
    lengths = " ".join(str(length) for length in array.shape)
    digest.update(f"{little_endian(array.dtype).str} {lengths}\n".encode())
    for block in row_blocks(array):
        digest.update(block)
    return digest.hexdigest()


def _read(value: Any, name: str) -> tuple[Given, npt.NDArray[Any]]:
    """View what is in CPU memory, or read it into an array."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _read_tensor(value, name)
    given = GivenArray(_read_array(value, name))
    return given, given.array()


def _read_array(value: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ValueError(
                f"{name} must have no masked values, got {int(np.ma.getmaskarray(value).sum())}; "
                "drop those rows or fill them"
            )
        return value.data
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if hasattr(value, "nnz") and hasattr(value, "toarray"):
        raise TypeError(
            f"{name} must be a dense array, got sparse {type(value).__name__}; "
            f"pass {name}.toarray()"
        )
    if isinstance(value, (str, bytes)) or hasattr(value, "__fspath__"):
        raise TypeError(
            f"{name} must be an array, got {type(value).__name__} {value!r}; "
            "load the file first, e.g. numpy.load(path, mmap_mode='r')"
        )
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        return _read_dlpack(value, name)
    if hasattr(value, "__cuda_array_interface__"):
        raise TypeError(
            f"{name} must offer __dlpack__ to be read on a GPU, got {type(value).__name__}, which "
            "has only __cuda_array_interface__; make it a torch or CuPy array"
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error


def _read_tensor(tensor: Any, name: str) -> tuple[Given, npt.NDArray[Any]]:
    check_dense(tensor, name)
    if tensor.device.type != "cpu":
        raise ValueError(
            f"{name} must be in CPU memory, got a tensor on {tensor.device}; pass {name}.cpu()"
        )
    given = GivenTensor(tensor)
    try:
        return given, given.array()
    except TypeError:  # a dtype that NumPy lacks
        raise TypeError(dtype_message(name, str(tensor.dtype))) from None


def _read_dlpack(value: Any, name: str) -> npt.NDArray[Any]:
    device, index = value.__dlpack_device__()
    if int(device) not in CPU_DLPACK_DEVICES:
        raise ValueError(
            f"{name} must be in CPU memory, got {type(value).__name__} on DLPack device "
            f"({int(device)}, {index}); copy it to the CPU first"
        )
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError) as error:
        raise TypeError(
            f"{name} must be readable through __dlpack__, got {type(value).__name__}: {error}"
        ) from error


def _check_real(array: npt.NDArray[Any], name: str) -> None:
    dtype = array.dtype
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return
    raise TypeError(dtype_message(name, str(dtype)))


def _advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 0:
        return "a single value"
    if len(shape) == 1:
        n = shape[0]
        return f"1-D shape {shape}: rows of one value have shape ({n}, 1), one row has (1, {n})"
    flat = (shape[0], math.prod(shape[1:]))
    return f"{len(shape)}-D shape {shape}: as one row an entry it has shape {flat}"


def _engine_rows(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """C-contiguous, aligned, native float32 or float64; the array itself if it is that already."""
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    dtype = np.float32 if narrow else np.float64
    return np.require(array, dtype=dtype, requirements=["C", "A"])
