"""Any array-like becomes rows that the engine reads.

NumPy arrays (memory maps, any layout and byte order), torch CPU tensors, `__dlpack__` objects and
lists become C-contiguous native float32 or float64, without a copy where they already are. Their
dtype and shape are checked here; their values (NaN, zero rows, norms) by the engine. Not here:
arrays on a GPU (on_gpu.py), results as arrays of the caller's kind (to_caller.py), and words for
what cannot be read (refusals.py).

Widening (numeric contract, 1): float16, bfloat16 and narrower floats to float32, integers to
float64. All are exact but for integers beyond 2**53. torch is never imported: the module of a
tensor is already loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, ArgumentTypeError
from .label_names import names_of
from .narrow import integer_of, narrow_name
from .refusals import (
    check_array_like,
    check_dense,
    dtype_error,
    no_array,
    no_tensor,
    object_error,
)
from .row_blocks import RowsLike, little_endian, row_blocks

CPU_DLPACK_DEVICES = (1, 3, 11)  # kDLCPU, kDLCUDAHost and kDLROCMHost (pinned host memory)


@dataclass(frozen=True)
class Rows:
    """One checked input.

    Attributes
    ----------
    given : ndarray or torch.Tensor
        The caller's array, NumPy arrays as read-only views.
    rows : ndarray [n, dim]
        The same values, C-contiguous, aligned, native float32 or float64.
    """

    given: Any
    rows: npt.NDArray[Any]


def as_rows(value: Any, name: str) -> Rows:
    """Check and convert a two-dimensional array of rows.

    Parameters
    ----------
    value : array_like [n, dim]
        NumPy array, torch CPU tensor, object with `__dlpack__` in CPU memory, or nested lists.
    name : str
        Name of the argument in messages, such as "latents".

    Raises
    ------
    ArgumentTypeError
        If the dtype is none of float16/32/64, narrower floats that ml_dtypes or torch has, and
        integers, or the array is sparse.
    ArgumentError
        If the array is not 2-D, has no rows or columns, is ragged, masked, or not in CPU memory.
    """
    given, array = _read(value, name)
    _check_real(array, name, value)
    check_shape(array.shape, name)
    return Rows(given, _engine_rows(array, name))


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise ArgumentError unless an array is 2-D with at least one row and one column."""
    if len(shape) != 2:
        raise ArgumentError(name, "must be 2-D [rows, dim]", _advice(shape))
    if shape[0] == 0:
        raise ArgumentError(name, "must have at least one row (n >= 1)", f"shape {shape}")
    if shape[1] == 0:
        raise ArgumentError(name, "must have at least one column (dim >= 1)", f"shape {shape}")


def as_column(value: Any, name: str) -> Rows:
    """Check and convert one column of numbers, [n] or [n, 1], for the 1-D labeling.

    `given` keeps its shape; `rows` is [n]. Errors are those of `as_rows`.
    """
    given, array = _read(value, name)
    _check_real(array, name, value)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise ArgumentError(
            name,
            "must be one column, shape [n] or [n, 1]",
            f"shape {array.shape}",
            "rows of two or more columns are for match()",
        )
    if array.shape[0] == 0:
        raise ArgumentError(name, "must have at least one row (n >= 1)", f"shape {array.shape}")
    return Rows(given, _engine_rows(array, name).reshape(-1))


def as_labels(value: Any, name: str, length: int, rows_name: str) -> npt.NDArray[np.int64]:
    """Check group labels, one for each of `length` rows, and convert them to int64.

    Raises
    ------
    ArgumentTypeError
        If the labels are not integers (bool is not).
    ArgumentError
        If the labels are not 1-D, not `length` long, or beyond int64.
    """
    labels = read_labels(value, name, length, rows_name)
    return np.ascontiguousarray(labels, dtype=np.int64)


def read_labels(
    value: Any, name: str, length: int, rows_name: str, names: bool = False
) -> npt.NDArray[Any]:
    """Check group labels as `as_labels` does, and leave their dtype.

    With `names`, strings and bytes are labels too; Python's become NumPy's. Labels that are missing
    (None, NaN, pandas' NA) are refused.
    """
    _, array = _read(value, name)
    if array.ndim != 1 or array.shape[0] != length:
        raise ArgumentError(
            name,
            f"must be 1-D with one label for each of the {length} {rows_name}",
            f"shape {array.shape}",
        )
    if names:
        if array.dtype.kind in "US" and isinstance(value, (list, tuple)):
            array = np.array(value, dtype=object)  # NumPy has made strings of all that is there
        array = names_of(array, name)
    if array.dtype.kind not in ("iuUS" if names else "iu"):
        rule = "must hold strings or integers" if names else "must hold integers"
        advice = f"pass {name}.astype(int)" if array.dtype.kind in "bf" else ""
        got = f"dtype {array.dtype}"
        if array.dtype.kind == "O":
            got += f" of {', '.join(sorted({type(label).__name__ for label in array})[:5])}"
        raise ArgumentTypeError(name, rule, got, advice)
    if array.dtype.kind == "u" and int(array.max()) > np.iinfo(np.int64).max:
        raise ArgumentError(name, "must fit int64", str(array.max()))
    return array


