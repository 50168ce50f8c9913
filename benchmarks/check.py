"""Checks that come before any timing: an answer that fails is reported, never timed.

This project's answer is held to the tests' oracle (tests/oracle.py, plain NumPy in float64, which
shares no code with the engine): whole where that takes a second, else a sample of its choices,
each of them the contract's, given what was taken before. What others promise differs, so does
what they are held to (``judge``).
"""

from __future__ import annotations

import numpy as np

from benchmarks.answer import Assignment, Rows
from benchmarks.peer import Kind
from benchmarks.quality import Quality, pair_figures
from tests import oracle

WHOLE_WORK = 500_000_000  # n² · dim up to which the oracle solves the whole problem
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
    order = oracle.Problem(latents, sources).order
    half = min(sample // 2, n)
    positions = np.concatenate([np.arange(half), np.linspace(0, n - 1, half).astype(np.intp)])
    try:
        checked = oracle.check_choices(latents, sources, assignment[order], positions)
    except AssertionError as error:
        raise WrongAnswer(str(error)) from None
    return f"{checked:,} choices are the oracle's"


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
