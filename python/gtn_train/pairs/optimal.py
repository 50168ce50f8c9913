"""Optimal transport of sources to latents, through `gtn_label.match_optimal`.

Transport is of all rows at once, class by class, cluster by cluster, or batch by batch. Further
rounds are matched anew, or take their labels by the prices of one matching. Not here: the labelings
of the papers (labelings.py), labels that follow the generator (drifting.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gtn_label import Matching, match_optimal
from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_label.checks import as_bool, as_integer, as_number, check_seed
from gtn_label.errors import ArgumentError
from gtn_label.match_options import DEFAULT_TOLERANCE
from gtn_label.threads import check_threads

from ..seeds import derive, random_numbers
from .labelings import Clusters, Labeled, Progress, Rows, as_classes, standardized
from .rows import cosines_of

__all__ = ["Optimal", "OptimalClusters", "draw", "transport"]

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
    batch : int
        Match random batches of at most this many rows, as minibatch transport does; 0: all rows
        at once.
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
        batch: int = 0,
        prices_of: int | None = None,
        threads: int | None = None,
    ) -> None:
        check_threads(threads)
        self._tolerance = as_number(tolerance, "tolerance", 0.0)
        self._standardize = as_bool(standardize, "standardize")
        self._classes = None if classes is None else as_classes(classes)
        self._batch = as_integer(batch, "batch", 0)
        self._prices_of = None if prices_of is None else check_seed(prices_of)
        if self._batch and self._prices_of is not None:
            raise ArgumentError("prices_of", "needs {batch} 0: a batch has prices of its own")
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
            "batch": self._batch,
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
        drawn = draw(latents.shape, seed, self._classes, shuffle=self._batch > 0)
        if self._prices_of in (None, seed):
            assignment = self._transport(seen, drawn, progress)[0]
        else:
            assignment = np.empty(len(latents), np.int64)
            matchings = self._with_prices(latents, seen, progress)
            for matching, (mine, theirs) in zip(matchings, drawn.parts(), strict=True):
                fresh = drawn.sources[mine]
                taken = matching.assign(fresh, threads=self._threads, progress=progress)
                assignment[mine] = theirs[taken]
        cosine = cosines_of(drawn.sources, np.asarray(seen[assignment], np.float32))
        return Labeled(drawn.sources, assignment, cosine, drawn.classes, "cpu")

    def _seen(self, latents: Rows) -> Rows:
        """Check the latents, and standardise them if asked: the rows to match."""
        if self._classes is not None:
            convert.as_labels(self._classes, "classes", len(latents), "latents")
        return standardized(latents) if self._standardize else latents

    def _transport(
        self, seen: Rows, drawn: Draw, progress: Progress | None
    ) -> tuple[Indices, list[Matching]]:
        return transport(
            seen,
            drawn.sources,
            drawn.parts(self._batch),
            tolerance=self._tolerance,
            threads=self._threads,
            progress=progress,
        )

    def _with_prices(self, latents: Rows, seen: Rows, progress: Progress | None) -> list[Matching]:
        """Return the matchings whose prices label all rounds, one a class; made once."""
        sha256 = convert.sha256(latents)
        if self._solved is None or self._solved[0] != sha256:
            assert self._prices_of is not None
            drawn = draw(latents.shape, self._prices_of, self._classes)
            self._solved = sha256, self._transport(seen, drawn, progress)[1]
        return self._solved[1]


class OptimalClusters(Clusters):
    """Optimal transport within the clusters of the latents: Fig. 9 without Algorithm 1.

    Parameters
    ----------
    latents, n_clusters, seed, by_class
        As in `Clusters`.
    tolerance, batch, threads
        As in `Optimal`.
    standardize : bool
        Measure distances within a cluster from its mean, in units of its standard deviations.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `Clusters` and `Optimal`.

    Examples
    --------
    >>> latents = np.array([[5.0, 0.1], [5.1, 0.2], [-5.0, 0.1], [-5.2, 0.0]])
    >>> OptimalClusters(latents, 2).label(latents, seed=3).sources.shape
    (4, 2)
    """

    def __init__(
        self,
        latents: Rows,
        n_clusters: int = 2,
        *,
        seed: int = 0,
        tolerance: float = DEFAULT_TOLERANCE,
        standardize: bool = False,
        by_class: bool = False,
        batch: int = 0,
        threads: int | None = None,
    ) -> None:
        self._tolerance = as_number(tolerance, "tolerance", 0.0)
        self._batch = as_integer(batch, "batch", 0)
        self._threads = threads
        common: dict[str, Any] = {"standardize": standardize, "by_class": by_class}
        super().__init__(latents, n_clusters, seed=seed, threads=threads, **common)

    def config(self) -> dict[str, Any]:
        """Options of the clustering and the transport."""
        found = {**super().config(), "labeling": "optimal", "tolerance": self._tolerance}
        del found["order"], found["cone"]
        return {**found, "batch": self._batch}

    def label(self, latents: Rows, seed: int, progress: Progress | None = None) -> Labeled:
        """Draw mean + deviation · z for each latent's cluster, and match within clusters."""
        latents, sources, seen, seen_sources = self._drawn(latents, seed)
        rows = np.arange(len(latents))
        if self._batch:
            rows = random_numbers(seed, "rows").permutation(rows)
        drawn = Draw(rows, seen_sources, self._clusters[rows], self._clusters)
        assignment = transport(
            seen,
            seen_sources,
            drawn.parts(self._batch),
            tolerance=self._tolerance,
            threads=self._threads,
            progress=progress,
        )[0]
        cosine = cosines_of(seen_sources, np.asarray(seen[assignment], np.float32))
        classes = self._clusters if self.conditional else None
        return Labeled(sources, assignment, cosine, classes, "cpu")


