"""A pretrained autoencoder: a tiny AutoencoderKL with random weights, alone and in a run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from command_cases import files, write_folder

from gtn_train.data.vision import torchvision  # noqa: F401  (diffusers must find it repaired)
from gtn_train.models import registry
from gtn_train.models.autoencoder import Autoencoder, decode_all, encode_all
from gtn_train.models.pretrained import WEIGHTS, PretrainedAutoencoder, pretrained_sha256

pytest.importorskip("diffusers")

SHAPE = (3, 16, 16)


def save(folder, **changes):
    """A network with two levels: latents are a half as high and wide, with two channels."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoencoderKL(
            **{
                "block_out_channels": (4, 4),
                "down_block_types": ("DownEncoderBlock2D",) * 2,
                "up_block_types": ("UpDecoderBlock2D",) * 2,
                "norm_num_groups": 2,
                "latent_channels": 2,
                "scaling_factor": 0.25,
                **changes,
            }
        )
    network.save_pretrained(folder)
    return network.eval()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)


def test_it_is_the_network_with_flat_scaled_latents(tmp_path, images):
    network = save(tmp_path / "kl")
    model = PretrainedAutoencoder.from_folder(tmp_path / "kl", SHAPE)
    assert isinstance(model, Autoencoder)
    assert (model.latent_shape, model.latent_dim) == ((2, 8, 8), 128)
    values = torch.from_numpy(images).float() / 127.5 - 1
    with torch.inference_mode():
        wanted = network.encode(values).latent_dist.mean * 0.25
        found = model.encode(values)
        again = network.decode(wanted / 0.25).sample
        torch.testing.assert_close(found, wanted.flatten(1))
        torch.testing.assert_close(model.decode(found), again)
    assert encode_all(model, images).shape == (5, 128)
    assert decode_all(model, encode_all(model, images)).shape == images.shape


def test_shift_and_statistics_are_applied_as_diffusers_does(tmp_path, images):
    values = torch.from_numpy(images).float() / 127.5 - 1
    shifted = save(tmp_path / "shift", shift_factor=0.5)
    standard = save(tmp_path / "standard", latents_mean=[1.0, 2.0], latents_std=[3.0, 4.0])
    with torch.inference_mode():
        bare = shifted.encode(values).latent_dist.mean
        found = PretrainedAutoencoder.from_folder(tmp_path / "shift", SHAPE).encode(values)
        torch.testing.assert_close(found, ((bare - 0.5) * 0.25).flatten(1))
        model = PretrainedAutoencoder.from_folder(tmp_path / "standard", SHAPE)
        mean, std = (torch.tensor(v).reshape(-1, 1, 1) for v in ([1.0, 2.0], [3.0, 4.0]))
        torch.testing.assert_close(model.encode(values), ((bare - mean) * 0.25 / std).flatten(1))
        again = standard.decode(bare).sample
        torch.testing.assert_close(model(values), again)


def test_images_go_through_in_parts(tmp_path, images, monkeypatch):
    save(tmp_path / "kl")
    model = PretrainedAutoencoder.from_folder(tmp_path / "kl", SHAPE)
    whole = encode_all(model, images)
    monkeypatch.setattr("gtn_train.models.pretrained.PIXELS_AT_A_TIME", 2 * 16 * 16)
    np.testing.assert_allclose(encode_all(model, images), whole, atol=1e-6)


def test_grey_images_have_a_network_of_colours(tmp_path, images):
    save(tmp_path / "kl")
    grey = PretrainedAutoencoder.from_folder(tmp_path / "kl", (1, 16, 16))
    colour = PretrainedAutoencoder.from_folder(tmp_path / "kl", SHAPE)
    values = torch.from_numpy(images[:, :1]).float() / 127.5 - 1
    with torch.inference_mode():
        wanted = colour(values.expand(-1, 3, -1, -1)).mean(dim=1, keepdim=True)
        torch.testing.assert_close(grey(values), wanted)


def test_weights_come_back_from_the_runs_own_file(tmp_path, images):
    save(tmp_path / "kl", shift_factor=0.1)
    model = PretrainedAutoencoder.from_folder(tmp_path / "kl", SHAPE)
    registry.save_model(model, tmp_path / "w.safetensors")
    again = registry.load_model(tmp_path / "w.safetensors", expected=registry.AUTOENCODERS)
    assert again.config() == model.config()
    assert registry.weights_sha256(again) == registry.weights_sha256(model)
    np.testing.assert_array_equal(encode_all(again, images), encode_all(model, images))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 16, 16), "channels must be 1 or 3, as the network has, got 2"),
        ((3, 16, 15), "size must be a multiple of 2 for this network, got 16 x 15"),
    ],
)
def test_images_that_do_not_fit(tmp_path, shape, message):
    save(tmp_path / "kl")
    with pytest.raises(ValueError, match=message):
        PretrainedAutoencoder.from_folder(tmp_path / "kl", shape)


