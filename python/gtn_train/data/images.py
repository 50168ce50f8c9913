"""Images in memory, and their conversion to and from a model's range.

In memory images are uint8 [n, c, h, w], perhaps a read-only memory map. Models see float32 in
[-1, 1]. `to_model` and `to_bytes` are the only conversions.
Not here: reading images (sets.py, folder.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gtn_label.arrays import convert
from gtn_label.checks import check_seed
from gtn_train.seeds import random_numbers

__all__ = ["Images", "refuse_non_finite", "to_bytes", "to_model"]


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images of one size.

    Parameters
    ----------
    name : str
        Name in reports.
    images : ndarray uint8 [n, c, h, w]
        Any strides; a memory map stays one.
    labels : ndarray int64 [n] or None
        The class of each image.
    classes : tuple of str or None
        Names of the classes; `labels` index it.

    Raises
    ------
    TypeError
        If `images` are not uint8 or `labels` not int64.
    ValueError
        If a shape is wrong, nothing is there, or a label is no index of `classes`.

    Examples
    --------
    >>> images = Images("noise", np.zeros((4, 1, 8, 8), np.uint8))
    >>> images.n, images.shape
    (4, (1, 8, 8))
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_images(self.images)
        labels = self.labels
        if labels is None:
            if self.classes is not None:
                raise ValueError(f"classes need labels, got classes {self.classes} and no labels")
            return
        if not isinstance(labels, np.ndarray) or labels.dtype != np.int64:
            raise TypeError(f"labels must be an int64 ndarray, got {_kind(labels)}")
        if labels.shape != (self.n,):
            raise ValueError(f"labels must have shape ({self.n},), got {labels.shape}")
        if self.classes is not None and (labels.min() < 0 or labels.max() >= len(self.classes)):
            raise ValueError(
                f"labels must be in [0, {len(self.classes)}), the number of classes, "
                f"got {labels.min()} to {labels.max()}"
            )

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.images.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of dtype, shape and pixels (`gtn_label.arrays.convert.sha256`), computed once."""
        return convert.sha256(self.images)

    def subset(self, indices: npt.ArrayLike) -> Images:
        """Take some images, copied, in the order of `indices`.

        Parameters
        ----------
        indices : array_like of int [k]
            0 <= index < n; an index may come twice.

        Raises
        ------
        TypeError
            If they are not integers.
        ValueError
            If they are not 1-D, none, or out of range.
        """
        rows = np.asarray(indices)
        if rows.ndim != 1 or rows.size == 0:
            raise ValueError(f"indices must be 1-D and at least one, got shape {rows.shape}")
        if rows.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, got dtype {rows.dtype}")
        if rows.min() < 0 or rows.max() >= self.n:
            raise ValueError(
                f"indices must be in [0, {self.n}), the number of images, "
                f"got {rows.min()} to {rows.max()}"
            )
        labels = None if self.labels is None else self.labels[rows]
        return Images(self.name, np.asarray(self.images[rows]), labels, self.classes)

    def split(self, share: float, seed: int) -> tuple[Images, Images]:
        """Split at random into (training, validation), both in the order that the set has.

        Parameters
        ----------
        share : float
            Share of images held out for validation, 0 < share < 1; each part gets at least one.
        seed : int
            >= 0. The same seed gives the same split.

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its type or out of its range, or there are fewer than two
            images.
        """
        if isinstance(share, bool) or not isinstance(share, (int, float)):
            raise TypeError(f"share must be a float, got {type(share).__name__} {share!r}")
        if not 0 < share < 1:
            raise ValueError(f"share must be between 0 and 1, got {share}")
        seed = check_seed(seed)
        if self.n < 2:
            raise ValueError(f"a split needs at least 2 images, got {self.n}")
        held = min(max(1, round(self.n * share)), self.n - 1)
        order = random_numbers(seed, "split").permutation(self.n)
        return self.subset(np.sort(order[held:])), self.subset(np.sort(order[:held]))


def to_model(images: npt.NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
    """Convert images to a model's range: x / 127.5 - 1.

    Parameters
    ----------
    images : ndarray or Tensor, uint8, any shape
        A tensor's values are computed on its device.

    Returns
    -------
    Tensor float32, contiguous, in [-1, 1], of the same shape

    Raises
    ------
    TypeError
        If they are not uint8.

    Examples
    --------
    >>> to_model(np.array([0, 255], np.uint8)).tolist()
    [-1.0, 1.0]
    """
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        # torch warns of memory it must not write to, as a memory map's is.
        writable = images if images.flags.writeable else images.copy()
        images = torch.from_numpy(np.ascontiguousarray(writable))
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
        raise TypeError(f"images must be a uint8 ndarray or tensor, got {_kind(images)}")
    return images.contiguous().float().div_(127.5).sub_(1)


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Convert a model's images to bytes: round(clamp((x + 1)·127.5, 0, 255)).

    Parameters
    ----------
    images : Tensor, floating, [n, ...]
        Values outside [-1, 1] are clamped; computed in float32 on the tensor's device.

    Returns
    -------
    Tensor uint8 of the same shape

    Raises
    ------
    TypeError
        If they are not floating-point.
    ValueError
        If NaN or infinity is among them.

    Examples
    --------
    >>> to_bytes(torch.tensor([[-1.0, 0.0, 1.5]])).tolist()
    [[0, 128, 255]]
    """
    if not isinstance(images, torch.Tensor) or not images.is_floating_point():
        raise TypeError(f"images must be a floating-point tensor, got {_kind(images)}")
    refuse_non_finite(images, "images")
    values = images.detach().float().add(1).mul_(127.5)
    return values.clamp_(0, 255).round_().to(torch.uint8)


def refuse_non_finite(rows: torch.Tensor, name: str, first: int = 0) -> None:
    """Raise ValueError if a row holds NaN or infinity, and name it.

    Parameters
    ----------
    rows : Tensor [n, ...]
        A batch.
    name : str
        Name in the message.
    first : int
        The number of the batch's first row.
    """
    finite = torch.isfinite(rows)
    if bool(finite.all()):
        return
    bad = torch.nonzero(~finite.reshape(len(rows), -1).all(dim=1)).flatten().cpu() + first
    shown = ", ".join(str(int(row)) for row in bad[:5]) + (", ..." if len(bad) > 5 else "")
    raise ValueError(
        f"{name} must be finite, but NaN or infinity was found in "
        f"{'row' if len(bad) == 1 else 'rows'} {shown}"
    )


def check_images(images: Any, name: str = "images") -> None:
    """Raise TypeError or ValueError unless it is a uint8 array [n, c, h, w] that holds something.

    `name` is what to call it in the message.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise TypeError(f"{name} must be a uint8 ndarray, got {_kind(images)}")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"{name} must be [n, c, h, w], each at least 1, got shape {images.shape}")


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return f"{type(value).__name__}" + ("" if dtype is None else f" of dtype {dtype}")
