"""The loss of an approximate run, measured on a sample of its sources.

The engine goes through the run once more and finds, for each sampled source, the exact choice among
the latents that were free when the source took its own. Not here: the run (run.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core

_NORMAL_95 = 1.959963984540054  # quantile of the normal distribution


def positions(n: int, sample: int) -> npt.NDArray[np.int64]:
    """Spread a sample evenly over the visiting order of n sources: ascending, int64 [sample]."""
    sample = min(n, sample)
    return (2 * np.arange(sample, dtype=np.int64) + 1) * n // (2 * sample)


def measure(
    visited: npt.NDArray[np.int64],
    assignment: npt.NDArray[np.int64],
    cosine: npt.NDArray[np.float64],
    sample: int,
    poll: Callable[[int], None] | None,
    **problem: Any,
) -> dict[str, Any]:
    """Compare a sample of sources with their exact choices.

    Parameters
    ----------
    visited : int64 [n]
        Row of the latent that the p-th source in visiting order took.
    assignment, cosine : [n]
        Result of the run, by source row.
    sample : int
        Number of sources to check; all if there are fewer.
    poll : callable or None
        Called with the number of sources checked.
    **problem
        Rows and options of the run, as `_core.audit_rows` takes them.

    Returns
    -------
    dict
        "sample"; "other_latent": share of the sample that has another latent than the exact choice
        among those free at that moment; "other_latent_95": Wilson's 95 % interval of that share in
        the whole run, [low, high]; "cosine_lost": mean over the sample of the exact choice's cosine
        less the cosine taken; "cosine_lost_error": standard error of that mean; "seconds".
    """
    began = time.perf_counter()
    looked_at = positions(len(visited), sample)
    source, latent, best = _core.audit_rows(
        visited=visited, positions=looked_at, poll=poll, **problem
    )
    other = assignment[source] != latent
    lost = best - cosine[source]
    n, count = len(visited), len(looked_at)
    share = float(other.mean())
    interval = (share, share) if count == n else wilson(int(other.sum()), count)
    spread = float(lost.std(ddof=1)) if count > 1 else 0.0
    return {
        "sample": count,
        "other_latent": share,
        "other_latent_95": list(interval),
        "cosine_lost": float(lost.mean()),
        # The mean over all sources has no sampling error.
        "cosine_lost_error": 0.0 if count == n else spread / math.sqrt(count),
        "seconds": time.perf_counter() - began,
    }


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share from `hits` of `count`."""
    z = _NORMAL_95
    share = hits / count
    middle = share + z * z / (2 * count)
    width = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    low = 0.0 if hits == 0 else (middle - width) / scale
    high = 1.0 if hits == count else (middle + width) / scale
    return low, high
