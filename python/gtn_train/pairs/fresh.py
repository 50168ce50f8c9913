"""FreshPairs: new sources every few epochs, matched in a background thread during training.

Not here: pairs that stay the same (fixed.py).
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label import arrays, match
from gtn_label.backend import resolve
from gtn_label.checks import as_integer, check_center, check_order, check_seed, check_threads

from ..seeds import derive
from .rows import Closing, PairRows, as_tensors, float_rows, measure, random_numbers

__all__ = ["FreshPairs"]


class FreshPairs(Closing):
    """New sources every few epochs, matched in a background thread while training goes on.

    Round r draws n = m sources from the seed and r alone and matches them by Algorithm 1, so that
    it is the same whichever rounds were made before: a resumed run sees what the interrupted one
    would have seen. While round r is trained on, one thread matches round r + 1. What goes wrong
    there is raised where that round is needed.

    Parameters
    ----------
    latents : array_like [m, dim]
        Memory maps of float32 are not copied. Leave them unchanged.
    every : int
        Epochs that a round lasts.
    seed : int
    order, cone, center, backend, device, threads
        As in `gtn_label.match`. Training shares the CPU with the matching: `threads` is what the
        latter may take.
    classes : array_like of int [m], optional
        Class of each latent. The sources get a shuffle of them, so that each class has as many
        sources as latents, and take latents of their own class.
    standardize : bool
        Match latents of mean 0 and standard deviation 1 in each coordinate. Labels stay the latents
        as given.

    Raises
    ------
    TypeError, ValueError
        As `gtn_label.match`, at once for options and shapes.

    Examples
    --------
    >>> with FreshPairs(np.eye(3), every=2, seed=1) as pairs:
    ...     first, second, third = (pairs.epoch(e) for e in (1, 2, 3))
    >>> first is second, first is third
    (True, False)
    """

    def __init__(
        self,
        latents: Any,
        *,
        every: int = 1,
        seed: int = 0,
        order: str = "norm",
        cone: int = 1,
        center: bool = False,
        classes: Any = None,
        standardize: bool = False,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._every = as_integer(every, "every", 1)
        self._seed = check_seed(seed)
        check_order(order)
        check_threads(threads)
        resolve(backend, on_gpu=False)
        if not isinstance(standardize, (bool, np.bool_)):
            raise TypeError(
                f"standardize must be a bool, got {type(standardize).__name__} {standardize!r}"
            )
        self._options: dict[str, Any] = {
            "order": order,
            "cone": as_integer(cone, "cone", 1),
            "center": check_center(center),
        }
        self._standardize = bool(standardize)
        self._means: dict[str, Any] = {"backend": backend, "device": device, "threads": threads}
        read = arrays.as_rows(latents, "latents")
        self._matched = read.rows
        self._latents = float_rows(read.rows, "latents", copy=False)
        if self._standardize:
            scale = read.rows.std(axis=0, dtype=np.float64)
            centred = read.rows - read.rows.mean(axis=0, dtype=np.float64)
            self._matched = centred / np.where(scale > 0, scale, 1)
        self._sha256 = arrays.sha256(read.given.blocks)
        self._classes: NDArray[np.int64] | None = None
        if classes is not None:
            self._classes = arrays.as_labels(classes, "classes", self.n, "latents").copy()
        self._current: tuple[int, PairRows] | None = None
        self._stats: dict[int, dict[str, Any]] = {}
        self._next: _Background | None = None
        self._closed = False

    @property
    def n(self) -> int:
        """Pairs in an epoch: as many as there are latents."""
        return len(self._latents)

    @property
    def dim(self) -> int:
        """Their dimension."""
        return int(self._latents.shape[1])

    @property
    def conditional(self) -> bool:
        """Whether they have classes."""
        return self._classes is not None

    @property
    def latents_sha256(self) -> str:
        """Of the latents as given."""
        return self._sha256

    def round_of(self, epoch: int) -> int:
        """Round that an epoch is trained on: 0 for the first `every` epochs."""
        return (epoch - 1) // self._every

    def epoch(self, epoch: int) -> PairRows:
        """Rows of an epoch, waiting for their matching if need be; then start the next round.

        Raises
        ------
        RuntimeError
            After `close`.
        Exception
            What went wrong when the round was matched.
        """
        return self._round(self.round_of(epoch))

    def stats(self, round: int) -> dict[str, Any]:  # noqa: A002
        """How good a round's labeling is, in JSON types.

        Returns
        -------
        dict
            As of `rows.measure`, and "seconds" of the whole round and "backend".
        """
        if round not in self._stats:
            self._round(round)
        return self._stats[round]

    def config(self) -> dict[str, Any]:
        """Latents, seed and options; not what merely computes, which changes no pair."""
        return {
            "kind": "fresh",
            "every": self._every,
            "seed": self._seed,
            **self._options,
            "standardize": self._standardize,
            "classes_sha256": None if self._classes is None else arrays.sha256(self._classes),
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
            raise RuntimeError("pairs are closed: no more rounds can be had")
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

    def _match(self, number: int, progress: Any) -> tuple[PairRows, dict[str, Any]]:
        """Draw and match one round; a pure function of `number`."""
        began = time.perf_counter()
        sources = arrays.draw_sources(self.n, self.dim, derive(self._seed, "sources", number))
        classes = groups = None
        if self._classes is not None:
            classes = random_numbers(self._seed, "classes", number).permutation(self._classes)
            groups = (classes, self._classes)
        matching = match(
            self._matched, sources, groups=groups, progress=progress, **self._options, **self._means
        )
        labels = self._latents[matching.assignment]
        stats = {
            **measure(sources, labels, matching.cosine),
            "seconds": time.perf_counter() - began,
            "backend": matching.stats["backend"],
        }
        return as_tensors(sources, labels, classes), stats


class _Stopped(Exception):
    """The matching was told to stop."""


class _Background:
    """One round being matched in a thread of its own."""

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
            self._future.set_result(pairs._match(self.round, self._poll))
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
