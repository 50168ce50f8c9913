"""DriftingPairs: labels that follow the generator ĥ, made anew between rounds of training.

Any coupling of the sources with the latents makes a generator, so these pairs take the one that the
network can follow. A round draws sources y and further sources y'. Optimal transport takes
z = ĥ(y) to the latents (x) and to z' = ĥ(y') (z'). The label of y is ĥ(y) + x - z'. The first part
of the drift x - z' draws samples to the data; the second takes away the shrinkage that a finite
sample causes, so that the mean drift is zero where ĥ's distribution is that of the data. Drifting
models (Deng et al. 2026) have such labels, with kernels in place of transport.

Labels are made between rounds, not during training: they need ĥ as training leaves it, and a run
that resumes at a round's end has that ĥ in its checkpoint. Not here: transport (optimal.py), the
network (training/train.py calls `follow`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gtn_label.arrays import convert, to_caller
from gtn_label.arrays.sources import draw_sources, seed_record
from gtn_label.checks import as_bool, as_integer, as_number, check_seed
from gtn_label.errors import ArgumentTypeError
from gtn_label.threads import check_threads

from ..seeds import derive
from .labelings import as_classes, standardization
from .optimal import Draw, draw, transport
from .rows import Closing, Floats, PairRows, as_tensors, cosines_of, float_rows, measure

__all__ = ["DriftingPairs", "Generate"]

Generate: TypeAlias = Callable[[Floats, "NDArray[np.int64] | None"], Floats]


class DriftingPairs(Closing):
    """Labels that follow the generator: ĥ(y) plus a drift to the data, new in every round.

    Round 0 has the pairs of `Optimal`. Every later round draws new sources and moves ĥ's samples of
    them by the drift. The draws of round r depend on `seed` and r alone, and its labels on ĥ at the
    end of round r - 1 as well.

    Parameters
    ----------
    latents : array_like [m, dim]
        Memory maps of float32 are not copied. Leave them unchanged.
    every : int
        Number of epochs in a round.
    size : int, optional
        Number of sources in a round; by default one for each latent. Each latent takes part as
        often as any other, give or take one.
    batch : int
        Transport random batches of at most this many rows; 0: all rows at once.
    tolerance : float
        Relative gap at which transport may stop, as in `gtn_label.match_optimal`.
    standardize : bool
        Measure distances in units of each coordinate's deviation.
    classes : array_like of int [m], optional
        Class of each latent, for a conditional generator. Each class is transported alone.
    seed : int
    threads : int, optional
        As in `gtn_label.match_optimal`.

    Raises
    ------
    TypeError, ValueError
        If an option is invalid; the message names it.

    Examples
    --------
    >>> with DriftingPairs(np.eye(3), seed=1) as pairs:
    ...     pairs.follow(lambda sources, classes: sources + 1)
    ...     pairs.epoch(2).labels.shape
    torch.Size([3, 3])
    """

    def __init__(
        self,
        latents: Any,
        *,
        every: int = 1,
        size: int | None = None,
        batch: int = 0,
        tolerance: float = 1e-2,
        standardize: bool = True,
        classes: Any = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        check_threads(threads)
        self._every = as_integer(every, "every", 1)
        self._batch = as_integer(batch, "batch", 0)
        self._tolerance = as_number(tolerance, "tolerance", 0.0)
        self._standardize = as_bool(standardize, "standardize")
        self._seed = check_seed(seed)
        self._threads = threads
        read = convert.as_rows(latents, "latents")
        self._latents = float_rows(read.rows, "latents", copy=False)
        self._sha256 = convert.sha256(to_caller.given(read).blocks)
        self._size = len(self._latents) if size is None else as_integer(size, "size", 1)
        self._classes = None
        if classes is not None:
            known = as_classes(classes)
            self._classes = convert.as_labels(known, "classes", len(self._latents), "latents")
        self._seen = read.rows
        self._mean, self._divisor = np.zeros(self.dim), np.ones(self.dim)
        if self._standardize:
            self._mean, self._divisor = standardization(read.rows)
            self._seen = self._standard(read.rows)
        self._generate: Generate | None = None
        self._current: tuple[int, PairRows] | None = None
        self._stats: dict[int, dict[str, Any]] = {}

    @property
    def n(self) -> int:
        """Pairs in an epoch."""
        return self._size

    @property
    def dim(self) -> int:
        """Dimension of sources and labels."""
        return int(self._latents.shape[1])

    @property
    def conditional(self) -> bool:
        """True if the pairs have classes."""
        return self._classes is not None

    @property
    def latents_sha256(self) -> str:
        """SHA-256 of the latents as given."""
        return self._sha256

    def follow(self, generate: Generate) -> None:
        """Set the generator that labels follow from round 1 on; `train_generator` does so.

        Parameters
        ----------
        generate : callable (sources, classes) -> float32 [n, dim]
            Maps sources, float32 [n, dim], and classes, int64 [n] or None, to latents, as the
            generator does at the time of the call.

        Raises
        ------
        TypeError
            If it cannot be called. Rounds raise TypeError or ValueError for what it gives, if that
            is not as many finite rows.
        """
        if not callable(generate):
            raise ArgumentTypeError("generate", "must be callable", repr(generate))
        self._generate = generate

    def round_of(self, epoch: int) -> int:
        """Round that an epoch is trained on: 0 for the first `every` epochs."""
        return (epoch - 1) // self._every

    def epoch(self, epoch: int) -> PairRows:
        """Rows of an epoch; the first epoch of a round makes them, by the generator as it is.

        Raises
        ------
        TypeError, ValueError
            If `epoch` is no positive integer.
        RuntimeError
            If a round after the first has no generator to follow.
        """
        return self._round(self.round_of(as_integer(epoch, "epoch", 1)))

    def stats(self, round: int) -> dict[str, Any]:  # noqa: A002
        """Measure a round's labels, in JSON types.

        Returns
        -------
        dict
            "mean_cosine" of sources and the latents that they are drawn to, "norm_correlation",
            "learnability" in round 0 alone, "seconds" and "backend". Later rounds have "drift", the
            root mean square of x - z' in each coordinate, and "excess", by how much z is farther
            from the data than from other samples, in mean squared distance: about 0 at the end.
        """
        if round not in self._stats:
            self._round(round)
        return self._stats[round]

    def config(self) -> dict[str, Any]:
        """Latents, seed and options that decide the pairs; not the threads."""
        return {
            "kind": "drifting",
            "every": self._every,
            "size": self._size,
            "batch": self._batch,
            "tolerance": self._tolerance,
            "standardize": self._standardize,
            **seed_record(self._seed, self._size),
            "latents_sha256": self._sha256,
            "classes_sha256": None if self._classes is None else convert.sha256(self._classes),
        }

    def _round(self, number: int) -> PairRows:
        if self._current is None or self._current[0] != number:
            began = time.perf_counter()
            rows, stats = self._label(number)
            self._stats[number] = {
                **stats,
                "seconds": time.perf_counter() - began,
                "backend": "cpu",
            }
            self._current = number, rows
        return self._current[1]

    def _label(self, number: int) -> tuple[PairRows, dict[str, Any]]:
        """Make one round: a function of `number` and the generator."""
        seed = derive(self._seed, "round", number)
        shuffle = self._batch > 0
        drawn = draw(self._latents.shape, seed, self._classes, size=self._size, shuffle=shuffle)
        extra: dict[str, float] = {}
        if number == 0:
            attracting = self._transported(self._seen, drawn.sources, drawn.parts(self._batch))
            labels = self._latents[attracting]
        else:
            labels, attracting, extra = self._drifted(drawn, seed)
        targets = np.asarray(self._seen[attracting], np.float32)
        cosine = cosines_of(drawn.sources, targets)
        found = measure(drawn.sources, labels, cosine, learnability=number == 0)
        return as_tensors(drawn.sources, labels, drawn.classes), {**found, **extra}

    def _drifted(
        self, drawn: Draw, seed: int
    ) -> tuple[Floats, NDArray[np.int64], dict[str, float]]:
        """Labels ĥ(y) + x - z', the rows of x, and measures of the drift."""
        if self._generate is None:
            raise RuntimeError("drifting pairs need a generator from round 1 on: call follow()")
        others = draw_sources(self._size, self.dim, derive(seed, "others"))
        moving, other = (self._generated(y, drawn.classes) for y in (drawn.sources, others))
        seen, seen_other = self._standard(moving), self._standard(other)
        attracting = self._transported(self._seen, seen, drawn.parts(self._batch))
        repelling = self._transported(seen_other, seen, drawn.among_themselves(self._batch))
        drift = self._latents[attracting] - other[repelling]
        to_data = np.square(seen - self._seen[attracting]).mean()
        to_others = np.square(seen - seen_other[repelling]).mean()
        extra = {
            "drift": float(np.sqrt(np.square(drift / self._divisor).mean())),
            "excess": float(to_data - to_others),
        }
        return moving + drift, attracting, extra

    def _generated(self, sources: Floats, classes: NDArray[np.int64] | None) -> Floats:
        """Map sources to latents, as float32; refuse what is none."""
        assert self._generate is not None
        rows = convert.as_rows(self._generate(sources, classes), "generate(sources, classes)").rows
        if rows.shape != sources.shape:
            raise ValueError(
                f"generate(sources, classes) must have the shape {list(sources.shape)} of the "
                f"sources, got {list(rows.shape)}"
            )
        convert.refuse_non_finite(rows, "generate(sources, classes)")
        return np.asarray(rows, np.float32)

    def _standard(self, rows: Floats) -> NDArray[Any]:
        return (rows - self._mean) / self._divisor if self._standardize else rows

    def _transported(self, targets: Any, sources: Any, parts: Any) -> NDArray[np.int64]:
        return transport(targets, sources, parts, tolerance=self._tolerance, threads=self._threads)[
            0
        ]
