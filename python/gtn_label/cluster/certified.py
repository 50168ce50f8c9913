"""The certificate of optimal transport over the latents of many ranks, to the bits of one machine.

Every rank adds up the pairs whose latents it holds. The sums of all ranks are put together without
rounding, so that the dealing of rows changes no bit. The formulas are those of certificate.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays.row_blocks import TakenRows
from ..certificate import (
    Center,
    Groups,
    Sums,
    Transport,
    expansion,
    group_sums,
    largest_square,
    rows_mean,
    rows_of_groups,
    transport_of,
)
from .center import column_mean
from .exchange import Exchange, gather, gather_rows
from .sides import Side

__all__ = ["certify_sharded"]

Indices = npt.NDArray[np.int64]


def certify_sharded(
    exchange: Exchange,
    latents: Side,
    sources: npt.NDArray[Any],
    assignment: Indices,
    prices: npt.NDArray[np.float64],
    gap: float,
    mean: npt.NDArray[np.float64],
    center: bool,
    groups: Groups,
) -> Transport:
    """Put a duality gap into squared distances and into a relative gap. A collective call.

    Parameters
    ----------
    exchange : Exchange
    latents : Side
        Of this rank.
    sources : [n, dim]
        Of all ranks, as `assignment` int64 [n].
    prices : float64 [m_r]
        Of this rank's latents; part of the result.
    gap : float
        D - P, with its rounding.
    mean : float64 [dim]
        Column mean of all latents.
    center : bool
    groups : (int64 [n], int64 [m]) or None
        Labels of all ranks' rows.
    """
    n, m = len(sources), latents.total
    around = Center(*np.zeros((2, len(mean))))
    if center:
        rest = column_mean(exchange, latents.rows, latents.index, m, less=mean)
        around = Center(mean, rest)
        if around.matters(n, m):
            own = largest_square(latents.rows, np.arange(len(latents.rows)), mean)
            gap += around.slack(n, float(gather(exchange, own).max()))
    place = np.full(m, -1, np.int64)  # of each global row among those of this rank
    place[latents.index] = np.arange(len(latents.index))
    records = []
    spare = []
    for number, (of_sources, of_latents) in enumerate(rows_of_groups(groups, n, m)):
        own_latents = place[of_latents]
        here = np.flatnonzero(own_latents >= 0)
        own_latents = own_latents[here]
        takes = place[assignment[of_sources]]
        own_pairs = takes >= 0
        x_mean = mean
        if groups is not None:
            taken = TakenRows(latents.rows, own_latents)
            x_mean = column_mean(exchange, taken, here, len(of_latents))
        spare.append(len(of_sources) < len(of_latents))
        sums = group_sums(
            latents.rows,
            sources,
            (of_sources[own_pairs], takes[own_pairs]),
            own_latents,
            (x_mean, rows_mean(sources, of_sources)),
            around,
            spare=spare[-1],
        )
        records += [(number, *each) for each in _records(sums)]
    parts = _sums(exchange, records, spare)
    return transport_of(parts, prices, gap, n)


def _records(sums: Sums) -> Iterator[tuple[int, float]]:
    """Yield the numbers to send: the place of a sum in `Sums`, and a part of it."""
    for which, values in enumerate(sums):
        for part in expansion(values or []):
            yield which, part


def _sums(
    exchange: Exchange, records: list[tuple[int, int, float]], spare: list[bool]
) -> list[Sums]:
    """Return the sums of each group over all ranks."""
    own = np.array(records, np.float64).reshape(-1, 3)
    found = [Sums([], [], None if each else [], [], []) for each in spare]
    for part in gather_rows(exchange, own):
        for number, which, value in part.tolist():
            values = found[int(number)][int(which)]
            assert values is not None
            values.append(value)
    return found
