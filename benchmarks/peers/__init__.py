"""The peers: ways to compute the assignment of Algorithm 1, one file each.

A peer is a module with
    NAME                          shown in the tables
    missing() -> str              why it cannot run here; empty if it can
    match(latents, sources, threads, limit) -> Answer
It gets float32 latents [m, dim] and sources [n, dim]. ``limit`` is the largest number of sources
that a peer too slow for the whole may visit, 0 for all of them; the others ignore it.
To add a peer: write its file and list it in PEERS.
"""

from __future__ import annotations

from typing import Protocol

from benchmarks.answer import Answer, Rows
from benchmarks.peers import authors_loop, faiss_greedy, gtn_label, numpy_greedy


class Peer(Protocol):
    """What a peer's module offers."""

    NAME: str

    def missing(self) -> str:
        """Why the peer cannot run here; empty if it can."""

    def match(self, latents: Rows, sources: Rows, threads: int, limit: int) -> Answer:
        """Compute the assignment."""


OURS: Peer = gtn_label
PEERS: tuple[Peer, ...] = (OURS, faiss_greedy, numpy_greedy, authors_loop)
