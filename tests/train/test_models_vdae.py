"""The VDAE: its shapes, the divergence of its covariances, its files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gtn_train.models import decode_all, encode_all, load_model, make_model, save_model
from gtn_train.models.vdae import divergence, vdae_loss

ENCODER = {"data_shape": [3], "latent_dim": 2}


def factors(n, d, seed, dtype=torch.float64):
    """Cholesky factors of random covariances."""
    values = torch.randn(n, d, 3 * d, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.linalg.cholesky(values @ values.mT / (3 * d))


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_divergence_is_that_of_torch(dtype, within):
    ours, theirs = factors(50, 4, 0, dtype), factors(50, 4, 1, dtype)
    normal = torch.distributions.MultivariateNormal
    mean = torch.zeros(4, dtype=dtype)
    wanted = torch.distributions.kl_divergence(
        normal(mean, scale_tril=ours), normal(mean, scale_tril=theirs)
    )
    torch.testing.assert_close(divergence(ours, theirs), wanted, rtol=within, atol=within)


def test_the_divergence_is_zero_at_the_target_and_above_it_elsewhere():
    target = factors(20, 3, 0)
    assert divergence(target, target).abs().max() < 1e-12
    assert (divergence(1.1 * target, target) > 0).all()
    assert (divergence(0.9 * target, target) > 0).all()


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    factor, target = (factors(2, 3, seed) for seed in (0, 1))
    generator = torch.Generator().manual_seed(2)
    rows, decoded = torch.randn(2, 2, 4, generator=generator, dtype=torch.float64)
    given = (factor.requires_grad_(), decoded.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda one, found: vdae_loss(torch.tril(one), target, rows, found, 0.3)["loss"], given
    )


def test_the_loss_is_the_divergence_and_the_weighed_squares():
    target = factors(2, 3, 0)
    rows, decoded = torch.zeros(2, 4), torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1]])
    found = vdae_loss(target, target, rows, decoded, 0.5)
    assert found["squares"].tolist() == [1.0, 4.0]
    np.testing.assert_allclose(found["loss"], [1.0, 4.0], atol=1e-12)


def test_factors_are_those_of_a_covariance():
    model = make_model("vdae", {"encoder": ENCODER}, 0)
    factor = model.factor(torch.randn(9, 2))
    assert (factor.triu(1) == 0).all()
    assert (factor.diagonal(dim1=1, dim2=2) > 0).all()


def test_a_step_leaves_the_columns_that_tell_the_component():
    model = make_model("vdae", {"encoder": {**ENCODER, "components": 4, "apart": 3.0}}, 0)
    assert (model.latent_dim, model.dim) == (6, 2)
    latents = model.encode(torch.randn(5, 3))
    moved = model.moved(latents, torch.randn(5, 2))
    assert torch.equal(moved[:, :4], latents[:, :4])
    assert (moved[:, 4:] != latents[:, 4:]).all()


def test_the_encoder_is_not_trained():
    model = make_model("vdae", {"encoder": ENCODER}, 0)
    assert not any(weight.requires_grad for weight in model.encoder.parameters())
    assert all(weight.requires_grad for weight in model.decoder.parameters())


@pytest.mark.parametrize("shape", [[3], [1, 9, 10]])
def test_a_file_of_weights_comes_back(tmp_path, shape):
    model = make_model("vdae", {"encoder": {"data_shape": shape, "latent_dim": 2}}, 0)
    save_model(model, tmp_path / "w.safetensors")
    again = load_model(tmp_path / "w.safetensors", expected="vdae")
    assert again.config() == model.config()
    rows = np.random.default_rng(0).integers(0, 9, (4, *shape)).astype(np.uint8)
    rows = rows if len(shape) == 3 else rows.astype(np.float32)
    latents = encode_all(again, rows)
    assert latents.shape == (4, 2)
    found = decode_all(again, latents)
    assert (found.shape, found.dtype) == (rows.shape, rows.dtype)
    np.testing.assert_array_equal(found, decode_all(model, encode_all(model, rows)))


def test_an_encoder_that_is_no_config_is_refused():
    with pytest.raises(TypeError, match="encoder must be a mapping, got int"):
        make_model("vdae", {"encoder": 3}, 0)
