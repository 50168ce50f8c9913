"""The numeric contract in plain NumPy and float64, as the judge of the engine.

Two implementations live here: `solve_literal` follows the contract line by line in Python floats,
and `solve` gives the same bits fast enough for a few thousand rows. `check_choices` judges single
choices of runs that are too large to repeat. Nothing here imports gtn_label: the two share no code.

Numeric facts: every decision is made on float64 scores in the contract's order of additions. A
matrix product (whose order of additions is BLAS's secret) only ever discards latents whose score
is below the best by more than the worst error of both computations, so it cannot change an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

SMALLEST_SQUARE = 2.2250738585072014e-308
CENTER_BLOCK = 1024
BLOCK_ENTRIES = 8_000_000


class Refused(ValueError):
    """The contract does not define a result for this input."""


@dataclass(frozen=True)
class Outcome:
    """assignment [n] int64, cosine [n] float64, and visited [n]: latents in order of taking."""

    assignment: np.ndarray
    cosine: np.ndarray
    visited: np.ndarray


# ---------------------------------------------------------------------------------------------
# Arithmetic


def dot_literal(a: Iterable[float], b: Iterable[float]) -> float:
    """dot(a, b) of the contract in Python floats, which are IEEE float64, one operation a line."""
    s = [0.0] * 8
    for k, (a_k, b_k) in enumerate(zip(a, b, strict=True)):
        product = a_k * b_k
        s[k % 8] = s[k % 8] + product
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))


def pad(rows: np.ndarray) -> np.ndarray:
    """Widen rows [n, d] to float64 and append zero columns up to a multiple of eight.

    The extra products are +0 or -0, and an accumulator that starts at +0 never becomes -0, so
    adding them changes no bit.
    """
    n, dim = rows.shape
    padded = np.zeros((n, -(-dim // 8) * 8))
    padded[:, :dim] = rows
    return padded


def dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Contract dot products of padded rows a [..., 8 q] and b [..., 8 q], broadcast together."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        products = a * b
        s = np.zeros((*products.shape[:-1], 8))
        for k in range(0, products.shape[-1], 8):
            s += products[..., k : k + 8]
        even = (s[..., 0] + s[..., 4]) + (s[..., 2] + s[..., 6])
        odd = (s[..., 1] + s[..., 5]) + (s[..., 3] + s[..., 7])
        return even + odd


def row_norms(rows: np.ndarray, name: str = "rows") -> np.ndarray:
    """Norms [n] of padded rows; refuses rows that have no direction or no finite norm."""
    if not np.isfinite(rows).all():
        raise Refused(f"{name}: NaN or infinity")
    squares = np.concatenate(
        [dots(part, part) for part in _row_blocks(rows)] or [np.zeros(0)],
    )
    if not np.isfinite(squares).all() or (squares < SMALLEST_SQUARE).any():
        raise Refused(f"{name}: a norm is zero, overflows or underflows")
    return np.sqrt(squares)


def centered(latents: np.ndarray) -> np.ndarray:
    """Latents in float64 less their column means, added up in the contract's blocks of rows."""
    rows = np.asarray(latents, dtype=np.float64)
    total = np.zeros(rows.shape[1])
    for begin in range(0, len(rows), CENTER_BLOCK):
        part = np.zeros(rows.shape[1])
        for row in rows[begin : begin + CENTER_BLOCK]:
            part = part + row
        total = total + part
    return rows - total / len(rows)


# ---------------------------------------------------------------------------------------------
# Orders and groups


def visiting_order(norms: np.ndarray, order: str) -> np.ndarray:
    """Indices of the sources in the order in which they choose."""
    index = np.arange(len(norms))
    if order == "norm":
        return np.lexsort((index, norms))
    if order == "norm_desc":
        return np.lexsort((index, -norms))
    if order == "index":
        return index
    raise ValueError(f"order: {order!r}")


def latent_ranks(norms: np.ndarray, order: str) -> np.ndarray:
    """Rank of every latent: ascending (norm, index), or descending norm under norm_desc."""
    key = -norms if order == "norm_desc" else norms
    ranks = np.empty(len(norms), dtype=np.int64)
    ranks[np.lexsort((np.arange(len(norms)), key))] = np.arange(len(norms))
    return ranks


