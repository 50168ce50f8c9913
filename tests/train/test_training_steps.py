"""Steps: the losses of the networks, re-derived."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from training_cases import generator, images, pairs

from gtn_train.models.registry import make_model
from gtn_train.training import (
    autoencoder_step,
    flow_step,
    generator_step,
    vae_step,
)


def test_the_loss_of_the_generator():
    model = generator(batch_norm_layers=0)
    rows = pairs(7).epoch(1)
    labels = rows.labels.numpy().astype(float)
    mean, scale = labels.mean(axis=0), labels.std(axis=0)
    model.set_scale(rows.labels)
    targets = (rows.labels - model.label_mean) / model.label_scale
    loss, count, _ = generator_step(model, (rows.sources, targets, None))
    net = model.net(rows.sources).detach().numpy()
    assert count == 7
    expected = ((net - (labels - mean) / scale) ** 2).mean(axis=1).sum()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_the_flow():
    flow = make_model("flow", {"dim": 3, "layers": 3, "width": 8}, 1)
    rows = pairs(7).epoch(1)
    noise = torch.linspace(-2, 2, 7)[:, None]
    loss, count, _ = flow_step(flow, (rows.sources, rows.labels, None, noise))
    sources, labels = (part.numpy().astype(float) for part in (rows.sources, rows.labels))
    times = stats.norm.cdf(noise.numpy().astype(float))
    positions = (1 - times) * sources + times * labels
    inputs = torch.from_numpy(np.column_stack([positions, times])).float()
    velocity = flow.net(inputs).detach().numpy()
    assert count == 7
    expected = ((velocity - (labels - sources)) ** 2).mean(axis=1).sum()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_autoencoders():
    pixels = torch.from_numpy(images(5, (1, 8, 8)).images)
    scaled = pixels.numpy() / 127.5 - 1
    model = make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}, 0)
    loss, count, _ = autoencoder_step(model, (pixels,))
    output = model(torch.from_numpy(scaled).float()).detach().numpy()
    assert count == 5
    assert loss.item() == pytest.approx(
        ((output - scaled) ** 2).mean(axis=(1, 2, 3)).sum(), rel=1e-5
    )

    vae = make_model("vae", {"image_shape": [1, 8, 8], "latent_dim": 2}, 0).eval()
    torch.nn.init.constant_(vae.mean.bias, 2.0)
    noise = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    loss, count, figures = vae_step(vae, (pixels, noise))
    output, mean, log_variance = (
        tensor.detach().numpy() for tensor in vae(torch.from_numpy(scaled).float(), noise)
    )
    squares = ((output - scaled) ** 2).mean(axis=(1, 2, 3)).sum()
    divergence = (0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)).sum()
    assert count == 5
    assert loss.item() == pytest.approx(squares + 0.00025 * divergence, rel=1e-5)
    assert figures["mse"].item() == pytest.approx(squares, rel=1e-5)
    assert figures["kl"].item() == pytest.approx(divergence, abs=1e-5)
