"""Makes one-to-one pairs of answers that are none: a soft plan, or latents that are taken twice.

Both are kind to the peer that gave the answer. Sources that get no latent of their own are paired
with the latents that are left by an exact solver (SciPy), and this is a part of the timed run.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer import Assignment, Rows, squared_distances

WIDTH = 64  # entries of a source in a plan that are looked at, the largest


def complete(latents: Rows, sources: Rows, assignment: Assignment) -> tuple[Assignment, int]:
    """Keep the first source of each latent, and pair the other sources with the latents left.

    Returns
    -------
    assignment : [n]
        One-to-one.
    lonely : int
        Number of sources that had no latent of their own.
    """
    visited = np.flatnonzero(assignment >= 0)
    taken, first = np.unique(assignment[visited], return_index=True)
    whole = np.full(len(assignment), -1, dtype=np.int64)
    whole[visited[first]] = taken
    lonely = np.flatnonzero(whole < 0)
    if len(lonely):
        left = np.setdiff1d(np.arange(len(latents)), taken)
        optimize: Any = importlib.import_module("scipy.optimize")
        costs = squared_distances(sources[lonely], latents[left])
        whole[lonely] = left[optimize.linear_sum_assignment(costs)[1]]
    return whole, len(lonely)


def largest_first(plan: NDArray[np.floating[Any]]) -> Assignment:
    """Take the entries of a plan [n, m] from the largest down, each row and column once.

    A row whose ``WIDTH`` largest entries are all in taken columns stays -1.
    """
    n, m = plan.shape
    width = min(WIDTH, m)
    columns = np.argpartition(plan, m - width, axis=1)[:, m - width :]
    weights = np.take_along_axis(plan, columns, axis=1)
    assignment = np.full(n, -1, dtype=np.int64)
    taken = np.zeros(m, dtype=bool)
    order = np.argsort(-weights, axis=None, kind="stable")
    flat = columns.ravel()
    for entry in order.tolist():
        source, latent = entry // width, flat[entry]
        if assignment[source] < 0 and not taken[latent]:
            assignment[source] = latent
            taken[latent] = True
    return assignment
