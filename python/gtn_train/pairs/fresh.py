"""FreshPairs: new sources every few epochs, labeled in a background thread during training.

Not here: pairs that stay the same (fixed.py).
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

from gtn_label.arrays import convert, to_caller
from gtn_label.arrays.sources import seed_record
from gtn_label.checks import as_integer, check_seed

from ..seeds import derive
from .labelings import Algorithm1, Labeling
from .rows import Closing, PairRows, as_tensors, float_rows, measure

__all__ = ["FreshPairs"]


class FreshPairs(Closing):
    """New sources every few epochs, labeled in a background thread during training.

    The seed of round r depends on `seed` and r alone, not on earlier rounds: a resumed run gets the
    rounds that the interrupted one would have got. During training on round r one thread makes
    round r + 1. An error in that thread is raised where its round is needed.

    Parameters
    ----------
    latents : array_like [m, dim]
        Memory maps of float32 are not copied. Leave them unchanged.
    labeling : Labeling, optional
        Draws and matches the sources; `Algorithm1()` by default. It shares the CPU with training;
        its `threads` limit its part.
    every : int
        Number of epochs in a round.
    seed : int

    Raises
    ------
    TypeError, ValueError
        As `gtn_label.match`, at once for options and shapes.

    Examples
    --------
    >>> import numpy as np
    >>> with FreshPairs(np.eye(3), every=2, seed=1) as pairs:
    ...     first, second, third = (pairs.epoch(e) for e in (1, 2, 3))
    >>> first is second, first is third
    (True, False)
    """

    def __init__(
        self, latents: Any, labeling: Labeling | None = None, *, every: int = 1, seed: int = 0
    ) -> None:
        self._every = as_integer(every, "every", 1)
        self._seed = check_seed(seed)
        wanted = ("label", "check", "config", "conditional")
        if labeling is not None and (
            isinstance(labeling, type) or not all(hasattr(labeling, name) for name in wanted)
        ):
            raise TypeError(
                f"labeling must be a Labeling, such as Algorithm1(), with {', '.join(wanted)}, got "
                f"{type(labeling).__name__} {labeling!r}"
            )
        self._labeling: Labeling = Algorithm1() if labeling is None else labeling
        read = convert.as_rows(latents, "latents")
        self._given = read.rows
        self._latents = float_rows(read.rows, "latents", copy=False)
        self._labeling.check(self._given)
        self._sha256 = convert.sha256(to_caller.given(read).blocks)
        self._current: tuple[int, PairRows] | None = None
        self._stats: dict[int, dict[str, Any]] = {}
        self._next: _Background | None = None
        self._closed = False

    @property
    def n(self) -> int:
        """Pairs in an epoch, one for each latent."""
        return len(self._latents)

    @property
    def dim(self) -> int:
        """Dimension of sources and labels."""
        return int(self._latents.shape[1])

    @property
    def conditional(self) -> bool:
        """True if the pairs have classes."""
        return self._labeling.conditional

    @property
    def latents_sha256(self) -> str:
        """SHA-256 of the latents as given."""
        return self._sha256

    def round_of(self, epoch: int) -> int:
        """Round that an epoch is trained on: 0 for the first `every` epochs."""
        return (epoch - 1) // self._every

    def epoch(self, epoch: int) -> PairRows:
        """Wait for the rows of an epoch, and start the next round.

        Raises
        ------
        RuntimeError
            After `close`.
        Exception
            The error of the thread that made the round.
        """
        return self._round(self.round_of(epoch))

    def stats(self, round: int) -> dict[str, Any]:  # noqa: A002
        """Measure a round's labeling, in JSON types.

        Returns
        -------
        dict
            "mean_cosine"; "norm_correlation" (Spearman's) and, in round 0 alone, "learnability"
            (10-NN R²), None where undefined; "seconds" of the whole round and "backend".
        """
        if round not in self._stats:
            self._round(round)
        return self._stats[round]

    def config(self) -> dict[str, Any]:
        """Latents, seed and options that decide the pairs; not backend, device and threads."""
        return {
            "kind": "fresh",
            "every": self._every,
            **seed_record(self._seed, self.n),
            **self._labeling.config(),
            "latents_sha256": self._sha256,
        }

    def close(self) -> None:
        """Stop the background thread, within a second; may be called again."""
        self._closed = True
        if self._next is not None:
            self._next.stop()
            self._next = None

    def _round(self, wanted: int) -> PairRows:
        if self._closed:
            raise RuntimeError("pairs are closed: there are no more rounds")
        if self._current is not None and self._current[0] == wanted:
            return self._current[1]
        if self._next is not None and self._next.round != wanted:
            self._next.stop()
            self._next = None
        background = self._next or _Background(self, wanted)
        self._next = None
        try:
            rows, self._stats[wanted] = background.result()
        except BaseException:
            background.stop()  # Ctrl-C while waiting
            raise
        self._current = wanted, rows
        self._next = _Background(self, wanted + 1)
        return rows

    def _label(self, number: int, progress: Any) -> tuple[PairRows, dict[str, Any]]:
        """Make one round; a pure function of `number`."""
        began = time.perf_counter()
        made = self._labeling.label(self._given, derive(self._seed, "round", number), progress)
        labels = self._latents[made.assignment]
        stats = {
            # Learnability costs more than the labeling, and differs little between rounds.
            **measure(made.sources, labels, made.cosine, learnability=number == 0),
            "seconds": time.perf_counter() - began,
            "backend": made.backend,
        }
        return as_tensors(made.sources, labels, made.classes), stats


class _Stopped(Exception):
    """The labeling was told to stop."""


class _Background:
    """One round being made in a thread of its own."""

    def __init__(self, pairs: FreshPairs, number: int) -> None:
        self.round = number
        self._stop = threading.Event()
        self._future: Future[tuple[PairRows, dict[str, Any]]] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(pairs,), name=f"gtn-train pairs {number}"
        )
        self._thread.start()

    def _run(self, pairs: FreshPairs) -> None:
        try:
            self._future.set_result(pairs._label(self.round, self._poll))
        except BaseException as error:
            self._future.set_exception(error)

    def _poll(self, done: int, total: int, seconds_left: float | None) -> None:
        # The interpreter waits for its threads before it ends: this one must see that it ends.
        if self._stop.is_set() or not threading.main_thread().is_alive():
            raise _Stopped

    def result(self) -> tuple[PairRows, dict[str, Any]]:
        return self._future.result()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
