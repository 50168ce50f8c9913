"""What a peer is to the harness: a name, a way to pair, what it needs and what it will cost.

A peer's file in benchmarks/peers/ defines ``PEERS``, a tuple of these: one, or a few variants of
one idea. Every peer runs in a process of its own (benchmarks/worker.py), started with its
``environment``; so a library that reads its settings when it is loaded gets them in time, and
what a peer costs in memory is what its process costs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.answer import Answer, Rows

# What a peer promises, and so what its answer is checked for (benchmarks/check.py).
#   contract     the numeric contract: identical to this project's answer, which the oracle checked
#   greedy       Algorithm 1 in float32: near-ties may fall differently, the quality may not
#   optimal      a one-to-one pairing of least mean squared distance
#   approximate  as pairing, and it has not lost more than it says (benchmarks/approximation.py)
#   pairing      a one-to-one pairing that is better than chance
Kind = Literal["contract", "greedy", "optimal", "approximate", "pairing"]


@dataclass(frozen=True)
class Budget:
    """What a peer may use."""

    threads: int
    seconds: float  # most for one run; a peer that can stand for the whole by a part may do so


@dataclass(frozen=True)
class Cost:
    """What one run is expected to take: rough, for leaving out what would never end."""

    seconds: float
    bytes: float


@dataclass(frozen=True)
class Peer:
    """One way to pair sources with latents."""

    name: str  # what --peers takes
    title: str  # what tables show
    kind: Kind
    match: Callable[[Any, Any, Budget], Answer]  # latents [n, dim], sources [n, dim], as placed
    what: str  # one line for --list
    advice: str  # when to use it instead
    missing: Callable[[], str] = lambda: ""  # why it cannot run here; empty if it can
    # (n, dim, seconds a run may take): on two cores of 2023, read off measurements
    cost: Callable[[int, int, float], Cost] = lambda n, dim, seconds: Cost(0, 0)
    environment: Callable[[], dict[str, str]] = lambda: {}
    # Brings rows to where they are when the clock starts, such as a device; ``match`` gets those.
    place: Callable[[Rows], Any] = lambda rows: rows


def needs(module: str, package: str) -> Callable[[], str]:
    """Make a ``missing`` for a peer that imports ``module`` of the distribution ``package``."""

    def missing() -> str:
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # a parent package is missing
            found = False
        return "" if found else f"{package} is not installed: pip install '.[bench]'"

    return missing
