"""The vanilla VAE and its twin: AntixK's layers and loss, any size of image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gtn_train.models.registry import make_model
from gtn_train.models.vae import KL_WEIGHT, VAETwin, VanillaVAE, vae_loss


def kinds(module: nn.Module) -> list[str]:
    return [type(part).__name__ for part in module.modules() if not list(part.children())]


@pytest.fixture(scope="module")
def vae() -> VanillaVAE:
    return make_model("vae", {"image_shape": (3, 32, 32), "latent_dim": 6}, 0).eval()


def test_the_layers_are_antixks(vae) -> None:
    assert kinds(vae.encoder) == ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 5 + ["Flatten"]
    up = ["ConvTranspose2d", "BatchNorm2d", "LeakyReLU"] * 5
    assert kinds(vae.decoder) == ["Linear", "Unflatten", *up, "Conv2d", "Tanh"]
    down = [part for part in vae.encoder.modules() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in down] == [32, 64, 128, 256, 512]
    back = [part for part in vae.decoder.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert [(part.in_channels, part.out_channels) for part in back] == [
        (512, 256),
        (256, 128),
        (128, 64),
        (64, 32),
        (32, 32),
    ]
    for part in (*down, *back):
        assert (part.kernel_size, part.stride, part.padding) == ((3, 3), (2, 2), (1, 1))
    assert all(part.output_padding == (1, 1) for part in back)
    slopes = {part.negative_slope for part in vae.modules() if isinstance(part, nn.LeakyReLU)}
    assert slopes == {0.01}
    # At 64 x 64 its Linears have 2,048 features, as that code's 512·4.
    assert VanillaVAE((3, 64, 64), 128).mean.in_features == 512 * 4


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 64), (2, 33, 5), (1, 1, 1)])
@pytest.mark.parametrize("kind", ["vae", "vae-twin"])
def test_any_size_comes_back(kind, shape) -> None:
    model = make_model(kind, {"image_shape": shape, "latent_dim": 3}, 0).eval()
    images = torch.rand(2, *shape) * 2 - 1
    latents = model.encode(images)
    assert latents.shape == (2, 3)
    assert model.decode(latents).shape == images.shape
    assert model.decode(latents).abs().max() <= 1


def test_padding_is_black_and_below_and_right() -> None:
    twin = make_model("vae-twin", {"image_shape": (1, 20, 30), "latent_dim": 3}, 0).eval()
    whole = make_model("vae-twin", {"image_shape": (1, 32, 32), "latent_dim": 3}, 0).eval()
    images = torch.rand(2, 1, 20, 30) * 2 - 1
    padded = torch.full((2, 1, 32, 32), -1.0)
    padded[:, :, :20, :30] = images
    assert torch.equal(twin.encode(images), whole.encode(padded))
    assert torch.equal(twin(images), whole(padded)[:, :, :20, :30])


def test_forward_adds_the_noise_it_is_given(vae) -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    noise = torch.randn(2, 6)
    reconstruction, mean, log_variance = vae(images, noise)
    assert torch.equal(mean, vae.encode(images))
    assert log_variance.shape == (2, 6)
    wanted = vae.decode(mean + noise * log_variance.exp().sqrt())
    torch.testing.assert_close(reconstruction, wanted)
    assert torch.equal(vae(images, torch.zeros(2, 6))[0], vae.decode(mean))


def test_the_loss_is_antixks() -> None:
    rng = np.random.default_rng(0)
    images, reconstruction = rng.standard_normal((2, 4, 3, 5, 5))
    mean, log_variance = rng.standard_normal((2, 4, 6))
    # As in that code.
    kl = np.mean(-0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance), axis=1), axis=0)
    mse = np.mean((images - reconstruction) ** 2)
    given = [torch.from_numpy(x) for x in (images, reconstruction, mean, log_variance)]
    losses = {name: float(value) for name, value in vae_loss(*given).items()}
    assert losses == pytest.approx({"mse": mse, "kl": kl, "loss": mse + 0.00025 * kl})
    assert KL_WEIGHT == 0.00025
    assert float(vae_loss(*given, kl_weight=2)["loss"]) == pytest.approx(mse + 2 * kl)


def test_kl_is_that_of_the_normals() -> None:
    mean, log_variance = torch.tensor([[0.3, -1.0]]), torch.tensor([[0.5, -0.7]])
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(
        normal(mean, log_variance.exp().sqrt()), normal(torch.zeros(2), torch.ones(2))
    )
    nothing = torch.zeros(1, 1, 1, 1)
    torch.testing.assert_close(vae_loss(nothing, nothing, mean, log_variance)["kl"], kl.sum())


def test_the_twin_starts_with_the_same_weights(vae) -> None:
    twin = make_model("vae-twin", {"image_shape": (3, 32, 32), "latent_dim": 6}, 0)
    own = vae.state_dict()
    extra = set(own) - set(twin.state_dict())
    assert extra == {"log_variance.weight", "log_variance.bias"}
    assert all(torch.equal(own[name], value) for name, value in twin.state_dict().items())


def test_gradients_reach_every_weight() -> None:
    model = VanillaVAE((1, 8, 8), 2)
    images = torch.rand(3, 1, 8, 8) * 2 - 1
    vae_loss(images, *model(images, torch.randn(3, 2)))["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("model", [VanillaVAE, VAETwin])
def test_bad_arguments(model) -> None:
    with pytest.raises(ValueError, match="image_shape's h must be >= 1, got 0"):
        model((1, 0, 8), 2)
    with pytest.raises(TypeError, match=r"image_shape must be \(c, h, w\), got 8"):
        model(8, 2)
    with pytest.raises(ValueError, match=r"image_shape must be \(c, h, w\), got \(8, 8\)"):
        model((8, 8), 2)
    with pytest.raises(ValueError, match="latent_dim must be >= 1, got 0"):
        model((1, 8, 8), 0)
