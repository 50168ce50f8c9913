"""EmbeddingOptions: the embedding of a run's data, as plain values.

Not here: computing it (embedding.py), the stage (run/embedding.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gtn_label.checks import as_integer, as_number, as_text
from gtn_label.errors import ArgumentError

__all__ = ["COMPONENTS", "METHODS", "EmbeddingOptions"]

METHODS = ("exact", "spectral-net")
COMPONENTS = ("separate", "joint")
BATCH_SIZE = {"exact": 256, "spectral-net": 1_024}
STEPS = {"exact": 2_500, "spectral-net": 2_000}  # of a training, unless epochs are given
IMAGE_STEPS = 600  # each takes ten times as long


@dataclass(frozen=True)
class EmbeddingOptions:
    """Options of an embedding.

    Parameters
    ----------
    dim : int
        Number of coordinates, >= 1.
    neighbours : int
        Neighbours of each row, >= 1; of SpectralNet, in a batch of 1,024 rows.
    density_power : float
        Power of the density that weights are divided by, >= 0. At 1 the coordinates follow the
        shape of the data alone, at 0 they also keep to where the data are dense.
    time : float
        Steps of the walk whose diffusion distances the coordinates have, >= 0.
    method : {"exact", "spectral-net"}
        Eigenvectors of a sparse matrix, which a network then learns, or SpectralNet, which learns
        without them.
    on : str
        Rows in which neighbours are sought: "rows", the data; "pca50", their 50 first principal
        components; or a file of latents, [n, d], one for each row of the data.
    components : {"separate", "joint"}
        Embed components of the graph each by itself, or all together.
    epochs : int, optional
        Epochs of the network; by default as many as make 2,500 steps (SpectralNet 2,000, images
        600).
    threads : int, optional
        CPU threads of torch while the network is trained; 0: torch's own number. By default 1
        for vectors, where that is fastest, and torch's own for images and SpectralNet.

    Raises
    ------
    TypeError, ValueError
        If an option is invalid; the message names it.

    Examples
    --------
    >>> EmbeddingOptions(dim=2).method
    'exact'
    """

    dim: int
    neighbours: int = 16
    density_power: float = 1.0
    time: float = 1.0
    method: str = "exact"
    on: str = "rows"
    components: str = "separate"
    epochs: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        as_integer(self.dim, "embedding_dim", 1)
        as_integer(self.neighbours, "neighbours", 1)
        as_number(self.density_power, "density_power", 0.0)
        as_number(self.time, "diffusion_time", 0.0)
        as_text(self.on, "embed_on")
        for name, spelled, known in (
            ("method", "embedding_method", METHODS),
            ("components", "components", COMPONENTS),
        ):
            if getattr(self, name) not in known:
                listed = " or ".join(repr(value) for value in known)
                raise ArgumentError(spelled, f"must be {listed}", repr(getattr(self, name)))
        if self.epochs is not None:
            as_integer(self.epochs, "embedding_epochs", 1)
        if self.threads is not None:
            as_integer(self.threads, "training_threads", 0)

    @property
    def file(self) -> str | None:
        """File of latents in which neighbours are sought; None for rows and their components."""
        return None if self.on in ("rows", "pca50") else self.on

    def config(self) -> dict[str, Any]:
        """All options, in JSON types."""
        return asdict(self)

    def deciding(self) -> dict[str, Any]:
        """Options that decide the coordinates, apart from the training of the network."""
        left_out = ("epochs", "threads")
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def epochs_for(self, n: int, *, images: bool = False) -> int:
        """Epochs of the network for n rows to train on.

        Parameters
        ----------
        n : int
        images : bool
            Rows are images.
        """
        if self.epochs is not None:
            return self.epochs
        steps = min(STEPS[self.method], IMAGE_STEPS) if images else STEPS[self.method]
        size = BATCH_SIZE[self.method]
        each = max(1, n // size)  # SpectralNet's epochs have whole batches alone
        if self.method == "exact":
            each = -(-n // size)
        return max(1, -(-steps // each))
