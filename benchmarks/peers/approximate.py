"""This project's approximate mode: gtn_label.match_approx over an inverted file of FAISS.

Not exact: each source takes the best latent of the lists that are searched. The factory string
follows n as FAISS's guidelines have it, about 4 √n lists; 16 of them are searched. The mode's own
sample, which tells what it lost, is a part of the timed run, as it is for a user.
"""

from __future__ import annotations

import math

import gtn_label as package
from benchmarks.peer import Answer, Budget, Cost, Peer, Rows
from benchmarks.peers.gtn_label import missing

PROBES = 16
FEWEST_LISTS = 64


def lists(n: int) -> int:
    """Number of lists for n latents: a power of two."""
    return int(max(FEWEST_LISTS, 2 ** round(math.log2(4 * math.sqrt(n)))))


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Pair one-to-one, each source with the best latent found."""
    index = f"IVF{lists(len(latents))},Flat"
    result = package.match_approx(
        latents, sources, index=index, nprobe=PROBES, threads=budget.threads
    )
    note = f"{index}, nprobe {PROBES}"
    return Answer(result.assignment, note=note, stats=dict(result.stats))


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Ten rounds of k-means, and a share of the scores; rows of the index and of the engine."""
    training = 10 * n * lists(n) * (dim * 1.5e-11 + 2e-9)
    search = n * n * PROBES / lists(n) * (dim * 1.5e-10 + 1.5e-8)
    return Cost(training + search, 24 * n * dim)


PEERS = (
    Peer(
        name="gtn_label:approx",
        title="gtn_label, approximate",
        kind="approximate",
        match=match,
        what="this project's approximate mode: FAISS searches an inverted file, one-to-one still",
        advice="beyond exact reach, where the loss it reports on its sample is small enough",
        missing=lambda: missing("faiss:python"),
        cost=cost,
    ),
)
