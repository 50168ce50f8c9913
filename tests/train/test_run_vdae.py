"""The stage "autoencoder" of the kind "vdae": what it depends on, and how it goes on."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from gtn_train.files import file_sha256
from gtn_train.models import load_model
from gtn_train.run.data_options import DataOptions
from gtn_train.run.finished_run import load_run
from gtn_train.run.pipeline import run_pipeline
from gtn_train.run.preset_fields import Preset
from gtn_train.run.presets import PRESETS
from gtn_train.run.settings import Computing, RunSettings
from gtn_train.run.vdae_options import VDAEOptions
from gtn_train.training import TrainingOptions, loop

SHORT = TrainingOptions(batch_size=64, learning_rate=1e-3, max_epochs=4, threads=1)
WALK = replace(
    PRESETS["vdae-loop"],
    data=DataOptions("loop", n=150),
    embedding=replace(PRESETS["vdae-loop"].embedding, neighbours=8, epochs=3, dim=2),
    autoencoder_training=SHORT,
    generator_training=replace(SHORT, max_epochs=2),
)


def make(out, preset=WALK, data=None, last="autoencoder", said=None, **options):
    say = (lambda line: None) if said is None else said.append
    given = RunSettings(
        "vdae-loop", preset, None if data is None else str(data), 0, Computing("cpu")
    )
    run_pipeline(out, given, last, say=say, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "run"
    make(out, last="samples")
    return out


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def test_latents_are_those_of_the_embeddings_encoder(made):
    run = load_run(made, accelerator="cpu")
    rows = loop_rows()
    assert run.latents.shape == (150, 2)
    np.testing.assert_array_equal(run.encode(rows), np.asarray(run.latents))
    encoder = load_model(made / "embedding" / "weights.safetensors")
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, run.autoencoder.encoder.state_dict()[name])
    assert run.decode(run.latents[:4]).shape == (4, 3)
    assert run.sample(5).shape == (5, 3)


def loop_rows():
    from gtn_train.data import loop as draw

    return draw(150, 0)


def test_evaluate_tells_when_walks_are_mixed(gtn_train, copy, monkeypatch):
    module = "gtn_train.evaluation.run_geometry"
    seen = []

    def steps(model, rows, row, seed, *, most):
        seen.append((rows, row, most))
        return 17

    monkeypatch.setattr(f"{module}.mixing_steps", steps)
    monkeypatch.setattr(f"{module}.MIXING_WALKERS", 20)
    told = "geometry: steps until walks from one row are mixed"
    (line,) = (one for one in gtn_train.ok("evaluate", copy).out.splitlines() if "mixed" in one)
    assert line.split() == [*told.split(), "17"]
    ((rows, row, most),) = seen
    known = [one.tobytes() for one in load_run(copy, accelerator="cpu").rows]
    places = [known.index(one.tobytes()) for one in rows]
    assert (len(places), len(set(places)), row, most) == (40, 40, 0, 300)
    assert max(places) >= 40, "rows from anywhere, not the first ones"
    monkeypatch.setattr(f"{module}.mixing_steps", lambda *given, most: None)
    (line,) = (one for one in gtn_train.ok("evaluate", copy).out.splitlines() if "mixed" in one)
    assert line.endswith("none: more than 300")


def test_a_ridge_of_0_clears_no_trained_stage(copy):
    weights = copy / "autoencoder" / "weights.safetensors"
    before, settings = weights.read_bytes(), (copy / "run.json").read_bytes()
    found = RunSettings.read(copy)
    bad = replace(found.preset, vdae=replace(found.preset.vdae, ridge=0.0, neighbours=2))
    with pytest.raises(ValueError, match="vdae_ridge must be above 0 for covariances of 2 rows"):
        run_pipeline(copy, replace(found, preset=bad), "samples", resume=True)
    assert (weights.read_bytes(), (copy / "run.json").read_bytes()) == (before, settings)


def test_complete_stages_are_reused(copy):
    said = []
    make(copy, last="samples", said=said)
    assert {line.partition(": ")[2] for line in said} == {"complete, reused"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("neighbours", 9, "--vdae-neighbours was 32 and is 9"),
        ("step", 4.0, "--vdae-step was 16.0 and is 4.0"),
        ("ridge", 0.1, "--vdae-ridge was 0.01 and is 0.1"),
        ("noise", 0.2, "--vdae-noise was 0.1 and is 0.2"),
        ("couple", True, "--vdae-couple was false and is true"),
    ],
)
def test_other_options_are_refused_and_named(copy, name, value, message):
    with pytest.raises(ValueError, match=message):
        make(copy, replace(WALK, vdae=replace(WALK.vdae, **{name: value})))


def test_another_embedding_makes_the_autoencoder_invalid(copy):
    other = replace(WALK, embedding=replace(WALK.embedding, neighbours=9))
    make(copy, other, last="embedding", resume=True)
    with pytest.raises(ValueError, match="autoencoder' is no longer valid: its input 'encoder'"):
        make(copy, other)
    with pytest.raises(ValueError, match="autoencoder' is no longer valid: its input 'encoder'"):
        load_run(copy, accelerator="cpu")


def test_a_killed_training_goes_on_to_the_same_bits(made, tmp_path, monkeypatch):
    one_epoch, out = loop._Run.one_epoch, tmp_path / "run"

    def killed(run, epoch, bar):
        if epoch == 3 and run.job.stage == "autoencoder":
            raise KeyboardInterrupt
        return one_epoch(run, epoch, bar)

    monkeypatch.setattr(loop._Run, "one_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        make(out)
    assert (out / "autoencoder" / "checkpoint.ckpt").exists()
    monkeypatch.undo()
    make(out, resume=True)
    name = "autoencoder/weights.safetensors"
    assert file_sha256(out / name) == file_sha256(made / name)


def test_images_have_a_vdae_too(images, tmp_path):
    preset = replace(
        PRESETS["vdae-mnist"],
        embedding=replace(WALK.embedding, epochs=1, neighbours=5),
        autoencoder_training=replace(SHORT, max_epochs=1),
        vdae=VDAEOptions(neighbours=8),
    )
    out = tmp_path / "new"
    make(out, preset, images.parent / "mnist", last="latents")
    model = load_model(out / "autoencoder" / "weights.safetensors", expected="vdae")
    assert model.image_shape == (1, 8, 8)
    assert np.load(out / "latents" / "latents.npy").shape[1] == model.latent_dim


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": None}, "autoencoder 'vdae' needs an embedding"),
        ({"vdae": None}, "vdae goes with autoencoder 'vdae', got None"),
        ({"latent_dim": 3}, "latent_dim is that of the embedding, got 3"),
        ({"autoencoder": "mlp", "latent_dim": 2}, "vdae goes with autoencoder 'vdae', got VDAE"),
        ({"latents_from": "embedding"}, "latents_from must be 'data' with an autoencoder"),
        ({"vdae": 3}, "vdae must be VDAEOptions or None, got int 3"),
    ],
)
def test_what_no_run_can_have_is_refused(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        replace(WALK, **changes)


def test_settings_come_back():
    assert Preset.from_config(WALK.config()) == WALK
    assert "vdae" not in PRESETS["loop"].config()
