"""The commands that read a finished run: sample, interpolate, evaluate and report."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from command_cases import IMAGE_RUN, write_mnist
from PIL import Image
from stand_ins import Moments

from gtn_train.evaluation import evaluate_run as module
from gtn_train.models import registry
from gtn_train.pairs.classes import as_in_data
from gtn_train.sampling import sample

# ------------------------------------------------------------------------------------------ sample


def test_samples_of_images(gtn_train, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gtn_train.ok("sample", images, "--n", 9).out == "9 images in samples.png\n"
    with Image.open("samples.png") as sheet:
        assert sheet.size == (3 * 10 + 2, 3 * 10 + 2)
    gtn_train.ok("sample", images, "--n", 9, "--out", "nine.npy")
    found = np.load("nine.npy")
    from gtn_train.run.finished_run import FinishedRun

    run = FinishedRun(images)
    assert (found.dtype, found.shape) == (np.uint8, (9, 1, 8, 8))
    assert np.array_equal(found, sample.sample_images(run.generator, run.autoencoder, 9, 0))


def test_samples_of_vectors(gtn_train, vectors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gtn_train.ok("sample", vectors, "--n", 1234).out == "1,234 vectors in samples.npy\n"
    found = np.load("samples.npy")
    generator = registry.load_model(vectors / "generator" / "weights.safetensors")
    assert found.dtype == np.float32
    assert np.array_equal(found, sample.sample_latents(generator, 1234, 0))
    gtn_train.ok("sample", vectors, "--n", 1234, "--seed", 1, "--out", "other.npy")
    assert not np.array_equal(np.load("other.npy"), found)


def test_samples_of_a_mixture_come_from_it(gtn_train, tmp_path):
    out = tmp_path / "run"
    gtn_train.ok("generator", "--preset", "two-squares", "--n", 200, "--out", out)
    gtn_train.ok("sample", out, "--n", 50, "--out", tmp_path / "s.npy")
    from gtn_train.run.finished_run import FinishedRun

    run = FinishedRun(out)
    told = as_in_data(run.classes, 50, 0)
    wanted = sample.sample_latents(run.generator, 50, 0, classes=told, mixture=run.mixture)
    assert np.array_equal(np.load(tmp_path / "s.npy"), wanted)
    shape = json.loads(gtn_train.ok("evaluate", out, "--json").out)["geometry"]
    assert shape["bi-Lipschitz constant, k = 20"]["median"] >= 1
    assert 0 <= shape["orientation changes"] <= 0.5


@pytest.fixture(scope="module")
def by_class(tmp_path_factory):
    from command_cases import main

    root = tmp_path_factory.mktemp("by-class")
    data = write_mnist(root / "mnist")
    given = ("fit", "--preset", "mnist", "--data", data, "--out", root / "run", *IMAGE_RUN)
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in (*given, "--by-class", "--quiet")])
    assert left.value.code == 0
    return root / "run"


def test_samples_by_class(gtn_train, by_class, tmp_path):
    for args, name in ((("--class", 3), "three.npy"), ((), "all.npy")):
        gtn_train.ok("sample", by_class, "--n", 20, *args, "--out", tmp_path / name)
    three, everything = np.load(tmp_path / "three.npy"), np.load(tmp_path / "all.npy")
    from gtn_train.run.finished_run import FinishedRun

    run = FinishedRun(by_class)
    given = (run.generator, run.autoencoder, 20, 0)
    assert np.array_equal(three, sample.sample_images(*given, classes=3))
    drawn = as_in_data(run.classes, 20, 0)
    assert np.array_equal(everything, sample.sample_images(*given, classes=drawn))
    gtn_train.ok("sample", by_class, "--n", 20, "--out", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (10 * 10 + 2, 2 * 10 + 2), "a column has a class"


def test_classes_that_the_data_lack_are_never_drawn(gtn_train, tmp_path, monkeypatch, moments):
    """Folders' classes are dense, those of a file of labels need not be."""
    data = write_mnist(tmp_path / "data")
    path = data / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels = np.frombuffer(path.read_bytes()[8:], np.uint8)
    path.write_bytes(path.read_bytes()[:8] + np.where(labels < 8, 2, 7).astype(np.uint8).tobytes())
    out = tmp_path / "run"
    gtn_train.ok("fit", "--preset", "mnist", "--data", data, "--by-class", "--out", out, *IMAGE_RUN)
    refusal = gtn_train.refused("sample", out, "--class", 3, "--out", tmp_path / "x.npy")
    assert "--class must be one that the data have (2, 7), got 3" in refusal
    asked = []
    drawn = sample.generate_latents

    def remembered(generator, sources, *, classes=None, **given):
        asked.append(np.unique(classes, return_counts=True))
        return drawn(generator, sources, classes=classes, **given)

    monkeypatch.setattr(sample, "generate_latents", remembered)
    monkeypatch.chdir(tmp_path)
    gtn_train.ok("sample", out, "--n", 10)
    gtn_train.ok("evaluate", out, "--extractor", "lite0", "--n", 30)
    in_turn, latents, images = asked
    assert [part.tolist() for part in in_turn] == [[2, 7], [5, 5]]
    assert latents[0].tolist() == images[0].tolist() == [2, 7]
    assert abs(latents[1][1] / latents[1].sum() - 0.2) < 0.02, "as in the data"


