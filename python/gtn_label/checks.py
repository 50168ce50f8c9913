"""Checks of single options, for Python functions and commands; each returns the checked value.

Not here: the options of a matching as a whole (match_options.py) and arrays (arrays/convert.py).
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .errors import ArgumentError, ArgumentTypeError

ORDERS = ("norm", "norm_desc", "index")


def check_order(order: Any, name: str = "order") -> str:
    """Return `order` if it is one of ORDERS; raise ArgumentError otherwise."""
    if not isinstance(order, str) or order not in ORDERS:
        known = ", ".join(repr(known) for known in ORDERS)
        raise ArgumentError(name, f"must be one of {known}", repr(order))
    return order


def as_bool(value: Any, name: str) -> bool:
    """Return a flag of Python's or NumPy's as a bool; raise ArgumentTypeError otherwise."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(name, "must be a bool", f"{type(value).__name__} {value!r}")
    return bool(value)


def as_integer(value: Any, name: str, least: int, unit: str = "") -> int:
    """Return an int of at least `least`; ArgumentTypeError for bool and non-integers."""
    if isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(name, f"must be an int{unit}", f"bool {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(
            name, f"must be an int{unit}", f"{type(value).__name__} {value!r}"
        ) from None
    if number < least:
        raise ArgumentError(name, f"must be >= {least}", str(number))
    return number


def as_text(value: Any, name: str) -> str:
    """Return a str; raise ArgumentTypeError otherwise."""
    if not isinstance(value, str):
        raise ArgumentTypeError(name, "must be a str", f"{type(value).__name__} {value!r}")
    return value


def check_seed(seed: Any) -> int:
    """Return a seed, an int >= 0."""
    return as_integer(seed, "seed", 0)
