"""Tiny models, images and extractors for the tests of samples and evaluation."""

from __future__ import annotations

import numpy as np
import torch


class Affine(torch.nn.Module):
    """A generator: y -> 2 y + 1, with batch norm and dropout that evaluation must switch off."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.norm = torch.nn.BatchNorm1d(dim, affine=False)
        self.dropout = torch.nn.Dropout(0.5)
        self.seen = []

    def forward(self, sources, classes=None):
        self.seen.append(len(sources))
        out = 2 * self.dropout(self.norm(sources) * (1 + self.norm.eps) ** 0.5) + 1
        return out if classes is None else out + 100 * classes[:, None]


class Tiles(torch.nn.Module):
    """An autoencoder of 1 x 2 x 2 images: pixel p is coordinate p % latent_dim."""

    image_shape = (1, 2, 2)

    def __init__(self, latent_dim=2):
        super().__init__()
        self.latent_dim = latent_dim

    def encode(self, images):
        return images.flatten(1)[:, : self.latent_dim]

    def decode(self, latents):
        return latents.repeat(1, 4 // self.latent_dim).reshape(-1, *self.image_shape)


class Moments:
    """An extractor of six features, means and spreads by colour, and of three logits."""

    name = "Moments"
    key = "1"

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        self.batches.append(len(images))
        values = images.double().flatten(2) / 255
        features = torch.cat([values.mean(2), values.std(2)], dim=1)
        return features, 40 * features[:, :3]


def images(n, channels=3, size=6, seed=0, brightness=0.0):
    """Random smooth-ish images uint8 [n, c, size, size]; no two alike."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(60, 160, (n, channels, 1, 1)) + brightness
    noise = rng.normal(0, rng.uniform(5, 40, (n, channels, 1, 1)), (n, channels, size, size))
    return np.clip(level + noise, 0, 255).astype(np.uint8)
