"""The contract of optimal transport in plain NumPy integers, as the judge of `match_optimal`.

Nothing here imports gtn_label: the two share no code. `solve` follows the contract step by step
over the whole matrix of integer scores, so it is for a few hundred rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from . import oracle

HEADROOM = 53  # bits of the largest integer score
EPSILON_BITS = HEADROOM + 2  # of the first epsilon, at most
RATIO_BITS = 2  # a phase's epsilon is the last one's shifted by so many bits
CUT_BITS = 8  # the first phases leave n >> 8 sources to the next
CUT_PHASES = 6
CUT_PHASES_SAMPLED = 3
FEWEST_BIDDERS = 64
HOPE = 1.6  # a phase may be the last if all sources could miss so many times the tolerance
ROOM = 0.9999  # of the tolerance; the rest is for the rounding of scores
LIKELY_COST = 0.75  # of the scale, until more is known
EVERY = 4  # row is in the sample that first prices come from
SAMPLE_FROM = 2048  # rows, in at most SAMPLE_DIMS dimensions
SAMPLE_DIMS = 16
FIRST_BITS = 4  # by which the first epsilon then is smaller
SAMPLE_BITS = 6  # by which the sample's last one is
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


@dataclass(frozen=True)
class Sides:
    """Rows of a group or of a sample of one, with the column means of the whole group."""

    latents: np.ndarray
    sources: np.ndarray
    center: bool
    latent_mean: np.ndarray
    source_mean: np.ndarray

    @classmethod
    def of(cls, latents: np.ndarray, sources: np.ndarray, center: bool = False) -> Sides:
        return cls(latents, sources, center, column_mean(latents), column_mean(sources))

    def sample(self) -> Sides:
        return replace(self, latents=self.latents[::EVERY], sources=self.sources[::EVERY])

    @property
    def x(self) -> np.ndarray:
        """Latents less their mean, padded."""
        return oracle.pad(np.asarray(self.latents, dtype=np.float64) - self.latent_mean)

    @property
    def y(self) -> np.ndarray:
        return oracle.pad(np.asarray(self.sources, dtype=np.float64))

    @property
    def spread(self) -> float:
        """Root mean squared distances of both sides to their means, multiplied."""
        centred = oracle.pad(np.asarray(self.sources, dtype=np.float64) - self.source_mean)
        return root_mean_square(self.x) * root_mean_square(centred)


def root_mean_square(padded: np.ndarray) -> float:
    return math.sqrt(block_sum(oracle.dots(padded, padded)) / len(padded))


@dataclass(frozen=True)
class Integers:
    """A group on its grid: scores [n, m] times m + 1, first prices [m], first epsilon, exponent q.

    moment: what the cost on the grid would be without the sum of scores less first prices.
    scale: the part of it that does not depend on first prices. cost: as it is likely to be.
    """

    scores: np.ndarray
    start: np.ndarray
    epsilon: int
    q: int
    scale: float
    moment: float
    cost: float


def integers(sides: Sides) -> Integers:
    x, y = sides.x, sides.y
    squares_x, squares_y = oracle.dots(x, x), oracle.dots(y, y)
    n, m = len(y), len(x)
    largest = math.sqrt(float(squares_x.max())) * math.sqrt(float(squares_y.max()))
    firsts = first_costs(sides)
    largest = max(largest, 2.0 * float(np.abs(firsts).max()))
    e = math.frexp(largest)[1]
    factor = m + 1
    q = HEADROOM - factor.bit_length() - e
    dots = np.stack([oracle.dots(row[None, :], x) for row in y])
    scores = on_grid(dots, q) * factor
    start = on_grid(firsts, q)
    least = int(start.min())
    spread = wide = sides.spread
    if n < m:  # prices go as far as latents differ for the mean source
        dear = firsts - oracle.dots(x, oracle.pad(sides.source_mean[None, :]))
        ranked = dear[ranks_of(x)]
        middle = block_sum(ranked) / m
        wide = max(wide, block_sum(np.abs(ranked - middle)) / m)
    first = math.floor(math.ldexp(wide / sides.latents.shape[1], q))
    epsilon = max(1, min(first, 2**EPSILON_BITS // factor)) * factor
    if n < m:
        far = squares_y
        if not sides.center:
            off = oracle.pad(np.asarray(sides.sources, np.float64) - sides.latent_mean)
            far = (off * off).sum(axis=1)
        scale = math.ldexp(0.5 * block_sum(far), q) * factor
    else:
        scale = math.ldexp(spread * n, q) * factor
    moment = scale + n * float(least * factor)
    prices = (start - least) * factor
    return Integers(scores, prices, epsilon, q, scale, moment, LIKELY_COST * scale)


def on_grid(values: np.ndarray, q: int) -> np.ndarray:
    return np.rint(np.ldexp(values, q)).astype(np.int64)


def column_mean(latents: np.ndarray) -> np.ndarray:
    """Column means, added up in the contract's blocks of rows."""
    rows = np.asarray(latents, dtype=np.float64)
    return np.array([block_sum(column) for column in rows.T]) / len(rows)


