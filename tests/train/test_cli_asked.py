"""From options to settings: every hyper-parameter, files of settings, and what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import fields

import click
import numpy as np
import pytest
from command_cases import IMAGE_RUN, VECTOR_RUN, files, write_folder, write_vectors

from gtn_train.cli.asked import settings_of
from gtn_train.cli.group import cli
from gtn_train.models.registry import AUTOENCODERS
from gtn_train.pairs.pair_options import PairOptions
from gtn_train.run.data_options import DataOptions
from gtn_train.run.preset_fields import AUTOENCODER_KINDS, PRETRAINED, Preset
from gtn_train.run.settings import RunSettings
from gtn_train.run.vdae_options import VDAEOptions
from gtn_train.spectral import EmbeddingOptions
from gtn_train.training import TrainingOptions


def asked(out, *words, command="fit"):
    """The settings that a command line leads to."""
    words = [str(word) for word in ("--out", out, *words)]
    return settings_of(out, cli.commands[command].make_context("fit", words).params)


def names_of_options():
    return {param.name for param in cli.commands["fit"].params}


def test_every_hyper_parameter_has_an_option():
    known = names_of_options()
    of_run = {"seed", "precision", "accelerator", "devices", "threads"}
    training = {entry.name for entry in fields(TrainingOptions)} - of_run - {"max_epochs"}
    training.remove("checkpoint_every_epochs")  # the command's are due by time
    # One option for both trainings, or of labels.
    once = {"checkpoint_every_seconds", "keep_last", "ema_labels"}
    assert training | once | {"generator_epochs", "autoencoder_epochs", "training_threads"} <= known
    assert {f"autoencoder_{name}" for name in training - once} <= known
    assert {entry.name for entry in fields(PairOptions)} <= known
    assert {entry.name for entry in fields(DataOptions)} - {"name"} <= known
    parts = {"summary", "data", "pairs", "generator_training", "autoencoder_training"}
    parts |= {"embedding", "vdae"}
    assert {entry.name for entry in fields(Preset)} - parts <= known
    assert {f"vdae_{entry.name}" for entry in fields(VDAEOptions)} <= known
    spelled = {"dim": "embedding_dim", "time": "diffusion_time", "method": "embedding_method"}
    spelled |= {"on": "embed_on", "epochs": "embedding_epochs", "threads": "training_threads"}
    names = [entry.name for entry in fields(EmbeddingOptions)]
    assert {spelled.get(name, name) for name in names} <= known
    assert (*AUTOENCODER_KINDS, PRETRAINED) == AUTOENCODERS
    assert "autoencoder_from" in known


def test_the_help_names_presets_that_stop_by_the_loss():
    (option,) = (one for one in cli.commands["fit"].params if one.name == "stop_by")
    assert option.help.endswith("[default: energy; loss with uniform and two-squares]")


def test_options_of_both_trainings(tmp_path):
    found = asked(
        *(tmp_path, "--preset", "mnist", "--data", tmp_path, "--autoencoder", "vae"),
        *("--autoencoder-batch-size", 64, "--autoencoder-learning-rate", 0.01),
        *("--autoencoder-schedule", "linear", "--autoencoder-patience", 0),
        *("--autoencoder-weight-decay", 0, "--weight-decay", 0.1, "--training-threads", 3),
        *("--checkpoint-seconds", 5, "--validation-share", 0.3, "--no-scale-labels"),
    ).preset
    images, generator = found.autoencoder_training, found.generator_training
    assert found.autoencoder == "vae"
    assert (images.batch_size, images.learning_rate, images.schedule) == (64, 0.01, "linear")
    assert (images.patience, images.weight_decay, images.learning_rate_decay) == (None, 0.0, 1.0)
    assert (generator.batch_size, generator.weight_decay) == (256, 0.1)
    assert images.threads == generator.threads == 3
    assert images.checkpoint_every_seconds == generator.checkpoint_every_seconds == 5
    assert (found.validation_share, found.scale_labels) == (0.3, False)
    found = asked(
        *(tmp_path, "--preset", "mnist", "--data", tmp_path, "--schedule", "StepLR"),
        *("--schedule-arguments", '{"step_size": 3}', "--schedule-each", "step"),
        *("--autoencoder-ema", 0.9, "--autoencoder-optimizer", "adamw", "--clip-norm", 0),
        *("--autoencoder-clip-norm", 1, "--warmup-steps", 7, "--no-keep-last"),
    ).preset
    images, generator = found.autoencoder_training, found.generator_training
    assert (generator.schedule, generator.schedule_each) == ("StepLR", "step")
    assert (generator.schedule_arguments, generator.learning_rate_decay) == ({"step_size": 3}, 1.0)
    assert (generator.clip_norm, images.clip_norm, generator.warmup_steps) == (None, 1.0, 7)
    assert (images.ema, images.optimizer, generator.ema) == (0.9, "adamw", 0.0)
    assert not images.keep_last
    assert not generator.keep_last
    more = ("--preset", "mnist", "--data", tmp_path, "--training-threads", 0)
    assert asked(tmp_path, *more).preset.generator_training.threads is None


def test_a_wrong_value_is_named_as_the_autoencoders(gtn_train, tmp_path):
    given = ("--preset", "mnist", "--data", tmp_path, "--out", tmp_path / "run")
    for words, message in (
        (("--autoencoder-learning-rate", -1), "--autoencoder-learning-rate must be > 0, got -1.0"),
        (
            ("--autoencoder-schedule", "linear", "--autoencoder-learning-rate-decay", 0.5),
            "--autoencoder-learning-rate-decay must be 1 with --autoencoder-schedule 'linear', "
            "got 0.5",
        ),
        (
            ("--autoencoder-schedule", "fast"),
            "--autoencoder-schedule must be one of 'exponential',",
        ),
        (
            ("--schedule-arguments", "[1]"),
            "--schedule-arguments is not valid: it must hold a JSON ob",
        ),
        (("--training-threads", 5000), "--training-threads must be <= 1024, got 5000"),
        (("--weight-decay", -1), "--weight-decay must be >= 0, got -1.0"),
        (("--validation-share", 1), "--validation-share must be between 0 and 1, got 1.0"),
        (("--channels", 1), "--channels is of image files alone, got 1 for 'mnist'"),
        (("--test-share", 0.5), "--test-share is of sets without test images alone, got 0.5"),
    ):
        assert gtn_train.refused("fit", *given, *words).startswith(message)
    vectors = ("--preset", "vectors", "--data", tmp_path, "--out", tmp_path / "run")
    refusal = gtn_train.refused("fit", *vectors, "--autoencoder-patience", 2)
    assert "--autoencoder-patience needs an autoencoder, and the preset has none." in refusal


@pytest.mark.parametrize(
    "option", ["layers", "width", "batch-norm-layers", "slope", "dropout", "steps"]
)
def test_sizes_of_other_generators_are_refused_with_a_class(tmp_path, option):
    given = ("--preset", "vectors", "--data", write_vectors(tmp_path / "v.npy"), f"--{option}")
    words = (*given, 0 if option == "dropout" else 1, "--generator-class", "networks:Residual")
    with pytest.raises(click.UsageError, match=f"--{option} has no meaning with --generator-class"):
        asked(tmp_path, *words)


def test_channels_and_test_images_of_a_folder(gtn_train, tmp_path):
    data, out = write_folder(tmp_path / "faces", n=30), tmp_path / "run"
    given = ("--preset", "hap", "--data", data, "--size", 8, "--channels", 1, "--test-share", 0.2)
    gtn_train.ok("encode", *given, "--out", out, *IMAGE_RUN[:4])
    assert np.load(out / "latents" / "latents.npy").shape == (24, 3)
    config = json.loads((out / "run.json").read_text())["preset"]["data"]
    assert config == {
        **{"name": "folder", "size": 8, "n": None, "key": None},
        **{"channels": 1, "test_share": 0.2},
    }
    (decoded,) = (out / "images").glob("*.npy")
    assert np.load(decoded).shape == (24, 1, 8, 8)
    assert asked(out, "--set", "array").preset.data == DataOptions("array", test_share=0.1)
    assert asked(out, "--test-share", 0).preset.data.test_share is None


# ------------------------------------------------------------------------------ files of settings


def test_a_run_json_makes_the_same_run_again(gtn_train, vectors, tmp_path):
    again = tmp_path / "again"
    gtn_train.ok("fit", "--config", vectors / "run.json", "--out", again, "--quiet")
    one, other = files(vectors), files(again)
    for name in ("run.json", "pairs/pairs.npz", "generator/weights.safetensors"):
        assert one[name] == other[name], name
    found = asked(tmp_path / "x", "--config", vectors / "run.json", "--width", 9, "--seed", 4)
    assert (found.preset.width, found.preset.layers, found.seed) == (9, 3, 4)


TOML = """
preset_name = "vectors"
data = "v.npy"
seed = 3

