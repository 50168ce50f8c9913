"""The interface of a peer: its name, its pairing function, its requirements and expected cost.

A file in benchmarks/peers/ defines ``PEERS``, a tuple of one peer or a few variants of one idea.
Every peer runs in its own process (benchmarks/worker.py), started with the peer's ``environment``.
A library that reads its settings when it is loaded gets them in time, and the memory of a peer is
the memory of its process. Row arithmetic that several peers share is here too.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating[Any]]
Assignment = NDArray[np.int64]

# The promise of a peer, which benchmarks/judge.py checks:
#   contract     the numeric contract: identical to the answer that the oracle checked
#   greedy       Algorithm 1 in float32: near-ties may fall differently, the quality may not
#   optimal      a one-to-one pairing of least mean squared distance
#   approximate  as pairing, and the loss it reports is true (benchmarks/approximation.py)
#   certified    as pairing, and the lower bound it reports follows from its prices
#                (benchmarks/certificate.py)
#   pairing      a one-to-one pairing that is better than chance
#   map          not one-to-one: labels for further sources by prices (benchmarks/maps.py)
Kind = Literal["contract", "greedy", "optimal", "approximate", "certified", "pairing", "map"]
OWN_PROMISES = ("contract", "certified")  # kinds of this project, whose failure is an error


@dataclass(frozen=True)
class Answer:
    """An assignment and how it was reached."""

    assignment: Assignment  # [n]; -1 for sources that were not visited
    loop_seconds: float = 0.0  # the part that grows with the sources visited, where not all were
    note: str = ""
    stats: dict[str, Any] = field(default_factory=dict)
    prices: NDArray[np.float64] | None = None  # [m], of the latents, where a promise needs them


@dataclass(frozen=True)
class Budget:
    """Threads and time that a peer may use."""

    threads: int
    seconds: float  # limit of one run; a peer may answer for a part of the sources to keep it


@dataclass(frozen=True)
class Cost:
    """Expected cost of one run: rough, to leave out runs that would never end."""

    seconds: float
    bytes: float


@dataclass(frozen=True)
class Peer:
    """One way to pair sources with latents."""

    name: str  # for --peers
    title: str  # for tables
    kind: Kind
    match: Callable[[Any, Any, Budget], Answer]  # latents [n, dim], sources [n, dim], as placed
    what: str  # one line for --list
    advice: str = ""  # when to use it instead of this project
    missing: Callable[[], str] = lambda: ""  # why it cannot run here; empty if it can
    # (n, dim, seconds a run may take): on two cores of 2023, read off measurements
    cost: Callable[[int, int, float], Cost] = lambda n, dim, seconds: Cost(0, 0)
    environment: Callable[[], dict[str, str]] = lambda: {}
    # Moves rows to where they are when the clock starts, such as a device; ``match`` gets those.
    place: Callable[[Rows], Any] = lambda rows: rows


def needs(module: str, package: str, extra: str = "bench") -> Callable[[], str]:
    """Make a ``missing`` for a peer that imports ``module`` of the distribution ``package``."""
    # The extra transport is large: its absence is no fault of an installation, and CI knows these
    # two sentences apart.
    absent = f"{package} is not installed"
    if extra != "bench":
        absent = f"not available here: {package} is missing"

    def missing() -> str:
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # a parent package is missing
            found = False
        return "" if found else f"{absent}: pip install '.[{extra}]'"

    return missing


def norm_order(rows: Rows) -> NDArray[np.intp]:
    """Sort row indices by ascending (norm, index), norms in float64; ``rows`` [n, dim]."""
    wide = rows.astype(np.float64, copy=False)
    return np.argsort(np.einsum("ij,ij->i", wide, wide), kind="stable")


def unit_rows(rows: Rows) -> NDArray[np.float32]:
    """Scale rows to length 1, float32 [n, dim]; norms are taken in float64."""
    wide = rows.astype(np.float64, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return np.ascontiguousarray(wide / norms[:, None], dtype=np.float32)


def squared_distances(sources: Rows, latents: Rows) -> NDArray[np.float64]:
    """Compute all squared Euclidean distances [sources, latents], float64, by SciPy."""
    distance: Any = importlib.import_module("scipy.spatial.distance")
    return np.asarray(distance.cdist(sources, latents, "sqeuclidean"), dtype=np.float64)
