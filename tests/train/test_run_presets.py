"""Presets: those that are there, and what no run can have."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gtn_train.data import SET_NAMES, SETS, SYNTHETIC
from gtn_train.models.table2 import GENERATORS
from gtn_train.pairs import PairOptions
from gtn_train.run.data_options import DataOptions
from gtn_train.run.paper import as_in_paper
from gtn_train.run.preset_fields import Preset
from gtn_train.run.presets import PRESETS, preset
from gtn_train.spectral import EmbeddingOptions


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_back_from_json(name):
    config = json.loads(json.dumps(PRESETS[name].config()))
    assert Preset.from_config(config) == PRESETS[name]


def test_names_of_sets_are_the_sets():
    assert tuple(SETS) == SET_NAMES
    assert not {*SET_NAMES, "vectors"} & set(SYNTHETIC)


@pytest.mark.parametrize("name", ["swiss-roll"])
def test_generators_are_table_2s(name):
    found, row = PRESETS[name], GENERATORS[name]
    assert (found.layers, found.width, found.batch_norm_layers) == (
        row.layers,
        row.width,
        row.batch_norm_layers,
    )
    training = found.generator_training
    assert (training.learning_rate, training.batch_size) == (row.learning_rate, row.batch_size)
    assert training.weight_decay == 0


def test_autoencoders_of_table_2():
    batches = {"mnist": (128, 1e-3), "celeba": (200, 1e-4), "hap": (200, 1e-4)}
    for name, wanted in batches.items():
        training = PRESETS[name].autoencoder_training
        assert (training.batch_size, training.learning_rate) == wanted
        assert training.weight_decay == 1e-5
        assert PRESETS[name].autoencoder == "vanilla"


def test_an_unknown_preset():
    with pytest.raises(ValueError, match=r"preset must be one of swiss-roll, .*, got 'mnits'"):
        preset("mnits")


MNIST, ROLL = as_in_paper("mnist"), PRESETS["swiss-roll"]


@pytest.mark.parametrize(
    ("start", "changes", "message"),
    [
        (MNIST, {"layers": 0}, "layers must be >= 1, got 0"),
        (MNIST, {"width": 2.5}, "width must be an int"),
        (MNIST, {"layers": 3}, "batch_norm_layers must be below layers = 3, .* got 6"),
        (MNIST, {"validation_share": 1.0}, "validation_share must be between 0 and 1, got 1.0"),
        (MNIST, {"latent_dim": None}, "latent_dim"),
        (MNIST, {"autoencoder": None}, "images need an autoencoder"),
        (MNIST, {"autoencoder_training": None}, "go together"),
        (
            MNIST,
            {"pairs": PairOptions(labeling="quantile")},
            "labeling 'quantile' needs latent_dim 1, got 5",
        ),
        (
            MNIST,
            {"generator_training": replace(MNIST.generator_training, batch_size=1)},
            "batch_size must be >= 2 for batch normalisation, got 1",
        ),
        (ROLL, {"latent_dim": 3}, "latent_dim needs an autoencoder, got 3"),
        (
            ROLL,
            {"autoencoder": "vanilla"},
            "autoencoder must be mlp or vdae for 'swiss-roll', got 'vanilla'",
        ),
        (
            MNIST,
            {"autoencoder": "mlp"},
            "autoencoder must be vanilla, vae, .* for 'mnist', got 'mlp'",
        ),
        (
            MNIST,
            {"autoencoder": None, "latent_dim": None, "autoencoder_training": None},
            "images need an autoencoder, got none for 'mnist'",
        ),
        (MNIST, {"latents_from": "pixels"}, "latents_from must be 'data' or 'embedding'"),
        (MNIST, {"latents_from": "embedding"}, "latents_from needs an embedding"),
        (
            MNIST,
            {"latents_from": "embedding", "embedding": EmbeddingOptions(dim=2)},
            "latents_from must be 'data' with an autoencoder, got 'embedding' and 'vanilla'",
        ),
        (MNIST, {"embedding": {"dim": 2}}, "embedding must be EmbeddingOptions or None, got dict"),
        (
            PRESETS["diffusion-mnist"],
            {"stop_by": "FD-Lite0"},
            "stop_by 'FD-Lite0' needs images, and the samples are coordinates",
        ),
        (
            PRESETS["diffusion-mnist"],
            {"pairs": PairOptions(labeling="quantile")},
            "needs latents of dimension 1, and 'mnist' has 10",
        ),
        (
            PRESETS["vectors"],
            {"pairs": PairOptions(by_class=True)},
            "by_class needs images, and the data are 'vectors'",
        ),
        (
            PRESETS["uniform"],
            {"pairs": PairOptions(labeling="quantile")},
            "needs latents of dimension 1, and 'uniform' has 2",
        ),
    ],
)
def test_what_no_run_can_have(start, changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        replace(start, **changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("mnits",), "data must be one of mnist, .*, vectors, swiss-roll, .*, got 'mnits'"),
        (("folder",), "size must be given for 'folder', got none"),
        (("uniform",), "n must be given for 'uniform', got none"),
        (("mnist", 64), "size is of image files alone, got 64 for 'mnist'"),
        (("vectors", None, 5), "n is of synthetic sets alone, got 5 for 'vectors'"),
        (("mnist", None, None, "a"), "key is of 'vectors' and 'array' alone, got 'a' for 'mnist'"),
        (("folder", 3), "size must be >= 4, got 3"),
    ],
)
def test_what_no_data_can_have(options, message):
    with pytest.raises(ValueError, match=message):
        DataOptions(*options)


@pytest.mark.parametrize("damage", [None, [], {"summary": "x"}, {"more": 1}])
def test_a_config_of_no_preset(damage):
    config = damage if not isinstance(damage, dict) else {**MNIST.config(), **damage}
    if damage == {"summary": "x"}:
        del config["layers"]
    with pytest.raises((TypeError, ValueError)):
        Preset.from_config(config)
