"""Pairs of sources and labels, which a generator is trained on.

Training asks a `Pairs` for the rows of an epoch and knows no more. `FixedPairs` (fixed.py) are made
once, by `gtn_label` or by another program. `FreshPairs` (fresh.py) are drawn and matched again
every few epochs, by a `Labeling` (labelings.py, optimal.py, radial.py). The labels of
`DriftingPairs` (drifting.py) follow the generator. pair_options.py has all options as plain values,
rows.py the common parts. Not here: matching itself (gtn_label), batches (training/batches.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

from .pair_options import PairOptions

if TYPE_CHECKING:
    from .drifting import DriftingPairs
    from .fixed import FixedPairs
    from .fresh import FreshPairs
    from .labelings import Algorithm1, Clusters, Labeled, Labeling, Quantile
    from .optimal import Optimal, OptimalClusters
    from .radial import Radial, RadialMap
    from .rows import PairRows, Pairs

__all__ = [
    "Algorithm1",
    "Clusters",
    "DriftingPairs",
    "FixedPairs",
    "FreshPairs",
    "Labeled",
    "Labeling",
    "Optimal",
    "OptimalClusters",
    "PairOptions",
    "PairRows",
    "Pairs",
    "Quantile",
    "Radial",
    "RadialMap",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DriftingPairs": "drifting",
        "FixedPairs": "fixed",
        "FreshPairs": "fresh",
        "Algorithm1": "labelings",
        "Clusters": "labelings",
        "Labeled": "labelings",
        "Labeling": "labelings",
        "Quantile": "labelings",
        "Optimal": "optimal",
        "OptimalClusters": "optimal",
        "Radial": "radial",
        "RadialMap": "radial",
        "PairRows": "rows",
        "Pairs": "rows",
    },
)