def refuse_non_finite(rows: npt.NDArray[Any], name: str) -> None:
    """Raise ArgumentError if a row holds NaN or infinity, in the engine's words.

    Callers use it that compute with the rows before the engine sees them, or without it.
    """
    finite = np.isfinite(rows)
    if finite.all():
        return
    bad = np.flatnonzero(~finite if rows.ndim == 1 else ~finite.all(axis=1))
    first = ", ".join(str(index) for index in bad[:5]) + (", ..." if len(bad) > 5 else "")
    raise ArgumentError(
        name,
        f"must be finite, but NaN or infinity was found in {len(bad)} of {len(rows)} rows: "
        f"{'row' if len(bad) == 1 else 'rows'} {first}",
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


def numpy_of(tensor: Any) -> npt.NDArray[Any]:
    """Return a tensor's values in CPU memory, without a copy where they are there already.

    Floats that NumPy lacks, such as bfloat16, become float32.

    Raises
    ------
    TypeError
        If NumPy lacks the dtype.
    """
    tensor = tensor.detach().cpu()
    if narrow_name(tensor.dtype):
        tensor = tensor.float()
    array: npt.NDArray[Any] = tensor.resolve_conj().resolve_neg().numpy()
    return array


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view of an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def locked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only view that NumPy refuses to make writable, whoever owns the memory."""
    bits = array
    if array.dtype.kind == "V" or narrow_name(array.dtype):  # no memoryview has them
        bits = array.view(f"u{array.dtype.itemsize}")
    view: npt.NDArray[Any] = np.asarray(memoryview(cast(Any, bits)).toreadonly())
    return view if view.dtype == array.dtype else view.view(array.dtype)


def _read(value: Any, name: str) -> tuple[Any, npt.NDArray[Any]]:
    """Return the caller's array or tensor, and its values as a NumPy array in CPU memory."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return value.detach(), _read_tensor(value, name)
    array = read_only(_read_array(value, name))
    return array, array


def _read_array(value: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ArgumentError(
                name,
                "must have no masked values",
                str(int(np.ma.getmaskarray(value).sum())),
                "drop those rows or fill them",
            )
        return value.data
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        return _read_dlpack(value, name)
    if hasattr(value, "__cuda_array_interface__"):
        raise ArgumentTypeError(
            name,
            "must offer __dlpack__ to be read on a GPU",
            f"{type(value).__name__}, which has only __cuda_array_interface__",
            "make it a torch or CuPy array",
        )
    check_array_like(value, name)
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise no_array(value, name, error) from error


def _read_tensor(tensor: Any, name: str) -> npt.NDArray[Any]:
    check_dense(tensor, name)
    if tensor.device.type != "cpu":
        raise ArgumentError(
            name, "must be in CPU memory", f"a tensor on {tensor.device}", f"pass {name}.cpu()"
        )
    try:
        return numpy_of(tensor)
    except (TypeError, RuntimeError) as error:
        raise no_tensor(tensor, name, error) from None


def _read_dlpack(value: Any, name: str) -> npt.NDArray[Any]:
    device, index = value.__dlpack_device__()
    if int(device) not in CPU_DLPACK_DEVICES:
        raise ArgumentError(
            name,
            "must be in CPU memory",
            f"{type(value).__name__} on DLPack device ({int(device)}, {index})",
            "copy it to the CPU first",
        )
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        # JAX lends no bfloat16 and float8 through DLPack, but NumPy's protocol has them.
        with contextlib.suppress(Exception):
            return np.asarray(value.__array__())
        raise unreadable(value, name, error) from error


def unreadable(value: Any, name: str, error: Exception) -> ArgumentTypeError:
    """Return the error for an object that does not lend its memory through `__dlpack__`."""
    got = f"{type(value).__name__}: {error}"
    return ArgumentTypeError(name, "must be readable through __dlpack__", got)


def _check_real(array: npt.NDArray[Any], name: str, value: Any) -> None:
    dtype = array.dtype
    if dtype.kind == "O":
        raise object_error(value, array, name)
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return
    if narrow_name(dtype) or integer_of(dtype):
        return
    raise dtype_error(name, str(dtype))


def _advice(shape: tuple[int, ...]) -> str:
    """Describe a shape that is not 2-D, and the shape to give the array."""
    if len(shape) == 0:
        return "a single value"
    if len(shape) == 1:
        n = shape[0]
        return f"1-D shape {shape}: rows of one value have shape ({n}, 1), one row has (1, {n})"
    flat = (shape[0], math.prod(shape[1:]))
    return f"{len(shape)}-D shape {shape}: as one row an entry it has shape {flat}"


def _engine_rows(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Return the array itself if the engine can read it, else a copy that it can."""
    narrow = narrow_name(array.dtype) or (array.dtype.kind == "f" and array.dtype.itemsize <= 4)
    dtype = np.float32 if narrow else np.float64
    try:
        return np.require(array, dtype=dtype, requirements=["C", "A"])
    except MemoryError:
        needed = array.size * np.dtype(dtype).itemsize
        raise MemoryError(
            f"{name}: shape {array.shape} needs {needed:,} bytes as rows of {np.dtype(dtype)}, "
            "more than there is"
        ) from None
