"""Minibatch exact optimal transport, as torchcfm's ExactOTPlanSampler does it while training.

Sources and latents are shuffled (seed 0) and cut into batches of 1,000 or of 256; inside each batch
ot.emd solves the exact problem on squared Euclidean distances with equal weights. torchcfm then
samples pairs from the plan with replacement, which loses 37 % of a batch and doubles others; here
each batch keeps its whole plan, a permutation, so that all rows together are one-to-one. That is
kinder in quality and the same in time. torchcfm itself is not needed. Batches are solved one
after another on one thread, as a training loop does; they do not depend on each other, so a user
who wants to can spread them over processes.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs, squared_distances
from benchmarks.peers.pot_emd import MOST_PIVOTS, NO_OTHER_BACKENDS


def match(size: int, latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Pair batch by batch; the last one may be smaller."""
    ot: Any = importlib.import_module("ot")
    rng = np.random.Generator(np.random.Philox(0))
    source_order = rng.permutation(len(sources))
    latent_order = rng.permutation(len(latents))
    assignment = np.full(len(sources), -1, dtype=np.int64)
    for start in range(0, len(sources), size):
        batch = source_order[start : start + size]
        offered = latent_order[start : start + len(batch)]
        weights = np.full(len(batch), 1 / len(batch))
        costs = squared_distances(sources[batch], latents[offered])
        plan = ot.emd(weights, weights, costs, numItermax=MOST_PIVOTS)
        assignment[batch] = offered[plan.argmax(axis=1)]
    return Answer(assignment, note="one thread", stats={"batch": size})


def cost(size: int, n: int, dim: int, seconds: float) -> Cost:
    """So much for each batch."""
    each = (size / 1_000) ** 2 * (0.12 + dim * 1e-3)
    return Cost(n / size * each, 48 * size * size + 16 * n)


PEERS = tuple(
    Peer(
        name=name,
        title=f"minibatch exact OT, batches of {size:,}",
        kind="pairing",
        match=partial(match, size),
        what="what flow matching does while training (torchcfm), each plan kept whole",
        advice="when pairs are drawn anew in every epoch, or the latents never end",
        missing=needs("ot", "POT"),
        cost=partial(cost, size),
        environment=lambda: dict(NO_OTHER_BACKENDS),
    )
    for name, size in (("minibatch_ot", 1_000), ("minibatch_ot_256", 256))
)
