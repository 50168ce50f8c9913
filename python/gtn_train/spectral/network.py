"""SpectralEncoder: a network from rows to diffusion coordinates, and the two ways to train one.

`encoder_step` learns coordinates that eigenvectors gave (a diffusion net). `spectral_step` is
SpectralNet (Shaham et al., SpectralNet: Spectral Clustering using Deep Neural Networks), which
needs no eigenvectors: its outputs are orthonormal, and close for neighbours. It is slower by far.
Not here: their trainings (training.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from gtn_label.checks import as_integer

from ..data.images import to_model
from ..models.autoencoder import check_image_shape, convolutions
from ..models.mlp import check_data_shape, perceptron
from ..training.steps import StepOutput

__all__ = ["SpectralEncoder", "batch_weights", "encoder_step", "orthonormal", "spectral_step"]

RIDGE = 1e-12  # of a factor, times the mean diagonal; a larger one lets outputs escape by shrinking

Floats = npt.NDArray[np.float64]


class SpectralEncoder(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A network from rows to diffusion coordinates.

    Vectors have three hidden layers of 256 units, images the convolutions of `VanillaAutoencoder`.

    Parameters
    ----------
    data_shape : sequence of int
        [m] for vectors, [c, h, w] for images.
    latent_dim : int
        Number of coordinates, >= 1.
    components : int
        Number of components, >= 1. Each has coordinates of its own, and with several of them
        `encode` also tells which one a row belongs to.
    outputs : int, optional
        Outputs of the network that the coordinates are linear functions of; by default as many as
        coordinates.
    apart : float
        Value of the column that tells a row's component.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its type or out of its range.

    Examples
    --------
    >>> SpectralEncoder([3], 2).encode(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    >>> SpectralEncoder([3], 2, components=4).encode(torch.zeros(5, 3)).shape
    torch.Size([5, 6])
    """

    kind: ClassVar[str] = "spectral"

    def __init__(
        self,
        data_shape: Any,
        latent_dim: int,
        components: int = 1,
        outputs: int | None = None,
        apart: float = 1.0,
    ) -> None:
        super().__init__()
        self.dim = as_integer(latent_dim, "latent_dim", 1)
        self.components = as_integer(components, "components", 1)
        self.outputs = self.dim if outputs is None else as_integer(outputs, "outputs", 1)
        self.apart = float(apart)
        self.of_images = len(data_shape) == 3
        told = self.components if self.components > 1 else 0
        size = told + self.components * self.outputs
        if self.of_images:
            self.data_shape: tuple[int, ...] = check_image_shape(data_shape, 4)
            self.network = convolutions(check_image_shape(data_shape, 4), size)
        else:
            self.data_shape = check_data_shape(data_shape)
            self.network = perceptron(self.data_shape[0], size)
            self.register_buffer("center", torch.zeros(self.data_shape))
            self.register_buffer("scale", torch.ones(()))
        self.register_buffer("mix", torch.zeros(self.components, self.outputs, self.dim))
        self.register_buffer("shift", torch.zeros(self.components, self.dim))

    @property
    def latent_dim(self) -> int:
        """Columns of what `encode` gives."""
        return self.dim + (self.components if self.components > 1 else 0)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types."""
        return {
            "data_shape": list(self.data_shape),
            "latent_dim": self.dim,
            "components": self.components,
            "outputs": self.outputs,
            "apart": self.apart,
        }

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the network's outputs.

        Parameters
        ----------
        rows : Tensor [n, m] or [n, c, h, w]

        Returns
        -------
        outputs : Tensor [n, components, outputs]
            As if the row belonged to each component.
        logits : Tensor [n, components]
            Of the row's component; of no meaning if there is one.
        """
        if not self.of_images:
            rows = (rows - self.center) / self.scale
        found = self.network(rows)
        shape = (len(found), self.components, self.outputs)
        outputs = found[:, -self.components * self.outputs :].reshape(shape)
        return outputs, found[:, : self.components]

    def encode(self, rows: Tensor) -> Tensor:
        """Map rows [n, ...] to coordinates [n, latent_dim].

        Those of several components come after one column for each of them, which holds `apart` for
        the row's component, and else 0.
        """
        outputs, logits = self(rows)
        coordinates = torch.einsum("nco,cod->ncd", outputs, self.mix) + self.shift
        if self.components == 1:
            return coordinates[:, 0]
        chosen = logits.argmax(dim=1)
        told = functional.one_hot(chosen, self.components).to(coordinates.dtype) * self.apart
        return torch.cat(
            [told, coordinates[torch.arange(len(chosen), device=chosen.device), chosen]], dim=1
        )

    def normalize(self, coordinates: Floats, component: npt.NDArray[np.int64]) -> Floats:
        """Standardise coordinates within each component, and keep their means and deviations."""
        found = np.empty_like(coordinates)
        for number in range(self.components):
            rows = component == number
            mean, spread = coordinates[rows].mean(axis=0), coordinates[rows].std(axis=0)
            spread = np.where(spread > 0, spread, 1.0)
            found[rows] = (coordinates[rows] - mean) / spread
            self.mix[number] = torch.diag(torch.as_tensor(spread))
            self.shift[number] = torch.as_tensor(mean)
        return found