[preset]
layers = 4

[preset.pairs]
every = 2

[preset.generator_training]
max_epochs = 2
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML needs Python 3.11")
def test_toml_with_some_fields(gtn_train, tmp_path, monkeypatch):
    (tmp_path / "settings").mkdir()
    data = write_vectors(tmp_path / "settings" / "v.npy")
    config = tmp_path / "settings" / "mine.toml"
    config.write_text(TOML)
    monkeypatch.chdir(tmp_path)
    found = asked(tmp_path / "run", "--config", "settings/mine.toml")
    preset = found.preset
    assert (found.data, found.seed, preset.layers) == (str(data), 3, 4)
    assert (preset.pairs.every, preset.pairs.labeling, preset.width) == (2, "drift", 256)
    assert preset.generator_training.max_epochs == 2
    config.write_text(TOML + "batch = 3\n")
    refusal = gtn_train.refused("fit", "--config", config, "--out", tmp_path / "run")
    assert "mine.toml' is not valid: preset.generator_training has no field batch; " in refusal
    assert "its fields are batch_size, learning_rate," in refusal
    assert refusal.endswith("checkpoint_every_seconds, keep_last")
    config.write_text("preset_name = ")
    refusal = gtn_train.refused("fit", "--config", config, "--out", tmp_path / "run")
    assert "mine.toml' is not valid: Invalid value" in refusal
    assert not (tmp_path / "run").exists()