def ranks_of(x: np.ndarray) -> np.ndarray:
    """Latent rows by ascending (norm less the mean, row)."""
    return np.lexsort((np.arange(len(x)), np.sqrt(oracle.dots(x, x))))


def first_costs(sides: Sides) -> np.ndarray:
    """What a latent costs before any bid, [m]: half its squared norm if latents are left over."""
    x = sides.x
    if len(sides.sources) == len(sides.latents):
        return oracle.dots(x, oracle.pad(sides.source_mean[None, :]))
    halves = 0.5 * oracle.dots(x, x)
    if sides.center:
        return halves
    return halves + oracle.dots(x, oracle.pad(sides.latent_mean[None, :]))


def classes_of(latents: np.ndarray) -> np.ndarray:
    """For each latent row, the first row with equal bytes."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), j) for j, row in enumerate(latents)])


def solve(
    latents: np.ndarray,
    sources: np.ndarray,
    tolerance: float = 0.0,
    center: bool = False,
    sample_from: int = SAMPLE_FROM,
) -> Optimal:
    """Optimal transport of one group, with at most as many sources as latents."""
    sides = Sides.of(latents, sources, center)
    grid = integers(sides)
    sampled = sample_first_prices(sides, grid, sample_from)
    if sampled is not None:
        grid = begin_with(grid, *sampled)
    auction = Auction(sides, grid)
    if sampled is not None:
        auction.add_counts(sampled[1])
    auction.run(tolerance, CUT_PHASES if sampled is None else CUT_PHASES_SAMPLED)
    assignment = np.empty(len(sources), dtype=np.int64)
    for members in auction.slots:
        for _, row, owner in members:
            if owner >= 0:
                assignment[owner] = row
    return Optimal(
        assignment,
        auction.price,
        auction.primal,
        auction.gap,
        auction.phases,
        auction.rounds,
        auction.bids,
    )


def begin_with(grid: Integers, start: np.ndarray, sample: Auction) -> Integers:
    """The grid with first prices and likely cost of a sample."""
    cost = grid.cost
    if sample.scale > 0.0:
        cost = sample.likely_cost() / sample.scale * grid.scale
    return replace(
        grid,
        start=start,
        epsilon=max(1, grid.epsilon >> FIRST_BITS),
        moment=grid.moment + float(sum(int(v) for v in grid.start - start)),
        cost=cost,
    )


def sample_first_prices(
    sides: Sides, grid: Integers, sample_from: int
) -> tuple[np.ndarray, Auction] | None:
    """First prices [m] that suit a sample, where one is taken, and the auction that made them."""
    n, m = grid.scores.shape
    if n < max(sample_from, m) or sides.latents.shape[1] > SAMPLE_DIMS:
        return None
    small = sides.sample()
    small_grid = integers(small)
    last = max(1, small_grid.epsilon >> SAMPLE_BITS)
    deeper = sample_first_prices(small, small_grid, sample_from)
    if deeper is not None:
        small_grid = begin_with(small_grid, *deeper)
    auction = Auction(small, small_grid)
    if deeper is not None:
        auction.add_counts(deeper[1])
    auction.run_coarsely(last)
    best = (auction.scores - auction.price).max(axis=1)
    real = [math.ldexp(int(v) / (len(small.latents) + 1), -small_grid.q) for v in best]
    values = on_grid(np.array(real), grid.q) * (m + 1)
    start = (grid.scores[::EVERY] - (values - values.min())[:, None]).max(axis=0)
    return start - start.min(), auction


class Auction:
    """The rounds and phases of one group on its grid."""

    def __init__(self, sides: Sides, grid: Integers) -> None:
        n, m = grid.scores.shape
        by_rank = ranks_of(sides.x)
        first_of = classes_of(sides.latents) if n == m else np.arange(m)
        leaders = list(dict.fromkeys(first_of[by_rank].tolist()))  # ids, by rank of the first
        self.n, self.m, self.scale, self.moment = n, m, grid.scale, grid.moment
        self.cost = grid.cost
        self.scores = grid.scores[:, leaders]
        self.slots = [
            [[0, int(j), NOBODY] for j in by_rank[first_of[by_rank] == k]] for k in leaders
        ]
        self.price = grid.start[leaders].copy()
        self.begin = self.price.copy()
        for k, members in enumerate(self.slots):
            for slot in members:
                slot[0] = int(self.price[k])
        self.holds = np.full(n, -1)
        self.unplaced, self.level = m - n, 0
        self.epsilon = grid.epsilon
        self.phases = self.rounds = self.bids = 0
        self.primal = self.gap = 0

    def add_counts(self, other: Auction) -> None:
        self.phases += other.phases
        self.rounds += other.rounds
        self.bids += other.bids

    def run(self, tolerance: float, cut_phases: int) -> None:
        done = 0
        while True:
            done += 1
            enough = float(self.epsilon) <= self.widest_epsilon(tolerance)
            last = self.epsilon == 1
            self.phase(0 if last or enough or done > cut_phases else self.n >> CUT_BITS)
            self.cost = self.likely_cost()
            if last or enough:
                self.measure()
                if last or self.gap <= ROOM * tolerance * (self.moment - self.primal):
                    return
            widest = self.widest_epsilon(tolerance)
            following = max(1, self.epsilon >> RATIO_BITS)
            if widest < float(self.epsilon):  # not past where the run may end
                following = max(following, int(widest))
            self.epsilon = following

    def widest_epsilon(self, tolerance: float) -> float:
        """With which a phase may be the last."""
        return HOPE * (tolerance * self.cost) / self.m

    def run_coarsely(self, last: int) -> None:
        while True:
            self.phase(self.n >> CUT_BITS)
            if self.epsilon <= last:
                return
            self.epsilon = max(1, self.epsilon >> RATIO_BITS)

    def likely_cost(self) -> float:
        held = np.flatnonzero(self.holds >= 0)
        values = self.scores[held, self.holds[held]] - self.begin[self.holds[held]]
        return self.moment - float(sum(int(v) for v in values)) * self.n / held.size

    def measure(self) -> None:
        held = self.holds
        values = self.scores[np.arange(self.n), held]
        self.primal = sum(int(v) for v in values - self.begin[held])
        best = (self.scores - self.price).max(axis=1)
        self.gap = sum(int(v) for v in best - (values - self.price[held]))
        rise = int((self.price - self.begin).min())
        self.gap += (self.m - self.n) * (self.level - min(self.level, rise))

    def cheapest(self, k: int) -> list[int]:
        return min(self.slots[k], key=lambda slot: slot[0])

    def sell(self, k: int, bid: int, owner: int) -> int:
        slot = self.cheapest(k)
        loser, slot[0], slot[2] = slot[2], bid, owner
        self.price[k] = min(slot[0] for slot in self.slots[k])
        return loser

    def drop_unhappy(self) -> None:
        for k, members in enumerate(self.slots):
            for slot in members:
                slot[0] = int(self.price[k])
        best = (self.scores - self.price).max(axis=1)
        for i in np.flatnonzero(self.holds >= 0):
            k = self.holds[i]
            if self.scores[i, k] - self.price[k] < best[i] - self.epsilon:
                next(slot for slot in self.slots[k] if slot[2] == i)[2] = NOBODY
                self.holds[i] = -1
        for members in self.slots:
            if members[0][2] == SPARE:
                members[0][2] = NOBODY
                self.unplaced += 1

    def place_spares(self) -> None:
        slots = self.slots
        rise = self.price - self.begin
        free = [k for k in range(len(slots)) if slots[k][0][2] != SPARE]
        free.sort(key=lambda k: (rise[k], k))
        taken, rest = free[: self.unplaced], free[self.unplaced :]
        cheapest = int(rise[rest[0]] if rest else rise[taken[-1]])
        self.level = max(self.level, cheapest + self.epsilon)
        for k in taken:
            if slots[k][0][2] >= 0:
                self.holds[slots[k][0][2]] = -1
            slots[k][0][2] = SPARE
        for k in range(len(slots)):
            if slots[k][0][2] == SPARE:
                slots[k][0][0] = self.price[k] = int(self.begin[k]) + self.level
        self.unplaced = 0

    def phase(self, limit: int) -> None:
        self.phases += 1
        self.drop_unhappy()
        bidders = self.n
        while True:
            if self.unplaced:
                self.place_spares()
            waiting = np.flatnonzero(self.holds < 0)
            if waiting.size <= limit:
                return
            bidders = max(FEWEST_BIDDERS, 4 * self.round(waiting[:bidders]))

    def round(self, bidders: np.ndarray) -> int:
        """One round; the number of bids that won."""
        self.rounds += 1
        offers: dict[int, list[tuple[int, int]]] = {}
        for i in bidders:
            values = self.scores[i] - self.price
            k = int(np.argmax(values))
            others = np.delete(values, k)
            second = int(others.max()) if others.size else int(values[k])
            offers.setdefault(k, []).append(
                (int(self.scores[i, k]) - second + self.epsilon, int(i))
            )
            self.bids += 1
        winners = 0
        for k, offered in offers.items():
            for bid, i in sorted(offered, key=lambda o: (-o[0], o[1])):
                if bid <= self.cheapest(k)[0]:
                    break
                loser = self.sell(k, bid, i)
                self.holds[i] = k
                if loser >= 0:
                    self.holds[loser] = -1
                self.unplaced += loser == SPARE
                winners += 1
        return winners
