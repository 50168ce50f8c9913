"""Checks an exact answer against the tests' oracle.

The oracle (tests/oracle.py) is plain NumPy in float64 and shares no code with the engine. It solves
a problem whole where that takes a second. Elsewhere it makes a sample of the choices again, given
the latents taken before. Where its float64 copies would take longer than that, the sample goes
through the rows in blocks (``check_choices_in_blocks``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import usable_cores
from benchmarks.peer import Assignment, Rows
from tests import oracle

WHOLE_WORK = 500_000_000  # n² · dim up to which the oracle solves the whole problem
MOST_COPIED = 30_000_000  # n · dim up to which it copies and sorts the rows for a sample
BLOCK_ELEMENTS = 1 << 20


class WrongAnswer(AssertionError):
    """An assignment failed its check, so its time means nothing."""


def check_exact(latents: Rows, sources: Rows, assignment: Assignment, sample: int) -> str:
    """Check an exact answer by the oracle; return the check that it passed, in words.

    Half of the ``sample`` choices are the first ones, half are spread over the rest.

    Raises
    ------
    WrongAnswer
        The answer is not the contract's.
    """
    n, dim = sources.shape
    if n * len(latents) * dim <= WHOLE_WORK:
        if not np.array_equal(oracle.solve(latents, sources).assignment, assignment):
            raise WrongAnswer("the oracle gives another assignment")
        return "identical to the oracle"
    if len(np.unique(assignment)) != n or assignment.min() < 0:
        raise WrongAnswer("a latent is taken twice, or none")
    half = min(sample // 2, n)
    positions = np.concatenate([np.arange(half), np.linspace(0, n - 1, half).astype(np.intp)])
    if len(latents) * dim > MOST_COPIED:
        checked = check_choices_in_blocks(latents, sources, assignment, positions)
        return f"{checked:,} choices are the contract's"
    try:
        checked = oracle.check_choices(
            latents, sources, assignment[oracle.Problem(latents, sources).order], positions
        )
    except AssertionError as error:
        raise WrongAnswer(str(error)) from None
    return f"{checked:,} choices are the oracle's"


def blocks_of(rows: Rows) -> list[slice]:
    """Cut rows into blocks that are worth a call and small enough for several at once."""
    step = max(1, BLOCK_ELEMENTS // rows.shape[1])
    return [slice(begin, begin + step) for begin in range(0, len(rows), step)]


def norms(pool: ThreadPoolExecutor, rows: Rows) -> NDArray[np.float64]:
    """Compute the contract's norms [n] by the oracle's arithmetic."""

    def one(block: slice) -> NDArray[np.float64]:
        wide = oracle.pad(rows[block])
        lengths: NDArray[np.float64] = np.sqrt(oracle.dots(wide, wide))
        return lengths

    return np.concatenate(list(pool.map(one, blocks_of(rows))))


def check_choices_in_blocks(
    latents: Rows, sources: Rows, assignment: Assignment, positions: NDArray[np.intp]
) -> int:
    """Check the choices at some positions of a run, going once through the latents.

    As in the oracle, a matrix product discards latents whose score is below a better one's by more
    than the worst error of both computations; the rest are scored by the oracle's arithmetic.
    Returns the number of choices checked.

    Raises
    ------
    WrongAnswer
        One of them is not the contract's.
    """
    n, dim = sources.shape
    with ThreadPoolExecutor(usable_cores()) as pool:
        source_norms, latent_norms = norms(pool, sources), norms(pool, latents)
        order = oracle.visiting_order(source_norms, "norm")
        taken_at = np.full(len(latents), n)
        taken_at[assignment[order]] = np.arange(n)
        positions = np.unique(positions)
        chosen = oracle.pad(sources[order[positions]])
        units = (chosen / source_norms[order[positions], None]).T
        tolerance = 16 * (dim + 16) * 2.0**-53  # the oracle's

        def close(block: slice) -> Iterator[tuple[int, int, float]]:
            """List column, latent and estimate of every possible best of a block."""
            estimates = (oracle.pad(latents[block]) / latent_norms[block, None]) @ units
            estimates[taken_at[block, None] < positions] = -np.inf
            near = estimates >= np.maximum(estimates.max(axis=0), -1.5) - 2 * tolerance
            rows, columns = np.nonzero(near)
            return zip(columns, block.start + rows, estimates[near], strict=True)

        found: list[list[tuple[float, int]]] = [[] for _ in positions]
        for column, latent, estimate in itertools.chain(*pool.map(close, blocks_of(latents))):
            found[column].append((estimate, latent))
    for position, source, nearest in zip(positions, chosen, found, strict=True):
        bar = max(nearest)[0] - 2 * tolerance
        candidates = np.array([latent for estimate, latent in nearest if estimate >= bar])
        scores = oracle.dots(oracle.pad(latents[candidates]), source) / latent_norms[candidates]
        ties = candidates[scores == scores.max()]  # ascending, so equal norms keep their order
        expected = ties[np.argmin(latent_norms[ties])]
        taken = assignment[order[position]]
        if taken != expected:
            raise WrongAnswer(
                f"position {position}: source {order[position]} took latent {taken}, the contract "
                f"gives {expected}"
            )
    return len(positions)
