"""The paper's settings of every preset, as docs and Table 2 have them."""

from __future__ import annotations

import json

import pytest
from command_cases import write_mnist, write_vectors

from gtn_train.models.table2 import GENERATORS
from gtn_train.pairs import PairOptions
from gtn_train.run.paper import as_in_paper
from gtn_train.run.preset_fields import Preset
from gtn_train.run.presets import PRESETS, preset
from gtn_train.run.settings import RunSettings
from gtn_train.run.store import RunFolder


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_the_papers_network_and_no_decay(name):
    found = as_in_paper(name)
    shapes = ("two-squares", "ring", "loop", "torus", "sphere", "grid", "mesh")
    others = dict.fromkeys(shapes, "uniform")
    others |= dict.fromkeys(("vdae-loop", "vdae-torus", "vdae-bunny", "vdae-grid"), "uniform")
    others |= dict.fromkeys(
        ("vectors", "fashion-mnist", "small-folder", "diffusion-mnist", "vdae-mnist"), "mnist"
    )
    row = GENERATORS[others.get(name, name)]
    sizes = (found.layers, found.width, found.batch_norm_layers)
    assert sizes == (row.layers, row.width, row.batch_norm_layers)
    training = found.generator_training
    assert (training.learning_rate, training.batch_size) == (row.learning_rate, row.batch_size)
    assert (training.schedule, training.learning_rate_decay) == ("exponential", 1), "constant"
    assert training.max_epochs == 1000
    assert found.slope == 0.5
    assert found.validation_share == (0.1 if name == "uniform" else 0.2)
    assert found.pairs.every == 0
    assert (found.pairs.order, found.pairs.cone, found.pairs.center) == ("norm", 1, False)
    assert not found.scale_labels
    by_score = name in ("celeba", "hap", "cifar10")
    assert (training.patience, found.stop_by) == ((300, "IS") if by_score else (3, "loss"))
    assert (found.data, found.autoencoder) == (PRESETS[name].data, PRESETS[name].autoencoder)
    config = json.loads(json.dumps(found.config()))
    assert Preset.from_config(config) == found


def test_pairs_are_the_papers():
    assert as_in_paper("mnist").pairs == PairOptions()
    assert as_in_paper("swiss-roll").pairs == PairOptions("quantile")
    assert as_in_paper("two-squares").pairs == PairOptions("clusters", clusters=2)
    for name in ("uniform", "ring", "loop", "torus", "sphere", "mesh"):
        assert as_in_paper(name).pairs == PairOptions(standardize=True)
    assert as_in_paper("grid").pairs == PairOptions("clusters", clusters=25)


def test_a_changed_preset_keeps_its_data_and_autoencoder():
    found = as_in_paper("mnist", preset("mnist", latent_dim=8))
    assert found.latent_dim == 8
    of_a_flow = preset("mnist", generator="flow", steps=8)
    assert as_in_paper("mnist", of_a_flow) == as_in_paper("mnist")


def test_a_run_as_in_the_paper(gtn_train, tmp_path):
    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    given = ("--data", data, "--autoencoder-epochs", 1, "--latent-dim", 3, "--out", out)
    gtn_train.ok("fit", "--preset", "mnist", "--paper", *given, "--generator-epochs", 2)
    config = json.loads((out / "generator" / "config.json").read_text())
    assert config["scale_labels"] is False
    assert config["options"]["patience"] == 3
    assert RunSettings.read(out).preset.pairs == PairOptions()
    done = gtn_train.ok("fit", "--out", out)
    assert set(done.stages.values()) == {"reused"}, "run.json remembers"


def test_other_options_change_what_the_paper_has(gtn_train, tmp_path):
    data, out = write_vectors(tmp_path / "v.npy"), tmp_path / "run"
    given = ("--preset", "vectors", "--data", data, "--out", out, "--generator-epochs", 1)
    gtn_train.ok("fit", *given)
    refusal = gtn_train.refused("fit", "--out", out, "--paper", "--generator-epochs", 1)
    assert '--labeling was "drift" and is "algorithm1"' in refusal
    gtn_train.ok("fit", "--out", out, "--paper", "--width", 9, "--generator-epochs", 1, "--resume")
    assert RunFolder(out / "generator").read_config()["model"]["width"] == 9
    assert RunSettings.read(out).preset.pairs == PairOptions()


def test_network_and_stopping_have_options(gtn_train, tmp_path):
    data, out = write_vectors(tmp_path / "v.npy"), tmp_path / "run"
    given = ("--preset", "vectors", "--data", data, "--out", out, "--generator-epochs", 1)
    gtn_train.ok("fit", *given, "--batch-norm-layers", 1, "--patience", 0, "--slope", 0.1)
    config = RunFolder(out / "generator").read_config()
    assert config["model"]["batch_norm_layers"] == 1
    assert config["model"]["slope"] == 0.1
    assert config["options"]["patience"] is None
    refusal = gtn_train.refused("fit", "--out", out, "--batch-norm-layers", 0, "--patience", 4)
    assert "--batch-norm-layers was 1 and is 0" in refusal
    assert "--patience was not given and is 4" in refusal
    refusal = gtn_train.refused("fit", "--out", out, "--learning-rate-decay", 0.5)
    assert '--schedule was "linear" and is not given' in refusal, "a factor is exponential"
    assert "--learning-rate-decay was 1.0 and is 0.5" in refusal
    assert "--slope was 0.1 and is 0.2" in gtn_train.refused("fit", "--out", out, "--slope", 0.2)
    assert "--slope must be between 0 and 1" in gtn_train.refused("fit", *given, "--slope", 2)
