"""The vanilla VAE of the controlled comparison (GTN paper, Table 1), and its autoencoder twin.

Both are the network of AntixK/PyTorch-VAE for images of any size: five convolutions halve the
image, so the image is padded below and to the right to multiples of 32 with -1, black, and the
output is cropped. AntixK's code compared images in [0, 1] with an output in [-1, 1]; here both are
in [-1, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own abbreviation)
from torch import Tensor, nn

from gtn_label.checks import as_integer

from .autoencoder import check_image_shape

__all__ = ["KL_WEIGHT", "VAETwin", "VanillaVAE", "vae_loss"]

CHANNELS = (32, 64, 128, 256, 512)
KL_WEIGHT = 0.00025  # AntixK's, to an error that is a mean over pixels


class _Network(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The common part of the VAE and its twin; `VAETwin`'s docstring lists the layers."""

    def __init__(self, image_shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.image_shape = check_image_shape(image_shape, 1)
        self.latent_dim = as_integer(latent_dim, "latent_dim", 1)
        channels, height, width = self.image_shape
        factor = 2 ** len(CHANNELS)
        inner = (CHANNELS[-1], -(-height // factor), -(-width // factor))
        self._padded = (inner[1] * factor, inner[2] * factor)
        features = inner[0] * inner[1] * inner[2]
        down, up = (channels, *CHANNELS), (*reversed(CHANNELS), CHANNELS[0])
        self.encoder = nn.Sequential(
            *(_halve(into, out) for into, out in itertools.pairwise(down)), nn.Flatten()
        )
        self.mean = nn.Linear(features, self.latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(self.latent_dim, features),
            nn.Unflatten(1, inner),
            *(_double(into, out) for into, out in itertools.pairwise(up)),
            nn.Conv2d(CHANNELS[0], channels, 3, padding=1),
            nn.Tanh(),
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON types."""
        return {"image_shape": list(self.image_shape), "latent_dim": self.latent_dim}

    def encode(self, images: Tensor) -> Tensor:
        """Map images [n, c, h, w] to latents [n, latent_dim]."""
        return self.mean(self._features(images))

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [n, latent_dim] to images [n, c, h, w]."""
        _, height, width = self.image_shape
        return self.decoder(latents)[:, :, :height, :width]

    def _features(self, images: Tensor) -> Tensor:
        _, height, width = self.image_shape
        below, right = self._padded[0] - height, self._padded[1] - width
        return self.encoder(F.pad(images, (0, right, 0, below), value=-1.0))


class VAETwin(_Network):
    """The VAE's network without log σ² and noise: a plain autoencoder, to be trained by MSE.

    Encoder: 5 × [Conv(kernel 3, stride 2, padding 1), BatchNorm, LeakyReLU(0.01)] with 32, 64, 128,
    256 and 512 channels, Linear. Decoder: Linear, 5 × [ConvT(kernel 3, stride 2, padding 1, output
    padding 1), BatchNorm, LeakyReLU] with 256, 128, 64, 32 and 32 channels, Conv(32→c, kernel 3,
    padding 1), tanh.

    Parameters
    ----------
    image_shape : sequence of 3 int
        (c, h, w), each at least 1.
    latent_dim : int
        >= 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its type or out of its range.

    Notes
    -----
    In training mode batch normalisation refuses a batch of one image whose sides are at most 32:
    one value a channel has no variance.

    Examples
    --------
    >>> twin = VAETwin((3, 32, 32), 16)
    >>> twin(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 3, 32, 32])
    """

    kind: ClassVar[str] = "vae-twin"

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images [n, c, h, w]."""
        return self.decode(self.encode(images))


class VanillaVAE(_Network):
    """The vanilla VAE: `VAETwin`'s network, a second Linear for log σ², and noise.

    `encode` gives the mean. Made from one seed, it and its twin start with the same weights.

    Parameters
    ----------
    image_shape : sequence of 3 int
        (c, h, w), each at least 1.
    latent_dim : int
        >= 1.

    Examples
    --------
    >>> vae = VanillaVAE((1, 28, 28), 8)
    >>> reconstruction, mean, log_variance = vae(torch.zeros(2, 1, 28, 28), torch.zeros(2, 8))
    >>> reconstruction.shape, mean.shape, log_variance.shape
    (torch.Size([2, 1, 28, 28]), torch.Size([2, 8]), torch.Size([2, 8]))
    """

    kind: ClassVar[str] = "vae"

    def __init__(self, image_shape: Sequence[int], latent_dim: int) -> None:
        super().__init__(image_shape, latent_dim)
        # Made last: all other weights are then the twin's.
        self.log_variance = nn.Linear(self.mean.in_features, self.latent_dim)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct images from mean + σ·noise.

        Parameters
        ----------
        images : Tensor [n, c, h, w]
        noise : Tensor [n, latent_dim]
            Standard normal; the caller draws it, and so says from which seed.

        Returns
        -------
        reconstruction : Tensor [n, c, h, w]
        mean, log_variance : Tensor [n, latent_dim]
        """
        features = self._features(images)
        mean, log_variance = self.mean(features), self.log_variance(features)
        return self.decode(mean + torch.exp(0.5 * log_variance) * noise), mean, log_variance


def vae_loss(
    images: Tensor,
    reconstruction: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    kl_weight: float = KL_WEIGHT,
) -> dict[str, Tensor]:
    """Compute AntixK's loss: MSE + kl_weight · KL.

    MSE is the mean over all pixels of all images; KL(N(μ, σ²) ‖ N(0, I)) = ½ Σ (μ² + σ² - 1 -
    log σ²) is summed over latents and averaged over images.

    Parameters
    ----------
    images, reconstruction : Tensor [n, c, h, w]
    mean, log_variance : Tensor [n, latent_dim]
    kl_weight : float
        >= 0.

    Returns
    -------
    dict of scalar Tensor
        "loss", "mse", "kl".
    """
    mse = F.mse_loss(reconstruction, images)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
    return {"loss": mse + kl_weight * kl, "mse": mse, "kl": kl}


def _halve(into: int, out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(into, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.LeakyReLU()
    )


def _double(into: int, out: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(into, out, 3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(out),
        nn.LeakyReLU(),
    )