def test_what_cannot_be_sampled(gtn_train, images, vectors_beside, by_class, tmp_path):
    out = tmp_path / "x.png"
    for run, args, message in (
        (
            by_class,
            ("--class", 10, "--out", out),
            "--class must be one that the data have (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), got 10",
        ),
        (images, ("--class", 0, "--out", out), "--class needs a run made --by-class"),
        (images, ("--out", tmp_path / "x.jpg"), "--out must end in .png or .npy, and is '"),
        (vectors_beside, ("--out", out), "--out must end in .npy, and is '"),
        (images, ("--out", tmp_path / "no" / "x.png"), "--out must be in a folder that exists"),
        (images, ("--n", 5000, "--out", out), "--n must be at most 4096 for one sheet, got 5000"),
        (images, ("--n", 0, "--out", out), "'--n'"),
        (tmp_path, (), "holds no run of gtn-train: it has no run.json"),
        (tmp_path / "nowhere", (), "nowhere' holds no run of gtn-train: it has no run.json"),
    ):
        assert message in gtn_train.refused("sample", run, *args)
    assert not out.exists()


@pytest.fixture
def vectors_beside(finished):
    return finished / "vectors"


# ------------------------------------------------------------------------------------ interpolate


def test_lines_between_random_sources(gtn_train, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = gtn_train.ok("interpolate", images, "--lines", 3, "--steps", 4)
    assert done.out == "3 lines of 4 points in interpolation.png\n"
    with Image.open("interpolation.png") as sheet:
        assert sheet.size == (4 * 10 + 2, 3 * 10 + 2)
    gtn_train.ok("interpolate", images, "--lines", 3, "--steps", 4, "--out", "lines.npy")
    assert np.load("lines.npy").shape == (3, 4, 1, 8, 8)


def test_lines_between_training_images(gtn_train, images, tmp_path):
    out = tmp_path / "lines.npy"
    given = ("--between", 5, 7, "--between", 0, 59, "--steps", 3, "--out", out)
    assert gtn_train.ok("interpolate", images, *given).out.startswith("2 lines of 3 points in ")
    from gtn_train.models.autoencoder import decode_all
    from gtn_train.run.finished_run import FinishedRun
    from gtn_train.sampling.sample import generate_latents

    run = FinishedRun(images)
    inverse = np.argsort(run.matching.assignment)
    sources = np.asarray(run.matching.sources)[inverse[[5, 7, 0, 59]]]
    ends = decode_all(run.autoencoder, generate_latents(run.generator, sources))
    found = np.load(out).astype(int)
    assert np.abs(found[:, [0, 2]].reshape(4, 1, 8, 8) - ends).max() <= 1


def test_a_sheet_shows_the_real_images_and_their_reconstructions_at_both_ends(
    gtn_train, images, tmp_path
):
    from gtn_train.models.autoencoder import decode_all
    from gtn_train.run.finished_run import FinishedRun

    out = tmp_path / "lines.png"
    gtn_train.ok("interpolate", images, "--between", 5, 7, "--steps", 3, "--out", out)
    run = FinishedRun(images)
    real = run.images().images[[5, 7], 0]
    again = decode_all(run.autoencoder, run.latents[[5, 7]])[:, 0]
    with Image.open(out) as sheet:
        assert sheet.size == (7 * 10 + 2, 10 + 2)
        shown = np.asarray(sheet.convert("L"))
    tiles = [shown[2:10, 2 + 10 * place : 10 + 10 * place] for place in range(7)]
    for place, wanted in ((0, real[0]), (1, again[0]), (5, again[1]), (6, real[1])):
        np.testing.assert_array_equal(tiles[place], wanted)
    settings = json.loads((images / "run.json").read_text())
    settings["data"] = str(tmp_path / "gone")
    (images / "run.json").write_text(json.dumps(settings))
    done = gtn_train.ok("interpolate", images, "--between", 5, 7, "--steps", 3, "--out", out)
    assert done.err.startswith("gtn-train: warning: the sheet has no real images: mnist needs ")
    with Image.open(out) as sheet:
        assert sheet.size == (5 * 10 + 2, 10 + 2)


def test_lines_of_vectors(gtn_train, vectors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gtn_train.ok("interpolate", vectors, "--steps", 5)
    assert np.load("interpolation.npy").shape == (8, 5, 3)


def test_lines_by_class(gtn_train, by_class, tmp_path):
    out = ("--out", tmp_path / "lines.npy")
    gtn_train.ok("interpolate", by_class, "--between", 3, 13, *out)
    refusal = gtn_train.refused("interpolate", by_class, "--between", 3, 4, *out)
    assert "row 3 is of class 3, 4 of class 4" in refusal
    refusal = gtn_train.refused("interpolate", by_class, "--between", 3, 13, "--class", 2, *out)
    assert "--between has the classes of its rows: --class has no meaning for it" in refusal
    gtn_train.ok("interpolate", by_class, "--class", 2, *out)
    refusal = gtn_train.refused("interpolate", by_class, "--between", 3, 60, *out)
    assert "--between must name rows below 60, got 60" in refusal


# ------------------------------------------------------------------------------ evaluate, report


@pytest.fixture
def moments(monkeypatch):
    monkeypatch.setattr(module, "lite0", lambda **device: Moments())


def test_the_map_of_each_class_is_measured(gtn_train, by_class):
    done = gtn_train.ok("evaluate", by_class, "--extractor", "none", "--n", 10, "--json")
    shape = json.loads(done.out)["geometry"]
    assert shape["bi-Lipschitz constant, k = 20"]["scale-free median"] >= 1
    assert 0 <= shape["orientation changes"] <= 0.5


def test_evaluate_prints_a_table_or_json(gtn_train, images, tmp_path, moments):
    given = ("evaluate", images, "--extractor", "lite0", "--n", 10)
    table = gtn_train.ok(*given).out
    assert re.search(r"^data +10 generated against 10 test images$", table, re.MULTILINE)
    assert re.search(r"^images: FD-Moments +[\d.e+-]+$", table, re.MULTILINE)
    assert re.search(r"^geometry: orientation changes +[\d.e+-]+$", table, re.MULTILINE)
    assert re.search(r"^latents: norms: spread +[\d.e+-]+$", table, re.MULTILINE)
    assert table.splitlines()[-1].startswith("Norms in the table compare with the latents trained")
    heading, *lines = table.partition("\n\n")[2].splitlines()
    assert heading.split("  ")[-1] == "recall"
    assert [line.split("  ")[0] for line in lines][::4] == ["generator", "two real samples"]
    done = gtn_train.ok(*given, "--json")
    found = json.loads(done.out)
    said = [f"gtn-train: warning: {line}" for line in found["warnings"]]
    plan, *lines = done.err.splitlines()
    assert re.fullmatch(
        r"gtn-train: Moments: features of 70 images, about .+ on this machine", plan
    )
    assert lines == said
    assert said, "a generator of two epochs is worse than a Gaussian"
    kept = json.loads((images / "evaluation" / "lite0.json").read_text())
    assert found == {name: kept[name] for name in found}
    refusal = gtn_train.refused(*given, "--weights", "x")
    assert "--weights needs --extractor inception, got lite0" in refusal
    refusal = gtn_train.refused("evaluate", images, "--weights", tmp_path / "none.pth")
    assert "weights must be a file of Inception's weights" in refusal


def test_inception_that_cannot_be_fetched(gtn_train, images, monkeypatch):
    import urllib.error

    import torch_fidelity.utils

    def offline(*args, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch_fidelity.utils, "create_feature_extractor", offline)
    refusal = gtn_train.refused("evaluate", images, "--extractor", "inception")
    assert "Inception's weights are not here and could not be downloaded (no network)" in refusal
    assert not (images / "evaluation").exists()
    refusal = gtn_train.refused("fit", "--out", images, "--stop-by", "IS", "--resume")
    assert "--stop-by needs Inception's weights, which could not be downloaded" in refusal
    assert "give a file of them as --weights, or stop by 'IS-Lite0' or 'energy'" in refusal


def test_a_report_of_images(gtn_train, images, tmp_path, moments):
    assert gtn_train.ok("report", images).out == f"wrote {images / 'report.html'}\n"
    first = (images / "report.html").read_text()
    assert "Not evaluated yet" in first
    words = re.sub(r"<[^>]*>", " ", first)
    assert re.search(r"Parameters\s+autoencoder\s+[\d,]+\s+generator\s+[\d,]+", words)
    assert re.search(r"norms\.mean ratio\s+[\d.]+\s+norms\.spread\s+[\d.]+", words)
    gtn_train.ok("evaluate", images, "--extractor", "lite0", "--n", 10)
    page = tmp_path / "page.html"
    gtn_train.ok("report", images, "--out", page)
    text = page.read_text()
    for words in (
        "mnist: run",
        "Not evaluated",
        "N = 10, by Moments",
        "Warning: the generator is worse than one Gaussian",
        "Compared with simple models of the latents",
        '<th scope="col">FD-Moments</th>',
        "training rows with noise (a copy)",
        "10 generated against 10 test images",
        'alt="Samples"',
        'alt="Samples nearest to a training row, above its image"',
        'alt="autoencoder, generator"',
        "rounds of pairs",
        "generator_training.learning_rate",
    ):
        assert (words in text) == (words != "Not evaluated"), words
    assert "http" not in re.sub(r"http-equiv|base64,[^\"]*", "", text)
    gtn_train.ok("generator", "--out", images, "--width", 9, "--resume")
    gtn_train.ok("report", images, "--out", page)
    text = page.read_text()
    assert "The figures of lite0 belong to an earlier generator: evaluate again." in text
    assert "It has no samples of this generator yet: gtn-train fit makes them." in text
    assert 'alt="Samples"' not in text
    assert "FD-Moments" not in text


def test_a_report_says_what_the_run_was_asked_for(gtn_train, tmp_path):
    out = tmp_path / "run"
    given = ("--n", 60, "--generator-epochs", 1, "--seed", 7, "--accelerator", "cpu")
    gtn_train.ok("generator", "--preset", "swiss-roll", "--out", out, *given)
    gtn_train.ok("report", out)
    text = re.sub(r"<[^>]*>", " ", (out / "report.html").read_text())
    for name, value in (("seed", "7"), ("accelerator", "cpu"), ("max_epochs", "1")):
        assert re.search(rf"generator_training\.{name}\s+{value}\s", text), name
    assert re.search(r"\sseed\s+7\s", text)


def test_a_browser_shows_the_report_of_a_run(gtn_train, vectors, tmp_path, browse):
    gtn_train.ok("report", vectors, "--out", tmp_path / "page.html")
    shown, errors = browse(tmp_path / "page.html", "--dump-dom")
    assert "CONSOLE" not in errors
    assert "vectors: run" in shown
    assert "any file of vectors" in shown


def test_a_report_of_vectors(gtn_train, vectors):
    gtn_train.ok("evaluate", vectors)
    gtn_train.ok("report", vectors)
    text = (vectors / "report.html").read_text()
    assert 'alt="Distances of latents from the real mean"' in text
    for words in ("energy distance", "MMD × 1,000", "Geometry", "orientation changes"):
        assert words in text, words
    refusal = gtn_train.refused("report", vectors, "--out", vectors / "page.txt")
    assert "--out must end in .html, and is '" in refusal


def test_a_swiss_roll_is_drawn_as_one(gtn_train, tmp_path):
    out = tmp_path / "run"
    given = ("--preset", "swiss-roll", "--n", 60, "--generator-epochs", 1, "--out", out)
    gtn_train.ok("fit", *given)
    assert (out / "samples" / "roll.png").read_bytes().startswith(b"\x89PNG")
    gtn_train.ok("report", out)
    assert 'alt="On the roll"' in (out / "report.html").read_text()
