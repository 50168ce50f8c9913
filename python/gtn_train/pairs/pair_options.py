"""PairOptions: a run's options for its pairs, as plain values, and the pairs made from them.

Presets and the command use these without waiting for torch. Not here: the labelings themselves
(labelings.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from gtn_label.arrays import convert
from gtn_label.checks import as_integer, as_number, check_order
from gtn_label.errors import ArgumentError, ArgumentTypeError
from gtn_label.match_options import DEFAULT_TOLERANCE

from ..seeds import derive

if TYPE_CHECKING:
    from .drifting import DriftingPairs
    from .fixed import FixedPairs
    from .fresh import FreshPairs
    from .labelings import Labeling

__all__ = ["LABELINGS", "PairOptions", "one_round"]

LABELINGS = ("algorithm1", "quantile", "clusters", "optimal", "drift", "radial")

EPOCHS_A_ROUND = 3  # of labels that follow the generator, where nobody says


@dataclass(frozen=True)
class PairOptions:
    """Options of the pairs.

    Parameters
    ----------
    labeling : {"algorithm1", "quantile", "clusters", "optimal", "drift", "radial"}
        See `Algorithm1`, `Quantile`, `Clusters`, `Optimal` and, for labels that follow the
        generator, `DriftingPairs`.
    order : {"norm", "norm_desc", "index"}
    cone : int
    center : bool
    standardize : bool
        The last four as in `Algorithm1`, `Clusters`, `Optimal` and `DriftingPairs`.
    clusters : int
        Number of clusters, >= 2, for the labeling "clusters", or for "optimal" within clusters
        (`OptimalClusters`); 0 for all rows together.
    by_class : bool
        Match within classes, for a conditional generator. The classes are the clusters if there
        are any, and the data's otherwise.
    every : int
        Number of epochs in a round of pairs; 0: one round for all epochs, as the authors have it.
        The labeling "drift" has rounds, and needs at least 1.
    tolerance : float
        Relative gap at which the transport of "optimal" and "drift" may stop.
    transport_batch : int
        Rows in a batch of the transport of "optimal" and "drift"; 0: all rows at once.
    round_size : int
        Sources in a round of "drift"; 0: one for each latent.
    by_prices : bool
        Label the sources of later rounds by the prices of the first round's matching, with the
        labeling "optimal"; by default each round is matched.

    Raises
    ------
    TypeError, ValueError
        If an option is invalid; the message names it.

    Examples
    --------
    >>> PairOptions(cone=16).make(np.eye(4), seed=0).n
    4
    """

    labeling: str = "algorithm1"
    order: str = "norm"
    cone: int = 1
    center: bool = False
    standardize: bool = False
    clusters: int = 0
    by_class: bool = False
    every: int = 0
    tolerance: float = DEFAULT_TOLERANCE
    transport_batch: int = 0
    round_size: int = 0
    by_prices: bool = False

    def __post_init__(self) -> None:
        if self.labeling not in LABELINGS:
            raise ArgumentError(
                "labeling", f"must be one of {', '.join(LABELINGS)}", repr(self.labeling)
            )
        check_order(self.order)
        as_integer(self.cone, "cone", 1)
        for name in ("every", "transport_batch", "round_size"):
            as_integer(getattr(self, name), name, 0)
        as_number(self.tolerance, "tolerance", 0.0)
        for name in ("center", "standardize", "by_class", "by_prices"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentTypeError(name, "must be a bool", repr(getattr(self, name)))
        as_integer(self.clusters, "clusters", 2 if self.labeling == "clusters" else 0)
        if self.clusters == 1:
            raise ArgumentError("clusters", "must be 0 or >= 2", "1")
        for name, known in (
            ("clusters", ("clusters", "optimal")),
            ("center", ("algorithm1",)),
            ("standardize", ("algorithm1", "clusters", "optimal", "drift")),
            ("by_class", ("algorithm1", "clusters", "optimal", "drift")),
            ("tolerance", ("optimal", "drift")),
            ("transport_batch", ("optimal", "drift")),
            ("round_size", ("drift",)),
            ("by_prices", ("optimal",)),
        ):
            if getattr(self, name) != _DEFAULTS[name] and self.labeling not in known:
                raise ArgumentError(
                    name,
                    f"needs {{labeling}} {' or '.join(map(repr, known))}",
                    repr(self.labeling),
                )
        if self.labeling in _WITHOUT_ORDER and (self.cone > 1 or self.order != "norm"):
            raise ArgumentError(
                "labeling",
                f"{self.labeling!r} has neither {{order}} nor {{cone}}",
                f"{self.order!r} and {self.cone}",
            )
        if self.by_prices and not self.every:
            raise ArgumentError("by_prices", "needs {every} >= 1", "0")
        if self.by_prices and self.clusters:
            raise ArgumentError("by_prices", "needs {clusters} 0", str(self.clusters))
        if self.by_prices and self.transport_batch:
            raise ArgumentError("by_prices", "needs {transport_batch} 0", str(self.transport_batch))
        if self.labeling == "drift" and not self.every:
            raise ArgumentError("labeling", "'drift' needs {every} >= 1", "0")

    def config(self) -> dict[str, Any]:
        """Options that decide the pairs, in JSON types.

        Options of transport are left out of other labelings: runs of versions that had none stay
        valid.
        """
        found = asdict(self)
        if self.labeling not in _TRANSPORT:
            for name in ("tolerance", "transport_batch", "round_size", "by_prices"):
                del found[name]
        return found

    @property
    def needs_classes(self) -> bool:
        """True if the data must have classes."""
        return self.by_class and not self.clusters

    def relabeled(self, labeling: str) -> PairOptions:
        """Change to another labeling, and keep the options that it has too.

        Parameters
        ----------
        labeling : str

        Examples
        --------
        >>> PairOptions(cone=4, center=True, every=1).relabeled("clusters").clusters
        2
        """
        if labeling == self.labeling:
            return self
        kept: dict[str, Any] = {"every": 0 if self.labeling == "drift" else self.every}
        if labeling not in _WITHOUT_ORDER:
            kept |= {"order": self.order, "cone": self.cone}
        if labeling not in _CLOSED:
            kept["standardize"] = self.standardize
        if labeling == "clusters":
            kept["clusters"] = self.clusters or 2
        # Classes are either those of the data or found clusters.
        if labeling not in _CLOSED and bool(self.clusters) == (labeling == "clusters"):
            kept["by_class"] = self.by_class
        if labeling in _TRANSPORT and self.labeling in _TRANSPORT:
            kept |= {"tolerance": self.tolerance, "transport_batch": self.transport_batch}
        if labeling == "drift":
            kept["every"] = self.every or EPOCHS_A_ROUND
        return PairOptions(labeling=labeling, **kept)

    def labeling_of(
        self, latents: Any, seed: int, *, classes: Any = None, threads: int | None = None
    ) -> Labeling:
        """Make the labeling; for "drift" that of its first round.

        Parameters
        ----------
        latents : array_like [m, dim]
            Read alone for clusters.
        seed : int
        classes : int [m], optional
            Required if `needs_classes`, and refused otherwise.
        threads : int, optional
        """
        if self.needs_classes != (classes is not None):
            missing = (
                "need classes, and there are none" if self.needs_classes else "have no use for them"
            )
            raise ValueError(f"classes: pairs {missing} (by_class={self.by_class})")
        from .labelings import Algorithm1, Clusters, Quantile
        from .optimal import Optimal, OptimalClusters
        from .radial import Radial

        if self.labeling in _CLOSED:
            return Quantile() if self.labeling == "quantile" else Radial()
        common: dict[str, Any] = {"standardize": self.standardize, "threads": threads}
        if self.labeling in _TRANSPORT:
            common |= {"tolerance": self.tolerance, "batch": self.transport_batch}
        else:
            common |= {"order": self.order, "cone": self.cone}
        if self.clusters:
            kind = OptimalClusters if self.labeling == "optimal" else Clusters
            found = derive(seed, "clusters")
            return kind(latents, self.clusters, seed=found, by_class=self.by_class, **common)
        if self.labeling in _TRANSPORT:
            prices_of = derive(seed, "round", 0) if self.by_prices else None
            return Optimal(classes=classes, prices_of=prices_of, **common)
        return Algorithm1(center=self.center, classes=classes, **common)

    def make(
        self, latents: Any, seed: int, *, classes: Any = None, threads: int | None = None
    ) -> FixedPairs | FreshPairs | DriftingPairs:
        """Make the pairs: fixed ones, the first round, if `every` is 0, fresh ones otherwise."""
        from .drifting import DriftingPairs
        from .fresh import FreshPairs

        labeling = self.labeling_of(latents, seed, classes=classes, threads=threads)
        if self.labeling == "drift":
            return DriftingPairs(
                latents,
                every=self.every,
                size=self.round_size or None,
                batch=self.transport_batch,
                tolerance=self.tolerance,
                standardize=self.standardize,
                classes=classes,
                seed=seed,
                threads=threads,
            )
        if self.every:
            return FreshPairs(latents, labeling, every=self.every, seed=seed)
        return one_round(latents, labeling, derive(seed, "round", 0))


_DEFAULTS = {entry.name: entry.default for entry in fields(PairOptions)}
_TRANSPORT = ("optimal", "drift")
_CLOSED = ("quantile", "radial")  # formulas, which have no options
_WITHOUT_ORDER = (*_CLOSED, *_TRANSPORT)


def one_round(latents: Any, labeling: Labeling, seed: int) -> FixedPairs:
    """Make the pairs of one round.

    Parameters
    ----------
    latents : array_like [m, dim]
    labeling : Labeling
    seed : int
    """
    from .fixed import FixedPairs

    rows = convert.as_rows(latents, "latents").rows
    labeling.check(rows)
    made = labeling.label(rows, seed)
    return FixedPairs(
        made.sources,
        np.asarray(rows[made.assignment], np.float32),
        classes=made.classes,
        latents_sha256=convert.sha256(rows),
        cosine=made.cosine,
    )
