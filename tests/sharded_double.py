"""A stand-in for `_core.ShardedMatch`: every rank knows all latents and decides by brute force."""

from __future__ import annotations

import numpy as np

import oracle
from gtn_label.cluster.exchange import gather, gather_rows

WINDOW = 16


class ShardedMatch:
    def __init__(
        self,
        latents,
        index,
        *,
        total,
        mean,
        order,
        cone,
        instruction_set,
        threads,
        memory,
        most_sources,
        float64_sources,
        exchange,
    ):
        rows = np.asarray(latents, np.float64)
        self._mine = (rows if mean is None else rows - mean, index)
        self._args = (total, order, cone)
        self._exchange = exchange
        self._most = most_sources
        self._dtype = np.float64 if float64_sources else np.float32
        self._removed = []
        self._free = None
        self._hash = 0

    def remove(self, taken):
        self._removed += taken.tolist()

    def _gather(self):
        total, order, _ = self._args
        rows = np.concatenate(gather_rows(self._exchange, self._mine[0]))
        index = np.concatenate(gather_rows(self._exchange, self._mine[1]))
        place = np.argsort(index)
        assert np.array_equal(index[place], np.arange(total))
        self._rows = oracle.pad(rows[place])
        self._norms = oracle.row_norms(self._rows)
        self._rank = oracle.latent_ranks(self._norms, order)
        self._free = np.ones(total, bool)
        self._free[self._removed] = False

    def run(self, sources, *, latent, cosine, poll):
        assert sources.dtype == self._dtype
        assert len(sources) <= self._most
        if self._free is None:
            self._gather()
        padded = oracle.pad(sources)
        norms = oracle.row_norms(padded)
        cone = self._args[2]
        for at, row in enumerate(padded):
            if at % WINDOW == 0:
                got = gather(self._exchange, np.array([self._hash]))
                if (got != got[0]).any():
                    raise RuntimeError("ranks chose differently")
                if poll is not None:
                    poll(at)
            free = np.flatnonzero(self._free)
            scores = oracle.dots(self._rows[free], row) / self._norms[free]
            best = np.lexsort((self._rank[free], -scores))[:cone]
            taken = best[np.argmin(self._rank[free[best]])]
            latent[at], cosine[at] = free[taken], scores[taken] / norms[at]
            self._free[free[taken]] = False
            self._hash = (self._hash * 31 + int(free[taken])) % 2**40
        if poll is not None:
            poll(len(sources))

    def stats(self):
        return {"seconds": {}}


def row_norms(rows, *, mean=None, threads=1):
    rows = np.asarray(rows, np.float64)
    with np.errstate(all="ignore"):
        padded = oracle.pad(rows if mean is None else rows - mean)
        return np.sqrt(oracle.dots(padded, padded))


def column_sums(rows):
    total = np.zeros(rows.shape[1])
    with np.errstate(all="ignore"):
        for row in rows:
            total = total + row
    return total