def test_folders_that_hold_no_such_network(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold config\.json and .* nothing is downl"):
        PretrainedAutoencoder.from_folder(tmp_path / "nowhere", SHAPE)
    save(tmp_path / "kl")
    config = tmp_path / "kl" / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "_class_name": "VQModel"}))
    with pytest.raises(ValueError, match="network must be of class AutoencoderKL, got 'VQModel'"):
        PretrainedAutoencoder.from_folder(tmp_path / "kl", SHAPE)
    config.write_text(json.dumps({**content, "latent_channels": 3}))
    with pytest.raises(ValueError, match=r"does not fit its config\.json, or is damaged: "):
        PretrainedAutoencoder.from_folder(tmp_path / "kl", SHAPE)
    config.write_text(json.dumps({**content, "norm_num_groups": 3}))
    with pytest.raises(ValueError, match="network has a config of no AutoencoderKL: "):
        PretrainedAutoencoder.from_folder(tmp_path / "kl", SHAPE)
    config.write_text(json.dumps(content))
    (tmp_path / "kl" / WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"does not fit its config\.json, or is damaged: "):
        PretrainedAutoencoder.from_folder(tmp_path / "kl", SHAPE)


def test_the_hash_is_that_of_both_files(tmp_path):
    save(tmp_path / "vae")
    first = pretrained_sha256(tmp_path / "vae")
    assert pretrained_sha256(tmp_path) == first, "as in a pipeline's folder"
    config = tmp_path / "vae" / "config.json"
    config.write_text(config.read_text() + " ")
    assert pretrained_sha256(tmp_path) != first


# -------------------------------------------------------------------------------------- in a run

SMALL = ("--layers", 3, "--width", 8, "--generator-epochs", 2, "--size", 16)


def test_a_run_on_its_latents(gtn_train, tmp_path, monkeypatch):
    save(tmp_path / "kl")
    data, out = write_folder(tmp_path / "faces", n=40), tmp_path / "run"
    given = ("fit", "--preset", "hap", "--data", data, "--out", out, *SMALL)
    done = gtn_train.ok(*given, "--autoencoder-from", tmp_path / "kl")
    assert f"autoencoder: from '{tmp_path / 'kl'}', latents 2 x 8 x 8 = 128" in done.err
    assert np.load(out / "latents" / "latents.npy").shape == (36, 128)
    settings = json.loads((out / "run.json").read_text())
    assert settings["pretrained"] == str(tmp_path / "kl")
    manifest = json.loads((out / "autoencoder" / "stage.json").read_text())
    assert manifest["inputs"] == {"pretrained": pretrained_sha256(tmp_path / "kl")}
    before = files(out)
    shutil.rmtree(tmp_path / "kl")  # the run has a copy
    assert set(gtn_train.ok("fit", "--out", out).stages.values()) == {"reused"}
    assert files(out) == before
    monkeypatch.chdir(tmp_path)
    gtn_train.ok("sample", out, "--n", 4, "--out", "s.npy")
    assert np.load("s.npy").shape == (4, 3, 16, 16)
    gtn_train.ok("evaluate", out, "--extractor", "none")
    refusal = gtn_train.refused("export", out, "--out", "m.pt2")
    assert refusal.startswith("the decoder of diffusers cannot be exported: ")
    gtn_train.ok("report", out)
    assert "autoencoder" in (out / "report.html").read_text()


def test_what_a_run_refuses_leaves_nothing(gtn_train, tmp_path):
    save(tmp_path / "kl")
    data, out = write_folder(tmp_path / "faces", n=20), tmp_path / "run"
    given = ("fit", "--preset", "hap", "--data", data, "--out", out, *SMALL)
    kl = ("--autoencoder-from", tmp_path / "kl")
    for words, message in (
        (("--autoencoder-from", data), "must hold config.json and diffusion_pytorch_model"),
        ((*kl, "--latent-dim", 4), "--latent-dim has no meaning with --autoencoder-from"),
        ((*kl, "--autoencoder-epochs", 4), "--autoencoder-epochs has no meaning with"),
        ((*kl, "--size", 17), "--size must be a multiple of 2 for this network, got 17 x 17"),
    ):
        assert message in gtn_train.refused(*given, *words)
        assert not out.exists()
    vectors = ("fit", "--preset", "swiss-roll", "--out", out, *kl)
    assert "--autoencoder-from needs a preset of images" in gtn_train.refused(*vectors)


def test_another_network_is_another_run(gtn_train, tmp_path):
    save(tmp_path / "kl")
    data, out = write_folder(tmp_path / "faces", n=20), tmp_path / "run"
    given = ("encode", "--preset", "hap", "--data", data, "--out", out, "--size", 16)
    gtn_train.ok(*given, "--autoencoder-from", tmp_path / "kl")
    save(tmp_path / "other", scaling_factor=0.5)
    again = (*given, "--autoencoder-from", tmp_path / "other")
    assert "its input 'pretrained' has changed" in gtn_train.refused(*again)
    done = gtn_train.ok(*again, "--resume")
    assert done.stages == {"autoencoder": "anew", "latents": "anew"}
