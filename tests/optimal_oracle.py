"""The contract of optimal transport in plain NumPy integers, as the judge of `match_optimal`.

Nothing here imports gtn_label: the two share no code. `solve` follows the contract step by step
over the whole matrix of integer scores, so it is for a few hundred rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import oracle

HEADROOM = 53  # bits of the largest integer score
RATIO_BITS = 2  # a phase's epsilon is the last one's shifted by so many bits
CUT_BITS = 8  # the first phases leave n >> 8 sources to the next
CUT_PHASES = 6
FEWEST_BIDDERS = 64
NOBODY, SPARE = -1, -2  # owners that are no sources


@dataclass(frozen=True)
class Optimal:
    """assignment [n], integer prices [ids] by distinct latent, primal and gap, and counts."""

    assignment: np.ndarray
    prices: np.ndarray
    primal: int
    gap: int
    phases: int
    rounds: int
    bids: int


def block_sum(values: np.ndarray) -> float:
    """Sum in blocks of 1,024, ascending, as the contract's column mean."""
    total = 0.0
    for begin in range(0, len(values), oracle.CENTER_BLOCK):
        part = 0.0
        for value in values[begin : begin + oracle.CENTER_BLOCK]:
            part = part + float(value)
        total = total + part
    return total


def integer_scores(
    latents: np.ndarray, sources: np.ndarray, center: bool = False
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Scores [n, m] on the grid times m + 1, first prices [m], first epsilon, exponent q."""
    x, y = oracle.pad(oracle.centered(latents)), oracle.pad(sources)
    squares_x, squares_y = oracle.dots(x, x), oracle.dots(y, y)
    m = len(x)
    largest = math.sqrt(float(squares_x.max())) * math.sqrt(float(squares_y.max()))
    firsts = first_prices(latents, sources, center)
    largest = max(largest, 2.0 * float(np.abs(firsts).max()))
    e = math.frexp(largest)[1]
    factor = m + 1
    q = HEADROOM - factor.bit_length() - e
    dots = oracle.dots(y[:, None, :], x[None, :, :])
    scores = np.rint(np.ldexp(dots, q)).astype(np.int64) * factor
    start = np.rint(np.ldexp(firsts, q)).astype(np.int64) * factor
    spread = spread_of(latents) * spread_of(sources)
    if len(y) < m:  # prices go as far as first prices are apart
        ranked = firsts[ranks_of(latents)]
        middle = block_sum(ranked) / m
        spread = max(spread, block_sum(np.abs(ranked - middle)) / m)
    first = max(1, math.floor(math.ldexp(spread / latents.shape[1], q))) * factor
    return scores, start - start.min(), first, q


def column_mean(latents: np.ndarray) -> np.ndarray:
    """Column means, added up in the contract's blocks of rows."""
    rows = np.asarray(latents, dtype=np.float64)
    return np.array([block_sum(column) for column in rows.T]) / len(rows)


def spread_of(rows: np.ndarray) -> float:
    """Root of the mean squared distance to the mean."""
    centred = oracle.pad(oracle.centered(rows))
    return math.sqrt(block_sum(oracle.dots(centred, centred)) / len(rows))


def ranks_of(latents: np.ndarray) -> np.ndarray:
    """Latent rows by ascending (norm less the mean, row)."""
    x = oracle.pad(oracle.centered(latents))
    return np.lexsort((np.arange(len(x)), np.sqrt(oracle.dots(x, x))))


def first_prices(latents: np.ndarray, sources: np.ndarray, center: bool) -> np.ndarray:
    """What a latent costs before any bid, [m]: half its squared norm if latents are left over."""
    x = oracle.pad(oracle.centered(latents))
    if len(sources) == len(latents):
        return oracle.dots(x, oracle.pad(column_mean(sources)[None, :]))
    halves = 0.5 * oracle.dots(x, x)
    if center:
        return halves
    return halves + oracle.dots(x, oracle.pad(column_mean(latents)[None, :]))


def classes_of(latents: np.ndarray) -> np.ndarray:
    """For each latent row, the first row with equal bytes."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), j) for j, row in enumerate(latents)])


def solve(
    latents: np.ndarray, sources: np.ndarray, tolerance: float = 0.0, center: bool = False
) -> Optimal:
    """Optimal transport of one group, with at most as many sources as latents."""
    scores, start, epsilon, q = integer_scores(latents, sources, center)
    n, m = scores.shape
    factor = m + 1
    squares_y = oracle.dots(oracle.pad(sources), oracle.pad(sources))
    spread = spread_of(latents) * spread_of(sources)
    least = float(np.rint(np.ldexp(first_prices(latents, sources, center), q)).min())
    if n < m:
        far = squares_y
        if not center:
            off = oracle.pad(np.asarray(sources, np.float64) - column_mean(latents))
            far = (off * off).sum(axis=1)
        moment = (math.ldexp(0.5 * block_sum(far), q) + n * least) * factor
    else:
        moment = (math.ldexp(spread * n, q) + n * least) * factor
    by_rank = ranks_of(latents)
    first_of = classes_of(latents) if n == m else np.arange(m)
    leaders = list(dict.fromkeys(first_of[by_rank].tolist()))  # ids, by the rank of the first
    scores = scores[:, leaders]
    slots = [[[0, int(j), NOBODY] for j in by_rank[first_of[by_rank] == k]] for k in leaders]
    price = start[leaders].copy()
    begin = price.copy()
    for k, members in enumerate(slots):
        for slot in members:
            slot[0] = int(price[k])
    holds = np.full(n, -1)
    unplaced, level = m - n, 0
    phases = rounds = bids = 0

    def cheapest(k: int) -> list[int]:
        return min(slots[k], key=lambda slot: slot[0])

    def sell(k: int, bid: int, owner: int) -> int:
        slot = cheapest(k)
        loser, slot[0], slot[2] = slot[2], bid, owner
        price[k] = min(slot[0] for slot in slots[k])
        return loser

    while True:
        phases += 1
        best = (scores - price).max(axis=1)
        for i in np.flatnonzero(holds >= 0):
            k = holds[i]
            if scores[i, k] - price[k] < best[i] - epsilon:
                next(slot for slot in slots[k] if slot[2] == i)[2] = NOBODY
                holds[i] = -1
        for members in slots:
            if members[0][2] == SPARE:
                members[0][2] = NOBODY
                unplaced += 1
        enough = m * float(epsilon) <= tolerance * moment
        last = epsilon == 1
        limit = 0 if last or enough or phases > CUT_PHASES else n >> CUT_BITS
        bidders = n
        while True:
            if unplaced:
                rise = price - begin
                free = [k for k in range(len(slots)) if slots[k][0][2] != SPARE]
                free.sort(key=lambda k: (rise[k], k))
                taken, rest = free[:unplaced], free[unplaced:]
                level = max(level, int(rise[rest[0]] if rest else rise[taken[-1]]) + epsilon)
                for k in taken:
                    if slots[k][0][2] >= 0:
                        holds[slots[k][0][2]] = -1
                    slots[k][0][2] = SPARE
                for k in range(len(slots)):
                    if slots[k][0][2] == SPARE:
                        slots[k][0][0] = price[k] = int(begin[k]) + level
                unplaced = 0
            waiting = np.flatnonzero(holds < 0)
            if waiting.size <= limit:
                break
            rounds += 1
            offers: dict[int, list[tuple[int, int]]] = {}
            for i in waiting[:bidders]:
                values = scores[i] - price
                k = int(np.argmax(values))
                others = np.delete(values, k)
                second = int(others.max()) if others.size else int(values[k])
                offers.setdefault(k, []).append((int(scores[i, k]) - second + epsilon, int(i)))
                bids += 1
            winners = 0
            for k, offered in offers.items():
                for bid, i in sorted(offered, key=lambda o: (-o[0], o[1])):
                    if bid <= cheapest(k)[0]:
                        break
                    loser = sell(k, bid, i)
                    holds[i] = k
                    if loser >= 0:
                        holds[loser] = -1
                    unplaced += loser == SPARE
                    winners += 1
            bidders = max(FEWEST_BIDDERS, 4 * winners)
        if last or enough:
            values = scores[np.arange(n), holds]
            primal = sum(int(v) for v in values - begin[holds])
            gap = sum(int(v) for v in (scores - price).max(axis=1) - (values - price[holds]))
            rise = price - begin
            gap += (m - n) * (level - min(level, int(rise.min())))
            if last or gap <= tolerance * (moment - primal):
                break
        epsilon = max(1, epsilon >> RATIO_BITS)
    assignment = np.empty(n, dtype=np.int64)
    for members in slots:
        for _, row, owner in members:
            if owner >= 0:
                assignment[owner] = row
    return Optimal(assignment, price, primal, gap, phases, rounds, bids)
