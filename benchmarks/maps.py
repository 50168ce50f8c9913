"""Further sources of a semi-discrete map, and the figures of the labels that they get.

A map gives each further source y the latent of largest ⟨y, x⟩ - price. It is not one-to-one. A good
map has a large dual value, and every latent is taken equally often. The mean squared distance alone
says nothing: a map to the nearest latents has the least of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import data
from benchmarks.check import WrongAnswer
from benchmarks.peer import Assignment, Rows

A_LATENT, MOST = 16, 50_000  # further sources a latent, and in all
SEED = 1  # of the further sources
BLOCK_ELEMENTS = 1 << 22
CARELESSNESS = 1e-5  # mean value lost by float32, relative to the mean squared distance


@dataclass(frozen=True)
class Map:
    """Figures of the labels of further sources."""

    sources: int
    mean_squared_distance: float
    dual: float  # lower bound of the transport cost that the prices prove, up to sampling
    imbalance: float  # m Σ q² - 1 for the shares q of the latents: 0 where all are the same
    never: float  # share of the latents that no source takes
    never_expected: float  # that share, were every latent equally likely


def fresh_sources(latents: Rows) -> NDArray[np.float32]:
    """Draw the further sources for a map to some latents."""
    m, dim = latents.shape
    return data.sources(min(A_LATENT * m, MOST), dim, seed=SEED)


def by_prices(latents: Rows, prices: NDArray[np.float64], sources: Rows) -> Assignment:
    """Give each source the latent of largest value, scores in float32."""
    x, narrow = latents.astype(np.float32), prices.astype(np.float32)
    step = max(1, BLOCK_ELEMENTS // len(x))
    labels = [
        (sources[begin : begin + step].astype(np.float32) @ x.T - narrow).argmax(axis=1)
        for begin in range(0, len(sources), step)
    ]
    return np.concatenate(labels).astype(np.int64)


def measure(latents: Rows, assignment: Assignment, prices: NDArray[np.float64] | None) -> Map:
    """Measure the labels of the further sources, and check that they follow from the prices.

    Raises
    ------
    ValueError
        There are no prices, or not one label for each source.
    WrongAnswer
        The labels are not those of the prices.
    """
    fresh = fresh_sources(latents).astype(np.float64)
    x, n = latents.astype(np.float64), len(fresh)
    if prices is None or prices.shape != (len(x),) or assignment.shape != (n,):
        raise ValueError("a map needs a price for each latent and a label for each source")
    best, own = np.empty(n), np.empty(n)
    step = max(1, BLOCK_ELEMENTS // len(x))
    for begin in range(0, n, step):
        some = slice(begin, begin + step)
        values = fresh[some] @ x.T - prices
        best[some] = values.max(axis=1)
        own[some] = values[np.arange(len(values)), assignment[some]]
    distance = float(np.square(fresh - x[assignment]).sum(axis=1).mean())
    lost = float((best - own).mean())
    if not lost <= CARELESSNESS * distance:
        raise WrongAnswer(f"labels lose {lost:.3g} of their value at the prices on the mean")
    squares = np.square(x).sum(axis=1)
    dual = np.square(fresh).sum(axis=1).mean() - 2 * best.mean() + (squares - 2 * prices).mean()
    hits = np.bincount(assignment, minlength=len(x)).astype(np.float64)
    pairs = (hits * (hits - 1)).sum() / (n * (n - 1.0))
    return Map(
        n,
        distance,
        float(dual),
        float(len(x) * pairs - 1),
        float((hits == 0).mean()),
        float((1 - 1 / len(x)) ** n),
    )
