"""Checks that come before any timing: an answer that fails is reported, never timed.

This project's answer is held to the tests' oracle (tests/oracle.py, plain NumPy in float64, which
shares no code with the engine): whole where that takes a second, else a sample of its choices,
each of them the contract's, given what was taken before. Where the oracle's copies in float64 take
longer than that, the sample goes through the rows in blocks (``check_choices_in_blocks``). What
others promise differs, so does what they are held to (``judge``, ``check_same``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from benchmarks.answer import Assignment, Rows
from benchmarks.machine import usable_cores
from benchmarks.peer import Kind
from benchmarks.quality import Quality, pair_figures
from tests import oracle

WHOLE_WORK = 500_000_000  # n² · dim up to which the oracle solves the whole problem
MOST_COPIED = 30_000_000  # n · dim up to which it copies and sorts the rows for a sample
BLOCK_ELEMENTS = 1 << 20
COSINE_TOLERANCE = 1e-3  # float32 swaps near-ties and what follows; it does not change quality
OPTIMUM_TOLERANCE = 1e-6


class WrongAnswer(AssertionError):
    """An assignment failed its check, so its time means nothing."""


def check_exact(latents: Rows, sources: Rows, assignment: Assignment, sample: int) -> str:
    """Hold this project's answer to the oracle; return what was checked, in words.

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
    """Norms [n] of the contract, by the oracle's arithmetic."""

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
            """Column, latent and estimate of what may be the best of a block."""
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


def check_same(
    kind: Kind, latents: Rows, sources: Rows, assignment: Assignment, reference: Assignment
) -> None:
    """Hold an answer to another one of the same problem, that of the contract.

    Raises
    ------
    WrongAnswer
        One of kind "contract" differs anywhere; another is not one-to-one, or its mean cosine is
        another one.
    """
    if kind == "contract":
        other = np.flatnonzero(assignment != reference)
        if len(other):
            source = other[0]
            raise WrongAnswer(
                f"{len(other):,} of {len(reference):,} sources have another latent, the first is "
                f"source {source}: {assignment[source]}, not {reference[source]}"
            )
        return
    every = np.arange(len(sources))
    cosines = [
        float(pair_figures(latents, sources, answer, every)[0].mean())
        for answer in (assignment, reference)
    ]
    one_to_one = len(np.unique(assignment)) == len(sources)
    judge("greedy", Quality(one_to_one, len(sources), 0.0, cosines[0]), cosines[1], 0.0, 0.0, None)


def chance(latents: Rows, sources: Rows) -> float:
    """Mean squared distance of random pairs, each latent once."""
    shuffled = np.random.Generator(np.random.Philox(1)).permutation(len(sources))
    return pair_figures(latents, sources, shuffled, np.arange(len(sources)))[1]


def judge(
    kind: Kind,
    quality: Quality,
    exact_cosine: float,
    random_distance: float,
    least: float,
    optimum: float | None,
) -> None:
    """Hold a peer's answer to what it promises.

    Parameters
    ----------
    exact_cosine
        Mean cosine of the exact answer, over the sources that the peer visited.
    random_distance
        Mean squared distance of random pairs.
    least
        Least mean squared distance of any answer so far.
    optimum
        That of an exact solver, if one ran.

    Raises
    ------
    WrongAnswer
        It does not keep its promise.
    """
    if not quality.one_to_one:
        raise WrongAnswer("a latent is taken twice")
    if kind == "contract" and quality.identical < 1:
        raise WrongAnswer(f"only {100 * quality.identical:.4f} % of the pairs are the exact ones")
    if kind == "greedy":
        difference = abs(quality.mean_cosine - exact_cosine)
        if not difference <= COSINE_TOLERANCE:
            raise WrongAnswer(
                f"mean cosine {quality.mean_cosine:.4f}, the exact one is {exact_cosine:.4f}"
            )
    if kind in ("contract", "greedy"):
        return
    distance = quality.mean_squared_distance
    if distance is None:
        raise WrongAnswer(f"only {quality.visited:,} sources have a latent")
    if not distance < random_distance:
        raise WrongAnswer(
            f"mean squared distance {distance:.6g}, random pairs have {random_distance:.6g}"
        )
    if kind == "optimal" and distance > least * (1 + OPTIMUM_TOLERANCE):
        raise WrongAnswer(f"mean squared distance {distance:.9g}, another peer has {least:.9g}")
    if optimum is not None and distance < optimum * (1 - OPTIMUM_TOLERANCE):
        raise WrongAnswer(f"mean squared distance {distance:.9g}, the optimum is {optimum:.9g}")
