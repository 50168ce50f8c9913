"""Running the engine from the tests: every backend by force, compared bit by bit.

The oracle stays apart from this module, which imports gtn_label.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import gtn_label
from gtn_label import _core
from gtn_label.backend import cuda

# Each instruction set, kernel and way to FAISS; the names without a colon stand for one of them.
BACKENDS = {row.name: row for row in gtn_label.backends() if ":" in row.name}
INSTRUCTION_SETS = [name for name in BACKENDS if name.startswith("cpu:")]
USABLE = [name for name, row in BACKENDS.items() if row.available]


def gpu_missing() -> str:
    """Say why nothing can run on a GPU here; empty if something can."""
    if hasattr(_core, "EmulatedMemory"):
        return "this build emulates CUDA on the CPU (GTN_CUDA=EMULATED)"
    return cuda.missing()


def param(*values, backend: str, **options):
    """A case of a parametrised test, marked if its backend needs a GPU."""
    on_gpu = backend.startswith("cuda") and not gpu_missing()
    return pytest.param(*values, backend, marks=pytest.mark.gpu if on_gpu else (), **options)


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


def least_memory(latents, sources, *, backend: str, **options) -> int:
    """Bytes that the backend needs at least: the number in its refusal of fewer."""
    with pytest.raises(gtn_label.ArgumentError) as caught:
        gtn_label.match(latents, sources, backend=backend, memory=1, **options)
    assert caught.value.names == ("memory",)
    return int(re.search(r"\d+", caught.value.rule)[0])


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
