"""Geodesics of a run: the density of a name, the rows of a graph. The command has its own tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gtn_train.data import ring
from gtn_train.geometry import Kernel, Mixture, Pullback, Surface
from gtn_train.geometry.run_geodesics import common_rows, density_name, run_density
from gtn_train.models.vae import VanillaVAE


def test_auto_is_a_kernel_in_few_dimensions():
    assert [density_name("auto", dim) for dim in (1, 20, 21)] == ["kde", "kde", "mixture"]
    assert density_name("kde", 100) == "kde"
    with pytest.raises(ValueError, match="density must be one of 'auto', 'kde', "):
        density_name("gauss", 2)


def test_each_name_is_a_density():
    run = SimpleNamespace(latents=ring(100, 0), mixture=None, autoencoder=None)
    wanted = {"auto": Kernel, "mixture": Mixture, "pullback": Pullback, "none": type(None)}
    for name, kind in wanted.items():
        assert isinstance(run_density(run, name), kind)
    with pytest.raises(ValueError, match="those of an autoencoder have no prior, got space 'lat"):
        run_density(run, "pullback", "latent")
    run.autoencoder = VanillaVAE((1, 8, 8), 2)
    assert isinstance(run_density(run, "pullback", "latent"), Pullback)
    run.latents = run.latents[:7]
    with pytest.raises(ValueError, match="'mixture' needs as many rows as its 10 components"):
        run_density(run, "mixture")


def test_rare_rows_are_no_nodes():
    rows = ring(2000, 0)
    surface = Surface(None, 2, dtype=torch.float32)
    across = np.stack([np.linspace(-1, 1, 21), np.zeros(21)], axis=1).astype(np.float32)
    kept = common_rows(Kernel(rows), surface, rows, across, 0)
    assert np.abs(across[kept, 0]).min() > 0.75
    assert kept[[1, -2]].all()
    again = common_rows(Kernel(rows), surface, rows, rows, 0).mean()
    assert again == pytest.approx(0.95, abs=0.01)
    assert common_rows(Pullback(), surface, rows, across, 0).all()
    assert common_rows(None, surface, rows, across, 0).all()
