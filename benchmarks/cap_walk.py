"""Counts what the CUDA backend would save by a tree over its caps (docs/gpu.md), on the CPU.

In up to 8 dimensions the backend bounds each source's cosine with every cap of up to 128 latents
(csrc/cuda/caps.cu), then opens caps, best bound first. The caps come from median splits, so they
are the leaves of a binary tree already. Counted here, for sources among latents that are all free:
the caps that are opened; and the caps and inner nodes whose bounds a search needs, best first, by
two children a step, and by 32 a step, one a lane of a warp. Steps depend on one another.

    python -m benchmarks.cap_walk benchmarks/counts/cap_walk.json
"""

from __future__ import annotations

import datetime
import heapq
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import processor

Array = NDArray[np.float64]

MOST_MEMBERS = 128  # of a cap
DEPTH = 4  # latents a list has: csrc/cuda/matcher.cu, for a cone of 1
SOURCES = 300
SHAPES = tuple((n, dim) for n in (100_000, 1_000_000) for dim in (3, 5, 8))


class Caps:
    """Caps of all levels of a tree of median splits.

    Parameters
    ----------
    units : ndarray of shape [n, dim]
        Unit vectors of the latents.
    """

    def __init__(self, units: Array) -> None:
        self.units = units
        self.depth = 0
        while -(-len(units) >> self.depth) > MOST_MEMBERS:
            self.depth += 1
        self.order = np.arange(len(units))
        for level in range(self.depth):
            for begin, end in self._segments(level):
                part = self.order[begin:end]
                inside = units[part]
                axis = int(np.argmax(inside.max(0) - inside.min(0)))
                self.order[begin:end] = part[np.argsort(inside[:, axis], kind="stable")]
        self.levels = [self._caps(level) for level in range(self.depth + 1)]

    def _begins(self, level: int) -> list[int]:
        return [-(-s * len(self.units) >> level) for s in range((1 << level) + 1)]

    def _segments(self, level: int) -> Iterator[tuple[int, int]]:
        begins = self._begins(level)
        return itertools.pairwise(begins)

    def _caps(self, level: int) -> tuple[Array, Array]:
        """Return the centres and the cosines of the angles."""
        begins = np.array(self._begins(level))
        rows = self.units[self.order]
        centres = np.add.reduceat(rows, begins[:-1])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        cosines = (rows * np.repeat(centres, np.diff(begins), axis=0)).sum(1)
        return centres, np.minimum.reduceat(cosines, begins[:-1])

    def scores(self, leaf: int, source: Array) -> list[float]:
        """Compute the cosines of a leaf's members."""
        begin, end = (-(-at * len(self.units) >> self.depth) for at in (leaf, leaf + 1))
        return [float(s) for s in self.units[self.order[begin:end]] @ source]

    def uppers(self, level: int, first: int, last: int, source: Array) -> Array:
        """Bound the cosines of the members of some nodes of a level."""
        centres, cosines = self.levels[level][0][first:last], self.levels[level][1][first:last]
        middle = centres @ source
        sines = np.sqrt(np.maximum(0, 1 - middle**2) * np.maximum(0, 1 - cosines**2))
        return np.where(middle >= cosines, 1.0, middle * cosines + sines)


class Best:
    """The best scores so far: as many as a list has."""

    def __init__(self) -> None:
        self.scores: list[float] = []

    def take(self, scores: list[float]) -> None:
        """Keep the best of these and those before."""
        self.scores = heapq.nlargest(DEPTH, self.scores + scores)

    def reached_by(self, upper: float) -> bool:
        """Say whether a node of this bound may hold a better latent."""
        return len(self.scores) < DEPTH or upper > self.scores[-1]


def opened(caps: Caps, source: Array) -> int:
    """Count the caps that are opened, best bound first."""
    uppers = caps.uppers(caps.depth, 0, 1 << caps.depth, source)
    best = Best()
    count = 0
    for leaf in np.argsort(-uppers):
        if not best.reached_by(uppers[leaf]):
            break
        best.take(caps.scores(int(leaf), source))
        count += 1
    return count


def walk(caps: Caps, source: Array, levels_a_step: int) -> tuple[int, int]:
    """Count the bounds and the steps of a walk, best bound first."""
    best = Best()
    bounds = steps = 0
    waiting = [(-2.0, 0, 0)]
    while waiting and best.reached_by(-waiting[0][0]):
        _, level, node = heapq.heappop(waiting)
        steps += 1
        if level == caps.depth:
            best.take(caps.scores(node, source))
            continue
        down = (caps.depth - level) % levels_a_step or levels_a_step
        first, last = node << down, (node + 1) << down
        uppers = caps.uppers(level + down, first, last, source)
        bounds += len(uppers)
        for child, upper in zip(range(first, last), uppers, strict=True):
            if best.reached_by(upper):
                heapq.heappush(waiting, (-float(upper), level + down, child))
    return bounds, steps


def counts(n: int, dim: int) -> dict[str, float]:
    """Count for Gaussian latents and sources; means of a source."""
    rng = np.random.Generator(np.random.Philox(0))
    rows = rng.standard_normal((n + SOURCES, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    caps = Caps(rows[:n])
    two, many = (np.mean([walk(caps, y, step) for y in rows[n:]], axis=0) for step in (1, 5))
    return {
        "n": n,
        "dim": dim,
        "caps": 1 << caps.depth,
        "opened": float(np.mean([opened(caps, y) for y in rows[n:]])),
        "bounds_by_2": float(two[0]),
        "steps_by_2": float(two[1]),
        "bounds_by_32": float(many[0]),
        "steps_by_32": float(many[1]),
    }


def main() -> None:
    """Write the counts of all shapes."""
    now = datetime.datetime.now(datetime.timezone.utc)
    record = {
        "command": "python -m benchmarks.cap_walk",
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "numpy": np.__version__,
        "sources": SOURCES,
        "counts": [counts(n, dim) for n, dim in SHAPES],
    }
    Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
