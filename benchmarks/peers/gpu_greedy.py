"""The greedy of faiss_greedy.py on a GPU, by whichever flat search there is.

FAISS's, built for GPUs, or PyTorch's matrix product and top-k. Rows and scores stay on the device;
the K candidates of a source go to the host, and the mask of what is left comes back. Scores are
float32 (TF32 is off, as PyTorch and FAISS have it).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import device
from benchmarks.internals import faiss_package
from benchmarks.peer import Answer, Budget, Peer, Rows
from benchmarks.peers.faiss_greedy import Flat, greedy
from benchmarks.peers.gtn_label import missing_gpu

MOST_SCORES = 1 << 28  # that PyTorch's search holds at a time: 1 GiB of float32


def keep_on_device(units: Any, keep: NDArray[np.bool_]) -> Any:
    """Rows of a mask."""
    return units[device.torch().from_numpy(keep).to(units.device)]


def match_faiss(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """By FAISS's exhaustive search of tensors."""
    faiss = faiss_package.load()
    importlib.import_module("faiss.contrib.torch_utils")  # teaches knn_gpu to take tensors
    resources = faiss.StandardGpuResources()

    def search(block: Any, units: Any, k: int) -> Any:
        metric = faiss.METRIC_INNER_PRODUCT
        return faiss.knn_gpu(resources, block, units, k, metric=metric)[1].cpu()

    return greedy(Flat(device.place, search, keep_on_device), latents, sources)


def match_torch(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """By a product and a selection, over as many sources at a time as memory is wanted for."""
    torch = device.torch()

    def search(block: Any, units: Any, k: int) -> Any:
        parts = block.split(max(1, MOST_SCORES // len(units)))
        return torch.cat([torch.topk(part @ units.T, k, dim=1).indices for part in parts]).cpu()

    return greedy(Flat(device.place, search, keep_on_device), latents, sources)


def missing_faiss() -> str:
    """Say why FAISS cannot search tensors on a GPU here."""
    return device.missing() or missing_gpu()


def peer(name: str, library: str, match: Any, missing: Any) -> Peer:
    """One row."""
    return Peer(
        name=f"{name}_gpu",
        title=f"greedy over {library} flat blocks on a GPU",
        kind="greedy",
        match=match,
        what=f"Algorithm 1 over {library}'s exhaustive search, on the first GPU",
        advice="where this project was built without CUDA",
        missing=missing,
    )


PEERS = (
    peer("faiss", "FAISS", match_faiss, missing_faiss),
    peer("torch", "PyTorch", match_torch, device.missing),
)
