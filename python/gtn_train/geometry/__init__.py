"""Geometry of a decoder's surface: its points and Jacobian, densities on it, geodesics.

- `surface`: the map f from positions to outputs: a decoder, a generator, or both.
- `density`: how rare a place is: by a kernel, by a mixture, or by the change of volume.
- `data_graph`: paths from row to row, where a descent can start.
- `geodesic`: curves of least energy, with or without a density; their lengths and spacing.
- `run_geodesics`: the same for a finished run.

Importing this package imports no torch. Not here: measures of a whole map
(evaluation/geometry.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

if TYPE_CHECKING:
    from .data_graph import DataGraph
    from .density import Kernel, Mixture, Pullback
    from .geodesic import Paths, along, geodesics
    from .run_geodesics import run_geodesics
    from .surface import Surface

__all__ = [
    "DENSITIES",
    "METRICS",
    "SPACES",
    "DataGraph",
    "Kernel",
    "Mixture",
    "Paths",
    "Pullback",
    "Surface",
    "along",
    "geodesics",
    "run_geodesics",
]

DENSITIES = ("auto", "kde", "mixture", "pullback", "none")
SPACES = ("source", "latent")
METRICS = ("image", "latent")
WEIGHT = 0.2  # of the density, against an energy of 1 for the straight line
POINTS = 35  # of a path while it is improved; more broke the paper's curves

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DataGraph": "data_graph",
        "Kernel": "density",
        "Mixture": "density",
        "Paths": "geodesic",
        "Pullback": "density",
        "Surface": "surface",
        "along": "geodesic",
        "geodesics": "geodesic",
        "run_geodesics": "run_geodesics",
    },
)