@dataclass(frozen=True)
class Draw:
    """The draw of a round: sources, and the latents that they are matched with.

    Attributes
    ----------
    rows : int64 [n]
        Rows of the latents, each as often as any other, give or take one.
    sources : float32 [n, dim]
    known : int64 [n] or None
        Class of each row.
    classes : int64 [n] or None
        Class of each source, a shuffle of `known`.
    """

    rows: Indices
    sources: NDArray[np.float32]
    known: Classes | None
    classes: Classes | None

    def parts(self, batch: int = 0) -> list[tuple[Indices, Indices]]:
        """Sources and rows that are matched with each other, by class and batch.

        Parameters
        ----------
        batch : int
            Largest number of sources in a part; 0 for a whole class.
        """
        theirs = [self.rows]
        if self.known is not None:
            theirs = [self.rows[self.known == one] for one in np.unique(self.known)]
        return list(zip(self._cut(batch), _cut(theirs, batch), strict=True))

    def among_themselves(self, batch: int = 0) -> list[tuple[Indices, Indices]]:
        """The same parts, of sources and another draw of the same classes."""
        return [(mine, mine) for mine in self._cut(batch)]

    def _cut(self, batch: int) -> list[Indices]:
        mine = [np.arange(len(self.sources))]
        if self.classes is not None:
            mine = [np.flatnonzero(self.classes == one) for one in np.unique(self.classes)]
        return _cut(mine, batch)


def _cut(parts: list[Indices], batch: int) -> list[Indices]:
    """Cut each part into even batches of at most `batch`, if that is not 0."""
    if not batch:
        return parts
    return [piece for part in parts for piece in np.array_split(part, -(-len(part) // batch))]


def draw(
    shape: tuple[int, ...],
    seed: int,
    known: Classes | None,
    *,
    size: int | None = None,
    shuffle: bool = False,
) -> Draw:
    """Draw a round's sources from N(0, I) and the rows of latents to match.

    Parameters
    ----------
    shape : (m, dim)
        Shape of the latents.
    seed : int
    known : int64 [m] or None
        Class of each latent.
    size : int, optional
        Number of sources, m by default.
    shuffle : bool
        Shuffle the rows, so that batches of them are random.
    """
    m, dim = shape
    size = m if size is None else size
    rows = np.arange(m)
    if shuffle or size != m:
        chance = random_numbers(seed, "rows")
        times = -(-size // m)
        rows = np.concatenate([chance.permutation(m) for _ in range(times)])[:size]
    sources = draw_sources(size, dim, derive(seed, "sources"))
    if known is None:
        return Draw(rows, sources, None, None)
    known = known[rows]
    return Draw(rows, sources, known, random_numbers(seed, "classes").permutation(known))


def transport(
    targets: Rows,
    sources: Rows,
    parts: list[tuple[Indices, Indices]],
    *,
    tolerance: float,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Indices, list[Matching]]:
    """Match each part alone, by `match_optimal`.

    Parameters
    ----------
    targets : [m, dim]
    sources : [n, dim]
    parts : list of (source rows, target rows)
        As many of the one as of the other; all sources once.
    tolerance, threads, progress
        As in `match_optimal`.

    Returns
    -------
    assignment : int64 [n]
        Row of the target that each source takes.
    matchings : list of Matching
        One a part.
    """
    made: list[Matching] = []
    assignment = np.empty(len(sources), np.int64)
    done_before = 0

    def heard(done: int, total: int, left: float | None) -> None:
        if progress is not None:
            progress(done_before + done, len(sources), left)

    for mine, theirs in parts:
        matching = match_optimal(
            targets[theirs], sources[mine], tolerance=tolerance, threads=threads, progress=heard
        )
        assignment[mine] = theirs[matching.assignment]
        made.append(matching)
        done_before += len(mine)
    return assignment, made
