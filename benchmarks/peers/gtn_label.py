"""This project: gtn_label.match, on the backend it chooses by itself and on each that there is.

``OURS`` is what every other row is compared with. The rest are the same call with the backend
named, one row each: every instruction set of gtn_label.backends(), each way to FAISS, FAISS on a
GPU, and CUDA by its kernels and with the rows on the device. A row that cannot run here says why.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import gtn_label as package
from benchmarks import device
from benchmarks.answer import Answer, Rows
from benchmarks.peer import Budget, Peer
from benchmarks.peers.faiss_greedy import cost
from gtn_label.backend import faiss_exact, faiss_package


def match(backend: str, device: str | None, latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Exact by the numeric contract."""
    result = package.match(latents, sources, backend=backend, device=device, threads=budget.threads)
    library = result.stats.get("faiss")
    note = f"FAISS {library['version']}, {library['device']}" if library else ""
    return Answer(result.assignment, note=note, stats=dict(result.stats))


def match_on_device(latents: Any, sources: Any, budget: Budget) -> Answer:
    """Match rows that are on the device already; the assignment comes to the host."""
    result = package.match(latents, sources, backend="cuda")
    return Answer(np.asarray(result.assignment.cpu()), stats=dict(result.stats))


def missing_on_device() -> str:
    """Why rows cannot be on a device here."""
    return missing("cuda") or device.missing()


def missing(backend: str) -> str:
    """Why the backend cannot run here, in the words of gtn_label.backends()."""
    for row in package.backends():
        if row.name == backend:
            return "" if row.available else f"not available here: {row.reason}"
    return "not available here: this build has no such backend"


def missing_gpu() -> str:
    """Why FAISS cannot compute on a GPU here, in the words in which it is refused."""
    reason = missing("faiss:python")
    if reason:
        return reason
    try:
        faiss_exact.gpu_number(faiss_package.load(), "cuda")
    except ValueError as error:
        return f"not available here: {error}"
    return ""


OURS = Peer(
    name="gtn_label",
    title="gtn_label",
    kind="contract",
    match=partial(match, "auto", None),
    what="this project, on the backend it chooses",
    advice="",
)


def _forced(backend: str) -> Peer:
    short = backend.removeprefix("cpu:").replace(":", "_")
    return Peer(
        name=f"gtn_label:{short}",
        title=f"gtn_label, {backend}",
        kind="contract",
        match=partial(match, backend, None),
        what=f'this project with backend="{backend}"',
        advice="",
        missing=partial(missing, backend),
    )


# FAISS's search takes the time of the greedy over its blocks, which is all search too. A linked
# library with a slow BLAS takes far longer: the limit ends it.
FAISS = (
    Peer(
        name="gtn_label:faiss",
        title="gtn_label, faiss:python",
        kind="contract",
        match=partial(match, "faiss:python", None),
        what="this project over FAISS's exhaustive search, through its Python package",
        advice="",
        missing=partial(missing, "faiss:python"),
        cost=cost,
    ),
    Peer(
        name="gtn_label:faiss_linked",
        title="gtn_label, faiss:linked",
        kind="contract",
        match=partial(match, "faiss:linked", None),
        what="the same through the C++ library that the engine was built with",
        advice="",
        missing=partial(missing, "faiss:linked"),
        cost=cost,
    ),
    Peer(
        name="gtn_label:faiss_cuda",
        title="gtn_label, faiss:python on a GPU",
        kind="contract",
        match=partial(match, "faiss:python", "cuda"),
        what="the same through the Python package, on the first GPU",
        advice="",
        missing=missing_gpu,
    ),
)
ON_DEVICE = Peer(
    name="gtn_label:cuda_on_device",
    title="gtn_label, cuda, rows on the device",
    kind="contract",
    match=match_on_device,
    what='this project with backend="cuda", given torch tensors that are on the first GPU',
    advice="",
    missing=missing_on_device,
    place=device.place,
)
_NAMES = [row.name for row in package.backends() if row.name.startswith(("cpu:", "cuda"))]
PEERS = (OURS, *(_forced(name) for name in _NAMES), ON_DEVICE, *FAISS)
