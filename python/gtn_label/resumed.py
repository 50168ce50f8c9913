"""A check of a prefix that carries no hash: a sample of its choices is made once more.

Checkpoints of earlier versions are such. A short prefix is checked as a whole. Not here: the hash
of newer ones (io/checkpoint.py), and prefixes that no run can have decided (the engine).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from .approx_quality import positions

SAMPLE = 1024  # a few per cent of the time of a large run


def wrong_choice(visited: npt.NDArray[np.int64], start: int, **problem: Any) -> int | None:
    """Look for a source that took another latent than the contract says.

    Parameters
    ----------
    visited : int64 [n]
        Rows of the latents taken, of which the first `start` are decided.
    start : int
    **problem
        Rows and options of the run, as `_core.audit_rows` takes them.

    Returns
    -------
    int or None
        The first position of the sample at which the choice is wrong.

    Raises
    ------
    ValueError
        If no run can have decided this prefix.
    """
    looked_at = positions(start, SAMPLE)
    whole = _completed(visited, start, **problem)
    _, latent, _ = _core.audit_rows(visited=whole, positions=looked_at, poll=None, **problem)
    wrong = looked_at[latent != whole[looked_at]]
    return int(wrong[0]) if len(wrong) else None


def _completed(
    visited: npt.NDArray[np.int64],
    start: int,
    *,
    latents: npt.NDArray[Any],
    source_groups: npt.NDArray[np.int64] | None,
    latent_groups: npt.NDArray[np.int64] | None,
    **_: Any,
) -> npt.NDArray[np.int64]:
    """Let the sources that are not decided take what is left, rows ascending, group by group."""
    n, m = len(visited), len(latents)
    sources = np.zeros(n, np.int64) if source_groups is None else source_groups
    groups = np.zeros(m, np.int64) if latent_groups is None else latent_groups
    free = np.setdiff1d(np.arange(m), visited[:start])
    free = free[np.argsort(groups[free], kind="stable")]
    labels, counts = np.unique(sources, return_counts=True)
    first = np.searchsorted(groups[free], labels)
    whole = visited.copy()
    for at, end, count in zip(first, np.cumsum(counts), counts, strict=True):
        begin = max(start, end - count)
        rows = free[at : at + max(0, end - begin)]
        whole[begin : begin + len(rows)] = rows
    return whole
