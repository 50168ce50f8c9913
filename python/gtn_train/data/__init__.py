"""Data: images as uint8 [n, c, h, w], vectors as float [n, dim], synthetic sets.

The public names are listed here, and imported when they are first used, since reading images needs
torchvision. Nothing is downloaded: if a set is not on the disk, an error names the missing files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

from .mesh import mesh_points
from .shapes import gaussian_grid, loop, ring, sphere, torus
from .synthetic import (
    SWISS_ROLL_RANGE,
    SYNTHETIC,
    SYNTHETIC_DIM,
    swiss_roll,
    swiss_roll_points,
    two_squares,
    uniform_square,
)
from .vectors import open_vectors

if TYPE_CHECKING:
    from .images import Images, to_bytes, to_model
    from .sets import SETS, open_images

__all__ = [
    "SETS",
    "SET_NAMES",
    "SWISS_ROLL_RANGE",
    "SYNTHETIC",
    "SYNTHETIC_DIM",
    "Images",
    "gaussian_grid",
    "loop",
    "mesh_points",
    "open_images",
    "open_vectors",
    "ring",
    "sphere",
    "swiss_roll",
    "swiss_roll_points",
    "to_bytes",
    "to_model",
    "torus",
    "two_squares",
    "uniform_square",
]

SET_NAMES = ("mnist", "fashion-mnist", "cifar10", "cifar10-jpeg", "celeba", "folder", "array")

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Images": "images",
        "to_bytes": "images",
        "to_model": "images",
        "SETS": "sets",
        "open_images": "sets",
    },
)
