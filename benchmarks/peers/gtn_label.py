"""This project: gtn_label.match on the backend that it chooses, and on every backend by its name.

``OURS`` divides the times of every other row. The rest are the same call with the backend named:
every instruction set of gtn_label.backends(), each way to FAISS, FAISS on a GPU, and CUDA by its
kernels and with the rows on the device. A row that cannot run here says why.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import gtn_label as package
from benchmarks import device, internals
from benchmarks.peer import Answer, Budget, Peer, Rows
from benchmarks.peers.faiss_greedy import cost


def match(backend: str, device: str | None, latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Match exactly by the numeric contract."""
    result = package.match(latents, sources, backend=backend, device=device, threads=budget.threads)
    library = result.stats.get("faiss")
    note = f"FAISS {library['version']}, {library['device']}" if library else ""
    return Answer(result.assignment, note=note, stats=dict(result.stats))


def match_on_device(latents: Any, sources: Any, budget: Budget) -> Answer:
    """Match rows that are on the device already; the assignment comes to the host."""
    result = package.match(latents, sources, backend="cuda")
    return Answer(np.asarray(result.assignment.cpu()), stats=dict(result.stats))


def missing(backend: str) -> str:
    """Say why the backend cannot run here, in the words of gtn_label.backends()."""
    for row in package.backends():
        if row.name == backend:
            return "" if row.available else f"not available here: {row.reason}"
    return "not available here: this build has no such backend"


def missing_gpu() -> str:
    """Say why FAISS cannot compute on a GPU here, in the words in which it is refused."""
    reason = missing("faiss:python")
    if reason:
        return reason
    try:
        internals.gpu_number(internals.faiss_package.load(), "cuda")
    except ValueError as error:
        return f"not available here: {error}"
    return ""


def _forced(short: str, backend: str, device: str | None = None, **more: Any) -> Peer:
    """Return a row that names its backend; a device, if any, is the first GPU."""
    where = " on a GPU" if device else ""
    return Peer(
        name=f"gtn_label:{short}",
        title=f"gtn_label, {backend}{where}",
        kind="contract",
        match=partial(match, backend, device),
        what=f'this project with backend="{backend}"{where}',
        **{"missing": partial(missing, backend), **more},
    )


OURS = Peer(
    name="gtn_label",
    title="gtn_label",
    kind="contract",
    match=partial(match, "auto", None),
    what="this project, on the backend that it chooses",
)
ON_DEVICE = Peer(
    name="gtn_label:cuda_on_device",
    title="gtn_label, cuda, rows on the device",
    kind="contract",
    match=match_on_device,
    what='this project with backend="cuda", given torch tensors that are on the first GPU',
    missing=lambda: missing("cuda") or device.missing(),
    place=device.place,
)
_NAMES = [row.name for row in package.backends() if row.name.startswith(("cpu:", "cuda"))]
PEERS = (
    OURS,
    *(_forced(name.removeprefix("cpu:").replace(":", "_"), name) for name in _NAMES),
    ON_DEVICE,
    # FAISS's search takes the time of the greedy over its blocks, which is all search too. A linked
    # library with a slow BLAS takes far longer: the limit ends it.
    _forced("faiss", "faiss:python", cost=cost),
    _forced("faiss_linked", "faiss:linked", cost=cost),
    _forced("faiss_cuda", "faiss:python", "cuda", missing=missing_gpu),
)
