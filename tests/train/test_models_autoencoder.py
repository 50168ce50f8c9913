"""The vanilla autoencoder, a user's own pair, and whole sets through an autoencoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gtn_train.data import to_bytes, to_model
from gtn_train.models.autoencoder import (
    Autoencoder,
    PretrainedPair,
    VanillaAutoencoder,
    decode_all,
    encode_all,
    evaluating,
)
from gtn_train.models.registry import make_model

SHAPE = (1, 6, 5)


def pixels(n: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def model(kind: str = "vanilla") -> nn.Module:
    return make_model(kind, {"image_shape": SHAPE, "latent_dim": 4}, 0)


def pair(encoder=None, decoder=None, shape=(1, 2, 2), dim=4) -> PretrainedPair:
    return PretrainedPair(
        encoder or nn.Flatten(), decoder or nn.Unflatten(1, (1, 2, 2)), shape, dim
    )


# ------------------------------------------------------------------------------------- vanilla


def test_the_layers_are_the_papers() -> None:
    vanilla = VanillaAutoencoder((3, 64, 64), 100)
    encoder = [type(part).__name__ for part in vanilla.encoder]
    assert encoder == ["Conv2d", "ReLU", "Conv2d", "ReLU", "Flatten", "Linear"]
    decoder = [type(part).__name__ for part in vanilla.decoder]
    assert decoder == [
        "Linear",
        "Unflatten",
        "ConvTranspose2d",
        "ReLU",
        "ConvTranspose2d",
        "Tanh",
    ]
    convolutions = [part for part in vanilla.modules() if hasattr(part, "kernel_size")]
    for part in convolutions:
        assert (part.kernel_size, part.stride, part.padding) == ((4, 4), (2, 2), (1, 1))
    assert [(part.in_channels, part.out_channels) for part in convolutions] == [
        (3, 64),
        (64, 128),
        (128, 64),
        (64, 3),
    ]
    assert (vanilla.encoder[5].in_features, vanilla.encoder[5].out_features) == (128 * 256, 100)
    assert (vanilla.decoder[0].in_features, vanilla.decoder[0].out_features) == (100, 128 * 256)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 4, 4), (2, 5, 7), (1, 9, 6), (4, 11, 31)])
def test_any_size_comes_back(shape) -> None:
    vanilla = VanillaAutoencoder(shape, 3)
    images = torch.rand(2, *shape) * 2 - 1
    latents = vanilla.encode(images)
    assert latents.shape == (2, 3)
    assert vanilla.decode(latents).shape == images.shape
    assert vanilla(images).abs().max() <= 1
    assert torch.equal(vanilla(images), vanilla.decode(latents))
    vanilla(images).sum().backward()
    assert all(weight.grad is not None for weight in vanilla.parameters())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((1, 3, 8), 2), ValueError, "image_shape's h must be >= 4, got 3"),
        (((1, 8, 3), 2), ValueError, "image_shape's w must be >= 4, got 3"),
        (((0, 8, 8), 2), ValueError, "image_shape's c must be >= 1, got 0"),
        (((1, 8.0, 8), 2), TypeError, r"image_shape's h must be an int, got float 8\.0"),
        (("abc", 2), TypeError, r"image_shape must be \(c, h, w\), got 'abc'"),
        (((1, 8, 8, 8), 2), ValueError, r"image_shape must be \(c, h, w\), got \(1, 8, 8, 8\)"),
        (((1, 8, 8), 0), ValueError, "latent_dim must be >= 1, got 0"),
        (((1, 8, 8), True), TypeError, "latent_dim must be an int, got bool True"),
    ],
)
def test_bad_arguments(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        VanillaAutoencoder(*arguments)


# ---------------------------------------------------------------------------------- own pairs


def test_a_pair_of_modules_or_functions() -> None:
    images = torch.rand(3, 1, 2, 2)
    for made in (
        pair(),
        pair(lambda x: x.flatten(1), lambda z: z.reshape(-1, 1, 2, 2)),
    ):
        assert isinstance(made, Autoencoder)
        assert torch.equal(made.encode(images), images.flatten(1))
        assert torch.equal(made(images), images)
    assert len(list(pair(nn.Sequential(nn.Flatten(), nn.Linear(4, 4))).parameters())) == 2


def test_a_pair_is_tried_in_evaluation_mode() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))  # refuses one image in training
    made = pair(encoder)
    assert encoder.training
    assert made.training
    assert encoder[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encoder": 3}, TypeError, "encoder must be callable, got int 3"),
        ({"decoder": "net"}, TypeError, "decoder must be callable, got str 'net'"),
        ({"dim": 5}, ValueError, r"encoder, given \(1, 1, 2, 2\), must give \(1, 5\), .* \(1, 4\)"),
        (
            {"decoder": nn.Identity()},
            ValueError,
            r"decoder, given \(1, 4\), must give \(1, 1, 2, 2\), and gave \(1, 4\)",
        ),
        (
            {"encoder": lambda x: (x.flatten(1), None)},
            TypeError,
            "encoder, .* must give a tensor, and gave tuple",
        ),
        ({"shape": (2, 2)}, ValueError, r"image_shape must be \(c, h, w\), got \(2, 2\)"),
    ],
)
def test_bad_pairs(options, error, message) -> None:
    with pytest.raises(error, match=message):
        pair(**options)


def test_protocol() -> None:
    assert isinstance(model(), Autoencoder)
    assert isinstance(model("vae"), Autoencoder)
    assert not isinstance(nn.Flatten(), Autoencoder)


# ---------------------------------------------------------------------------------- whole sets


@pytest.mark.parametrize("kind", ["vanilla", "vae", "vae-twin"])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_encode_all_and_decode_all(kind, batch_size) -> None:
    autoencoder = model(kind).eval()
    latents = encode_all(autoencoder, pixels(), batch_size)
    assert latents.dtype == np.float32
    assert latents.shape == (9, 4)
    with torch.no_grad():
        wanted = autoencoder.encode(to_model(pixels()))
        np.testing.assert_allclose(latents, wanted, atol=1e-6)
        decoded = to_bytes(autoencoder.decode(wanted)).numpy()
    images = decode_all(autoencoder, latents, batch_size)
    assert images.dtype == np.uint8
    assert np.abs(images.astype(int) - decoded).max() <= 1  # rounding


def test_modes_are_kept_and_statistics_untouched() -> None:
    twin = model("vae-twin")
    twin.decoder.eval()  # as when a part is frozen
    modes = [part.training for part in twin.modules()]
    state = {name: value.clone() for name, value in twin.state_dict().items()}
    latents = encode_all(twin, pixels(), 5)
    decode_all(twin, latents, 5)
    assert [part.training for part in twin.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in twin.state_dict().items())
    np.testing.assert_array_equal(encode_all(twin.eval(), pixels(), 5), latents)
    with evaluating(twin.train()):
        assert not twin.training
    assert twin.training
    twin.encode = lambda images: images / "a"
    with pytest.raises(TypeError, match="unsupported operand"):
        encode_all(twin, pixels())
    assert twin.training


def test_inputs_may_be_read_only_and_of_other_types(tmp_path) -> None:
    np.save(tmp_path / "x.npy", pixels())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    autoencoder = model()
    latents = encode_all(autoencoder, pixels())
    np.testing.assert_array_equal(encode_all(autoencoder, mapped), latents)
    images = decode_all(autoencoder, latents)
    frozen = latents.astype(np.float64)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(decode_all(autoencoder, frozen), images)


def test_latents_of_another_precision_are_widened() -> None:
    half = pair(lambda x: x.flatten(1).bfloat16(), lambda z: z.bfloat16().reshape(-1, 1, 2, 2))
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 2, 2), dtype=np.uint8)
    latents = encode_all(half, images)
    assert latents.dtype == np.float32
    assert np.abs(decode_all(half, latents).astype(int) - images).max() <= 1


def test_non_finite_values_name_their_rows() -> None:
    white = pixels(9)
    white[:] = 0
    white[6] = 255
    poisoned = model()
    original = poisoned.encode
    poisoned.encode = lambda images: original(images) / (images.amax(dim=(1, 2, 3)) < 1)[:, None]
    with pytest.raises(ValueError, match=r"latents must be finite, .* in row 6$"):
        encode_all(poisoned, white, 4)
    assert poisoned.training
    latents = np.zeros((9, 4), np.float32)
    latents[[2, 8], 1] = np.nan
    with pytest.raises(ValueError, match=r"latents must be finite, .* 2 of 9 rows: rows 2, 8"):
        decode_all(model(), latents)
    latents[:] = 0
    latents[7] = 1
    poisoned.decode = lambda rows: (rows.sum(dim=1) / (rows.sum(dim=1) < 1))[
        :, None, None, None
    ].expand(-1, *SHAPE)
    with pytest.raises(ValueError, match=r"decoded images must be finite, .* in row 7$"):
        decode_all(poisoned, latents, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: encode_all(model(), pixels()[:, :, 1:]), ValueError, r"shape \(n, 1, 6, 5\), got"),
        (lambda: encode_all(model(), pixels() / 255), TypeError, "images must be a uint8 ndarray"),
        (lambda: encode_all(model(), pixels(), 0), ValueError, "batch_size must be >= 1, got 0"),
        (lambda: decode_all(model(), np.zeros((3, 5))), ValueError, r"shape \(n, 4\), got \(3, 5"),
        (lambda: decode_all(model(), np.zeros(4)), ValueError, "latents must be 2-D"),
        (lambda: decode_all(model(), ["a"]), TypeError, "latents must have dtype"),
    ],
)
def test_bad_sets(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_another_shape_than_promised_is_refused() -> None:
    wrong = model()
    wrong.encode = lambda images: torch.zeros(len(images), 1)  # which NumPy would broadcast
    wrong.decode = lambda latents: torch.zeros(len(latents), 1, 1, 1)
    message = r"the autoencoder's encode must give \(9, 4\), and gave \(9, 1\)"
    with pytest.raises(ValueError, match=message):
        encode_all(wrong, pixels())
    message = r"the autoencoder's decode must give \(2, 1, 6, 5\), and gave \(2, 1, 1, 1\)"
    with pytest.raises(ValueError, match=message):
        decode_all(wrong, np.zeros((2, 4)))


def test_progress(capsys, terminal) -> None:
    latents = encode_all(model(), pixels())
    assert capsys.readouterr() == ("", "")
    encode_all(model(), pixels(), progress=True)
    decode_all(model(), latents, 10, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "encoding: 100%" in err
    assert "decoding: 100%" in err
    assert "9/9" in err


def test_what_is_no_autoencoder():
    class Half:
        latent_dim = 3

        def encode(self, images):
            return images

    missing = "and Half has no image_shape, decode"
    with pytest.raises(TypeError, match=f"autoencoder must have image_shape, .*{missing}"):
        encode_all(Half(), pixels(), 4)
    with pytest.raises(TypeError, match=missing):
        decode_all(Half(), np.zeros((2, 3)))
