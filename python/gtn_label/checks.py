"""Checks of single options, for Python functions and commands; each returns the checked value.

Not here: the options of a matching as a whole (match_options.py) and arrays (arrays/convert.py).
"""

from __future__ import annotations

import math
import operator
import os
import re
from typing import Any

import numpy as np

from .errors import ArgumentError, ArgumentTypeError
from .text import plain, quoted

ORDERS = ("norm", "norm_desc", "index")
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def check_order(order: Any, name: str = "order") -> str:
    """Return `order` if it is one of ORDERS; raise ArgumentError otherwise."""
    if not isinstance(order, str) or order not in ORDERS:
        known = ", ".join(repr(known) for known in ORDERS)
        advice = ""
        if hasattr(order, "shape"):
            advice = "for an order of your own pass sources[order] and order='index'"
        raise ArgumentError(name, f"must be one of {known}", repr(order), advice)
    return order


def as_bool(value: Any, name: str) -> bool:
    """Return a flag of Python's or NumPy's as a bool; raise ArgumentTypeError otherwise."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(name, "must be a bool", f"{type(value).__name__} {plain(value)}")
    return bool(value)


def as_integer(value: Any, name: str, least: int, unit: str = "") -> int:
    """Return an int of at least `least`; ArgumentTypeError for bool and non-integers."""
    if isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(name, f"must be an int{unit}", f"bool {plain(value)}")
    dtype = str(getattr(value, "dtype", ""))
    try:
        if "bool" in dtype:
            raise TypeError
        number = operator.index(value)  # NumPy's, torch's and JAX's scalars of integers too
    except (TypeError, RuntimeError):
        advice = "pass an int, or an array that holds a single integer" if dtype else ""
        raise ArgumentTypeError(
            name, f"must be an int{unit}", f"{type(value).__name__} {plain(value)}", advice
        ) from None
    if number < least:
        raise ArgumentError(name, f"must be >= {least}", str(number))
    return number


def parse_bytes(text: str) -> int:
    """Return the bytes of a size such as `2GB`, `512 MiB`, `1.5g` or `800000`.

    kB, MB, GB, TB (and k, M, G, T) are powers of 1,000; KiB, MiB, GiB, TiB of 1,024.

    Raises
    ------
    ValueError
        If the text is no size, or the size is not above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)(b?)", text.strip().lower())
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"{quoted(text)} is not a size such as 2GB, 512MiB or 800000")
    size = float(found[1]) * (1024 if found[3] else 1000) ** _UNITS[found[2]]
    if not 1 <= size < float("inf"):
        raise ValueError(f"{quoted(text)} is not {'above zero' if size < 1 else 'a finite size'}")
    return int(size)


def as_number(value: Any, name: str, least: float) -> float:
    """Return a finite float of at least `least`; ArgumentTypeError for what is no number."""
    try:
        if isinstance(value, (bool, np.bool_, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            name, "must be a number", f"{type(value).__name__} {value!r}"
        ) from None
    if not (math.isfinite(number) and number >= least):
        raise ArgumentError(name, f"must be a finite number >= {least:g}", repr(number))
    return number


def as_text(value: Any, name: str) -> str:
    """Return a str; raise ArgumentTypeError otherwise."""
    if not isinstance(value, str):
        raise ArgumentTypeError(name, "must be a str", f"{type(value).__name__} {plain(value)}")
    return value


def as_path(value: Any, name: str) -> str | os.PathLike[str]:
    """Return the path of a file; raise ArgumentTypeError or ArgumentError otherwise."""
    if not isinstance(value, (str, os.PathLike)):
        raise ArgumentTypeError(name, "must be a path", f"{type(value).__name__} {value!r}")
    if not os.fspath(value):
        raise ArgumentError(name, "must be the path of a file", repr(value))
    return value


def check_seed(seed: Any) -> int:
    """Return a seed, an int >= 0."""
    return as_integer(seed, "seed", 0)
