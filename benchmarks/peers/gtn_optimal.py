"""This project's optimal transport: gtn_label.match_optimal at three tolerances.

A fourth row labels further sources by the prices of the result, gtn_label.Matching.assign. The
pairs come with a certificate, which benchmarks/certificate.py computes again.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np

import gtn_label as package
from benchmarks import maps
from benchmarks.peer import Answer, Budget, Cost, Peer, Rows

TOLERANCES = {"1e-2": 1e-2, "1e-3": 1e-3, "0": 0.0}


def match(tolerance: float, latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Pair one-to-one, with a proof of how good the pairs are."""
    found = package.match_optimal(latents, sources, tolerance=tolerance, threads=budget.threads)
    account = {"tolerance": tolerance, "gap": found.gap}
    account |= {"cost": found.cost, "lower_bound": found.lower_bound}
    stats = {**found.stats, "certificate": account}
    return Answer(np.asarray(found.assignment), stats=stats, prices=found.prices)


def assign(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Solve at the default tolerance, and label the further sources of a map."""
    start = time.perf_counter()
    found = package.match_optimal(latents, sources, threads=budget.threads)
    solved = time.perf_counter()
    labels = found.assign(maps.fresh_sources(latents), threads=budget.threads)
    stats = {"solve_seconds": solved - start, "label_seconds": time.perf_counter() - solved}
    return Answer(np.asarray(labels), stats=stats, prices=found.prices)


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Lists of 64 latents a source, 12 bytes each; the time is found out by trying."""
    return Cost(0, n * (64 * 12 + 16 * dim))


PEERS = (
    *(
        Peer(
            name=f"gtn_label:optimal_{word}",
            title=f"gtn_label, optimal transport, tolerance {word}",
            kind="certified",
            match=partial(match, tolerance),
            what=f"this project's match_optimal, certified to within {word} of the optimum",
            advice="when all pairs should be short together, with a proof of how short they can be",
            cost=cost,
        )
        for word, tolerance in TOLERANCES.items()
    ),
    Peer(
        name="gtn_label:assign",
        title="gtn_label, Matching.assign",
        kind="map",
        match=assign,
        what="labels for further sources by the prices of match_optimal",
        cost=cost,
    ),
)
