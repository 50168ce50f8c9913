"""The peers: ways to pair sources with latents, one file each; this list is all of them.

To add one: write its file, which defines ``PEERS`` (benchmarks/peer.py says of what), and add the
file here. ``python -m benchmarks --list`` shows it, and the next run checks and times it.
"""

from __future__ import annotations

from benchmarks.peer import Peer
from benchmarks.peers import (
    approximate,
    authors_loop,
    bsp_ot,
    faiss_greedy,
    gpu_greedy,
    gtn_label,
    lapx_assignment,
    minibatch_ot,
    numpy_greedy,
    pot_emd,
    scipy_assignment,
)

OURS: Peer = gtn_label.OURS
PEERS: tuple[Peer, ...] = (
    *gtn_label.PEERS,
    *approximate.PEERS,
    *faiss_greedy.PEERS,
    *gpu_greedy.PEERS,
    *numpy_greedy.PEERS,
    *authors_loop.PEERS,
    *bsp_ot.PEERS,
    *minibatch_ot.PEERS,
    *lapx_assignment.PEERS,
    *scipy_assignment.PEERS,
    *pot_emd.PEERS,
)
BY_NAME: dict[str, Peer] = {peer.name: peer for peer in PEERS}
