"""Groups that one rank matches by itself: `match`'s engine takes many small ones in one call.

Rows within a group are in the order of their global rows, which decides ties alike. Not here: how
the rows come to the rank (grouped.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..match_options import MatchOptions
from ..matching import match

__all__ = ["Alone", "Batch", "batches"]

Indices = npt.NDArray[np.int64]

SMALL = 1 << 20  # sources times latents of a group for which one thread is faster than several
BATCH_WORK = 1 << 26  # the same of all groups of a batch: far less than a second
BATCH_BYTES = 64 << 20  # of the rows of a batch, which are copied


@dataclass(frozen=True)
class Batch:
    """Consecutive groups of a round.

    Attributes
    ----------
    sources, latents : int64
        Places of their rows among those that arrived, by group and then by global row.
    source_groups, latent_groups : int64
        Group of each of these rows, ascending.
    work : int
        Sources times latents, over the groups.
    """

    sources: Indices
    latents: Indices
    source_groups: Indices
    latent_groups: Indices
    work: int


def batches(
    sources: npt.NDArray[Any], latents: npt.NDArray[Any], memory: int | None = None
) -> Iterator[Batch]:
    """Divide the groups of a round into batches. A group with much work is one by itself.

    Parameters
    ----------
    sources, latents : records [n], [m]
        With the fields "index" (global row), "group" and "row". All groups have both.
    memory : int, optional
        Largest number of bytes for the engine, which several groups then must not exceed.
    """
    orders = [np.lexsort((each["index"], each["group"])) for each in (sources, latents)]
    numbers = [each["group"][order] for each, order in zip((sources, latents), orders, strict=True)]
    ends = [np.flatnonzero(np.diff(each, append=-1)) + 1 for each in numbers]
    sizes = [np.diff(each, prepend=0) for each in ends]
    works = sizes[0] * sizes[1]
    dim = sources.dtype["row"].shape[0]
    rows = sizes[0] * sources.dtype["row"].itemsize + sizes[1] * latents.dtype["row"].itemsize
    # Upper bounds of what an engine asks for a source and a latent, beside a constant.
    needed = (8 * dim + 16) * sizes[0] + (12 * dim + 256) * sizes[1]
    spare = None if memory is None else memory - (4 << 20)

    def cut(first: int, last: int) -> Batch:
        of_sources, of_latents = (
            slice(int(each[first - 1]) if first else 0, int(each[last - 1])) for each in ends
        )
        return Batch(
            orders[0][of_sources],
            orders[1][of_latents],
            numbers[0][of_sources],
            numbers[1][of_latents],
            int(works[first:last].sum()),
        )

    first = work = size = need = 0
    for at, (its_work, its_size, its_need) in enumerate(
        zip(works.tolist(), rows.tolist(), needed.tolist(), strict=True)
    ):
        work, size, need = work + its_work, size + its_size, need + its_need
        full = work > BATCH_WORK or size > BATCH_BYTES or (spare is not None and need > spare)
        if at > first and (full or its_work >= SMALL):
            yield cut(first, at)
            first, work, size, need = at, its_work, its_size, its_need
        if its_work >= SMALL:
            yield cut(first, at + 1)
            first, work, size, need = at + 1, 0, 0, 0
    if first < len(works):
        yield cut(first, len(works))


class Alone:
    """Matches groups of one rank without the others.

    Parameters
    ----------
    options : MatchOptions
        Of the run.
    device : int or None
        Number of the GPU, for the backend "cuda".
    mean : float64 [dim] or None
        What is subtracted from latents: the mean of those of all ranks and groups.
    threads : int
    """

    def __init__(
        self,
        options: MatchOptions,
        device: int | None,
        mean: npt.NDArray[np.float64] | None,
        threads: int,
    ) -> None:
        self.memory = None if options.memory is None else int(options.memory)
        self._options, self._mean, self._threads = options, mean, threads
        self._device = None if device is None else f"cuda:{device}"

    def match(
        self,
        sources: npt.NDArray[Any],
        latents: npt.NDArray[Any],
        batch: Batch,
        report: Callable[..., None],
    ) -> tuple[Indices, npt.NDArray[np.float64], dict[str, Any]]:
        """Return the global rows that a batch's sources take, their cosines, and counts.

        Parameters
        ----------
        sources, latents : records
            As for `batches`.
        batch : Batch
        report : callable
            Called about every 50 ms with the number of sources that are decided.
        """
        options = self._options
        rows = np.ascontiguousarray(latents["row"][batch.latents])
        if self._mean is not None:
            rows = rows.astype(np.float64) - self._mean  # as the engine does, bit for bit
        several = batch.source_groups[0] != batch.source_groups[-1]
        found = match(
            rows,
            np.ascontiguousarray(sources["row"][batch.sources]),
            order=options.order,
            cone=options.cone,
            groups=(batch.source_groups, batch.latent_groups) if several else None,
            backend=options.backend,
            device=self._device,
            threads=1 if several or batch.work < SMALL else self._threads,
            memory=options.memory,
            progress=report,
        )
        taken = latents["index"][batch.latents][found.assignment]
        return taken, np.asarray(found.cosine), found.stats
