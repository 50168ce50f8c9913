"""Brings rows to a GPU by PyTorch, for the peers that need them there.

Not here: rates of the device, which the engine measures itself (floors.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from benchmarks.peer import Rows

NAME = "cuda"


def torch() -> Any:
    """Import PyTorch."""
    return importlib.import_module("torch")


def missing() -> str:
    """Say why PyTorch cannot bring rows to a GPU here; empty if it can."""
    if importlib.util.find_spec("torch") is None:
        return "not available here: no PyTorch, which brings the rows to the device"
    if not torch().cuda.is_available():
        return f"not available here: PyTorch {torch().__version__} finds no CUDA device"
    return ""


def place(rows: Rows) -> Any:
    """Copy rows to the first GPU, and wait until they are there."""
    placed = torch().from_numpy(rows).to(NAME)
    if NAME != "cpu":
        torch().cuda.synchronize()
    return placed


def release() -> None:
    """Give back the device memory that PyTorch caches, if PyTorch was loaded."""
    loaded = sys.modules.get("torch")
    if loaded is not None:
        loaded.cuda.empty_cache()
