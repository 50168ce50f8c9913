"""Labelings: draw the sources of a round, and match each with a latent.

A labeling is a pure function of latents and a seed. The papers' labelings are here, all computed by
gtn_label: Algorithm 1 (with its cone, order, centring and classes), the quantile map of Theorem
2.1, and Algorithm 1 within the clusters of a mixture (Fig. 9). Training accepts any object that
fits `Labeling`. Not here: optimal transport (optimal.py),
the radial map (radial.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gtn_label import match, match_quantile
from gtn_label.arrays import convert
from gtn_label.arrays.sources import draw_sources
from gtn_label.backend.names import resolve
from gtn_label.checks import as_bool, as_integer, check_order, check_seed
from gtn_label.mixture import find_clusters
from gtn_label.threads import check_threads

from ..seeds import derive, random_numbers
from .mixture import Mixture, divisors

__all__ = ["Algorithm1", "Clusters", "Labeled", "Labeling", "Quantile"]

Rows: TypeAlias = NDArray[Any]
Progress: TypeAlias = Callable[[int, int, "float | None"], object]


@dataclass(frozen=True)
class Labeled:
    """One round: source i takes latents[assignment[i]].

    Attributes
    ----------
    sources : float32 [n, dim]
    assignment : int64 [n]
    cosine : float64 [n]
        Cosine of each pair as matched: with standardised latents, if the labeling standardised.
    classes : int64 [n] or None
        Class of each pair.
    backend : str
        Backend that matched.
    """

    sources: NDArray[np.float32]
    assignment: NDArray[np.int64]
    cosine: NDArray[np.float64]
    classes: NDArray[np.int64] | None
    backend: str


class Labeling(Protocol):
    """A way to make a round of pairs."""

    @property
    def conditional(self) -> bool:
        """True if pairs have classes."""

    def config(self) -> dict[str, Any]:
        """Options that decide the pairs, in JSON types; not backend, device and threads."""

    def check(self, latents: Rows) -> None:
        """Refuse latents that cannot be labeled, before any work: ValueError."""

    def label(self, latents: Rows, seed: int, progress: Progress | None = None) -> Labeled:
        """Make a round: a function of the latents and the seed alone.

        `progress` is called now and then; an exception that it raises stops the work.
        """


class Algorithm1:
    """Algorithm 1 of the GTN paper, through `gtn_label.match`.

    Parameters
    ----------
    order, cone, center, backend, device, threads
        As in `gtn_label.match`.
    standardize : bool
        Scale latents to mean 0 and standard deviation 1 in each coordinate before matching. Labels
        stay the latents as given.
    classes : array_like of int [m], optional
        Class of each latent. The sources get a shuffle of them, so that each class has as many
        sources as latents, and take latents of their own class.

    Raises
    ------
    TypeError, ValueError
        As `gtn_label.match`.

    Examples
    --------
    >>> Algorithm1(cone=4).label(np.eye(3), seed=1).assignment.shape
    (3,)
    """

    def __init__(
        self,
        *,
        order: str = "norm",
        cone: int = 1,
        center: bool = False,
        standardize: bool = False,
        classes: Any = None,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._options, self._means = _checked(order, cone, backend, device, threads)
        self._options["center"] = as_bool(center, "center")
        self._standardize = as_bool(standardize, "standardize")
        self._classes = None if classes is None else as_classes(classes)

    @property
    def conditional(self) -> bool:
        """True if pairs have classes."""
        return self._classes is not None

    def config(self) -> dict[str, Any]:
        """Options, and the hash of the classes."""
        return {
            "labeling": "algorithm1",
            **self._options,
            "standardize": self._standardize,
            "classes_sha256": None if self._classes is None else convert.sha256(self._classes),
        }

    def check(self, latents: Rows) -> None:
        """Refuse latents without a class, or without a direction once standardised."""
        self._seen(latents)

    def label(self, latents: Rows, seed: int, progress: Progress | None = None) -> Labeled:
        """Draw n = m sources from N(0, I) and match them."""
        latents = convert.as_rows(latents, "latents").rows
        seen = self._seen(latents)
        n, dim = latents.shape
        sources = draw_sources(n, dim, derive(seed, "sources"))
        classes = groups = None
        if self._classes is not None:
            classes = random_numbers(seed, "classes").permutation(self._classes)
            groups = (classes, self._classes)
        matching = match(
            seen,
            sources,
            groups=groups,
            progress=progress,
            **self._options,
            **self._means,
        )
        return _labeled(matching, sources, classes)

    def _seen(self, latents: Rows) -> Rows:
        """Check the latents, and standardise them if asked: the rows to match."""
        if self._classes is not None:
            convert.as_labels(self._classes, "classes", len(latents), "latents")
        return directed(standardized(latents)) if self._standardize else latents


class Quantile:
    """The quantile map in one dimension (Theorem 2.1), through `gtn_label.match_quantile`.

    Examples
    --------
    >>> Quantile().label(np.array([[2.0], [1.0]]), seed=0).assignment.shape
    (2,)
    """

    conditional = False

    def config(self) -> dict[str, Any]:
        """Its name."""
        return {"labeling": "quantile"}

    def check(self, latents: Rows) -> None:
        """Refuse more than one dimension."""
        if latents.shape[1] != 1:
            raise ValueError(
                f"quantile labels need latents of dimension 1, got dimension {latents.shape[1]}"
            )

    def label(self, latents: Rows, seed: int, progress: Progress | None = None) -> Labeled:
        """Draw n = m sources from N(0, 1) and pair them in sorted order."""
        latents = convert.as_rows(latents, "latents").rows
        self.check(latents)
        sources = draw_sources(len(latents), 1, derive(seed, "sources"))
        matching = match_quantile(latents, sources)
        return Labeled(sources, matching.assignment, matching.cosine, None, "quantile")


class Clusters:
    """Algorithm 1 within the clusters of the latents (Fig. 9), as `gtn_label.match_mixture` does.

    The clusters are found once. All rounds draw their sources around the same clusters, so that
    sampling has one mixture for all rounds.

    Parameters
    ----------
    latents : array_like [m, dim]
        Latents of all rounds.
    n_clusters : int
    seed : int
        Random seed of k-means.
    order, cone, backend, device, threads
        As in `gtn_label.match_mixture`.
    standardize : bool
        Match within a cluster by cosines from its mean, in units of its standard deviations. Seen
        from the origin, as the paper has it, a cluster that lies off it is a narrow cone of
        directions, and much of it is never generated.
    by_class : bool
        Give the generator the cluster of a source as its class. Then no steep step is needed where
        the sources of two clusters meet. The paper's generator gets the source alone.

    Attributes
    ----------
    conditional : bool
        True if pairs have classes.
    mixture : Mixture
        Weights, means and standard deviations of the clusters.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        As `gtn_label.match_mixture`.

    Examples
    --------
    >>> latents = np.array([[5.0, 0.1], [5.1, 0.2], [-5.0, 0.1], [-5.2, 0.0]])
    >>> Clusters(latents, 2).label(latents, seed=3).sources.shape
    (4, 2)
    """

    def __init__(
        self,
        latents: Rows,
        n_clusters: int = 2,
        *,
        seed: int = 0,
        order: str = "norm",
        cone: int = 1,
        standardize: bool = False,
        by_class: bool = False,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._options, self._means = _checked(order, cone, backend, device, threads)
        self._standardize = as_bool(standardize, "standardize")
        self.conditional = as_bool(by_class, "by_class")
        self._seed = check_seed(seed)
        rows = convert.as_rows(latents, "latents").rows
        self._sha256 = convert.sha256(rows)
        self._clusters = find_clusters(rows, n_clusters, self._seed)
        self.mixture = Mixture.of_clusters(rows, self._clusters)

    def config(self) -> dict[str, Any]:
        """Options of the clustering and the matching."""
        return {
            "labeling": "clusters",
            "clusters": len(self.mixture.weights),
            "seed": self._seed,
            **self._options,
            "standardize": self._standardize,
            "by_class": self.conditional,
        }

    def check(self, latents: Rows) -> None:
        """Refuse other latents than those that were clustered."""
        found = convert.sha256(convert.as_rows(latents, "latents").rows)
        if found != self._sha256:
            raise ValueError(
                f"clusters were found among other latents: SHA-256 {self._sha256}, found {found}"
            )

    def label(self, latents: Rows, seed: int, progress: Progress | None = None) -> Labeled:
        """Draw mean + deviation · z for each latent's cluster, and match within clusters."""
        latents, sources, seen, seen_sources = self._drawn(latents, seed)
        if self._standardize:
            # Members of a cluster without any spread are equal: any direction will do.
            no_spread = np.isinf(divisors(self.mixture.means, self.mixture.stds))
            seen[no_spread[self._clusters].all(axis=1)] = 1
            directed(seen)
        matching = match(
            seen,
            seen_sources,
            groups=(self._clusters, self._clusters),
            progress=progress,
            **self._options,
            **self._means,
        )
        return _labeled(matching, sources, self._clusters if self.conditional else None)

    def _drawn(self, latents: Rows, seed: int) -> tuple[Rows, NDArray[np.float32], Rows, Rows]:
        """Check the latents, draw their sources, and give both as they are matched."""
        latents = convert.as_rows(latents, "latents").rows
        self.check(latents)
        n, dim = latents.shape
        z = draw_sources(n, dim, derive(seed, "sources"))
        sources = self.mixture.around(self._clusters, z)
        if self._standardize:
            return latents, sources, self.mixture.frames(self._clusters, latents), z
        return latents, sources, latents, sources


