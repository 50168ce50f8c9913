"""Checks every answer on a problem before any timing: an answer that fails is never timed.

The oracle checks the first exact answer (check.py). That answer is the reference of all others: a
backend of this project must equal it bit for bit, a greedy in float32 must reach its mean cosine,
and an optimal solver must have the least distance of all. A certificate must follow from its
prices, and no other answer may have a lower cost than its bound. Every other peer must be
one-to-one and better than chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import approximation, certificate, check, maps
from benchmarks.check import WrongAnswer
from benchmarks.peer import Assignment, Kind, Rows
from benchmarks.quality import Quality, measure, pair_figures

COSINE_TOLERANCE = 1e-3  # float32 swaps near-ties and what follows; it does not change quality
OPTIMUM_TOLERANCE = 1e-6


class FalseCertificate(WrongAnswer):
    """Another answer costs less than the lower bound that this project certified."""


@dataclass(frozen=True)
class Verdict:
    """An answer that kept its promise: the check it passed, and the figures of its pairs."""

    checked: str
    quality: Quality | None
    loss: approximation.Loss | None = None  # of approximate search
    certificate: certificate.Certificate | None = None
    map: maps.Map | None = None


class Judge:
    """Judges the answers on one problem, in the order in which they come.

    Parameters
    ----------
    latents, sources : [n, dim]
    sample : int
        Choices of the first exact answer that the oracle makes again.
    whole : bool
        Measure all figures of the pairs; else those alone that a promise needs.
    """

    def __init__(self, latents: Rows, sources: Rows, sample: int, whole: bool) -> None:
        self._rows = latents, sources
        self._sample, self._whole = sample, whole
        self.exact: Assignment | None = None
        self._quality: Quality | None = None
        # Mean squared distances: of random pairs, the least so far, and of an exact solver.
        self.random = chance(latents, sources) if whole else np.inf
        self.least, self.optimum = np.inf, 0.0
        self.bound = 0.0  # the largest that a certificate proves

    def verdict(
        self,
        kind: Kind,
        assignment: Assignment,
        stats: dict[str, Any],
        prices: NDArray[np.float64] | None = None,
    ) -> Verdict:
        """Check an answer against its promise.

        Raises
        ------
        WrongAnswer
            It does not keep its promise.
        ValueError
            It is no assignment at all, or there is no exact answer to compare it with.
        """
        if kind == "contract":
            if self.exact is not None:
                check_identical(assignment, self.exact)
                return Verdict("identical", self._quality)
            passed = check.check_exact(*self._rows, assignment, self._sample)
            self.exact = assignment
            if self._whole:
                self._quality = measure(*self._rows, assignment, assignment)
                self.least = self._quality.mean_squared_distance or np.inf
            return Verdict(passed, self._quality)
        if kind == "map":
            found = maps.measure(self._rows[0], assignment, prices)
            return Verdict("labels follow from prices", None, map=found)
        if self.exact is None:
            raise ValueError("there is no exact answer to compare it with")
        quality = measure(*self._rows, assignment, self.exact, self._whole)
        visited = np.flatnonzero(assignment >= 0)
        cosine = float(pair_figures(*self._rows, self.exact, visited)[0].mean())
        proof = None
        if kind == "certified":
            proof = certificate.measure(*self._rows, assignment, prices, stats["certificate"])
            certificate.judge(proof)
        optimal = kind == "optimal" or (proof is not None and not proof.tolerance)
        self._check_promise("optimal" if optimal else kind, quality, cosine)
        self._check_bound(quality.mean_squared_distance, proof)
        loss = None
        if kind == "approximate":
            loss = approximation.measure(*self._rows, assignment, stats["approx"])
            approximation.judge(loss)
        distance = quality.mean_squared_distance
        if distance is not None:
            self.least = min(self.least, distance)
            self.optimum = distance if optimal else self.optimum
        words = "as good" if kind == "greedy" else "as promised"
        if proof is not None:
            words = f"gap proved over {proof.checked:,} sources"
        return Verdict(words, quality, loss, proof)

    def _check_bound(self, distance: float | None, proof: certificate.Certificate | None) -> None:
        """Hold every cost against the largest certified bound, and a new bound against all."""
        if distance is not None and distance < self.bound * (1 - certificate.ROUNDING):
            raise FalseCertificate(
                f"mean squared distance {distance:.12g}, certified was {self.bound:.12g} at least"
            )
        if proof is None:
            return
        if proof.lower_bound * (1 - certificate.ROUNDING) > self.least:
            raise FalseCertificate(
                f"lower bound {proof.lower_bound:.12g}, another peer has {self.least:.12g}"
            )
        self.bound = max(self.bound, proof.lower_bound)

    def _check_promise(self, kind: Kind, quality: Quality, exact_cosine: float) -> None:
        """Check the figures of a peer; ``exact_cosine`` is over the sources that it visited."""
        if not quality.one_to_one:
            raise WrongAnswer("a latent is taken twice")
        if kind == "greedy":
            if not abs(quality.mean_cosine - exact_cosine) <= COSINE_TOLERANCE:
                raise WrongAnswer(
                    f"mean cosine {quality.mean_cosine:.4f}, the exact one is {exact_cosine:.4f}"
                )
            return
        distance = quality.mean_squared_distance
        if distance is None:
            raise WrongAnswer(f"only {quality.visited:,} sources have a latent")
        for other, words, bad in (
            (self.random, "random pairs have", not distance < self.random),
            (
                self.least,
                "another peer has",
                kind == "optimal" and distance > self.least * (1 + OPTIMUM_TOLERANCE),
            ),
            (self.optimum, "the optimum is", distance < self.optimum * (1 - OPTIMUM_TOLERANCE)),
        ):
            if bad:
                raise WrongAnswer(f"mean squared distance {distance:.9g}, {words} {other:.9g}")


def check_identical(assignment: Assignment, exact: Assignment) -> None:
    """Compare an answer with the exact one, bit for bit.

    Raises
    ------
    WrongAnswer
        They differ anywhere.
    """
    other = np.flatnonzero(assignment != exact)
    if len(other):
        source = other[0]
        raise WrongAnswer(
            f"{len(other):,} of {len(exact):,} sources have another latent, the first is "
            f"source {source}: {assignment[source]}, not {exact[source]}"
        )


def chance(latents: Rows, sources: Rows) -> float:
    """Return the mean squared distance of random pairs, each latent once."""
    shuffled = np.random.Generator(np.random.Philox(1)).permutation(len(sources))
    return pair_figures(latents, sources, shuffled, np.arange(len(sources)))[1]
