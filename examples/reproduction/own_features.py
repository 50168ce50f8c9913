"""A small classifier of a data set of grey images, whose 64 features judge generated ones.

EfficientNet-Lite0 has seen photographs and finds a soft digit unlike a sharp one. A network that
knows the set's own classes compares what its images show. Not here: networks with weights of
others (gtn_train.evaluation.extractors).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gtn_train.data.images import Images
from gtn_train.files import file_sha256

__all__ = ["OwnFeatures", "own_features"]

FEATURES = 64
EPOCHS = 3
BATCH = 128


class OwnFeatures:
    """The classifier as an extractor of `gtn_train.evaluation`; its figure is FD-own."""

    name = "own"

    def __init__(self, network: Any, key: str) -> None:
        self.key = key
        self._network = network.eval().requires_grad_(False)

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute features and logits of uint8 images [b, 3, h, w]; see `Extractor`."""
        with torch.inference_mode():
            features = self._network[:-1](images[:, :1].float() / 127.5 - 1)
            return features, self._network[-1](features)


def own_features(images: Images, path: Path) -> OwnFeatures:
    """Train a classifier of the images, or read it if the file is there.

    Parameters
    ----------
    images : Images
        Grey images with labels.
    path : path
        File of the weights.
    """
    assert images.labels is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _network(images.shape, int(images.labels.max()) + 1)
        if not path.exists():
            pixels = torch.from_numpy(np.array(images.images))  # a folder's cannot be written
            _train(network, pixels, torch.from_numpy(images.labels))
            torch.save(network.state_dict(), path)
    network.load_state_dict(torch.load(path, weights_only=True))
    return OwnFeatures(network, file_sha256(path))


def _network(shape: tuple[int, int, int], classes: int) -> Any:
    _, height, width = shape
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU()),
        *(nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(32 * -(-height // 4) * -(-width // 4), FEATURES), nn.ReLU()),
        nn.Linear(FEATURES, classes),
    )


def _train(network: Any, pixels: torch.Tensor, labels: torch.Tensor) -> None:
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(pixels)).split(BATCH):
            logits = network(pixels[some].float() / 127.5 - 1)
            loss = nn.functional.cross_entropy(logits, labels[some])
            adam.zero_grad()
            loss.backward()
            adam.step()
