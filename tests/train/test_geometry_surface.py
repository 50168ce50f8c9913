"""Surface: points, Jacobian and volume against closed forms, and what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stand_ins import Affine, Tiles

from gtn_train.geometry import Surface
from gtn_train.models.generator import Generator


def torus(z):
    across = 2 + z[:, 1].cos()
    return torch.stack([across * z[:, 0].cos(), across * z[:, 0].sin(), z[:, 1].sin()], dim=1)


def test_a_torus_has_its_jacobian_and_its_area():
    surface = Surface(torus, 2)
    z = surface.tensor(np.random.default_rng(0).normal(size=(5, 2)))
    found = surface.jacobian(z)
    assert found.shape == (5, 3, 2)
    for row in range(5):
        wanted = torch.autograd.functional.jacobian(lambda one: torus(one[None])[0], z[row])
        torch.testing.assert_close(found[row], wanted)
    torch.testing.assert_close(surface.volume(z), (2 + z[:, 1].cos()).log(), rtol=0, atol=1e-6)


def test_volume_has_a_gradient():
    surface = Surface(torus, 2)
    z = surface.tensor([[0.3, 1.0]]).requires_grad_()
    (gradient,) = torch.autograd.grad(surface.volume(z).sum(), z)
    wanted = [[0.0, -math.sin(1.0) / (2 + math.cos(1.0))]]
    np.testing.assert_allclose(gradient.numpy(), wanted, atol=1e-6)


def test_where_the_map_folds_the_volume_is_finite():
    for function in (lambda z: z[:, :1] ** 2, lambda z: 0 * z):
        surface = Surface(function, 2)
        assert bool(torch.isfinite(surface.volume(surface.tensor(np.zeros((1, 2))))).all())


def test_inner_and_outer_map_follow_each_other_in_evaluation_mode():
    generator = Affine(2).train()
    surface = Surface(Tiles(2).decode, 2, inner=generator)
    z = torch.tensor([[1.0, -2.0]])
    at = surface.at(z)
    np.testing.assert_allclose(at.latents, 2 * z + 1, rtol=1e-6)
    np.testing.assert_allclose(at.points, [[3, -3, 3, -3]], rtol=1e-6)
    assert generator.training
    np.testing.assert_allclose(surface.points(z, torch.tensor([1]))[0, :2], [103, 97])


def test_networks_decide_dtype_and_device():
    network = torch.nn.Linear(2, 3)
    assert Surface(network, 2).dtype == torch.float32
    assert Surface(network.double(), 2).dtype == torch.float64
    assert Surface(None, 2).dtype == torch.float64


def test_a_run_has_four_surfaces():
    run = SimpleNamespace(
        out="run",
        autoencoder=Tiles(2),
        generator=Generator(2, layers=2, width=3),
        latents=np.zeros((9, 2), np.float32),
    )
    run.generator.eval()
    z = torch.zeros(1, 2)
    latent = run.generator(z)
    for space, metric, wanted in (
        ("source", None, run.autoencoder.decode(latent).flatten(1)),
        ("source", "latent", latent),
        ("latent", "image", torch.zeros(1, 4)),
        ("latent", "latent", z),
    ):
        surface = Surface.of_run(run, space, metric)
        torch.testing.assert_close(surface.points(z), wanted)
        assert surface.has_sources == (space == "source")
    run.autoencoder = None
    assert Surface.of_run(run).points(z).shape == (1, 2)
    for given, message in (
        ({"space": "latent"}, "space needs an autoencoder, got 'latent'; 'run' has none"),
        ({"metric": "image"}, "metric needs an autoencoder, got 'image'; 'run' has none"),
        ({"space": "both"}, "space must be 'source' or 'latent', got 'both'"),
        ({"metric": "both"}, "metric must be 'image' or 'latent', got 'both'"),
    ):
        with pytest.raises(ValueError, match=message):
            Surface.of_run(run, **given)


def test_what_is_no_surface_is_refused():
    with pytest.raises(TypeError, match="outer must be callable or None, got int"):
        Surface(1, 2)
    with pytest.raises(ValueError, match="dim must be >= 1, got 0"):
        Surface(None, 0)
    z = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"positions must have shape \(n, 4\), got \(3, 2\)"):
        Surface(None, 4).points(z)
    with pytest.raises(ValueError, match=r"outer must give \(3, ...\) for as many rows, got \(2,"):
        Surface(lambda z: z[:2], 2).points(z)
    with pytest.raises(ValueError, match="got float"):
        Surface(lambda z: 1.0, 2).points(z)
    detached = Surface(lambda z: torch.from_numpy(z.detach().numpy()), 2)
    with pytest.raises(ValueError, match="the surface has no Jacobian in torch: "):
        detached.volume(z)
