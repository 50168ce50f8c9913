"""The peers: ways to pair sources with latents, one file each; this list is all of them.

To add a peer, write a file that defines ``PEERS`` (benchmarks/peer.py has the interface), and add
the file here. ``python -m benchmarks --list`` shows it, and the next run checks and times it.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peer import Peer
from benchmarks.peers import (
    approximate,
    authors_loop,
    bsp_ot,
    faiss_greedy,
    gpu_greedy,
    gtn_label,
    gtn_optimal,
    hiref,
    lapx_assignment,
    minibatch_ot,
    numpy_greedy,
    ortools_assignment,
    ott_jax,
    pot_emd,
    ranks,
    scipy_assignment,
)

_FILES: tuple[Any, ...] = (
    *(
        gtn_label,
        ranks,
        gtn_optimal,
        approximate,
        faiss_greedy,
        gpu_greedy,
        numpy_greedy,
        authors_loop,
    ),
    *(bsp_ot, minibatch_ot, ott_jax, hiref),
    *(lapx_assignment, scipy_assignment, pot_emd, ortools_assignment),
)
OURS: Peer = gtn_label.OURS
PEERS: tuple[Peer, ...] = tuple(peer for file in _FILES for peer in file.PEERS)
BY_NAME: dict[str, Peer] = {peer.name: peer for peer in PEERS}
