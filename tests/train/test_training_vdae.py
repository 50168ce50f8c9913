"""Training of a VDAE: covariances to learn, and the rows that steps lead to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gtn_train.data import loop
from gtn_train.models import make_model
from gtn_train.run.vdae_options import VDAEOptions
from gtn_train.training import TrainingOptions, train_autoencoder
from gtn_train.training.vdae import local_factors, train_vdae, vdae_step

ROWS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
OPTIONS = TrainingOptions(batch_size=32, learning_rate=1e-3, max_epochs=2, threads=1)


def model_of(**encoder):
    model = make_model("vdae", {"encoder": {"data_shape": [3], "latent_dim": 2, **encoder}}, 0)
    model.encoder.mix[0] = torch.eye(2)  # zero without a training
    return model


def test_covariances_are_those_of_the_nearest_rows():
    options = VDAEOptions(neighbours=7, step=3.0, ridge=0.1)
    found = local_factors(ROWS[:5], ROWS, options)
    for row, factor in zip(ROWS[:5], found, strict=True):
        near = ROWS[np.argsort(((ROWS - row) ** 2).sum(axis=1))[:7]]
        local = np.cov(near.T, bias=True)
        wanted = 3 * (local + 0.1 * np.trace(local) / 3 * np.eye(3))
        np.testing.assert_allclose(factor @ factor.T, wanted, rtol=1e-4, atol=1e-6)


def test_neighbours_are_of_the_same_component():
    told = np.repeat(np.eye(2, dtype=np.float32), 30, axis=0)
    rows = np.hstack([told, ROWS])
    found = local_factors(rows, rows, VDAEOptions(neighbours=50), told=2)
    alone = local_factors(ROWS[30:], ROWS[30:], VDAEOptions(neighbours=50))
    np.testing.assert_allclose(found[30:], alone, rtol=1e-6)


def test_a_covariance_that_is_singular_asks_for_a_ridge():
    flat = ROWS * [1, 1, 0]
    with pytest.raises(ValueError, match=r"vdae_ridge must be larger where .*, got 0.0 for 60 of"):
        local_factors(flat, flat, VDAEOptions(ridge=0.0))
    assert np.isfinite(local_factors(flat, flat, VDAEOptions())).all()


def test_equal_rows_have_the_least_covariance_of_all():
    rows = ROWS.copy()
    rows[:40] = rows[0]
    found = local_factors(rows, rows, VDAEOptions(neighbours=8))
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="two distinct rows near each other, got equal ones"):
        local_factors(rows[:40], rows[:40], VDAEOptions())


def test_a_component_of_one_row_is_refused():
    rows = np.hstack([np.eye(2)[[0] * 59 + [1]], ROWS])
    with pytest.raises(ValueError, match="component 1 must have two rows to train on, and has 1"):
        local_factors(rows, rows, VDAEOptions(), told=2)


def test_steps_lead_to_the_nearest_other_row():
    model = model_of()
    latents = model.encode(torch.from_numpy(ROWS))
    targets = torch.eye(2).repeat(60, 1, 1)
    batch = (latents, targets, torch.arange(60), torch.from_numpy(ROWS), latents)
    noise = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    loss, n, figures = vdae_step(model, (*batch, 0.5, False, noise))
    with torch.no_grad():
        moved = model.moved(latents, noise).numpy()
        apart = ((moved[:, None] - latents.numpy()) ** 2).sum(axis=2)
        np.fill_diagonal(apart, np.inf)
        decoded = model.decode(torch.from_numpy(moved)).numpy()
    squares = ((ROWS[apart.argmin(axis=1)] - decoded) ** 2).sum()
    np.testing.assert_allclose(figures["mse"], squares / 3, rtol=1e-4)
    np.testing.assert_allclose(loss.detach(), figures["kl"] + squares, rtol=1e-4)
    assert n == 60


@pytest.mark.parametrize("couple", [False, True])
def test_the_reconstruction_trains_the_covariance_only_where_they_are_coupled(couple):
    model = model_of()
    latents = model.encode(torch.from_numpy(ROWS))
    factor = model.factor(latents).detach()  # no divergence, and no gradient of it
    batch = (latents, factor, None, torch.from_numpy(ROWS), latents, 1e-3, couple)
    vdae_step(model, (*batch, torch.randn(60, 2)))[0].backward()
    gradient = max(float(weight.grad.abs().max()) for weight in model.covariance.parameters())
    assert (gradient > 1) is couple


def test_training_leaves_the_encoder(folder):
    model = model_of()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    decoder = model.decoder[0].weight.clone()
    result = train_vdae(model, ROWS[:50], ROWS[50:], VDAEOptions(neighbours=8), folder, OPTIONS)
    assert {"train_kl", "validation_mse"} <= set(result.history[-1])
    after = {**model.encoder.state_dict()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not torch.equal(model.decoder[0].weight, decoder)
    np.testing.assert_allclose(
        model.latent_scale,
        model.encode(torch.from_numpy(ROWS[:50])).std(dim=0, correction=0),
        rtol=1e-5,
    )


def test_the_divergence_falls_when_it_is_trained(folder):
    rows = loop(300, 0)
    options = TrainingOptions(batch_size=64, learning_rate=3e-3, max_epochs=12, threads=1)
    result = train_vdae(model_of(), rows[:250], rows[250:], VDAEOptions(), folder, options)
    kl = [line["train_kl"] for line in result.history]
    assert kl[-1] < 0.5 * kl[0]


def test_other_models_and_other_trainings_are_refused(folder):
    other = make_model("mlp", {"data_shape": [3], "latent_dim": 2}, 0)
    with pytest.raises(TypeError, match="model must be a VDAE, got MLPAutoencoder"):
        train_vdae(other, ROWS, ROWS, VDAEOptions(), folder, OPTIONS)
    with pytest.raises(TypeError, match="must not be a VDAE, which train_vdae trains"):
        train_autoencoder(model_of(), ROWS, folder, OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 1}, "vdae_neighbours must be >= 2, got 1"),
        ({"step": 0}, "vdae_step must be above 0, got 0"),
        ({"step": float("nan")}, "vdae_step must be a finite number >= 0, got nan"),
        ({"ridge": -1.0}, "vdae_ridge must be a finite number >= 0, got -1"),
        ({"noise": 0.0}, "vdae_noise must be above 0, got 0"),
        ({"couple": 1}, "vdae_couple must be True or False, got 1"),
    ],
)
def test_options_of_a_vdae_are_checked(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        VDAEOptions(**options)