def encoder_step(encoder: Any, batch: tuple[Any, ...]) -> StepOutput:
    """Mean squared error of standardised coordinates, and the cross entropy of components.

    Parameters
    ----------
    encoder : SpectralEncoder
    batch : (rows float32 [b, m] or uint8 [b, c, h, w], targets [b, dim], component int64 [b])
    """
    rows, targets, component = batch
    outputs, logits = encoder(_as_input(rows))
    own = outputs[torch.arange(len(component), device=component.device), component]
    loss = functional.mse_loss(own, targets, reduction="sum") / targets.shape[1]
    if encoder.components > 1:
        loss = loss + functional.cross_entropy(logits, component, reduction="sum")
    return loss, len(rows), {}


def spectral_step(encoder: Any, batch: tuple[Any, ...]) -> StepOutput:
    """SpectralNet's loss, tr(Fᵀ(D - W)F) / tr(D), for outputs F with FᵀDF = tr(D)·I.

    Dividing Y by the root of the degrees makes the usual form of it: Y = D^½ F is orthonormal,
    and F are eigenvectors of the walk, as a diffusion map has them. F is made orthonormal by the
    outputs of other rows. The gradient goes through these as well: without it every step shrinks
    the outputs, which only makes them noisy. The first eigenvector is constant, and known:
    subtracting the mean takes it from F.

    Parameters
    ----------
    encoder : SpectralEncoder
    batch : (rows, places float32 [b, d], other rows, their places, k int, power float)
        Places are what neighbours are found by.
    """
    rows, places, others, their_places, k, power = batch
    degrees = batch_weights(their_places, k, power).sum(dim=1)
    mean, turn = orthonormal(encoder(_as_input(others))[0][:, 0], degrees)
    outputs = encoder(_as_input(rows))[0][:, 0]
    functions = (outputs.to(turn.dtype) - mean) @ turn
    weights = batch_weights(places, k, power).to(turn.dtype)
    degrees = weights.sum(dim=1)
    squares = (degrees[:, None] * functions.square()).sum()
    loss = (squares - (functions * (weights @ functions)).sum()) / degrees.sum()
    return (loss * len(rows)).to(outputs.dtype), len(rows), {}


def orthonormal(functions: Tensor, degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Compute m and R with ((F - m)R)ᵀ D (F - m)R = tr(D)·I, in float64.

    Parameters
    ----------
    functions : Tensor [n, k]
        F.
    degrees : Tensor [n]
        Diagonal of D.

    Returns
    -------
    m : Tensor [k]
        Mean of F, weighed by D.
    R : Tensor [k, k]

    Notes
    -----
    The ridge of the Cholesky factor is relative to the trace. An absolute one would let a training
    shrink its outputs until they are no longer orthonormal, and its loss until it is 0.
    """
    wide = torch.float32 if functions.device.type == "mps" else torch.float64
    f, d = functions.to(wide), degrees.to(wide)
    shares = (d / d.sum())[:, None]
    mean = (f * shares).sum(dim=0)
    gram = (f - mean).T @ ((f - mean) * shares)
    eye = torch.eye(len(gram), dtype=wide, device=gram.device)
    ridge = RIDGE * gram.diagonal().mean()
    factor, fault = torch.linalg.cholesky_ex(gram + ridge * eye)
    factor = factor / (fault == 0)  # NaN, of which the training tells epoch and step
    return mean, torch.linalg.solve_triangular(factor, eye, upper=False).T


def batch_weights(places: Tensor, k: int, power: float) -> Tensor:
    """Compute the weights of a batch's own graph, as `NeighbourGraph` and `DiffusionMap` do.

    The rows of a batch lie further apart than all rows do, so that they have neighbours and
    bandwidths of their own.

    Parameters
    ----------
    places : Tensor [b, d]
    k : int
        Neighbours of a row, which is not its own.
    power : float
        a, of the density.

    Returns
    -------
    Tensor [b, b]
    """
    n = len(places)
    k = min(k, n - 1)
    apart = torch.cdist(places, places)
    near, at = torch.topk(apart, k + 1, dim=1, largest=False)  # the row itself among them
    scale = near[:, min(8, k)]
    scale = scale.clamp_min(scale[scale > 0].min()) if bool((scale > 0).any()) else scale + 1
    weights = torch.zeros_like(apart)
    exponents = near.square() / (scale[:, None] * scale[at])
    weights.scatter_(1, at, torch.exp(-exponents))
    weights = torch.maximum(weights, weights.T)
    weights.fill_diagonal_(1.0)
    scaled = weights.sum(dim=1) ** -power
    return scaled[:, None] * weights * scaled


def _as_input(rows: Tensor) -> Tensor:
    return to_model(rows) if rows.dtype == torch.uint8 else rows
