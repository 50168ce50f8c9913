"""Data: images as uint8 [n, c, h, w], vectors as float [n, dim], synthetic sets.

What is for others to import is listed here. Nothing is downloaded: a set that is not on the disk is
an error that says which files were looked for.
"""

from .images import Images, to_bytes, to_model
from .sets import SETS, open_images
from .synthetic import (
    SWISS_ROLL_RANGE,
    SYNTHETIC,
    swiss_roll,
    swiss_roll_points,
    two_squares,
    uniform_square,
)
from .vectors import open_vectors

__all__ = [
    "SETS",
    "SWISS_ROLL_RANGE",
    "SYNTHETIC",
    "Images",
    "open_images",
    "open_vectors",
    "swiss_roll",
    "swiss_roll_points",
    "to_bytes",
    "to_model",
    "two_squares",
    "uniform_square",
]
