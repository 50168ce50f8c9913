"""FixedPairs: the same pairs in every epoch, from a labeling, a file, or any two arrays.

Not here: pairs that are matched again during training (fresh.py).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label import Matching
from gtn_label.arrays import convert, to_caller
from gtn_label.arrays.sources import redraw
from gtn_label.checks import check_seed
from gtn_label.text import quoted

from ..seeds import random_numbers
from .rows import Closing, PairRows, as_numpy, as_tensors, cosines_of, float_rows, measure

__all__ = ["FixedPairs", "split_rows"]


class FixedPairs(Closing):
    """The same pairs in every epoch.

    Parameters
    ----------
    sources, labels : array_like [n, dim]
        Row i of the labels belongs to row i of the sources; 1-D arrays are one column. Copied, as
        float32.
    classes : array_like of int [n], optional
    latents_sha256 : str, optional
        SHA-256 of the latents that the labels were taken from; by default that of the labels.
    cosine : array_like [n], optional
        Cosines that the matching reported (of centred latents, if it centred them); by default
        those between sources and labels.

    Raises
    ------
    TypeError, ValueError
        If shapes, dtypes or values (NaN, infinity) do not fit.

    Examples
    --------
    >>> from gtn_label import match
    >>> pairs = FixedPairs.from_matching(match(np.eye(3)))
    >>> pairs.epoch(1).labels.sum().item()
    3.0
    """

    def __init__(
        self,
        sources: Any,
        labels: Any,
        *,
        classes: Any = None,
        latents_sha256: str | None = None,
        cosine: Any = None,
    ) -> None:
        source_rows, label_rows = float_rows(sources, "sources"), float_rows(labels, "labels")
        if source_rows.shape != label_rows.shape:
            raise ValueError(
                "sources and labels must have the same shape, "
                f"got {source_rows.shape} and {label_rows.shape}"
            )
        n = len(source_rows)
        class_rows = None
        if classes is not None:
            class_rows = convert.as_labels(classes, "classes", n, "pairs").copy()
        if cosine is None:
            cosines = cosines_of(source_rows, label_rows)
        else:
            cosines = np.array(cosine, np.float64)
            if cosines.shape != (n,):
                raise ValueError(
                    f"cosine must have one value for each of the {n} pairs, got {cosines.shape}"
                )
        self._arrays = (source_rows, label_rows, class_rows, cosines)
        self._sha256 = (
            convert.sha256(np.asarray(labels)) if latents_sha256 is None else latents_sha256
        )
        self._stats: dict[str, Any] | None = None
        self._rows = as_tensors(source_rows, label_rows, class_rows)

    @classmethod
    def from_matching(cls, matching: Matching) -> FixedPairs:
        """Pairs of a labeling, with its groups as classes.

        Raises
        ------
        ValueError
            If the labeling was loaded from a file without rows.
        """
        sources, labels = (as_numpy(rows) for rows in matching.pairs())
        return cls(
            sources,
            labels,
            classes=None if matching.groups is None else as_numpy(matching.groups[0]),
            latents_sha256=matching.meta["latents_sha256"],
            cosine=as_numpy(matching.cosine),
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], latents: Any = None) -> FixedPairs:
        """Pairs that `gtn_label` wrote.

        Parameters
        ----------
        path : str or path
            A .npz or .safetensors file of `Matching.save` or of the gtn-label command.
        latents : array_like [m, dim], optional
            Latents that the pairs must have been made from; required if the file holds indices
            only.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no file of pairs, if its pairs were made from other latents, or if it holds
            indices only and the rows cannot be restored.
        """
        shown = f"pairs {quoted(path)}"
        matching = Matching.load(path)
        made_from = matching.meta.get("latents_sha256")
        if not isinstance(made_from, str):
            raise ValueError(f"{shown} must name the latents they were made from, and do not")
        if latents is not None:
            given = to_caller.given(convert.as_rows(latents, "latents")).blocks
            found = convert.sha256(given)
            if found != made_from:
                raise ValueError(
                    f"{shown} were made from other latents: SHA-256 {made_from}, found {found}"
                )
        if matching.sources is not None:
            sources, labels = matching.pairs()
        elif latents is None:
            raise ValueError(f"{shown} hold indices only: latents must be given")
        else:
            rows = convert.as_rows(latents, "latents").rows
            drawn = matching.meta.get("method") == "match"
            sources = redraw(matching.meta, *rows.shape) if drawn else None
            if sources is None:
                raise ValueError(
                    f"{shown} hold indices only, and their sources were not drawn by match"
                )
            labels = rows[matching.assignment]
        return cls(sources, labels, latents_sha256=made_from, cosine=matching.cosine)

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self._arrays[0])

    @property
    def dim(self) -> int:
        """Dimension of sources and labels."""
        return int(self._arrays[0].shape[1])

    @property
    def conditional(self) -> bool:
        """True if the pairs have classes."""
        return self._arrays[2] is not None

    @property
    def latents_sha256(self) -> str:
        """SHA-256 of the latents that the labels are rows of."""
        return self._sha256

    def round_of(self, epoch: int) -> int:
        """Round 0, always."""
        return 0

    def epoch(self, epoch: int) -> PairRows:
        """All pairs."""
        return self._rows

    def stats(self, round: int) -> dict[str, Any]:  # noqa: A002
        """Measure the labeling, once: "mean_cosine", "norm_correlation", "learnability"."""
        if self._stats is None:
            sources, labels, _, cosine = self._arrays
            self._stats = measure(sources, labels, cosine)
        return self._stats

    def config(self) -> dict[str, Any]:
        """Hashes of the rows and of the latents."""
        sources, labels, classes, _ = self._arrays
        return {
            "kind": "fixed",
            "sources_sha256": convert.sha256(sources),
            "labels_sha256": convert.sha256(labels),
            "classes_sha256": None if classes is None else convert.sha256(classes),
            "latents_sha256": self._sha256,
        }

    def split(self, share: float, seed: int = 0) -> tuple[FixedPairs, FixedPairs]:
        """Hold out pairs for validation.

        Parameters
        ----------
        share : float
            Share of pairs held out, between 0 and 1; each side gets at least one pair.
        seed : int
            Random seed of the choice.

        Returns
        -------
        training, validation : FixedPairs

        Raises
        ------
        ValueError
            If `share` is not between 0 and 1, or there are fewer than two pairs.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be between 0 and 1, got {share!r}")
        if self.n < 2:
            raise ValueError(f"{self.n} pair cannot be split: there must be at least 2")
        training, held_out = split_rows(self.n, share, seed)
        return self.take(np.sort(training)), self.take(np.sort(held_out))

    def take(self, rows: NDArray[np.int64]) -> FixedPairs:
        """Take some of the pairs.

        Parameters
        ----------
        rows : int64 [k]
        """
        sources, labels, classes, cosine = self._arrays
        return FixedPairs(
            sources[rows],
            labels[rows],
            classes=None if classes is None else classes[rows],
            latents_sha256=self._sha256,
            cosine=cosine[rows],
        )


def split_rows(n: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the training and of the held-out pairs of `FixedPairs.split`, in random order."""
    shuffled = random_numbers(check_seed(seed), "validation pairs").permutation(n)
    held_out = min(max(round(share * n), 1), n - 1)
    return shuffled[held_out:], shuffled[:held_out]
