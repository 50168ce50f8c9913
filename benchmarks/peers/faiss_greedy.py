"""The same greedy over FAISS: flat inner-product search of blocks of sources among free latents.

Each block is searched for its K best free latents; its sources, in order, take the best one not
taken inside the block. A source whose K are all taken ends the block there, and the next block
starts with it. Taken latents are dropped after every block.

Two rows. Untuned is the wheel as it comes. Its OpenBLAS is old and knows no recent processor, so
the tuned row names the core type before the import, and lowers the size of batches from which on
FAISS uses BLAS. Scores are float32, so near-ties may fall differently than in gtn_label: the
table says how many. The same loop on a GPU is gpu_greedy.py's.
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs, norm_order, unit_rows

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


@dataclass(frozen=True)
class Flat:
    """Exhaustive search among rows that can be dropped."""

    place: Callable[[Rows], Any]  # rows from the host to where they are searched
    search: Callable[[Any, Any, int], Any]  # (sources, rows, k): positions [sources, k], best first
    keep: Callable[[Any, NDArray[np.bool_]], Any]  # the rows of a mask


def take_in_order(candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each source of a block the first of its candidates that no earlier source took.

    The answer ends before the first source whose candidates are all taken. In every round, a source
    that wants the candidate of an earlier source goes on to its next one. No such step is in vain,
    because an earlier source moves on only if a still earlier one wants the same.
    """
    n, k = candidates.shape
    place = np.zeros(n, dtype=np.intp)
    while True:
        wanted: NDArray[np.int64] = candidates[np.arange(n), place[:n]]
        _, first = np.unique(wanted, return_index=True)
        if len(first) == n:
            return wanted
        later = np.ones(n, dtype=bool)
        later[first] = False
        place[:n] += later
        stuck = np.flatnonzero(place[:n] == k)
        n = int(stuck[0]) if len(stuck) else n


def greedy(flat: Flat, latents: Rows, sources: Rows) -> Answer:
    """Run the whole, from rows on the host."""
    ranked, order = norm_order(latents), norm_order(sources)
    units = flat.place(unit_rows(latents)[ranked])
    queries = flat.place(np.ascontiguousarray(sources.astype(np.float32, copy=False)[order]))
    assignment = np.full(len(sources), -1, dtype=np.int64)
    searches = start = 0
    while start < len(order):
        k = min(K, len(ranked))
        candidates = flat.search(queries[start : start + BLOCK], units, k)
        searches += 1
        taken = take_in_order(np.asarray(candidates))
        end = start + len(taken)
        assignment[order[start:end]] = ranked[taken]
        keep = np.ones(len(ranked), dtype=bool)
        keep[taken] = False
        units, ranked, start = flat.keep(units, keep), ranked[keep], end
    return Answer(assignment, stats={"searches": searches, "block": BLOCK, "k": K})


def match(tuned: bool, latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """On the CPU, by FAISS."""
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(budget.threads)
    if tuned:
        faiss.cvar.distance_compute_blas_threshold = 1

    def search(block: Rows, units: Rows, k: int) -> Any:
        return faiss.knn(block, units, k, metric=faiss.METRIC_INNER_PRODUCT)[1]

    flat = Flat(lambda rows: rows, search, lambda units, keep: units[keep])
    answer = greedy(flat, latents, sources)
    answer.stats["openblas_core_type"] = os.environ.get("OPENBLAS_CORETYPE", "")
    return answer


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