def _labeled(matching: Any, sources: Any, classes: NDArray[np.int64] | None) -> Labeled:
    backend = matching.stats["backend"]
    return Labeled(sources, matching.assignment, matching.cosine, classes, backend)


def _checked(
    order: Any, cone: Any, backend: Any, device: Any, threads: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return `match`'s options that decide the pairs, and those that decide the computation."""
    check_order(order)
    check_threads(threads)
    resolve(backend, on_gpu=False)
    means = {"backend": backend, "device": device, "threads": threads}
    return {"order": order, "cone": as_integer(cone, "cone", 1)}, means


def as_classes(classes: Any) -> NDArray[np.int64]:
    """Copy classes of latents, int64 [m]; refuse other shapes and types."""
    if np.ndim(classes) != 1 or len(classes) == 0:
        raise ValueError(f"classes must be 1-D, one for each latent, got shape {np.shape(classes)}")
    return convert.as_labels(classes, "classes", len(classes), "latents").copy()


def standardized(latents: Rows) -> NDArray[np.float64]:
    """Scale each column to mean 0 and deviation 1, as `standardization` measures them.

    Parameters
    ----------
    latents : [n, dim]
    """
    mean, divisor = standardization(latents)
    found: NDArray[np.float64] = (latents - mean) / divisor
    return found


def standardization(latents: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure the mean and the deviation (over n, in float64) of each column.

    Parameters
    ----------
    latents : [n, dim]

    Returns
    -------
    mean, divisor : float64 [dim]
        The divisor of a constant column is infinity.

    Raises
    ------
    ValueError
        If the square of a value is beyond float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scale = latents.std(axis=0, dtype=np.float64)
    if not np.isfinite(scale).all():
        raise ValueError(
            "latents must have a standard deviation in float64 to be standardised, and column "
            f"{np.isfinite(scale).argmin()} has values too large for one"
        )
    mean = latents.mean(axis=0, dtype=np.float64)
    return mean, divisors(mean, scale)


def directed(rows: Rows) -> Rows:
    """Return standardised rows; refuse a row at the mean, which has no direction."""
    with_direction = rows.any(axis=1)
    if not with_direction.all():
        raise ValueError(
            "latents must have a direction when they are standardised, and row "
            f"{with_direction.argmin()} is the mean of all, or of its cluster; without "
            "standardising latents are matched as they are"
        )
    return rows
