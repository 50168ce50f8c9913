"""Optimal: optimal transport of sources to latents, through `gtn_label.match_optimal`.

Further rounds are matched anew, or take their labels by the prices of one matching. Not here: the
labelings of the papers (labelings.py).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gtn_label import Matching, match_optimal
from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_label.checks import as_bool, as_number, check_seed
from gtn_label.match_options import DEFAULT_TOLERANCE
from gtn_label.threads import check_threads

from ..seeds import derive, random_numbers
from .labelings import Labeled, Progress, Rows, as_classes, standardized
from .rows import cosines_of

__all__ = ["Optimal"]

Classes: TypeAlias = NDArray[np.int64]
Indices: TypeAlias = NDArray[np.int64]


class Optimal:
    """Optimal transport: the one-to-one pairs of least mean squared distance.

    Parameters
    ----------
    tolerance : float
        Relative gap to the optimum at which matching may stop, as in `gtn_label.match_optimal`.
    standardize : bool
        Scale latents to mean 0 and standard deviation 1 in each coordinate before matching. Labels
        stay the latents as given.
    classes : array_like of int [m], optional
        Class of each latent. The sources get a shuffle of them, and each class is matched alone.
    prices_of : int, optional
        Seed of the one round that is matched. Sources of every other round take the latent of
        largest <y, x> - price, by the prices of that matching: the semi-discrete transport map,
        which costs one search and is not one-to-one. By default every round is matched.
    threads : int, optional
        As in `gtn_label.match_optimal`.

    Raises
    ------
    TypeError, ValueError
        If an option is invalid; the message names it.

    Examples
    --------
    >>> Optimal(tolerance=0).label(np.eye(3), seed=1).assignment.shape
    (3,)
    """

    def __init__(
        self,
        *,
        tolerance: float = DEFAULT_TOLERANCE,
        standardize: bool = False,
        classes: Any = None,
        prices_of: int | None = None,
        threads: int | None = None,
    ) -> None:
        check_threads(threads)
        self._tolerance = as_number(tolerance, "tolerance", 0.0)
        self._standardize = as_bool(standardize, "standardize")
        self._classes = None if classes is None else as_classes(classes)
        self._prices_of = None if prices_of is None else check_seed(prices_of)
        self._threads = threads
        self._solved: tuple[str, list[Matching]] | None = None

    @property
    def conditional(self) -> bool:
        """True if pairs have classes."""
        return self._classes is not None

    def config(self) -> dict[str, Any]:
        """Options, and the hash of the classes."""
        return {
            "labeling": "optimal",
            "tolerance": self._tolerance,
            "standardize": self._standardize,
            "prices_of": self._prices_of,
            "classes_sha256": None if self._classes is None else convert.sha256(self._classes),
        }

    def check(self, latents: Rows) -> None:
        """Refuse latents without a class, or that cannot be standardised."""
        self._seen(latents)

    def label(self, latents: Rows, seed: int, progress: Progress | None = None) -> Labeled:
        """Draw n = m sources from N(0, I), and match them or assign them by prices."""
        latents = convert.as_rows(latents, "latents").rows
        seen = self._seen(latents)
        sources, classes = self._drawn(latents.shape, seed)
        matched = self._prices_of in (None, seed)
        if matched:
            matchings = self._match(seen, sources, classes, progress)
        else:
            matchings = self._with_prices(latents, seen, progress)
        assignment = np.empty(len(latents), np.int64)
        for matching, (mine, theirs) in zip(
            matchings, self._parts(len(sources), classes), strict=True
        ):
            if matched:
                taken = matching.assignment
            else:
                taken = matching.assign(sources[mine], threads=self._threads, progress=progress)
            assignment[mine] = theirs[taken]
        cosine = cosines_of(sources, np.asarray(seen[assignment], np.float32))
        return Labeled(sources, assignment, cosine, classes, "cpu")

    def _seen(self, latents: Rows) -> Rows:
        """Check the latents, and standardise them if asked: the rows to match."""
        if self._classes is not None:
            convert.as_labels(self._classes, "classes", len(latents), "latents")
        return standardized(latents) if self._standardize else latents

    def _drawn(
        self, shape: tuple[int, ...], seed: int
    ) -> tuple[NDArray[np.float32], Classes | None]:
        """Draw a round's sources and their classes."""
        sources = draw_sources(shape[0], shape[1], derive(seed, "sources"))
        if self._classes is None:
            return sources, None
        return sources, random_numbers(seed, "classes").permutation(self._classes)

    def _parts(self, n: int, classes: Classes | None) -> list[tuple[Indices, Indices]]:
        """Rows of the sources and of the latents of each class."""
        if self._classes is None:
            return [(np.arange(n), np.arange(n))]
        return [
            (np.flatnonzero(classes == one), np.flatnonzero(self._classes == one))
            for one in np.unique(self._classes)
        ]

    def _match(
        self,
        seen: Rows,
        sources: NDArray[np.float32],
        classes: Classes | None,
        progress: Progress | None,
    ) -> list[Matching]:
        """Match each class alone; all rows at once without classes."""
        made: list[Matching] = []

        def heard(done: int, total: int, left: float | None) -> None:
            if progress is not None:
                before = sum(len(matching.assignment) for matching in made)
                progress(before + done, len(seen), left)

        for mine, theirs in self._parts(len(sources), classes):
            made.append(
                match_optimal(
                    seen[theirs],
                    sources[mine],
                    tolerance=self._tolerance,
                    threads=self._threads,
                    progress=heard,
                )
            )
        return made

    def _with_prices(self, latents: Rows, seen: Rows, progress: Progress | None) -> list[Matching]:
        """Return the matchings whose prices label all rounds; made once."""
        sha256 = convert.sha256(latents)
        if self._solved is None or self._solved[0] != sha256:
            assert self._prices_of is not None
            sources, classes = self._drawn(latents.shape, self._prices_of)
            self._solved = sha256, self._match(seen, sources, classes, progress)
        return self._solved[1]
