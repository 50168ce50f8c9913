"""Floats that NumPy lacks: bfloat16 and the types of 8, 6 and 4 bits, all exact in float32.

ml_dtypes has them for NumPy and JAX, torch has some, and .safetensors stores some. Here they are
known by their names and their bits, so that neither package is needed to read or to write them.
Files without a name for a type, hashes and checkpoints hold its values as float32.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import numpy as np

from .row_blocks import Array, RowsLike, TakenRows

__all__ = [
    "STORED",
    "NarrowRows",
    "fits",
    "integer_of",
    "is_narrow",
    "narrow_name",
    "narrow_rows",
    "take_rows",
    "widen",
]


class _Format(NamedTuple):
    """Layout of a float of at most 8 bits: sign (if `signed`), exponent, fraction."""

    exponent: int  # bits
    fraction: int  # bits
    bias: int
    special: str  # "ieee": infinities and NaN; "fn": NaN is all ones; "uz": NaN is -0; "none"
    signed: bool = True


_FORMATS = {
    "float8_e3m4": _Format(3, 4, 3, "ieee"),
    "float8_e4m3": _Format(4, 3, 7, "ieee"),
    "float8_e4m3fn": _Format(4, 3, 7, "fn"),
    "float8_e4m3fnuz": _Format(4, 3, 8, "uz"),
    "float8_e4m3b11fnuz": _Format(4, 3, 11, "uz"),
    "float8_e5m2": _Format(5, 2, 15, "ieee"),
    "float8_e5m2fnuz": _Format(5, 2, 16, "uz"),
    "float8_e8m0fnu": _Format(8, 0, 127, "fn", signed=False),
    "float6_e2m3fn": _Format(2, 3, 1, "none"),
    "float6_e3m2fn": _Format(3, 2, 3, "none"),
    "float4_e2m1fn": _Format(2, 1, 1, "none"),
}
# Names in .safetensors. Types of 6 and 4 bits are packed there, and are not read.
STORED = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}


def narrow_name(dtype: Any) -> str | None:
    """Return the name of a narrow float by its dtype in ml_dtypes or torch; None for all others.

    Examples
    --------
    >>> narrow_name(np.dtype("float16")) is None
    True
    """
    name = dtype.name if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")
    return name if is_narrow(name) else None


def is_narrow(name: Any) -> bool:
    """Tell if a value is the name of a narrow float."""
    return isinstance(name, str) and (name == "bfloat16" or name in _FORMATS)


def bits_dtype(name: str) -> np.dtype[Any]:
    """Return the unsigned integers that hold the bits of a narrow float."""
    return np.dtype("<u2" if name == "bfloat16" else "|u1")


def integer_of(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return NumPy's integers that hold those of ml_dtypes with 1 to 4 bits; None for others."""
    found = re.fullmatch(r"(u?)int[1-4]", dtype.name)
    return np.dtype(f"{found[1]}int8") if found else None


def widen(bits: Array, name: str) -> Array:
    """Convert bits of a narrow float to float32, exactly; NaN stays NaN."""
    if name != "bfloat16":
        return _table(name)[bits]
    wide = np.asarray(bits, dtype=np.uint32)  # a bfloat16 is the upper half of a float32
    wide <<= 16
    return wide.view(np.float32)


def fits(rows: Array, name: str) -> Array:
    """Tell of each float32 if it is a number of a narrow float, to the sign of a zero."""
    bits = np.ascontiguousarray(rows, dtype=np.float32).view(np.uint32)
    lost = np.uint32(0xFFFF)  # a bfloat16 is the upper half of a float32
    found: Array = (
        bits & lost == 0 if name == "bfloat16" else np.isin(bits, _table(name).view(bits.dtype))
    )
    return found


@functools.cache
def _table(name: str) -> Array:
    """Return the float32 of every byte; of a type with fewer bits only the lower ones count."""
    form = _FORMATS[name]
    byte = np.arange(256)
    fraction = byte & ((1 << form.fraction) - 1)
    exponent = (byte >> form.fraction) & ((1 << form.exponent) - 1)
    top = (1 << form.exponent) - 1
    # Zero and the numbers below the normal range have no leading one; e8m0 has no such numbers.
    normal = (exponent > 0) | (form.fraction == 0)
    value = np.ldexp(
        normal + fraction / (1 << form.fraction), np.where(normal, exponent, 1) - form.bias
    )
    negative = (byte >> (form.exponent + form.fraction)) & 1 if form.signed else 0 * byte
    if form.special == "ieee":
        value[exponent == top] = np.inf
        value[(exponent == top) & (fraction > 0)] = np.nan
    elif form.special == "fn":
        value[(exponent == top) & (fraction == (1 << form.fraction) - 1)] = np.nan
    elif form.special == "uz":
        value[(negative == 1) & (exponent == 0) & (fraction == 0)] = np.nan
    table: Array = np.where(negative == 1, -value, value).astype(np.float32)
    table.flags.writeable = False
    return table


class NarrowRows:
    """Rows of a narrow float by their bits; a slice or an index gives them as float32.

    Parameters
    ----------
    bits
        Unsigned integers [n, dim].
    name
        Name of the type.
    """

    def __init__(self, bits: RowsLike, name: str) -> None:
        self.bits = bits
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, dim]."""
        return self.bits.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type of slices: float32."""
        return np.dtype(np.float32)

    def __getitem__(self, rows: Any, /) -> Array:
        return widen(np.asarray(self.bits[rows]), self.name)

    def array(self) -> Array:
        """Return all rows in the type of ml_dtypes if it can be imported, else as float32."""
        bits = np.asarray(self.bits[...])
        try:
            import ml_dtypes
        except ImportError:
            return widen(bits, self.name)
        dtype = getattr(ml_dtypes, self.name, None)  # an old release lacks the newest types
        return widen(bits, self.name) if dtype is None else bits.view(dtype)


def narrow_rows(array: Array) -> RowsLike:
    """Return an array as files hold it: `NarrowRows`, int8 for fewer bits, or the array itself."""
    name = narrow_name(array.dtype)
    if name is not None:
        return NarrowRows(array.view(bits_dtype(name)), name)
    integer = integer_of(array.dtype)
    return array if integer is None else array.astype(integer)


def take_rows(rows: RowsLike, index: Any) -> RowsLike:
    """Return `rows[index]` without the copy."""
    if isinstance(rows, NarrowRows):
        return NarrowRows(TakenRows(rows.bits, index), rows.name)
    return TakenRows(rows, index)
