"""This project: gtn_label.match, on the backend it chooses by itself and on each that there is.

``OURS`` is what every other row is compared with. The rest are the same call with the backend
named: one row for each line of gtn_label.backends() that names one, and one for a CUDA device,
which says why there is none until there is.
"""

from __future__ import annotations

from functools import partial

import gtn_label as package
from benchmarks.answer import Answer, Rows
from benchmarks.peer import Budget, Peer


def match(backend: str, latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Exact by the numeric contract."""
    result = package.match(latents, sources, backend=backend, threads=budget.threads)
    return Answer(result.assignment, stats=dict(result.stats))


def missing(backend: str) -> str:
    """Why the backend cannot run here, in the words of gtn_label.backends()."""
    for row in package.backends():
        if row.name == backend:
            return "" if row.available else f"not available here: {row.reason}"
    return "not available here: this build has no such backend"


OURS = Peer(
    name="gtn_label",
    title="gtn_label",
    kind="contract",
    match=partial(match, "auto"),
    what="this project, on the backend it chooses",
    advice="",
)


def _forced(backend: str) -> Peer:
    short = backend.removeprefix("cpu:")
    return Peer(
        name=f"gtn_label:{short}",
        title=f"gtn_label, {backend}",
        kind="contract",
        match=partial(match, backend),
        what=f'this project with backend="{backend}"',
        advice="",
        missing=partial(missing, backend),
    )


_NAMED = [row.name for row in package.backends() if row.name != "cpu"]
if "cuda" not in _NAMED:
    _NAMED.append("cuda")
PEERS = (OURS, *(_forced(name) for name in _NAMED))
