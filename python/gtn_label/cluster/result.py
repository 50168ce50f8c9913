"""`ShardedMatching`, one rank's part of the result of a sharded match.

Not here: the computation (matching.py, optimal.py) and the folder of pairs (output.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..certificate import Transport
from .exchange import Exchange, leave, settle
from .sides import Side

__all__ = ["FORMAT", "ShardedMatching"]

FORMAT = "gtn-label sharded pairs"


class Resumable(Protocol):
    """The file that a run continues from: a `RunJournal`, or the checkpoint of an auction."""

    def remove(self) -> Any:
        """Delete the file, whose run has its output, and free its lock."""

    def release(self) -> None:
        """Free the lock, and leave the file."""


class ShardedMatching:
    """One rank's part of a sharded matching: what its sources took.

    The journal of the run stays locked until `finish` or `close`. As a context manager, on all
    ranks, the object calls `finish` once all ranks have come to the end of the block, and `close`
    if the block raises on some rank.

    Attributes
    ----------
    assignment : int64 [n_r]
        Global row of the latent that each of this rank's sources takes.
    cosine : float64 [n_r]
        Cosine of each of this rank's sources with its latent.
    source_index : int64 [n_r]
        Global rows of this rank's sources, ascending.
    sources : array [n_r, dim]
        This rank's sources, as handed in or as drawn.
    latents : array [m_r, dim]
        This rank's latents, as handed in.
    latent_index : int64 [m_r]
        Global rows of this rank's latents, ascending.
    n, m, dim : int
        Sources and latents of all ranks, and their dim.
    meta : dict
        What the result depends on, and which version made the pairs; the same on every rank.
    stats : dict
        Counts and seconds of this rank.
    exchange : Exchange
        How the ranks talk.
    prices : float64 [m_r] or None
        Prices of this rank's latents (`match_optimal_sharded`), or None.
    gap, cost, lower_bound : float or None
        As in `Matching`, of all ranks' pairs; the same on every rank.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label.cluster import match_sharded
    >>> result = match_sharded(np.eye(3), np.eye(3)[::-1] + 0.1)
    >>> result.assignment
    array([2, 1, 0])
    """

    def __init__(
        self,
        latents: Side,
        sources: Side,
        assignment: npt.NDArray[np.int64],
        cosine: npt.NDArray[np.float64],
        meta: Mapping[str, Any],
        stats: Mapping[str, Any],
        exchange: Exchange,
        journal: Resumable | None,
        transport: Transport | None = None,
    ) -> None:
        self.latents, self.latent_index, self.m = latents.given, latents.index, latents.total
        self.sources, self.source_index, self.n = sources.given, sources.index, sources.total
        self.dim: int = latents.rows.shape[1]
        self.assignment, self.cosine = assignment, cosine
        self.meta, self.stats = dict(meta), dict(stats)
        self.exchange = exchange
        self._journal = journal
        self.prices: npt.NDArray[np.float64] | None = None
        self.gap: float | None = None
        self.cost: float | None = None
        self.lower_bound: float | None = None
        if transport is not None:
            self.prices, self.gap = transport.prices, transport.gap
            self.cost, self.lower_bound = transport.cost, transport.lower_bound

    def finish(self) -> None:
        """Delete the journal: the caller has the whole output of all ranks on its disk.

        The first rank deletes the file. Call this after an exchange that follows the last write.
        """
        if self._journal is not None:
            self._journal.remove()

    def close(self) -> None:
        """Leave the journal to a run that writes the output again, and free its lock."""
        if self._journal is not None:
            self._journal.release()

    def __enter__(self) -> ShardedMatching:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                settle(self.exchange, None)  # all ranks have come so far
                self.finish()
            else:
                leave(self.exchange, error)
        finally:
            self.close()

    def __len__(self) -> int:
        return len(self.assignment)

    def __repr__(self) -> str:
        return (
            f"<ShardedMatching: rank {self.exchange.rank} of {self.exchange.world}, "
            f"{len(self):,} of {self.n:,} sources to {self.m:,} latents, dim {self.dim}>"
        )
