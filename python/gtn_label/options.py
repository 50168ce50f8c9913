"""Checks of options that more than one function has.

Not here: arrays (convert.py), names of backends (backend/names.py), and values of rows, which the
engine checks.
"""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import convert
from .arrays.on_gpu import in_cpu_memory

ORDERS = ("norm", "norm_desc", "index")
MOST_THREADS = 64  # or four a CPU, if that is more: others would only be created and joined


def check_order(order: Any) -> None:
    """Check who chooses first: one of ORDERS."""
    if order not in ORDERS:
        known = ", ".join(repr(name) for name in ORDERS)
        raise ValueError(f"order must be one of {known}, got {order!r}")


def as_bool(value: Any, name: str) -> bool:
    """Check a flag: a bool of Python's or NumPy's."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, got {type(value).__name__} {value!r}")
    return bool(value)


def check_threads(threads: Any) -> int:
    """Check a number of threads, None for one a CPU; return as many as are of any use."""
    cpus = usable_cpus()
    count = cpus if threads is None else as_integer(threads, "threads", 1)
    return min(count, max(MOST_THREADS, 4 * cpus))


def as_integer(value: Any, name: str, least: int, unit: str = "") -> int:
    """Check an integer option: TypeError if it is no int (bool is none), ValueError if small."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an int{unit}, got bool {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an int{unit}, got {type(value).__name__} {value!r}"
        ) from None
    if number < least:
        raise ValueError(f"{name} must be >= {least}, got {number}")
    return number


def check_seed(seed: Any) -> int:
    """Check a seed: an int >= 0."""
    return as_integer(seed, "seed", 0)


def usable_cpus() -> int:
    """CPUs this process may run on: its affinity where the system has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_groups(
    groups: Any, n: int, m: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Check a pair of group labels, [n] and [m], or None."""
    if groups is None:
        return None
    if not isinstance(groups, (tuple, list)) or len(groups) != 2:
        got = type(groups).__name__
        if isinstance(groups, (tuple, list)):
            got += f" of length {len(groups)}"
        raise TypeError(f"groups must be a pair (source_groups, latent_groups), got {got}")
    sources, latents = (
        in_cpu_memory(labels, name)
        for labels, name in zip(groups, ("source_groups", "latent_groups"), strict=True)
    )
    return (
        convert.as_labels(sources, "source_groups", n, "sources"),
        convert.as_labels(latents, "latent_groups", m, "latents"),
    )
