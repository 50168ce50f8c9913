"""The stages of a run: what each of them makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_cases import (
    AUTOENCODER,
    IMAGE_RUN,
    files,
    write_folder,
    write_mnist,
    write_vectors,
)
from stand_ins import Moments

from gtn_label import Matching
from gtn_label.arrays import convert
from gtn_train.evaluation import stop_metric
from gtn_train.models import registry
from gtn_train.pairs.mixture import Mixture
from gtn_train.run import stages
from gtn_train.run.finished_run import FinishedRun
from gtn_train.run.held_out import hold_out
from gtn_train.run.lock import LOCK_FILE
from gtn_train.run.store import RunFolder
from gtn_train.sampling.sample import generate_latents, sampling_seed
from gtn_train.seeds import derive

ALL = ("autoencoder", "latents", "pairs", "generator", "samples")


def test_each_stage_of_images_alone(gtn_train, tmp_path):
    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    options = ("--preset", "mnist", "--data", data, "--latent-dim", 3, "--autoencoder-epochs", 1)
    made = []
    for command, stage, more in (
        ("autoencoder", "autoencoder", options),
        ("encode", "latents", ()),
        ("label", "pairs", ("--labeling", "algorithm1", "--cone", 2)),
        ("generator", "generator", ("--generator-epochs", 2, "--width", 9, "--every", 1)),
        ("fit", "samples", ()),
    ):
        done = gtn_train.ok(command, "--out", out, *more)
        assert done.stages == {
            **dict.fromkeys(made, "reused"),
            **({stage: "made"} if stage != "samples" else {}),
        }
        made.append(stage)
        assert {path.name for path in out.iterdir()} == {*made, "run.json", LOCK_FILE}
    autoencoder = registry.load_model(out / "autoencoder" / "weights.safetensors")
    latents = np.load(out / "latents" / "latents.npy")
    assert latents.shape == (60, 3)
    assert np.array_equal(np.load(out / "latents" / "classes.npy"), np.arange(60) % 10)
    pairs = Matching.load(out / "pairs" / "pairs.npz")
    assert np.array_equal(pairs.pairs()[1], latents[pairs.assignment])
    assert pairs.meta["latents_sha256"] == convert.sha256(latents)
    assert pairs.meta["cone"] == 2
    assert pairs.meta["seed"] == derive(0, "round", 0)
    generator = registry.load_model(out / "generator" / "weights.safetensors")
    assert (generator.dim, generator.width, generator.classes) == (3, 9, 0)
    training = latents[hold_out(pairs.assignment, 0.2, 0).training]
    assert np.allclose(generator.label_mean, training.mean(0), atol=1e-6)
    assert autoencoder.latent_dim == 3
    assert {path.name for path in (out / "samples").iterdir()} == {
        "stage.json",
        "latents.npy",
        "norms.png",
        "samples.png",
        "reconstructions.png",
        "interpolation.png",
    }
    settings = json.loads((out / "run.json").read_text())
    assert settings["preset"]["width"] == 9
    assert settings["preset"]["pairs"]["cone"] == 2
    assert settings["data"] == str(data)


def test_a_folder_of_images(gtn_train, tmp_path):
    data, out = write_folder(tmp_path / "faces"), tmp_path / "run"
    small = ("--layers", 3, "--width", 8, "--size", 12)
    gtn_train.ok("fit", "--preset", "hap", "--data", data, "--out", out, *IMAGE_RUN, *small)
    classes = np.load(out / "latents" / "classes.npy")
    assert len(classes) == 22, "a tenth is for evaluate"
    assert classes.tolist() == sorted(classes)
    assert len(list((out / "images").glob("*.npy"))) == 1
    before = files(out)
    again = gtn_train.ok("fit", "--out", out)
    assert again.stages == dict.fromkeys(ALL, "reused")
    assert files(out) == before


def test_an_array_of_images_by_another_preset(gtn_train, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 9, 9, 3), dtype=np.uint8)
    np.save(tmp_path / "faces.npy", pixels)
    given = ("--preset", "mnist", "--set", "array", "--data", tmp_path / "faces.npy")
    gtn_train.ok("encode", *given, "--out", tmp_path / "run", *IMAGE_RUN[:2])
    model = registry.load_model(tmp_path / "run" / "autoencoder" / "weights.safetensors")
    assert model.image_shape == (3, 9, 9)
    assert not (tmp_path / "run" / "latents" / "classes.npy").exists()


def test_synthetic_sets(gtn_train, tmp_path):
    for preset, dim, parts in (("swiss-roll", 1, 0), ("two-squares", 2, 2)):
        out = tmp_path / preset
        gtn_train.ok("fit", "--preset", preset, "--n", 300, "--out", out, "--generator-epochs", 1)
        assert np.load(out / "latents" / "latents.npy").shape == (300, dim)
        assert (out / "samples" / "scatter.png").exists()
        assert (out / "pairs" / "mixture.json").exists() == bool(parts)
    assert len(Mixture.load(out / "pairs" / "mixture.json").weights) == 2


def test_clusters_are_the_classes_of_their_run(gtn_train, tmp_path):
    out, far = tmp_path / "run", np.array([50.0, 0])
    rows = np.random.default_rng(0).normal(size=(90, 2))
    rows[::3] += far
    np.save(tmp_path / "v.npy", rows)
    given = ("--preset", "vectors", "--data", tmp_path / "v.npy", "--labeling", "clusters")
    gtn_train.ok("fit", *given, "--by-class", "--out", out, "--generator-epochs", 2)
    run = FinishedRun(out)
    assert run.generator.classes == 2
    near = int(run.classes[1])
    assert np.array_equal(run.classes, np.where(np.arange(90) % 3 == 0, 1 - near, near))
    drawn = tmp_path / "s.npy"
    gtn_train.ok("sample", out, "--n", 30, "--class", near, "--seed", 5, "--out", drawn)
    sources, told = run.mixture.draw(30, sampling_seed(5), [near] * 30)
    assert np.array_equal(np.load(drawn), generate_latents(run.generator, sources, classes=told))
    gtn_train.ok("interpolate", out, "--lines", 3, "--out", tmp_path / "lines.npy")
    measured = json.loads(gtn_train.ok("evaluate", out, "--n", 70, "--json").out)
    assert measured["latents"]["n"] == 70


def test_a_run_by_class(gtn_train, tmp_path):
    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    given = ("--preset", "mnist", "--data", data, "--out", out, *IMAGE_RUN, "--by-class")
    gtn_train.ok("fit", *given)
    assert registry.load_model(out / "generator" / "weights.safetensors").classes == 10
    pairs = np.load(out / "pairs" / "pairs.npz", allow_pickle=False)
    classes = np.load(out / "latents" / "classes.npy")
    assert np.array_equal(classes[pairs["assignment"]], pairs["classes"])
    assert np.array_equal(FinishedRun(out).classes, classes)


def test_a_generator_stops_by_a_figure_of_its_images(gtn_train, tmp_path, monkeypatch):
    monkeypatch.setattr(stop_metric, "lite0", lambda device: Moments())
    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    given = ("--preset", "mnist", "--data", data, "--out", out, *AUTOENCODER, "--by-class")
    small = ("--generator-epochs", 3)
    for figure, name in (("IS-Lite0", "IS-Moments of 200"), ("FD-Lite0", "FD-Moments of 60")):
        done = gtn_train.ok("fit", *given, *small, "--stop-by", figure, "--resume")
        values = [line[name] for line in RunFolder(out / "generator").read_metrics()]
        best = max(values) if figure == "IS-Lite0" else min(values)
        assert f"{name} samples {best:.4g} at epoch {values.index(best) + 1}" in done.err
    run = FinishedRun(out)
    again = stop_metric.named_metric(
        "FD-Lite0",
        Moments(),
        run.autoencoder,
        run.images().images,
        classes=run.classes,
        seed=derive(0, "metric"),
    )
    assert again.measure(run.generator) == pytest.approx(best, rel=1e-6), "the best are kept"
    refusal = gtn_train.refused("fit", "--out", out, "--stop-by", "loss", "--weights", "x")
    assert "--weights needs --stop-by IS or FID" in refusal
    other = ("--stop-by", "IS", "--weights", "x", "--resume")
    refusal = gtn_train.refused("fit", "--out", out, *other)
    assert "--weights must be a file, and 'x' is not one" in refusal
    (tmp_path / "x").write_bytes(b"x")
    other = ("--stop-by", "IS", "--weights", tmp_path / "x", *given[:4], *AUTOENCODER)
    refusal = gtn_train.refused("fit", "--out", tmp_path / "other", *other)
    assert "x' must be a file of tensors alone" in refusal
    assert not (tmp_path / "other").exists(), "found out before any training"
    refusal = gtn_train.refused("fit", "--preset", "uniform", "--stop-by", "IS", "--out", out / "b")
    assert "--stop-by 'IS' needs images, and the data are 'uniform'" in refusal


@pytest.mark.parametrize("more", [("--every", 0), ("--every", 1), ("--labeling", "drift")])
def test_rows_that_stop_a_training_are_not_trained_on(gtn_train, vectors, monkeypatch, more):
    trained, stopped = [], []
    latent_metric, train_generator = stages.latent_metric, stages.train_generator

    def stopping(training, held_out, **given):
        stopped.extend((training, held_out))
        return latent_metric(training, held_out, **given)

    def training(model, pairs, folder, options, **given):
        trained.append(pairs.epoch(1).labels.numpy())
        return train_generator(model, pairs, folder, options, **given)

    monkeypatch.setattr(stages, "latent_metric", stopping)
    monkeypatch.setattr(stages, "train_generator", training)
    gtn_train.ok("generator", "--out", vectors, "--resume", "--width", 9, *more)
    labels, known, held_out = (
        {row.tobytes() for row in np.asarray(rows, np.float32)} for rows in (*trained, *stopped)
    )
    assert labels == known
    assert labels.isdisjoint(held_out)
    run = FinishedRun(vectors)
    assert {row.tobytes() for row in run.latents[run.held_out.stopping]} == held_out
    distances = [
        line["energy distance of 1000"] for line in RunFolder(vectors / "generator").read_metrics()
    ]
    again = latent_metric(*stopped, seed=derive(0, "metric")).measure(run.generator)
    assert again == pytest.approx(min(distances), rel=1e-6), "the best weights are kept"


def test_a_loss_that_stops_is_of_no_row_that_is_measured(gtn_train, vectors, monkeypatch):
    seen = []
    train_generator = stages.train_generator

    def training(model, pairs, folder, options, *, validation, **given):
        seen.extend(part.epoch(1).labels.numpy() for part in (pairs, validation))
        return train_generator(model, pairs, folder, options, validation=validation, **given)

    monkeypatch.setattr(stages, "train_generator", training)
    options = ("--labeling", "algorithm1", "--every", 0, "--stop-by", "loss")
    gtn_train.ok("generator", "--out", vectors, "--resume", *options)
    run = FinishedRun(vectors)
    for rows, known in zip(seen, (run.held_out.training, run.held_out.stopping), strict=True):
        wanted = {row.tobytes() for row in run.latents[known]}
        assert {row.tobytes() for row in np.asarray(rows, np.float32)} == wanted


def test_too_few_latents_to_stop_by(gtn_train, tmp_path):
    data = write_vectors(tmp_path / "v.npy", n=10)
    given = ("--preset", "vectors", "--data", data, "--out", tmp_path / "run")
    refusal = gtn_train.refused("fit", *given)
    assert "--stop-by must not be 'energy' with fewer than 3 held-out latents, got 10" in refusal
    gtn_train.ok("fit", *given, "--stop-by", "loss", "--generator-epochs", 1, "--resume")


def test_fixed_pairs_are_the_first_round(gtn_train, vectors):
    gtn_train.ok("generator", "--out", vectors, "--every", 0, "--resume")
    lines = RunFolder(vectors / "generator").read_metrics()
    assert [line["round"] for line in lines] == [0, 0, 0]
    config = RunFolder(vectors / "generator").read_config()
    assert config["pairs"]["kind"] == "fixed"


def test_vectors_of_float64_stay_it(gtn_train, tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 2))
    np.save(tmp_path / "v.npy", rows)
    given = ("--preset", "vectors", "--data", tmp_path / "v.npy", "--out", tmp_path / "run")
    gtn_train.ok("label", *given)
    assert np.array_equal(np.load(tmp_path / "run" / "latents" / "latents.npy"), rows)


def test_a_flow_is_trained_sampled_and_measured(gtn_train, tmp_path):
    data, out = write_vectors(tmp_path / "v.npy", n=400), tmp_path / "run"
    given = ("--preset", "vectors", "--data", data, "--out", out, "--generator", "flow")
    small = ("--width", 32, "--layers", 3, "--labeling", "optimal", "--generator-epochs", 30)
    done = gtn_train.ok("fit", *given, *small, "--steps", 2)
    assert "generator: 30 epochs" in done.err, "a flow has no patience unless it is asked for"
    run = FinishedRun(out)
    assert run.generator.config() == {
        **{"dim": 3, "layers": 3, "width": 32, "steps": 2, "classes": 0}
    }
    losses = [line["train_loss"] for line in RunFolder(out / "generator").read_metrics()]
    assert losses[-1] < losses[0]
    drawn = {}
    for steps in (None, 1, 2):
        asked = () if steps is None else ("--steps", steps)
        gtn_train.ok("sample", out, "--n", 20, *asked, "--out", tmp_path / "s.npy")
        drawn[steps] = np.load(tmp_path / "s.npy")
    np.testing.assert_array_equal(drawn[None], drawn[2])
    assert not np.array_equal(drawn[1], drawn[2])
    found = json.loads(gtn_train.ok("evaluate", out, "--json").out)["comparison"]
    assert [*found][:6] == ["generator", "1 step", "2 steps", "4 steps", "8 steps", "32 steps"]
    assert found["generator"] == found["2 steps"] != found["32 steps"]
    gtn_train.ok("report", out)
    assert set(gtn_train.ok("fit", "--out", out).stages.values()) == {"reused"}
    refusal = gtn_train.refused("fit", "--out", out, "--steps", 8)
    assert "is no longer valid: --steps was 2 and is 8" in refusal
    again = ("--out", out, "--resume", "--generator", "network", "--generator-epochs", 1)
    gtn_train.ok("fit", *again)
    assert FinishedRun(out).settings.preset.steps == 4, "of no flow"


def test_options_that_a_flow_has_not(gtn_train, vectors):
    for option, value in (("--slope", 0.2), ("--batch-norm-layers", 1)):
        refusal = gtn_train.refused("fit", "--out", vectors, "--generator", "flow", option, value)
        assert f"{option} has no meaning with --generator flow" in refusal
    refusal = gtn_train.refused("fit", "--out", vectors, "--steps", 8)
    assert "--steps needs --generator 'flow', got 8" in refusal
    refusal = gtn_train.refused("sample", vectors, "--steps", 8, "--out", vectors / "x.npy")
    assert "--steps needs a run made with --generator flow, got 8" in refusal
