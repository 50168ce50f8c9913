"""Figures that tell how good a labeling is, computed with NumPy in float64 and in blocks.

They are for reading: their last bits may differ from machine to machine. cli/summary.py shows them.

- last decile: mean cosine of the last 10 % of sources in visiting order (of each group, if any).
- norm correlation: Spearman's between source norms and label norms, labels as given.
- learnability: leave-one-out R² of the labels predicted as the mean label of the 10 nearest
  sources, within a fixed random sample; 1 is a smooth map, 0 or less is noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
SAMPLE_ROWS = 4_000  # 16 million distances: about a tenth of a second at dim 100
SAMPLE_ELEMENTS = 1 << 22  # 32 MiB of float64 at most, for large dims
BLOCK_ELEMENTS = 1 << 20

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Summary(NamedTuple):
    """Figures of one labeling; None for an undefined figure (few rows, all alike, no order)."""

    mean_cosine: float
    last_decile_cosine: float | None
    norm_correlation: float | None
    learnability: float | None
    learnability_sample: int


def summarize(
    sources: NDArray[Any],
    latents: NDArray[Any],
    assignment: Integers,
    cosine: Floats,
    visited: Integers | None,
    source_groups: Integers | None = None,
) -> Summary:
    """Measure a labeling.

    Parameters
    ----------
    sources : [n, dim]
    latents : [m, dim]
        Rows as given. Only assigned rows are read.
    assignment : int64 [n]
    cosine : float64 [n]
    visited : int64 [n] or None
        Row of the latent that the p-th source in visiting order took. None if there is no order.
    source_groups : int64 [n], optional

    Examples
    --------
    >>> rows = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> one_to_one = np.arange(3)
    >>> summarize(rows, rows, one_to_one, np.ones(3), one_to_one).norm_correlation
    1.0
    """
    sample = sample_rows(len(assignment), latents.shape[1])
    return Summary(
        mean_cosine=float(np.mean(cosine)),
        last_decile_cosine=None
        if visited is None
        else last_decile(assignment, cosine, visited, len(latents), source_groups),
        norm_correlation=spearman(norms(sources), norms(latents, assignment)),
        learnability=learnability(sources[sample], latents[assignment[sample]]),
        learnability_sample=len(sample),
    )


def last_decile(
    assignment: Integers,
    cosine: Floats,
    visited: Integers,
    m: int,
    source_groups: Integers | None = None,
) -> float:
    """Return the mean cosine of the last tenth of sources visited, at least one of each group."""
    source_of = np.empty(m, np.int64)
    source_of[assignment] = np.arange(len(assignment))
    order = source_of[visited]
    if source_groups is None:
        bounds = np.array([0, len(order)])
    else:  # groups are visited one after another
        labels = source_groups[order]
        inner = np.flatnonzero(labels[1:] != labels[:-1]) + 1
        bounds = np.concatenate([[0], inner, [len(order)]])
    tails = [
        order[end - -(-(end - begin) // 10) : end]
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
    return float(np.mean(cosine[np.concatenate(tails)]))


def norms(rows: NDArray[Any], index: Integers | None = None) -> Floats:
    """Return the Euclidean norms of `rows`, or of `rows[index]`, in float64."""
    out = np.empty(len(rows) if index is None else len(index))
    with np.errstate(over="ignore"):
        for block in _slices(len(out), rows.shape[1]):
            values = np.asarray(rows[block if index is None else index[block]], np.float64)
            out[block] = np.sqrt(np.einsum("ij,ij->i", values, values))
    return out


def spearman(a: Floats, b: Floats) -> float | None:
    """Return the rank correlation, with mean ranks for ties; None if either is constant."""
    if len(a) < 2:
        return None
    x, y = _ranks(a), _ranks(b)
    x -= x.mean()
    y -= y.mean()
    scale = np.sqrt(np.dot(x, x) * np.dot(y, y))
    return float(np.dot(x, y) / scale) if scale > 0 else None


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(mean_rank[inverse], np.float64)


def sample_rows(n: int, dim: int) -> Integers:
    """Choose the rows for learnability: all, or a fixed random sample of a few thousand."""
    size = min(n, SAMPLE_ROWS, max(SAMPLE_ELEMENTS // dim, 2 * NEIGHBOURS))
    if size == n:
        return np.arange(n)
    generator = np.random.Generator(np.random.Philox(0))
    return np.sort(generator.choice(n, size, replace=False, shuffle=False)).astype(np.int64)


def learnability(sources: NDArray[Any], labels: NDArray[Any]) -> float | None:
    """Return the leave-one-out 10-nearest-neighbour R² of labels on sources, over all columns.

    Parameters
    ----------
    sources, labels : [s, dim]

    Returns
    -------
    float or None
        1 − (squared error) / (squared deviation from the mean label); None for fewer than three
        rows or equal labels.
    """
    if len(sources) < 3:
        return None
    x, y = _scaled(sources), _scaled(labels)
    y -= y.mean(axis=0)
    total = np.einsum("ij,ij->", y, y)
    if not total > 0:
        return None
    k = min(NEIGHBOURS, len(x) - 1)
    squares = np.einsum("ij,ij->i", x, x)
    error = 0.0
    for block in _slices(len(x), len(x)):
        # Squared distances less the row's own square, which leaves the neighbours' order as it is.
        distances = squares - 2 * (x[block] @ x.T)
        rows = np.arange(len(distances))
        distances[rows, rows + block.start] = np.inf
        nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        missed = y[block].copy()
        for column in nearest.T:
            missed -= y[column] / k
        error += float(np.einsum("ij,ij->", missed, missed))
    return 1 - error / float(total)


def _scaled(rows: NDArray[Any]) -> Floats:
    """Copy rows as float64 with largest element 1, so that squares stay within range."""
    values = np.array(rows, np.float64)
    values /= np.max(np.abs(values), initial=0) or 1
    return values


def _slices(n: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK_ELEMENTS // max(width, 1))
    for begin in range(0, n, step):
        yield slice(begin, min(begin + step, n))
