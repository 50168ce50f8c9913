"""gtn-train interpolate --path geodesic: sheets, arrays, figures, and what is refused."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from PIL import Image

from gtn_train.geometry import Kernel, Surface, along, run_geodesics
from gtn_train.run.finished_run import FinishedRun

FEW = ("--lines", 2, "--steps", 4, "--points", 6, "--path", "geodesic")


@pytest.fixture(autouse=True)
def small_graphs(monkeypatch):
    module = importlib.import_module("gtn_train.geometry.run_geodesics")
    monkeypatch.setattr(module, "GRAPH_ROWS", 300)


def test_geodesics_of_images(gtn_train, images, tmp_path):
    out = tmp_path / "lines.png"
    done = gtn_train.ok("interpolate", images, *FEW, "--out", out)
    first, head, row = done.out.splitlines()
    assert first == f"2 lines of 4 points in {out}"
    assert head.split() == ["length", "energy", "-log", "density", "worst", "spacing"]
    assert row.startswith("geodesic with density ")
    with Image.open(out) as sheet:
        assert sheet.size == (4 * 10 + 2, 2 * 10 + 2)
    gtn_train.ok("interpolate", images, *FEW, "--density", "none", "--out", tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape == (2, 4, 1, 8, 8)


def test_a_comparison_has_three_rows_a_line_and_a_file_of_figures(gtn_train, images, tmp_path):
    out = tmp_path / "lines.png"
    between = ("--between", 5, 7, "--between", 0, 9, "--compare", "--weight", 0.3)
    gtn_train.ok("interpolate", images, *FEW, *between, "--out", out)
    with Image.open(out) as sheet:
        assert sheet.size == (8 * 10 + 2, 6 * 10 + 2), "with real images and reconstructions"
    found = json.loads((tmp_path / "lines.json").read_text())
    assert found["settings"]["weight"] == 0.3
    assert [line["between"] for line in found["lines"]] == [[5, 7], [0, 9]]
    kinds = ("straight", "geodesic", "geodesic with density")
    for line in found["lines"]:
        lengths = [line[kind]["length"] for kind in kinds]
        assert lengths[1] <= lengths[0] * 1.001
        assert line["straight"]["-log density"] <= line["straight"]["worst"]
    means = found["means"]["geodesic"]
    wanted = np.mean([line["geodesic"]["length"] for line in found["lines"]])
    assert means["length"] == pytest.approx(wanted)


def test_figures_are_those_of_the_curves(images):
    run = FinishedRun(images, accelerator="cpu")
    found = run.interpolate(2, steps=5, path="geodesic", points=7, space="latent", weight=0.1)
    assert (found.path, found.sources) == ("geodesic", None)
    assert found.images.shape == (2, 5, 1, 8, 8)
    again = along(Surface.of_run(run, "latent"), found.curves.positions, Kernel(run.latents), 7)
    np.testing.assert_allclose(found.length, again.length, rtol=1e-3)
    np.testing.assert_allclose(found.surprisal, again.surprisal, rtol=1e-2)
    np.testing.assert_allclose(found.energy, found.length**2 / 2, rtol=1e-12)
    np.testing.assert_allclose(found.weights, [1, 0.75, 0.5, 0.25, 0])
    ends = run.interpolate(between=[(3, 8)], path="geodesic", space="latent", points=5, steps=3)
    np.testing.assert_array_equal(ends.latents[0, [0, -1]], run.latents[[3, 8]])
    plain = run.interpolate(1, steps=3)
    assert (plain.path, plain.length, plain.energy, plain.surprisal) == ("straight",) + (None,) * 3


def test_every_option_reaches_the_curves(gtn_train, images, tmp_path, monkeypatch):
    module = importlib.import_module("gtn_train.geometry.run_geodesics")
    given = {}

    def seen(run, left, right, **options):
        given.update(options)
        return run_geodesics(run, left, right, **options)

    monkeypatch.setattr(module, "run_geodesics", seen)
    asked = {"weight": 0.0, "points": 9, "density": "mixture", "space": "latent"}
    asked |= {"metric": "latent", "steps": 3, "seed": 4}
    options = [word for name, value in asked.items() for word in (f"--{name}", value)]
    out = tmp_path / "lines.npy"
    plain = ("interpolate", images, "--lines", 1, "--path", "geodesic", "--compare", "--out", out)
    gtn_train.ok(*plain, *options)
    assert given.items() >= asked.items()
    assert json.loads((tmp_path / "lines.json").read_text())["settings"].items() >= asked.items()
    gtn_train.ok(*plain, "--steps", 3, "--points", 4)
    settings = json.loads((tmp_path / "lines.json").read_text())["settings"]
    usual = {"density": "kde", "weight": 0.2, "points": 4, "space": "source", "metric": "image"}
    assert settings.items() >= usual.items(), "what took effect, not what was typed"


def test_files_of_the_run_are_not_replaced(gtn_train, vectors):
    for out, lost in (("run.npy", "run.json"), ("latents/latents.npy", "latents/latents.npy")):
        before = (vectors / lost).read_bytes()
        refusal = gtn_train.refused(
            "interpolate", vectors, *FEW, "--compare", "--out", vectors / out
        )
        assert "--out must not replace a file of the run, and would replace" in refusal
        assert (vectors / lost).read_bytes() == before
    same = gtn_train.refused("interpolate", vectors, *FEW, "--between", 5, 5)
    assert "--between must name two different rows, got 5 5" in same
    straight = gtn_train.refused("interpolate", vectors, "--lines", 1, "--weight", 0)
    assert "--weight needs --path geodesic." in straight


def test_vectors_have_geodesics_of_their_generator(gtn_train, vectors, tmp_path):
    out = tmp_path / "lines.npy"
    for more in (("--density", "mixture"), ("--density", "kde"), ()):
        gtn_train.ok("interpolate", vectors, *FEW, *more, "--compare", "--out", out)
        assert np.load(out).shape == (2, 3, 4, 3)
    found = json.loads((tmp_path / "lines.json").read_text())
    assert found["means"]["straight"]["length"] > 0


def test_curves_of_a_class_and_of_a_mixture(gtn_train, tmp_path):
    run = tmp_path / "run"
    gtn_train.ok("generator", "--preset", "two-squares", "--n", 200, "--out", run)
    out = ("--out", tmp_path / "lines.npy")
    gtn_train.ok("interpolate", run, *FEW, "--class", 1, *out)
    gtn_train.ok("interpolate", run, *FEW, *out)
    refusal = gtn_train.refused("interpolate", run, *FEW, "--space", "latent", *out)
    assert "--space needs an autoencoder, got 'latent'; " in refusal
    classes = FinishedRun(run).classes
    other = int(np.flatnonzero(classes != classes[0])[0])
    refusal = gtn_train.refused("interpolate", run, *FEW, "--between", 0, other, *out)
    assert "--between must name rows of one class in a run by class" in refusal


def test_seeds_decide(vectors):
    run = FinishedRun(vectors, accelerator="cpu")
    given = {"path": "geodesic", "steps": 4, "points": 5}
    first, again, other = (run.interpolate(1, seed=seed, **given).latents for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_has_no_geodesics_is_refused(gtn_train, images, vectors_beside, tmp_path):
    png, npy = ("--out", tmp_path / "x.png"), ("--out", tmp_path / "x.npy")
    for run, args, message in (
        (images, ("--weight", 1, *png), "--weight needs --path geodesic"),
        (images, ("--compare", *png), "--compare needs --path geodesic"),
        (images, (*FEW, "--weight", -1, *png), "must be a finite number >= 0, got '-1'"),
        (images, (*FEW, "--weight", "nan", *png), "must be a finite number >= 0, got 'nan'"),
        (images, (*FEW, "--points", 2, *png), "must be an integer >= 3, got '2'"),
        (
            images,
            (*FEW, "--compare", "--density", "none", *png),
            "--compare needs a density, and --density is none",
        ),
        (
            images,
            (*FEW, "--between", 3, 3, *png),
            "--between must name two different rows, got 3 3",
        ),
        (
            images,
            (*FEW, "--space", "latent", "--density", "pullback", *png),
            "--density 'pullback' needs sources or the latents of a VAE",
        ),
        (
            vectors_beside,
            (*FEW, "--density", "pullback", *npy),
            "--density 'pullback' needs a smooth surface",
        ),
        (vectors_beside, (*FEW, "--metric", "image", *npy), "--metric needs an autoencoder"),
        (vectors_beside, (*FEW, "--space", "latent", *npy), "--space needs an autoencoder"),
    ):
        assert message in gtn_train.refused("interpolate", run, *args)
    assert not list(tmp_path.glob("x.*"))


@pytest.fixture
def vectors_beside(finished):
    return finished / "vectors"


def test_python_refuses_as_the_command_does(finished):
    run = FinishedRun(finished / "vectors", accelerator="cpu")
    for given, message in (
        ({"weight": 0.1}, "weight needs path 'geodesic'"),
        ({"path": "round"}, "path must be 'straight' or 'geodesic', got 'round'"),
        ({"path": "geodesic", "density": "x"}, "density must be one of 'auto', 'kde', "),
        ({"path": "geodesic", "steps": 1}, "steps must be >= 2, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            run.interpolate(1, **given)
    ends = np.zeros((2, 1, 3), np.float32)
    with pytest.raises(ValueError, match="compare needs a density, got density 'none'"):
        run_geodesics(run, *ends, density="none", compare=True)
