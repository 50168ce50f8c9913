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
CUT_BITS = 8  # a phase that cannot be the last leaves n >> 8 sources to the next
FEWEST_BIDDERS = 64


@dataclass(frozen=True)
class Optimal:
    """assignment [n]; integer prices [ids] by distinct latent, primal and dual, and phases."""

    assignment: np.ndarray
    prices: np.ndarray
    primal: int
    dual: int
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


def integer_scores(latents: np.ndarray, sources: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Scores [n, m] on the grid times m + 1, the first epsilon, and the grid's exponent q."""
    x, y = oracle.pad(oracle.centered(latents)), oracle.pad(sources)
    squares_x, squares_y = oracle.dots(x, x), oracle.dots(y, y)
    m = len(x)
    largest = math.sqrt(float(squares_x.max())) * math.sqrt(float(squares_y.max()))
    e = math.frexp(largest)[1]
    factor = m + 1
    q = HEADROOM - factor.bit_length() - e
    dots = oracle.dots(y[:, None, :], x[None, :, :])
    scores = np.rint(np.ldexp(dots, q)).astype(np.int64) * factor
    spread = math.sqrt(block_sum(squares_x) / m) * math.sqrt(block_sum(squares_y) / len(y))
    first = max(1, math.floor(math.ldexp(spread / latents.shape[1], q))) * factor
    return scores, first, q


def classes_of(latents: np.ndarray) -> np.ndarray:
    """For each latent row, the first row with equal bytes."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), j) for j, row in enumerate(latents)])


def solve(latents: np.ndarray, sources: np.ndarray, tolerance: float = 0.0) -> Optimal:
    """Optimal transport between as many sources as latents."""
    scores, epsilon, _ = integer_scores(latents, sources)
    n = len(sources)
    x = oracle.pad(oracle.centered(latents))
    by_rank = np.lexsort((np.arange(len(x)), np.sqrt(oracle.dots(x, x))))
    first_of = classes_of(latents)
    leaders = list(dict.fromkeys(first_of[by_rank].tolist()))  # ids, by the rank of the first
    scores = scores[:, leaders]
    slots = [[[0, int(j), -1] for j in by_rank[first_of[by_rank] == k]] for k in leaders]
    price = np.zeros(len(leaders), dtype=np.int64)
    holds = np.full(n, -1)
    phases = rounds = bids = 0
    total = n * epsilon  # about the moment of the scores
    while True:
        phases += 1
        best = (scores - price).max(axis=1)
        for i in np.flatnonzero(holds >= 0):
            k = holds[i]
            if scores[i, k] - price[k] < best[i] - epsilon:
                next(slot for slot in slots[k] if slot[2] == i)[2] = -1
                holds[i] = -1
        last = epsilon == 1 or (tolerance > 0 and False)
        limit = 0 if last else n >> CUT_BITS
        bidders = n
        while (waiting := np.flatnonzero(holds < 0)).size > limit:
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
                    slot = min(slots[k], key=lambda s: s[0])
                    if bid <= slot[0]:
                        break
                    if slot[2] >= 0:
                        holds[slot[2]] = -1
                    slot[0], slot[2], holds[i] = bid, i, k
                    winners += 1
                price[k] = min(slot[0] for slot in slots[k])
            bidders = max(FEWEST_BIDDERS, 4 * winners)
        if epsilon == 1:
            break
        epsilon = max(1, epsilon >> RATIO_BITS)
    assignment = np.empty(n, dtype=np.int64)
    for members in slots:
        for _, row, owner in members:
            assignment[owner] = row
    primal = int(sum(int(scores[i, holds[i]]) for i in range(n)))
    dual = sum(int(price[k]) * len(slots[k]) for k in range(len(slots)))
    dual += sum(int(v) for v in (scores - price).max(axis=1))
    return Optimal(assignment, price, primal, dual, phases, rounds, bids)
