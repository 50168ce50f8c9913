"""Pairs of sources and labels: what a generator is trained on, and where they come from.

Training asks a `Pairs` for the rows of an epoch and knows no more. `FixedPairs` (fixed.py) are made
once, by `gtn_label` or by anything else; `FreshPairs` (fresh.py) are drawn and matched anew every
few epochs. What both share is in rows.py. Not here: matching itself (gtn_label), and how rows
become batches (training/batches.py).
"""

from __future__ import annotations

from .fixed import FixedPairs
from .fresh import FreshPairs
from .rows import PairRows, Pairs

__all__ = ["FixedPairs", "FreshPairs", "PairRows", "Pairs"]
