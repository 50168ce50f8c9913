"""Spectral embedding: few coordinates that follow the shape of the data, and an encoder to them.

- `graph`: neighbours of rows, their weights, and the components that they fall into.
- `diffusion`: diffusion maps, by exact eigenvectors of a sparse matrix.
- `network`: the encoder, and SpectralNet, which learns without eigenvectors.
- `embedding`: the coordinates of a whole set, component by component, and their file.

Importing this package imports neither torch nor SciPy. Not here: the stage of a run
(run/embedding.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

if TYPE_CHECKING:
    from .diffusion import DiffusionMap
    from .graph import NeighbourGraph

__all__ = ["DiffusionMap", "NeighbourGraph"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DiffusionMap": "diffusion",
        "NeighbourGraph": "graph",
    },
)
