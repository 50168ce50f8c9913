"""The rows of a round of pairs, the protocol of pairs, and measures of a labeling.

Not here: making pairs (fixed.py, fresh.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gtn_label import quality
from gtn_label.arrays import convert

__all__ = [
    "Closing",
    "PairRows",
    "Pairs",
    "as_numpy",
    "as_tensors",
    "cosines_of",
    "float_rows",
    "measure",
]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PairRows:
    """The pairs of one round, in CPU memory.

    Attributes
    ----------
    sources : float32 Tensor [n, dim]
    labels : float32 Tensor [n, dim]
        Row i is the latent that source i took.
    classes : int64 Tensor [n] or None
        Class of each pair.
    """

    sources: torch.Tensor
    labels: torch.Tensor
    classes: torch.Tensor | None


class Pairs(Protocol):
    """The source of a training's pairs. Epochs count from 1, rounds from 0.

    Attributes
    ----------
    n, dim : int
        Pairs in an epoch, and their dimension.
    conditional : bool
        True if pairs have classes.
    latents_sha256 : str
        SHA-256 of the latents that the labels are rows of, as `gtn_label` computes it.
    """

    @property
    def n(self) -> int:
        """Pairs in an epoch."""

    @property
    def dim(self) -> int:
        """Dimension of sources and labels."""

    @property
    def conditional(self) -> bool:
        """True if pairs have classes."""

    @property
    def latents_sha256(self) -> str:
        """SHA-256 of the latents."""

    def round_of(self, epoch: int) -> int:
        """Round of pairs that an epoch is trained on."""

    def epoch(self, epoch: int) -> PairRows:
        """Rows of an epoch; the same object for all epochs of a round."""

    def stats(self, round: int) -> dict[str, Any]:  # noqa: A002
        """Measures of a round's labeling, in JSON types."""

    def config(self) -> dict[str, Any]:
        """Everything that decides the pairs, in JSON types: a resumed run must have the same."""

    def close(self) -> None:
        """Stop background work."""


class Closing:
    """``with`` for pairs: closed at the end of the block."""

    def close(self) -> None:
        """Stop background work; there is none."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def as_numpy(rows: Any) -> NDArray[Any]:
    """Convert tensors of any device, or anything else that NumPy reads, to NumPy arrays."""
    return rows.numpy(force=True) if isinstance(rows, torch.Tensor) else np.asarray(rows)


def float_rows(value: Any, name: str, *, copy: bool = True) -> Floats:
    """Read rows as finite float32 [n, dim]; 1-D input is one column.

    Raises
    ------
    TypeError, ValueError
        As `gtn_label` does, or for a value that is not finite as float32.
    """
    column = as_numpy(value)
    rows = convert.as_rows(column[:, None] if column.ndim == 1 else column, name).rows
    with np.errstate(over="ignore"):
        floats = np.array(rows, np.float32) if copy else np.asarray(rows, np.float32)
    convert.refuse_non_finite(floats, name)
    return floats


def as_tensors(sources: Floats, labels: Floats, classes: NDArray[np.int64] | None) -> PairRows:
    """Wrap arrays of this package's own making: the tensors share their memory."""
    return PairRows(
        torch.from_numpy(sources),
        torch.from_numpy(labels),
        None if classes is None else torch.from_numpy(classes),
    )


def cosines_of(sources: Floats, labels: Floats) -> NDArray[np.float64]:
    """Cosine of each source and its label, 0 where one has no direction."""
    dots = np.einsum("ij,ij->i", sources, labels, dtype=np.float64)
    scale = quality.norms(sources) * quality.norms(labels)
    return np.asarray(np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0))


def measure(
    sources: Floats, labels: Floats, cosine: NDArray[np.float64], *, learnability: bool = True
) -> dict[str, Any]:
    """Measure a labeling as `gtn_label.quality` does, except what needs the order of visits.

    Returns
    -------
    dict
        "mean_cosine"; "norm_correlation" (Spearman's) and, if wanted, "learnability" (10-NN R²),
        None where undefined.
    """
    found = {
        "mean_cosine": float(np.mean(cosine)),
        "norm_correlation": quality.spearman(quality.norms(sources), quality.norms(labels)),
    }
    if not learnability:
        return found
    sample = quality.sample_rows(len(sources), sources.shape[1])
    return {**found, "learnability": quality.learnability(sources[sample], labels[sample])}
