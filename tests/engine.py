"""Running the engine from the tests: every backend by force, compared bit by bit.

The oracle stays apart from this module, which imports gtn_label.
"""

from __future__ import annotations

import numpy as np
import pytest

import gtn_label

# Each instruction set and each way to FAISS; the names without a colon stand for one of them.
BACKENDS = {row.name: row for row in gtn_label.backends() if ":" in row.name}
INSTRUCTION_SETS = [name for name in BACKENDS if name.startswith("cpu:")]
USABLE = [name for name, row in BACKENDS.items() if row.available]


def forced(name: str) -> str:
    """Name of the backend, or a skip that says why it cannot run here."""
    if not BACKENDS[name].available:
        pytest.skip(f"{name}: {BACKENDS[name].reason}")
    return name


def run(latents, sources, *, backend: str, **options):
    """match() with a forced backend, and proof that it is the one that ran."""
    matching = gtn_label.match(latents, sources, backend=backend, **options)
    assert what_ran(matching.stats) == backend
    return matching


def what_ran(stats) -> str:
    """Name of the backend that the statistics record."""
    detail = stats["faiss"]["way"] if stats["backend"] == "faiss" else stats["instruction_set"]
    return f"{stats['backend']}:{detail}"


def assert_same(actual, expected) -> None:
    """Assert equal assignment and equal bits of the cosine (NaN and -0.0 are not forgiven)."""
    for name, dtype in (("assignment", np.int64), ("cosine", np.float64)):
        a, e = np.asarray(getattr(actual, name)), np.asarray(getattr(expected, name))
        assert a.dtype == dtype, f"{name} is {a.dtype}"
        assert a.shape == e.shape, f"{name}: shape {a.shape}, expected {e.shape}"
        different = np.flatnonzero(a.view(np.int64) != e.view(np.int64))
        assert not len(different), (
            f"{name} differs for {len(different)} of {len(e)} sources, first at source "
            f"{different[0]}: {a[different[0]]!r}, expected {e[different[0]]!r}"
        )
