"""Spectral embedding: few coordinates that follow the shape of the data, and an encoder to them.

- `graph`: neighbours of rows, their weights, and the components that they fall into.
- `diffusion`: diffusion maps, by exact eigenvectors of a sparse matrix.
- `network`: the encoder, and SpectralNet, which learns without eigenvectors.
- `embedding`: the coordinates of a whole set, component by component, and their file.
- `training`: training of the encoder, by either method.
- `embedding_options`: the options of a run's embedding.

Importing this package imports neither torch nor SciPy. Not here: the stage of a run
(run/embedding.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

from .embedding_options import EmbeddingOptions

if TYPE_CHECKING:
    from .diffusion import DiffusionMap
    from .embedding import DiffusionMaps, Embedding
    from .graph import NeighbourGraph
    from .network import SpectralEncoder

__all__ = [
    "DiffusionMap",
    "DiffusionMaps",
    "Embedding",
    "EmbeddingOptions",
    "NeighbourGraph",
    "SpectralEncoder",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DiffusionMap": "diffusion",
        "DiffusionMaps": "embedding",
        "Embedding": "embedding",
        "NeighbourGraph": "graph",
        "SpectralEncoder": "network",
    },
)
