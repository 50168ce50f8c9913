"""Batches: the rows of one step, taken from images or pairs, and the division of an epoch.

Whole arrays stay in memory and rows are taken by index: for small networks a DataLoader would cost
more than the step. Not here: the order of rows (loop.py), the losses (steps.py).
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..pairs import PairRows, Pairs

__all__ = [
    *("Batches", "ImageBatches", "PairBatches", "SharedPairs", "VectorBatches"),
    *("bounds", "share"),
]


class Batches(Protocol):
    """The loop's training data.

    Attributes
    ----------
    n : int
        Rows in an epoch.
    noise_dim : int
        Columns of normal noise that the loop appends to each batch; 0 for none.
    """

    @property
    def n(self) -> int:
        """Rows in an epoch."""

    @property
    def noise_dim(self) -> int:
        """Columns of noise."""

    def start(self, epoch: int, device: torch.device) -> dict[str, Any]:
        """Prepare an epoch; return entries for its line of metrics.jsonl."""

    def take(self, rows: torch.Tensor) -> tuple[Any, ...]:
        """Rows by index, int64 [b] in CPU memory, on the device."""


class ImageBatches:
    """Images as bytes, a quarter of the size of floats; the step converts them.

    Parameters
    ----------
    images : uint8 [n, c, h, w]
        May be a read-only memory map.
    noise_dim : int
    """

    def __init__(self, images: NDArray[np.uint8], noise_dim: int = 0) -> None:
        self._images = images
        self._device = torch.device("cpu")
        self.noise_dim = noise_dim

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self._images)

    def start(self, epoch: int, device: torch.device) -> dict[str, Any]:
        """Nothing changes from epoch to epoch."""
        self._device = device
        return {}

    def take(self, rows: torch.Tensor) -> tuple[Any, ...]:
        """Return (images uint8 [b, c, h, w],)."""
        return (torch.from_numpy(self._images[rows.numpy()]).to(self._device),)


class VectorBatches(ImageBatches):
    """Vectors, float [n, m], as float32."""

    def __init__(self, rows: NDArray[Any]) -> None:
        super().__init__(np.asarray(rows, np.float32))


class PairBatches:
    """Pairs, with labels normalised as the generator's loss wants them; whole on the device.

    Parameters
    ----------
    pairs : Pairs
    generator : Generator
        Its label_mean and label_scale at the start of a round normalise the labels.
    noise_dim : int
    """

    def __init__(self, pairs: Pairs, generator: Any, noise_dim: int = 0) -> None:
        self._pairs = pairs
        self.noise_dim = noise_dim
        self._generator = generator
        self._round = -1
        self._rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self._pairs.n

    def start(self, epoch: int, device: torch.device) -> dict[str, Any]:
        """Take over a new round; return its number, and its statistics where it starts."""
        number = self._pairs.round_of(epoch)
        if number == self._round:
            return {"round": number}
        rows = self._pairs.epoch(epoch)
        if rows.classes is not None:
            self._generator.check_classes(rows.classes)
        labels = rows.labels.to(device)
        targets = (labels - self._generator.label_mean) / self._generator.label_scale
        classes = None if rows.classes is None else rows.classes.to(device)
        self._rows = rows.sources.to(device), targets, classes
        self._round = number
        return {"round": number, "labels": self._pairs.stats(number)}

    def take(self, rows: torch.Tensor) -> tuple[Any, ...]:
        """Return (sources [b, dim], normalised labels [b, dim], classes [b] or None)."""
        sources, targets, classes = self._rows
        rows = rows.to(sources.device)
        return sources[rows], targets[rows], None if classes is None else classes[rows]


class SharedPairs:
    """Pairs of process 0 for all processes of a distributed run.

    Process 0 alone makes the pairs and sends them: one matching uses all CPUs of a machine, and
    several at once would slow one another down.

    Parameters
    ----------
    pairs : Pairs
    rank : int
    device : torch.device
        Device through which they are sent.
    """

    def __init__(self, pairs: Pairs, rank: int, device: torch.device) -> None:
        self._pairs = pairs
        self._rank = rank
        self._device = device
        self._current: tuple[int, PairRows] | None = None
        self.n, self.dim, self.conditional = pairs.n, pairs.dim, pairs.conditional
        self.latents_sha256 = pairs.latents_sha256
        self.round_of, self.config, self.close = pairs.round_of, pairs.config, pairs.close

    def epoch(self, epoch: int) -> PairRows:
        """Rows of an epoch; all processes must ask for the same ones, in the same order."""
        number = self._pairs.round_of(epoch)
        if self._current is None or self._current[0] != number:
            shapes: list[tuple[tuple[int, ...], torch.dtype]] = [
                ((self.n, self.dim), torch.float32),
                ((self.n, self.dim), torch.float32),
            ]
            if self.conditional:
                shapes.append(((self.n,), torch.int64))
            if self._rank == 0:
                rows = self._pairs.epoch(epoch)
                sent = [rows.sources, rows.labels, rows.classes][: len(shapes)]
            else:
                sent = [torch.empty(shape, dtype=dtype) for shape, dtype in shapes]
            on_device = [tensor.to(self._device) for tensor in sent]
            for tensor in on_device:
                torch.distributed.broadcast(tensor, src=0)
            received = [tensor.cpu() for tensor in on_device]
            classes = received[2] if self.conditional else None
            self._current = number, PairRows(received[0], received[1], classes)
        return self._current[1]

    def stats(self, round: int) -> dict[str, Any]:  # noqa: A002
        """Statistics, which only process 0 has."""
        return self._pairs.stats(round) if self._rank == 0 else {}


def bounds(n: int, batch_size: int, processes: int) -> list[tuple[int, int]]:
    """Cut an epoch into batches.

    A last batch with fewer than two rows per process joins the batch before it: batch normalisation
    needs two rows for a variance.

    Returns
    -------
    list of (begin, end)

    Raises
    ------
    ValueError
        If there are too few rows, or too few in a batch, for so many processes.

    Examples
    --------
    >>> bounds(9, 4, 1)
    [(0, 4), (4, 9)]
    """
    least = 2 * processes if processes > 1 else 1
    if min(n, batch_size) < least:
        what, count = ("rows", n) if n < least else ("rows in a batch", batch_size)
        raise ValueError(f"{processes} processes need at least {least} {what}, got {count}")
    cuts = [*range(0, n, batch_size), n]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < 2 * processes:
        del cuts[-2]
    return list(itertools.pairwise(cuts))


def share(begin: int, end: int, rank: int, processes: int) -> tuple[int, int]:
    """Rows of one process in a batch, as even as possible, in the order of ranks."""
    rows = end - begin
    return begin + rows * rank // processes, begin + rows * (rank + 1) // processes
