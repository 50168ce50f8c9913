"""What a peer returns, and the row arithmetic that several peers share. No timing, no checks."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating[Any]]
Assignment = NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """An assignment and how it was reached."""

    assignment: Assignment  # [n]; -1 for sources that were not visited
    loop_seconds: float = 0.0  # the part that grows with the sources visited, where not all were
    note: str = ""
    stats: dict[str, Any] = field(default_factory=dict)


def norm_order(rows: Rows) -> NDArray[np.intp]:
    """Row indices in ascending (norm, index), norms in float64; ``rows`` [n, dim]."""
    wide = rows.astype(np.float64, copy=False)
    return np.argsort(np.einsum("ij,ij->i", wide, wide), kind="stable")


def unit_rows(rows: Rows) -> NDArray[np.float32]:
    """Rows of length 1, float32 [n, dim]; norms are taken in float64."""
    wide = rows.astype(np.float64, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return np.ascontiguousarray(wide / norms[:, None], dtype=np.float32)


def squared_distances(sources: Rows, latents: Rows) -> NDArray[np.float64]:
    """All squared Euclidean distances [sources, latents], float64, by SciPy."""
    distance: Any = importlib.import_module("scipy.spatial.distance")
    return np.asarray(distance.cdist(sources, latents, "sqeuclidean"), dtype=np.float64)
