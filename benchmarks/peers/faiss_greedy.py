"""The same greedy over FAISS: flat inner-product search of blocks of sources among free latents.

Each block is searched for its K best free latents; its sources, in order, take the best one not
taken inside the block. A source whose K are all taken ends the block there, and the next block
starts with it. Taken latents are dropped after every block.

Two rows. Untuned is the wheel as it comes. Its OpenBLAS is old and knows no recent processor, so
the tuned row names the core type before the import, and lowers the size of batches from which on
FAISS uses BLAS. Scores are float32, so near-ties may fall differently than in gtn_label: the
table says how many.
"""

from __future__ import annotations

import importlib
import os
import platform
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.answer import Answer, Rows, norm_order, unit_rows
from benchmarks.peer import Budget, Cost, Peer, needs

BLOCK = 1024
K = 16  # 1,024 and 16 were the fastest of 512 to 2,048 and 4 to 32 at 50,000 x 100, two threads


def core_type() -> str:
    """Name of the OpenBLAS core type for this processor, empty to leave the choice to it."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    if "avx512vl" in flags:
        return "SkylakeX"
    return "Haswell" if "avx2" in flags else ""


def tuned_environment() -> dict[str, str]:
    """OpenBLAS reads its core type when it is loaded."""
    return {"OPENBLAS_CORETYPE": core_type()} if core_type() else {}


def match(tuned: bool, latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Run the whole."""
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(budget.threads)
    if tuned:
        faiss.cvar.distance_compute_blas_threshold = 1
    ranked = norm_order(latents)
    units = unit_rows(latents)[ranked]
    order = norm_order(sources)
    narrow = np.ascontiguousarray(sources.astype(np.float32, copy=False)[order])
    assignment = np.full(len(sources), -1, dtype=np.int64)
    searches = start = 0
    while start < len(order):
        block = narrow[start : start + BLOCK]
        k = min(K, len(units))
        _, candidates = faiss.knn(block, units, k, metric=faiss.METRIC_INNER_PRODUCT)
        searches += 1
        keep = np.ones(len(units), dtype=bool)
        decided = 0
        for best_first in candidates.tolist():
            column = next((c for c in best_first if keep[c]), None)
            if column is None:
                break
            keep[column] = False
            assignment[order[start + decided]] = ranked[column]
            decided += 1
        start += decided
        units, ranked = units[keep], ranked[keep]
    given = os.environ.get("OPENBLAS_CORETYPE", "")
    stats = {"searches": searches, "block": BLOCK, "k": K, "openblas_core_type": given}
    return Answer(assignment, stats=stats)


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Matrix products and selection among n²/2 scores; float64 rows while preparing."""
    return Cost(n * n * (dim / 1.2e11 + 0.7e-9), 32 * n * dim)


PEERS = tuple(
    Peer(
        name=f"faiss_{word}",
        title=f"greedy over FAISS flat blocks, BLAS {word}",
        kind="greedy",
        match=partial(match, word == "tuned"),
        what=f"Algorithm 1 over FAISS's exhaustive search, {how}",
        advice="the same search on a GPU, where FAISS has one; there it may win",
        missing=needs("faiss", "faiss-cpu"),
        cost=cost,
        environment=environment,
    )
    for word, how, environment in (
        ("tuned", "its BLAS told the processor", tuned_environment),
        ("untuned", "the wheel as it comes", lambda: {}),
    )
)
