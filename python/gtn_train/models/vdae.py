"""VDAE: a variational diffusion autoencoder, whose latents are diffusion coordinates.

Li, Lindenbaum, Cheng and Cloninger, Variational Diffusion Autoencoders with Random Walk Sampling.
The encoder is that of an embedding, and stays as it is. A network gives each latent the covariance
of a step of a random walk on the data, and the decoder leads back. Not here: the walk
(sampling/walks.py), the covariances that the network learns (training/vdae.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from gtn_label.errors import ArgumentTypeError

from ..spectral.network import SpectralEncoder
from .autoencoder import deconvolutions
from .mlp import perceptron

__all__ = ["VDAE", "divergence", "vdae_loss"]

WIDTH = 500  # of the hidden layer of the covariance network


class VDAE(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A variational diffusion autoencoder.

    Vectors have a decoder of three hidden layers of 256 units, images that of
    `VanillaAutoencoder`. The covariance network has one hidden layer of 500 units, and gives the
    Cholesky factor.

    Parameters
    ----------
    encoder : mapping
        Config of the `SpectralEncoder`, whose weights are the embedding's.

    Raises
    ------
    TypeError, ValueError
        As `SpectralEncoder`.

    Examples
    --------
    >>> model = VDAE({"data_shape": [3], "latent_dim": 2})
    >>> model.decode(model.encode(torch.zeros(5, 3))).shape
    torch.Size([5, 3])
    >>> model.factor(torch.zeros(5, 2)).shape
    torch.Size([5, 2, 2])
    """

    kind: ClassVar[str] = "vdae"

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        if not isinstance(encoder, dict):
            raise ArgumentTypeError("encoder", "must be a mapping", type(encoder).__name__)
        self.encoder = SpectralEncoder(**encoder).requires_grad_(False)
        self.data_shape = self.encoder.data_shape
        self.of_images = self.encoder.of_images
        self.latent_dim: int = self.encoder.latent_dim
        self.dim = self.encoder.dim  # coordinates; the other columns tell the component
        entries = self.dim * (self.dim + 1) // 2
        self.covariance = nn.Sequential(
            nn.Linear(self.latent_dim, WIDTH), nn.ReLU(), nn.Linear(WIDTH, entries)
        )
        self.decoder: nn.Module
        if self.of_images:
            self.image_shape = self.data_shape
            self.decoder = deconvolutions(self.data_shape, self.latent_dim)
        else:
            self.decoder = perceptron(self.latent_dim, self.data_shape[0])
        self.register_buffer("latent_mean", torch.zeros(self.latent_dim))
        self.register_buffer("latent_scale", torch.ones(self.latent_dim))
        self.register_buffer("step_scale", torch.ones(()))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types."""
        return {"encoder": self.encoder.config()}

    def encode(self, rows: Tensor) -> Tensor:
        """Map rows [n, ...] to diffusion coordinates [n, latent_dim]."""
        return self.encoder.encode(rows)

    def decode(self, latents: Tensor) -> Tensor:
        """Map diffusion coordinates [n, latent_dim] to rows [n, ...]."""
        found = self.decoder(self._standardized(latents))
        return found if self.of_images else found * self.encoder.scale + self.encoder.center

    def factor(self, latents: Tensor) -> Tensor:
        """Compute the Cholesky factor of a step's covariance.

        Parameters
        ----------
        latents : Tensor [n, latent_dim]

        Returns
        -------
        Tensor [n, dim, dim]
            L, lower triangular with a positive diagonal. Columns that tell the component have no
            part in a step.
        """
        entries = self.covariance(self._standardized(latents))
        found = entries.new_zeros(len(entries), self.dim, self.dim)
        row, column = torch.tril_indices(self.dim, self.dim, device=entries.device)
        found[:, row, column] = torch.where(row == column, functional.softplus(entries), entries)
        return found * self.step_scale

    def moved(self, latents: Tensor, noise: Tensor, factor: Tensor | None = None) -> Tensor:
        """Take a step of the walk, without decoding.

        Parameters
        ----------
        latents : Tensor [n, latent_dim]
        noise : Tensor [n, dim]
            From N(0, I).
        factor : Tensor [n, dim, dim], optional
            What `factor` gives for these latents.

        Returns
        -------
        Tensor [n, latent_dim]
            z + L·noise in the coordinates.
        """
        factor = self.factor(latents) if factor is None else factor
        step = (factor @ noise[:, :, None].to(factor.dtype))[:, :, 0]
        return latents + functional.pad(step, (self.latent_dim - self.dim, 0))

    def forward(self, rows: Tensor) -> Tensor:
        """Reconstruct rows [n, ...]."""
        return self.decode(self.encode(rows))

    def _standardized(self, latents: Tensor) -> Tensor:
        return (latents - self.latent_mean) / self.latent_scale


def divergence(factor: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two normals of equal means, KL(N(0, C) | N(0, S)).

    Parameters
    ----------
    factor : Tensor [n, d, d]
        Cholesky factor of C.
    target : Tensor [n, d, d]
        Cholesky factor of S.

    Returns
    -------
    Tensor [n]
        ½(tr(S⁻¹C) - d + log det S - log det C); the paper's Eq. 7 is -2 times this.

    Examples
    --------
    >>> divergence(2 * torch.eye(3)[None], 2 * torch.eye(3)[None])
    tensor([0.])
    """
    ratio = torch.linalg.solve_triangular(target, factor, upper=False)
    logs = target.diagonal(dim1=1, dim2=2).log() - factor.diagonal(dim1=1, dim2=2).log()
    return 0.5 * (ratio.square().sum(dim=(1, 2)) - factor.shape[-1]) + logs.sum(dim=1)


def vdae_loss(
    factor: Tensor, target: Tensor, rows: Tensor, decoded: Tensor, variance: float
) -> dict[str, Tensor]:
    """Compute the loss of a VDAE (Eqs. 5 to 7 of the paper), row by row.

    Parameters
    ----------
    factor, target : Tensor [n, d, d]
        As in `divergence`.
    rows : Tensor [n, ...]
        Rows that the steps lead to.
    decoded : Tensor [n, ...]
        Decoded steps.
    variance : float
        c, of the decoder's noise.

    Returns
    -------
    dict of Tensor [n]
        "kl", "squares", which is |x' - g(z')|², and "loss" = kl + squares / (2c).
    """
    kl = divergence(factor, target)
    squares = (rows - decoded).square().flatten(1).sum(dim=1)
    return {"kl": kl, "squares": squares, "loss": kl + squares / (2 * variance)}
