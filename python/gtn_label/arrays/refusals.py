"""Errors for what cannot be read as rows of numbers; each says what to pass instead.

People pass frames, data sets, dicts and tensors without values. Not here: shapes, and arrays that
are read (convert.py). No library is imported: the module of an object is already loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from ..errors import ArgumentError, ArgumentTypeError

__all__ = [
    "check_array_like",
    "check_dense",
    "dtype_error",
    "no_array",
    "no_tensor",
    "object_error",
]

_MOST_CHARACTERS = 300  # of another library's message
_READABLE = ("__array__", "__array_interface__", "__array_struct__")


def check_array_like(value: Any, name: str) -> None:
    """Raise ArgumentTypeError for an object that NumPy would make an array of objects of."""
    if isinstance(value, (str, bytes)) or hasattr(value, "__fspath__"):
        got = f"{type(value).__name__} {value!r}"
        raise _no_array(name, got, "load the file first, e.g. numpy.load(path, mmap_mode='r')")
    if hasattr(value, "nnz") and hasattr(value, "toarray"):
        raise ArgumentTypeError(
            name,
            "must be a dense array",
            f"sparse {type(value).__name__}",
            f"pass {name}.toarray()",
        )
    if value is None or isinstance(value, (list, tuple, int, float, complex, np.generic)):
        if value is None:
            raise _no_array(name, "None", "pass a NumPy array, a tensor or nested lists")
        return
    if any(hasattr(value, way) for way in _READABLE) or _lends_buffer(value):
        return
    kind = type(value)
    got = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if isinstance(value, Mapping):
        keys = ", ".join(repr(key) for key in list(value)[:5])
        raise _no_array(name, f"{got} with the keys {keys or '(none)'}", f"pass {name}[key]")
    if isinstance(value, Set):
        raise _no_array(name, got, "a set has no order of rows: pass a list or an array")
    if kind.__module__.startswith("datasets.") and kind.__name__ == "Column":
        raise _no_array(name, got, f"pass numpy.asarray({name}[:])")
    if kind.__module__.startswith("datasets."):
        raise _no_array(name, got, f"pass {name}.with_format('numpy')['column'], one column of it")
    if kind.__name__ == "DataLoader":
        advice = f"pass numpy.concatenate([batch.numpy() for batch in {name}])"
        raise _no_array(name, got, f"{advice}, or what the batches hold")
    if hasattr(value, "collect"):  # a frame that polars has not worked out yet
        raise _no_array(name, got, f"pass {name}.collect()")
    if hasattr(value, "__getitem__") and hasattr(value, "__len__"):  # a data set of torch's
        advice = f"pass numpy.stack([{name}[i] for i in range(len({name}))]), or what an item holds"
        raise _no_array(name, got, advice)
    if isinstance(value, Iterable):
        raise _no_array(name, got, f"pass numpy.stack(list({name}))")
    raise _no_array(name, got, "pass a NumPy array, a tensor or nested lists")


def _no_array(name: str, got: str, advice: str) -> ArgumentTypeError:
    return ArgumentTypeError(name, "must be an array", got, advice)


def _lends_buffer(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


def no_array(value: Any, name: str, error: Exception) -> ArgumentError:
    """Return the error for an object of which NumPy cannot make an array."""
    if "Tracer" in type(value).__name__:
        advice = "call this function outside jax.jit, jax.vmap and jax.grad"
        return ArgumentError(name, "must hold values", "a tracer of JAX's", advice)
    advice = ""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, (list, tuple)):
        tensors = any(isinstance(row, torch.Tensor) for row in value[:1])
        advice = f"pass torch.stack({name})" if tensors else ""
    return ArgumentError(
        name, f"must be a rectangular array of numbers: {_first_line(error)}", advice=advice
    )


def dtype_error(name: str, dtype: str, advice: str = "") -> ArgumentTypeError:
    """Return the error for a dtype that the engine does not read."""
    if dtype.startswith("float"):  # numpy.longdouble would lose bits without a word
        advice = advice or f"convert it yourself if that may be: {name}.astype('float64')"
    elif dtype.startswith(("complex", "torch.complex")):
        advice = f"pass real numbers, e.g. numpy.hstack([{name}.real, {name}.imag])"
    elif dtype.startswith("|V"):
        advice = (
            "these are bytes without a type, as numpy.save leaves of bfloat16 and float8; view "
            f"them as what they were, e.g. {name}.view(ml_dtypes.bfloat16)"
        )
    elif dtype.startswith(("bool", "<U", "|S", ">U", "StringDType")):
        advice = f"pass {name}.astype('float32') if its values are numbers"
    elif dtype.startswith("torch."):
        advice = f"pass {name}.float() if its values fit float32"
    elif dtype.startswith(("datetime64", "timedelta64")):
        advice = f"pass numbers, e.g. {name}.astype('int64')"
    rule = "must have dtype float16, float32, float64, bfloat16, float8 or an integer"
    return ArgumentTypeError(name, rule, dtype, advice)


def object_error(value: Any, array: Any, name: str) -> ArgumentTypeError:
    """Return the error for an array of Python objects, made of `value`."""
    first = array.flat[0] if array.size else None
    library = type(value).__module__.partition(".")[0]
    if array.ndim == 1 and (hasattr(first, "__len__") and not isinstance(first, (str, bytes))):
        rows = f"numpy.stack(list({name}))"
        advice = f"its entries are {type(first).__name__}s: pass {rows}, if all have one length"
    elif library == "pandas":
        advice = (
            f"pass {name}.to_numpy(dtype='float32'), without missing values and columns of text"
        )
    elif library in ("polars", "pyarrow"):
        advice = f"pass {name}.to_numpy() of numeric columns without missing values"
    else:
        kind = "None" if first is None else type(first).__name__
        advice = f"its first entry is {kind}; if all are numbers, pass {name}.astype('float64')"
        if not hasattr(value, "astype"):
            advice = advice.replace(f"{name}.astype", f"numpy.asarray({name}).astype")
    return dtype_error(name, "object", advice)


# ------------------------------------------------------------------------------------------- torch


def check_dense(tensor: Any, name: str) -> None:
    """Raise an error for a torch tensor that is no plain array of values in memory."""
    if getattr(tensor, "is_nested", False):
        advice = f"pass torch.cat({name}.unbind()) if its parts are rows of one length"
        raise ArgumentTypeError(name, "must be a dense tensor", "a nested tensor", advice)
    if str(tensor.layout) != "torch.strided":
        raise ArgumentTypeError(
            name, "must be a dense tensor", f"layout {tensor.layout}", f"pass {name}.to_dense()"
        )
    if getattr(tensor, "is_quantized", False):
        raise ArgumentTypeError(
            name,
            "must be a tensor of plain numbers",
            f"a quantized one of {tensor.dtype}",
            f"pass {name}.dequantize()",
        )
    fake = hasattr(tensor, "fake_mode")
    if fake or tensor.device.type == "meta":
        got = "a fake tensor" if fake else "a tensor on meta"
        advice = "make it on a device, outside FakeTensorMode, torch.compile and torch.export"
        raise ArgumentError(name, "must hold values", got, advice)


def no_tensor(tensor: Any, name: str, error: Exception) -> ArgumentTypeError:
    """Return the error for a tensor whose values torch does not hand out."""
    if isinstance(error, TypeError):
        return dtype_error(name, str(tensor.dtype))
    return ArgumentTypeError(
        name,
        "must be a tensor whose values can be read",
        f"{type(tensor).__name__}: {_first_line(error)}",
        "call this function outside torch.func, vmap and torch.compile",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:_MOST_CHARACTERS] if lines else type(error).__name__
