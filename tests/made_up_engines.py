"""Made-up engines: what the build, this CPU, FAISS and the driver of GPUs have to offer."""

from __future__ import annotations

from gtn_label import _core
from gtn_label.backend import faiss_package


def entry(name: str, *, built: bool = True, supported: bool = True, reason: str = "") -> dict:
    """An instruction set."""
    return {
        "name": name,
        "description": f"about {name}",
        "built": built,
        "supported": supported,
        "reason": reason,
    }


def faiss_is(monkeypatch, *, python: str, linked: str) -> None:
    """Make up why each way to FAISS is missing; empty if it is there."""
    monkeypatch.setattr(faiss_package, "missing", lambda: python)
    monkeypatch.setattr(faiss_package, "describe", lambda: "faiss-cpu 9.8.7")
    monkeypatch.setattr(_core, "linked_faiss", {"version": "1.2.3", "missing": linked})


def cuda_is(monkeypatch, missing: str, *, kernels=(), devices=()) -> None:
    """Make up why CUDA is missing, empty if it is there, its kernels and its GPUs."""
    rows = [{"name": name, "description": f"about {name}"} for name in kernels]
    monkeypatch.setattr(_core, "cuda_missing", lambda: missing)
    monkeypatch.setattr(_core, "cuda_kernels", lambda: rows)
    monkeypatch.setattr(_core, "cuda_devices", lambda: list(devices))


def gpu(index: int, name: str, **missing: str) -> dict:
    """A GPU, and why it lacks each kernel; empty if it does not."""
    return {"index": index, "name": name, "capability": 90, "memory": 2**30, "missing": missing}