def test_what_no_file_of_settings_may_be(gtn_train, vectors, tmp_path):
    out = ("--out", tmp_path / "new")
    refusal = gtn_train.refused("fit", "--config", tmp_path / "none.json", *out)
    assert refusal.endswith("none.json' is not one")
    refusal = gtn_train.refused(
        "fit", "--config", vectors / "run.json", "--preset", "vectors", *out
    )
    assert "--config has a preset already: leave --preset out." in refusal
    (tmp_path / "c.json").write_text('{"preset_name": "swiss-roll"')
    refusal = gtn_train.refused("fit", "--config", tmp_path / "c.json", *out)
    assert "c.json' is not valid: Expecting ',' delimiter" in refusal
    (tmp_path / "c.json").write_text('{"preset_name": "swiss-roll"}')
    refusal = gtn_train.refused("fit", "--config", tmp_path / "c.json", "--out", vectors)
    assert "holds a run of preset 'vectors', and --config has 'swiss-roll'" in refusal
    (tmp_path / "c.json").write_text('{"preset_name": "mnits"}')
    refusal = gtn_train.refused("fit", "--config", tmp_path / "c.json", *out)
    assert "c.json' must be one of swiss-roll, " in refusal
    assert not (tmp_path / "new").exists()


def test_a_config_of_other_settings_needs_resume(gtn_train, vectors, tmp_path):
    settings = json.loads((vectors / "run.json").read_text())
    settings["preset"]["width"] = 9
    (tmp_path / "c.json").write_text(json.dumps(settings))
    refusal = gtn_train.refused("fit", "--config", tmp_path / "c.json", "--out", vectors)
    assert "--width was 8 and is 9. --resume rebuilds it" in refusal


def test_a_preset_or_a_file_is_needed(tmp_path):
    with pytest.raises(click.UsageError, match="--preset is needed"):
        asked(tmp_path)
    data = write_vectors(tmp_path / "v.npy")
    found = asked(tmp_path, "--preset", "vectors", "--data", data, *VECTOR_RUN)
    assert isinstance(found, RunSettings)
