"""Models by kind: seeds, files, and every file that must be refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from gtn_train.models.autoencoder import PretrainedPair
from gtn_train.models.registry import (
    AUTOENCODERS,
    GENERATORS,
    KINDS,
    build,
    load_model,
    make_model,
    save_model,
    weights_sha256,
)

CONFIGS = {
    "vanilla": {"image_shape": [1, 6, 5], "latent_dim": 3},
    "vae": {"image_shape": [1, 6, 5], "latent_dim": 3},
    "vae-twin": {"image_shape": [1, 6, 5], "latent_dim": 3},
    "mlp": {"data_shape": [4], "latent_dim": 3},
    "generator": {
        "dim": 3,
        "layers": 3,
        "width": 4,
        "batch_norm_layers": 1,
        "slope": 0.25,
        "out_dim": 2,
        "classes": 5,
    },
    "flow": {"dim": 3, "layers": 3, "width": 4, "steps": 2, "classes": 5},
    "module": {
        "network": "networks:Residual",
        "arguments": {"dim": 3, "width": 4, "classes": 5},
        "dim": 3,
        "classes": 5,
    },
    "spectral": {
        "data_shape": [4],
        "latent_dim": 2,
        "components": 3,
        "outputs": 2,
        "apart": 1.0,
    },
    "vdae": {
        "encoder": {
            "data_shape": [4],
            "latent_dim": 2,
            "components": 3,
            "outputs": 2,
            "apart": 1.0,
        }
    },
}


def generator(seed: int = 0) -> nn.Module:
    return make_model("generator", CONFIGS["generator"], seed)


def states_equal(one: nn.Module, other: nn.Module) -> bool:
    state, wanted = one.state_dict(), other.state_dict()
    return list(state) == list(wanted) and all(torch.equal(state[k], wanted[k]) for k in state)


def rewritten(path, change) -> None:
    """Write a file again after `change(tensors, about)`."""
    with safetensors.safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["gtn_train"])
    tensors = safetensors.torch.load_file(path)
    change(tensors, about)
    safetensors.torch.save_file(tensors, path, {"gtn_train": json.dumps(about)})


# --------------------------------------------------------------------------------- kinds, seeds


def test_kinds() -> None:
    # test_models_pretrained.py has that of diffusers, which is a package of its own.
    assert [kind for kind in KINDS if kind != "diffusers"] == list(CONFIGS)
    assert set(AUTOENCODERS) == set(KINDS) - {*GENERATORS, "spectral"}


@pytest.mark.parametrize("kind", CONFIGS)
def test_config_makes_the_same_model(kind) -> None:
    model = build(kind, CONFIGS[kind])
    assert json.loads(json.dumps(model.config())) == CONFIGS[kind]
    assert type(model) is KINDS[kind]


@pytest.mark.parametrize("kind", CONFIGS)
def test_weights_are_a_function_of_the_seed_alone(kind) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = make_model(kind, CONFIGS[kind], 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert states_equal(make_model(kind, CONFIGS[kind], 1), one)
    assert not states_equal(make_model(kind, CONFIGS[kind], 2), one)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: build("gan", {}), ValueError, "kind must be one of vanilla, .*, got 'gan'"),
        (lambda: build("vae", [1]), TypeError, "config must be a mapping, got list"),
        (
            lambda: build("vae", {"latent_dim": 2}),
            ValueError,
            "config of a 'vae' does not fit: missing a required argument: 'image_shape'",
        ),
        (
            lambda: build("vae", {**CONFIGS["vae"], "depth": 1}),
            ValueError,
            "config of a 'vae' does not fit: got an unexpected keyword argument 'depth'",
        ),
        (lambda: build("vae", {**CONFIGS["vae"], "latent_dim": 0}), ValueError, "latent_dim must"),
        (lambda: make_model("vae", CONFIGS["vae"], -1), ValueError, "seed must be >= 0, got -1"),
    ],
)
def test_bad_models(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_file_gives_the_model_back(tmp_path, kind) -> None:
    model = make_model(kind, CONFIGS[kind], 1)
    for tensor in model.state_dict().values():  # buffers too
        tensor.add_(1)
    save_model(model, tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    loaded = load_model(tmp_path / "m.safetensors", kind)
    assert torch.equal(torch.get_rng_state(), before)
    assert states_equal(loaded, model)
    assert loaded.config() == model.config()
    assert not loaded.training
    frozen = {name for name, weight in loaded.named_parameters() if not weight.requires_grad}
    assert {name.partition(".")[0] for name in frozen} == ({"encoder"} if kind == "vdae" else set())
    assert {weight.device.type for weight in loaded.state_dict().values()} == {"cpu"}
    loaded.train()
    (tmp_path / "m.safetensors").unlink()  # nothing is mapped: the model lives on
    assert states_equal(loaded, model)


def test_bytes_are_a_function_of_the_model(tmp_path) -> None:
    contents = set()
    for number in range(5):
        save_model(generator(), tmp_path / str(number))
        contents.add((tmp_path / str(number)).read_bytes())
    assert len(contents) == 1


def test_strided_weights_are_saved(tmp_path) -> None:
    model = generator()
    weight = model.net[0].weight
    weight.data = weight.data.T.contiguous().T
    save_model(model, tmp_path / "m")
    assert states_equal(load_model(tmp_path / "m"), generator())


def test_what_cannot_be_saved_is_refused(tmp_path) -> None:
    own = PretrainedPair(nn.Flatten(), nn.Unflatten(1, (1, 2, 2)), (1, 2, 2), 4)
    with pytest.raises(TypeError, match="got PretrainedPair, whose parts are the user's: keep th"):
        save_model(own, tmp_path / "m")
    with pytest.raises(TypeError, match=r"model must be one of VanillaAutoencoder, .*got Linear$"):
        save_model(nn.Linear(1, 1), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "m"
    save_model(generator(), path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_model(generator(1), path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_cannot_be_opened(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        load_model(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"text, and more text",
        lambda content: content[: len(content) // 2],
        lambda content: content[:20],
        lambda content: content + b"\0",
        lambda content: np.random.default_rng(0).bytes(len(content)),
    ],
    ids=["empty", "text", "half", "header", "longer", "noise"],
)
def test_files_that_are_not_safetensors(tmp_path, damage) -> None:
    path = tmp_path / "m.safetensors"
    save_model(generator(), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"m.safetensors' is truncated or not a \.safetensors fil"):
        load_model(path)


def test_pickles_are_never_loaded(tmp_path) -> None:
    torch.save(generator().state_dict(), tmp_path / "m.pt")
    with pytest.raises(ValueError, match=r"is truncated or not a \.safetensors file"):
        load_model(tmp_path / "m.pt")


def drop(tensors, about) -> None:
    del tensors["net.0.bias"]


def add(tensors, about) -> None:
    tensors["net.9.bias"] = torch.zeros(1)


def reshape(tensors, about) -> None:
    tensors["net.0.weight"] = torch.zeros(4, 7)


def retype(tensors, about) -> None:
    tensors["net.0.bias"] = tensors["net.0.bias"].double()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"lacks the tensor 'net\.0\.bias' \(4,\) of its config"),
        (add, r"holds a tensor 'net\.9\.bias', which its config has no place for"),
        (reshape, r"'net\.0\.weight' has shape \(4, 7\), and must have \(4, 8\)"),
        (retype, r"'net\.0\.bias' is torch\.float64, and must be torch\.float32"),
        (
            lambda tensors, about: about["config"].update(width=6),
            r"tensor 'net\.0\.weight' has shape \(4, 8\), and must have \(6, 8\)",
        ),
        (
            lambda tensors, about: about["config"].update(width=10**6),  # terabytes, were it made
            r"tensor 'net\.0\.weight' has shape \(4, 8\), and must have \(1000000, 8\)",
        ),
        (
            lambda tensors, about: about.update(kind="gan"),
            "has metadata of no model: kind must be one of .*, got 'gan'",
        ),
        (
            lambda tensors, about: about["config"].pop("dim"),
            "has metadata of no model: config of a 'generator' does not fit: missing .* 'dim'",
        ),
        (
            lambda tensors, about: about["config"].update(layers="many"),
            "has metadata of no model: layers must be an int, got str 'many'",
        ),
        (lambda tensors, about: about.pop("config"), "has damaged metadata: "),
        (
            lambda tensors, about: about.update(kind=[1]),
            r"has metadata of no model: kind must be one of .*, got \[1\]",
        ),
        (
            lambda tensors, about: about.update(config=3),
            "has metadata of no model: config must be a mapping, got int",
        ),
    ],
)
def test_files_of_another_model(tmp_path, change, message) -> None:
    path = tmp_path / "m.safetensors"
    save_model(generator(), path)
    rewritten(path, change)
    with pytest.raises(ValueError, match=rf"^'.*m\.safetensors' .*{message}"):
        load_model(path)


def test_files_without_our_metadata(tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"a": torch.zeros(2)}, path, metadata)
        with pytest.raises(
            ValueError, match="was not written by save_model: its metadata lack gtn"
        ):
            load_model(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {"gtn_train": "{"})
    with pytest.raises(ValueError, match=r"has damaged metadata: '{'"):
        load_model(path)


def test_expected_kinds(tmp_path) -> None:
    save_model(generator(), tmp_path / "m")
    assert load_model(tmp_path / "m", {"vae", "generator"}).kind == "generator"
    with pytest.raises(
        ValueError,
        match="must be of kind vanilla or vae or vae-twin or mlp or vdae or diffusers, and is of "
        "kind 'generator'",
    ):
        load_model(tmp_path / "m", AUTOENCODERS)


# ----------------------------------------------------------------------------------------- hash


def test_weights_sha256() -> None:
    model = nn.Linear(2, 1)
    digest = hashlib.sha256()
    digest.update(b'["bias", "torch.float32", [1]]')
    digest.update(model.bias.detach().numpy().tobytes())
    digest.update(b'["weight", "torch.float32", [1, 2]]')
    digest.update(model.weight.detach().numpy().tobytes())
    assert weights_sha256(model) == digest.hexdigest()


def test_every_weight_counts() -> None:
    hashes = {weights_sha256(generator())}
    assert weights_sha256(generator()) in hashes
    for name in generator().state_dict():
        model = generator()
        model.state_dict()[name].view(-1)[0] += 1
        hashes.add(weights_sha256(model))
    assert len(hashes) == 1 + len(generator().state_dict())
    assert weights_sha256(generator().double()) not in hashes
    with pytest.raises(ValueError, match="model must have weights to be hashed, and Flatten has n"):
        weights_sha256(nn.Flatten())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(layers=10**9), "and must have more for 1000000000 layers"),
        (lambda config: config.update(layers=10**30), "and must have more for 1000"),
        (lambda config: config.update(width=2**62, out_dim=2**62), "has metadata of no model: "),
        (lambda config: config.update(width=10**30), "has metadata of no model: "),
        (lambda config: config.update({"\x1b" * 9000: 1}), "has metadata of no model: "),
        (lambda config: config.update(slope=[1] * 9000), "has metadata of no model: "),
    ],
)
def test_sizes_that_no_model_has(tmp_path, change, message) -> None:
    path = tmp_path / "m.safetensors"
    save_model(generator(), path)
    rewritten(path, lambda tensors, about: change(about["config"]))
    with pytest.raises(ValueError, match=message) as refused:
        load_model(path)
    assert len(str(refused.value)) < len(str(path)) + 500
    assert str(refused.value).isprintable()


def test_deep_metadata(tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    tensors = {"x": torch.zeros(1)}
    safetensors.torch.save_file(tensors, path, metadata={"gtn_train": "[" * 100_000})
    with pytest.raises(ValueError, match=r"m\.safetensors' has damaged metadata: ") as refused:
        load_model(path)
    assert len(str(refused.value)) < len(str(path)) + 500
