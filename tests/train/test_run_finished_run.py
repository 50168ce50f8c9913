"""FinishedRun: opened only when its stages are complete and belong together."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from command_cases import write_mnist

from gtn_train.models import registry
from gtn_train.run.finished_run import FinishedRun, load_run
from gtn_train.run.manifest import StageSpec
from gtn_train.run.store import RunFolder


def test_what_a_run_has(finished):
    run = FinishedRun(finished / "images")
    assert run.autoencoder.latent_dim == run.latents.shape[1] == 3
    assert run.generator.dim == 3
    assert run.mixture is None
    assert run.classes is None, "its generator is not told the classes that its images have"
    assert run.images().n == 60
    assert run.images("test").n == 30
    assert set(run.stages) == {"autoencoder", "latents", "pairs", "generator", "samples"}
    assert np.array_equal(run.matching.pairs()[1], run.latents[run.matching.assignment])
    other = FinishedRun(finished / "vectors")
    assert (other.autoencoder, other.classes) == (None, None)
    with pytest.raises(ValueError, match="has no images: it was made from 'vectors'"):
        other.images()


def test_a_run_may_be_moved(finished, tmp_path):
    shutil.copytree(finished / "vectors", tmp_path / "elsewhere")
    assert FinishedRun(tmp_path / "elsewhere").generator.dim == 3


@pytest.mark.parametrize("stage", ["autoencoder", "latents", "pairs", "generator"])
def test_a_missing_stage(stage, images):
    shutil.rmtree(images / stage)
    message = f"is not finished: it has no {stage} yet; gtn-train fit --out .* --resume makes it"
    with pytest.raises(ValueError, match=message):
        FinishedRun(images)


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("autoencoder", "weights.safetensors"),
        ("latents", "latents.npy"),
        ("pairs", "pairs.npz"),
        ("generator", "config.json"),
    ],
)
def test_a_changed_file(stage, file, images):
    with (images / stage / file).open("ab") as opened:
        opened.write(b" ")
    with pytest.raises(
        ValueError, match=f"{stage}' is no longer valid: its file {file} is not the one it made"
    ):
        FinishedRun(images)


def finish_again(folder, name):
    """Give a stage a manifest that agrees with whatever its files are now."""
    folder = RunFolder(folder / name)
    stage = folder.read_manifest()
    spec = StageSpec(name, stage.inputs, stage.options, tuple(stage.outputs))
    folder.write_manifest(spec, stage.seconds)


def test_latents_of_another_autoencoder(images):
    model = registry.make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 3}, 9)
    registry.save_model(model, images / "autoencoder" / "weights.safetensors")
    finish_again(images, "autoencoder")
    message = (
        r"latents' is no longer valid: its input 'autoencoder' has changed \(SHA-256 .*, now .*"
    )
    with pytest.raises(ValueError, match=message):
        FinishedRun(images)


def test_other_latents(vectors):
    np.save(vectors / "latents" / "latents.npy", np.zeros((80, 3), np.float32))
    finish_again(vectors, "latents")
    with pytest.raises(ValueError, match="generator' is no longer valid: its input 'latents' has"):
        FinishedRun(vectors)


def test_other_pairs(gtn_train, vectors):
    gtn_train.ok("label", "--out", vectors, "--cone", 2, "--resume")
    with pytest.raises(ValueError, match="generator' is no longer valid: its input 'pairs' has"):
        FinishedRun(vectors)


def test_an_accelerator_that_is_not_there(vectors):
    import torch

    missing = next(
        name
        for name, there in (
            ("mps", torch.backends.mps.is_available()),
            ("cuda", torch.cuda.is_available()),
        )
        if not there
    )
    with pytest.raises(ValueError, match=f"accelerator '{missing}' is not available here"):
        FinishedRun(vectors, accelerator=missing)


def test_data_that_are_others_now(images):
    write_mnist(images.parent / "mnist", seed=4)
    settings = json.loads((images / "run.json").read_text())
    settings["data"] = str(images.parent / "mnist")
    (images / "run.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"mnist' is not what '.*run' was made from: SHA-256"):
        FinishedRun(images).images()


@pytest.mark.parametrize("rows", [np.zeros(80, np.float32), np.zeros((80, 3), np.int64)])
def test_latents_that_are_none(vectors, rows):
    np.save(vectors / "latents" / "latents.npy", rows)
    finish_again(vectors, "latents")
    with pytest.raises(ValueError, match=r"latents\.npy' must hold latents, float \[n, dim\]"):
        FinishedRun(vectors)


def test_a_run_in_use(gtn_train, finished, tmp_path):
    run = load_run(finished / "images", accelerator="cpu")
    images = run.sample(5, seed=3)
    assert (images.shape, images.dtype) == ((5, 1, 8, 8), np.uint8)
    gtn_train.ok("sample", finished / "images", "--n", 5, "--seed", 3, "--out", tmp_path / "s.npy")
    assert np.array_equal(images, np.load(tmp_path / "s.npy"))
    real = run.images().images[:4]
    latents = run.encode(real)
    np.testing.assert_allclose(latents, run.latents[:4], rtol=1e-4, atol=1e-5)
    decoded = run.decode(latents)
    assert decoded.shape == real.shape
    assert np.array_equal(run.encode(torch.from_numpy(np.array(real))), latents)
    assert np.array_equal(run.decode(torch.from_numpy(latents)), decoded)
    shown = f"FinishedRun({str(finished / 'images')!r}): mnist, 60 latents of dimension 3"
    assert repr(run) == shown
    lines = run.interpolate(3, steps=4, seed=1)
    assert lines.images.shape == (3, 4, 1, 8, 8)
    between = run.interpolate(between=[(0, 7), (2, 2)], steps=3)
    assert between.sources.shape == (2, 3, 3)
    ends = run.matching.sources[np.argsort(run.matching.assignment)[[0, 7]]]
    np.testing.assert_array_equal(between.sources[0, [0, -1]], ends.astype(np.float32))
    vectors = load_run(finished / "vectors", accelerator="cpu")
    assert vectors.sample(7).shape == (7, 3)
    with pytest.raises(ValueError, match="has no autoencoder: its data are its latents"):
        vectors.encode(real)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"between": [1, 2]}, ValueError, r"between must be integers \[k, 2\] with k >= 1"),
        ({"between": [(0.5, 1)]}, ValueError, r"between must be integers"),
        ({"between": [(0, 99)]}, ValueError, r"between must hold rows in \[0, 60\), got"),
        ({"between": [(-1, 0)]}, ValueError, r"between must hold rows in \[0, 60\), got"),
        ({"between": [(0, 1)], "classes": 1}, ValueError, "classes must not be given with between"),
        ({"classes": 1}, ValueError, "classes needs a run by class, got 1"),
        ({"n": 0}, ValueError, "n must be >= 1"),
        ({"steps": 1}, ValueError, "steps must be >= 2"),
    ],
)
def test_lines_that_no_run_has(finished, given, error, message):
    with pytest.raises(error, match=message):
        load_run(finished / "images", accelerator="cpu").interpolate(**given)


def test_a_run_by_class_in_use(gtn_train, images):
    gtn_train.ok("fit", "--out", images, "--by-class", "--resume")
    run = load_run(images, accelerator="cpu")
    assert run.sample(3, classes=2).shape == run.sample(3).shape == (3, 1, 8, 8)
    same, other = run.interpolate(2, classes=1), run.interpolate(2)
    assert same.images.shape == other.images.shape
    rows = np.flatnonzero(run.classes == run.classes[0])[:2]
    assert run.interpolate(between=[rows]).latents.shape[0] == 1
    other = int(np.flatnonzero(run.classes != run.classes[0])[0])
    with pytest.raises(ValueError, match=rf"between must hold rows of one class .* \[0, {other}\]"):
        run.interpolate(between=[(0, other)])
