"""BSP-OT of POT, ot.bsp.compute_bspot_bijection: a one-to-one pairing of low squared distance.

Both clouds are split by random hyperplanes into halves, quarters and so on until points face each
other; a number of such plans are merged by swapping. Time is n log n, and there is no promise of
quality. 64 plans are POT's default, 16 cost a quarter. POT copies its input to float64.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs
from benchmarks.peers.pot_emd import NO_OTHER_BACKENDS


def match(plans: int, latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Pair all; POT's threads come from the environment (OMP_NUM_THREADS)."""
    ot: Any = importlib.import_module("ot")
    _, pairing, _ = ot.compute_bspot_bijection(sources, latents, n_plans=plans, seed=0)
    return Answer(np.asarray(pairing, dtype=np.int64), stats={"plans": plans})


def missing() -> str:
    """BSP-OT came with POT 0.9.7."""
    reason = needs("ot", "POT")()
    if not reason and importlib.util.find_spec("ot.bsp") is None:
        reason = "the installed POT has no BSP-OT, 0.9.7 has: pip install '.[bench]'"
    return reason


def cost(plans: int, n: int, dim: int, seconds: float) -> Cost:
    """So much for each plan, row and column; float64 copies and all the plans."""
    return Cost(plans * n * (1 + dim / 10) * 1e-6, n * (4 * plans + 48 * dim))


PEERS = tuple(
    Peer(
        name=f"bsp_ot_{plans}",
        title=f"POT BSP-OT, {plans} plans",
        kind="pairing",
        match=partial(match, plans),
        what=f"approximate optimal transport, n log n, the best of {plans} random plans merged",
        advice=advice,
        missing=missing,
        cost=partial(cost, plans),
        environment=lambda: dict(NO_OTHER_BACKENDS),
    )
    for plans, advice in (
        (64, "short pairs for millions of rows in few dimensions, where norms should match too"),
        (16, "as with 64 plans, in a quarter of the time and with longer pairs"),
    )
)