def group_rows(groups, n: int, m: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Source rows and latent rows of each group, in ascending order of its label."""
    if groups is None:
        yield np.arange(n), np.arange(m)
        return
    source_groups, latent_groups = (np.asarray(labels) for labels in groups)
    if len(source_groups) != n or len(latent_groups) != m:
        raise Refused("groups: wrong length")
    for label in np.unique(source_groups):
        yield np.flatnonzero(source_groups == label), np.flatnonzero(latent_groups == label)


# ---------------------------------------------------------------------------------------------
# Literal solution


def solve_literal(latents, sources, *, order="norm", cone=1, center=False, groups=None) -> Outcome:
    """Solve as `solve` does, in the contract's own words; for tens of rows."""
    x = (centered(latents) if center else np.asarray(latents, dtype=np.float64)).tolist()
    y = np.asarray(sources, dtype=np.float64).tolist()
    x_square = [dot_literal(row, row) for row in x]
    y_square = [dot_literal(row, row) for row in y]
    if not all(math.isfinite(v) and v >= SMALLEST_SQUARE for v in x_square + y_square):
        raise Refused("norms")
    x_norm = [math.sqrt(v) for v in x_square]
    y_norm = [math.sqrt(v) for v in y_square]
    sign = -1.0 if order == "norm_desc" else 1.0
    by_rank = sorted(range(len(x)), key=lambda j: (sign * x_norm[j], j))
    rank = {j: r for r, j in enumerate(by_rank)}
    assignment = [-1] * len(y)
    cosine = [math.nan] * len(y)
    visited = []
    for source_rows, latent_rows in group_rows(groups, len(y), len(x)):
        free = set(latent_rows.tolist())
        if len(source_rows) > len(free):
            raise Refused("more sources than latents")
        visits = source_rows.tolist()
        if order != "index":
            visits.sort(key=lambda i: (sign * y_norm[i], i))
        for i in visits:
            score = {j: dot_literal(x[j], y[i]) / x_norm[j] for j in free}
            best_first = sorted(free, key=lambda j: (-score[j], rank[j]))
            taken = min(best_first[:cone], key=lambda j: rank[j])
            free.remove(taken)
            assignment[i] = taken
            cosine[i] = score[taken] / y_norm[i]
            visited.append(taken)
    return Outcome(np.array(assignment), np.array(cosine), np.array(visited))


# ---------------------------------------------------------------------------------------------
# Fast solution


class Problem:
    """Rows, norms and ranks of one matching, and the choice of one source among free latents."""

    def __init__(self, latents, sources, *, order="norm", cone=1, center=False, groups=None):
        latents = np.asarray(latents)
        sources = np.asarray(sources)
        for name, rows in (("latents", latents), ("sources", sources)):
            if not np.isfinite(rows).all():
                raise Refused(f"{name}: NaN or infinity")
        self.latents = pad(centered(latents) if center else latents)
        self.sources = pad(sources)
        self.latent_norms = row_norms(self.latents, "latents")
        self.source_norms = row_norms(self.sources, "sources")
        self.rank = latent_ranks(self.latent_norms, order)
        self.cone = cone
        self.parts = []
        for source_rows, latent_rows in group_rows(groups, len(sources), len(latents)):
            if len(source_rows) > len(latent_rows):
                raise Refused("more sources than latents")
            visits = source_rows[visiting_order(self.source_norms[source_rows], order)]
            self.parts.append((visits, latent_rows))
        self.order = np.concatenate([visits for visits, _ in self.parts])
        self.latent_units = self.latents / self.latent_norms[:, None]
        # Identical rows have identical scores: each distinct row is computed once.
        as_bytes = self.latents.view(np.dtype((np.void, self.latents.shape[1] * 8))).ravel()
        _, self.first, self.distinct = np.unique(as_bytes, return_index=True, return_inverse=True)
        # With u = 2^-53: unit rows err by (d + 8) u each, any order of additions by (d + 2) u,
        # the contract's own cosine by no more than (3 d + 20) u, and products that underflow add
        # d u to a dot product of rows whose norms are at least 2^-511. 16 (d + 16) u bounds the
        # difference of a BLAS cosine from the contract's with room to spare.
        self.tolerance = 16 * (sources.shape[1] + 16) * 2.0**-53

    def estimates(self, visits: np.ndarray, latent_rows: np.ndarray) -> np.ndarray:
        """Cosines [visits, latent_rows], each within the tolerance of the contract's."""
        units = self.sources[visits] / self.source_norms[visits, None]
        every = len(latent_rows) == len(self.latent_units)
        return units @ (self.latent_units if every else self.latent_units[latent_rows]).T

    def scores(self, source: int, candidates: np.ndarray) -> np.ndarray:
        """Contract scores of the source against the candidates (latent indices)."""
        rows, back = np.unique(self.distinct[candidates], return_inverse=True)
        rows = self.first[rows]
        products = np.concatenate(
            [dots(part, self.sources[source]) for part in _row_blocks(self.latents[rows])]
        )
        return (products / self.latent_norms[rows])[back]

    def cosines(self, sources: np.ndarray, taken: np.ndarray) -> np.ndarray:
        """Contract cosines of pairs: source sources[i] with latent taken[i]."""
        products = np.concatenate(
            [
                dots(self.latents[j], self.sources[i])
                for i, j in zip(_row_blocks(sources), _row_blocks(taken), strict=True)
            ]
        )
        return products / self.latent_norms[taken] / self.source_norms[sources]

    def choice(self, source: int, free: np.ndarray, estimates: np.ndarray) -> int:
        """Latent taken, given the estimates [len(free)], -inf where it is already taken."""
        if self.cone == 1:
            k, bar = 1, estimates.max()
        else:
            k = min(self.cone, int((estimates > -np.inf).sum()))
            bar = np.partition(estimates, len(estimates) - k)[len(estimates) - k]
        candidates = free[np.flatnonzero(estimates >= bar - 2 * self.tolerance)]
        if len(candidates) > k:
            scores = self.scores(source, candidates)
            if k == 1:
                candidates = candidates[scores == scores.max()]
            else:
                candidates = candidates[np.lexsort((self.rank[candidates], -scores))[:k]]
        return int(candidates[np.argmin(self.rank[candidates])])


def solve(latents, sources, *, order="norm", cone=1, center=False, groups=None) -> Outcome:
    """Solve a matching by the numeric contract.

    Parameters
    ----------
    latents : array [m, dim]
    sources : array [n, dim]
    order : "norm", "norm_desc" or "index"
    cone : int
    center : bool
        Column means are those of all latents, also with groups.
    groups : None or (labels [n], labels [m])

    Raises
    ------
    Refused
        Where the contract defines no result.
    """
    problem = Problem(latents, sources, order=order, cone=cone, center=center, groups=groups)
    assignment = np.full(len(problem.sources), -1, dtype=np.int64)
    for visits, latent_rows in problem.parts:
        free = latent_rows
        place = np.zeros(len(problem.latents), dtype=np.int64)
        for begin in range(0, len(visits), 256):
            block = visits[begin : begin + 256]
            penalty = np.zeros(len(free))
            place[free] = np.arange(len(free))
            estimates = problem.estimates(block, free)
            for source, row in zip(block, estimates, strict=True):
                taken = problem.choice(source, free, row + penalty)
                penalty[place[taken]] = -np.inf
                assignment[source] = taken
            free = free[penalty == 0]
    cosine = problem.cosines(np.arange(len(assignment)), assignment)
    return Outcome(assignment, cosine, assignment[problem.order])


def exact_choices(problem: Problem, visited, positions) -> np.ndarray:
    """Latents [positions] that the contract gives the sources at some positions of a run.

    Each chooses among the latents that `visited`, the latents in the order in which they were
    taken (the whole run or a prefix), leaves free at its position. `positions` ascend.
    """
    taken_at = np.full(len(problem.latents), len(visited))
    taken_at[visited] = np.arange(len(visited))
    expected = []
    base = 0
    for visits, latent_rows in problem.parts:
        mine = positions[(positions >= base) & (positions < base + len(visits))]
        step = max(1, BLOCK_ENTRIES // max(1, len(latent_rows)))
        when = taken_at[latent_rows]
        for begin in range(0, len(mine), step):
            block = mine[begin : begin + step]
            estimates = problem.estimates(visits[block - base], latent_rows)
            for position, row in zip(block, estimates, strict=True):
                row[when < position] = -np.inf
                expected.append(problem.choice(visits[position - base], latent_rows, row))
        base += len(visits)
    return np.array(expected, dtype=np.int64)


def check_choices(
    latents,
    sources,
    visited,
    positions,
    *,
    order="norm",
    cone=1,
    center=False,
    groups=None,
    cosine=None,
) -> int:
    """Check single choices of a run against the contract, given what was taken before them.

    Parameters
    ----------
    latents, sources, order, cone, center, groups
        As for `solve`.
    visited : int array [p], p <= n
        Latents in the order in which they were taken: the whole run or a prefix of it.
    positions : int array
        Positions in `visited` whose choice is checked.
    cosine : float64 array [n], optional
        Reported cosine of each source, checked at the same positions.

    Returns
    -------
    int
        Number of choices checked.

    Raises
    ------
    AssertionError
        For the first choice that is not the contract's, or a latent taken twice or not there.
    """
    problem = Problem(latents, sources, order=order, cone=cone, center=center, groups=groups)
    visited = np.asarray(visited)
    positions = np.unique(np.asarray(positions))
    m = len(problem.latents)
    assert len(visited) <= len(problem.sources), "more visits than sources"
    assert ((visited >= 0) & (visited < m)).all(), "a latent that does not exist"
    assert len(np.unique(visited)) == len(visited), "a latent is taken twice"
    assert len(positions) == 0 or (positions[0] >= 0 and positions[-1] < len(visited)), (
        "a position outside the visited prefix"
    )
    expected = exact_choices(problem, visited, positions)
    for position, latent in zip(positions, expected, strict=True):
        assert visited[position] == latent, (
            f"position {position}: source {problem.order[position]} took latent "
            f"{visited[position]}, the contract gives {latent}"
        )
    if cosine is not None and len(positions):
        checked = problem.order[positions]
        right = problem.cosines(checked, visited[positions])
        wrong = np.flatnonzero(np.asarray(cosine)[checked].view(np.int64) != right.view(np.int64))
        assert not len(wrong), (
            f"cosine {cosine[checked[wrong[0]]]!r} of source {checked[wrong[0]]}, "
            f"the contract gives {right[wrong[0]]!r}"
        )
    return len(positions)


def _row_blocks(rows: np.ndarray) -> list[np.ndarray]:
    """Rows, or a list of them, in blocks whose products fit in memory together."""
    step = max(1, BLOCK_ENTRIES // rows.shape[1]) if rows.ndim == 2 else 4096
    return [rows[begin : begin + step] for begin in range(0, len(rows), step)]
