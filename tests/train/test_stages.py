"""Stages: what each makes; when it is used again, refused or made anew; that nothing is lost."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from command_cases import (
    AUTOENCODER,
    IMAGE_RUN,
    VECTOR_RUN,
    files,
    write_folder,
    write_mnist,
)
from filelock import FileLock
from stand_ins import Moments

from gtn_label import Matching
from gtn_label.arrays import convert
from gtn_train.evaluation import metrics
from gtn_train.models import registry
from gtn_train.pairs.mixture import Mixture
from gtn_train.run.lock import LOCK_FILE
from gtn_train.run.manifest import StageSpec
from gtn_train.run.opened import FinishedRun
from gtn_train.run.presets import PRESETS
from gtn_train.run.store import RunFolder
from gtn_train.sampling.sample import generate_latents
from gtn_train.seeds import derive
from gtn_train.training import loop

ALL = ("autoencoder", "latents", "pairs", "generator", "samples")

# ------------------------------------------------------------------------- what the stages make


def test_each_stage_of_images_alone(gtn_train, tmp_path):
    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    options = ("--preset", "mnist", "--data", data, "--latent-dim", 3, "--autoencoder-epochs", 1)
    made = []
    for command, stage, more in (
        ("autoencoder", "autoencoder", options),
        ("encode", "latents", ()),
        ("label", "pairs", ("--cone", 2)),
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
    assert np.allclose(generator.label_mean, latents.mean(0), atol=1e-6)
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
    assert np.load(out / "latents" / "classes.npy").tolist() == [0] * 12 + [1] * 12
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
    sources, told = run.mixture.draw(30, 5, [near] * 30)
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
    monkeypatch.setattr(metrics, "lite0", lambda device: Moments())
    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    given = ("--preset", "mnist", "--data", data, "--out", out, *AUTOENCODER, "--by-class")
    small = ("--generator-epochs", 3)
    for figure, name in (("IS-Lite0", "IS-Moments of 200"), ("FD-Lite0", "FD-Moments of 60")):
        done = gtn_train.ok("fit", *given, *small, "--stop-by", figure, "--resume")
        values = [line[name] for line in RunFolder(out / "generator").read_metrics()]
        best = max(values) if figure == "IS-Lite0" else min(values)
        assert f"{name} {best:.4g} at epoch {values.index(best) + 1}" in done.err
    run = FinishedRun(out)
    again = metrics.named_metric(
        "FD-Lite0",
        Moments(),
        run.autoencoder,
        run.images().images,
        classes=run.classes,
        seed=derive(0, "metric"),
    )
    assert again.measure(run.generator) == pytest.approx(best, rel=1e-6), "the best are kept"
    refusal = gtn_train.refused("fit", "--out", out, "--stop-by", "loss", "--weights", "x")
    assert "--weights are Inception's: they need --stop-by IS or FID" in refusal
    other = ("--stop-by", "IS", "--weights", "x", "--resume")
    refusal = gtn_train.refused("fit", "--out", out, *other)
    assert "--weights must be a file, and 'x' is none" in refusal
    (tmp_path / "x").write_bytes(b"x")
    other = ("--stop-by", "IS", "--weights", tmp_path / "x", *given[:4], *AUTOENCODER)
    refusal = gtn_train.refused("fit", "--out", tmp_path / "other", *other)
    assert "x' must be a file of tensors alone" in refusal
    assert not (tmp_path / "other").exists(), "found out before any training"
    refusal = gtn_train.refused("fit", "--preset", "uniform", "--stop-by", "IS", "--out", out / "b")
    assert "stop_by 'IS' needs images, and the data are 'uniform'" in refusal


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


# --------------------------------------------------------------- used again, refused, made anew


def test_other_classes_make_other_pairs(gtn_train, tmp_path):
    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    given = ("--preset", "mnist", "--data", data, "--out", out, *IMAGE_RUN, "--by-class")
    gtn_train.ok("fit", *given)
    path = data / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:8] + bytes((i + 3) % 7 for i in range(60)))
    done = gtn_train.ok("fit", "--out", out, "--resume")
    assert done.stages == {"autoencoder": "reused", **dict.fromkeys(ALL[1:], "anew")}
    assert np.array_equal(FinishedRun(out).classes, (np.arange(60) + 3) % 7)


def test_what_a_killed_process_left_half_written_is_removed(gtn_train, vectors):
    left = vectors / "latents" / ".gtn-label-0123.tmp"
    left.write_bytes(b"half")
    gtn_train.ok("fit", "--out", vectors, "--width", 9, "--resume")
    assert not left.exists()


def test_a_stage_that_was_killed_before_its_manifest_is_not_trained_again(
    gtn_train, vectors, monkeypatch
):
    before = files(vectors)
    (vectors / "generator" / "stage.json").unlink()
    refusal = gtn_train.refused("fit", "--out", vectors)
    assert f"'{vectors / 'generator'}' is unfinished. --resume continues it" in refusal
    monkeypatch.setattr(loop._Run, "one_epoch", pytest.fail)
    done = gtn_train.ok("fit", "--out", vectors, "--resume")
    assert done.stages["generator"] == "made"
    after = files(vectors)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"generator/stage.json"}, "but for the seconds it took"


def test_one_process_at_a_time_works_in_a_folder(gtn_train, vectors):
    before = files(vectors)
    with FileLock(vectors / LOCK_FILE):
        refusal = gtn_train.refused("fit", "--out", vectors, "--width", 9, "--resume")
        assert f"'{vectors}' is in use: another gtn-train is at work there" in refusal
        assert files(vectors) == before
        (vectors / "generator" / "stage.json").rename(vectors / "kept.json")
        refusal = gtn_train.refused("fit", "--out", vectors)
        assert "is in use" in refusal, "and not: unfinished, to be deleted"
        (vectors / "kept.json").rename(vectors / "generator" / "stage.json")
        again = gtn_train.ok("fit", "--out", vectors)
        assert set(again.stages.values()) == {"reused"}, "what is finished may be read meanwhile"
    gtn_train.ok("fit", "--out", vectors, "--width", 9, "--resume")
    gtn_train.ok("fit", "--out", vectors, "--width", 8, "--resume")  # it was given back


def test_images_are_decoded_by_one_process_at_a_time(gtn_train, tmp_path):
    """What two decode into the same cache, one of them would remove when it is interrupted."""
    data, out = write_folder(tmp_path / "faces"), tmp_path / "new" / "run"
    given = ("encode", "--preset", "hap", "--data", data, "--size", 8, "--out", out)
    out.mkdir(parents=True)
    with FileLock(out / LOCK_FILE):
        assert "is in use" in gtn_train.refused(*given)
        assert [path.name for path in out.iterdir()] == [LOCK_FILE]
    (out / LOCK_FILE).unlink()
    out.rmdir()
    out.parent.rmdir()
    gtn_train.ok(*given, "--autoencoder-epochs", 1, "--latent-dim", 2)
    cached = [path.name for path in (out / "images").iterdir()]
    with FileLock(out / LOCK_FILE):
        refusal = gtn_train.refused("encode", "--out", out, "--size", 9, "--resume")
        assert "is in use" in refusal
    assert "is no longer valid" in gtn_train.refused("encode", "--out", out, "--size", 9)
    assert [path.name for path in (out / "images").iterdir()] == cached
    gtn_train.ok("encode", "--out", out, "--size", 9, "--resume")
    (newer,) = (path.name for path in (out / "images").iterdir())
    assert newer not in cached, "the smaller ones are of no more use"
    shutil.rmtree(out.parent)
    (data / "cats" / "000.png").write_bytes(b"no image")
    gtn_train.refused(*given)
    assert not out.parent.exists(), "folders that were made for nothing are gone"


def test_everything_is_used_again(gtn_train, images, tmp_path):
    before = files(images)
    given = ("--preset", "mnist", "--data", tmp_path / "mnist", *IMAGE_RUN)
    for args in ((), given, ("--accelerator", "cpu", "--threads", 1), ("--resume",)):
        done = gtn_train.ok("fit", "--out", images, *args)
        assert done.stages == dict.fromkeys(ALL, "reused")
    settings = json.loads((images / "run.json").read_text())
    assert settings["data"] == str(tmp_path / "mnist"), "data that moved are where they are now"
    after = files(images)
    del before["run.json"], after["run.json"]
    assert after == before


@pytest.mark.parametrize(
    ("options", "first", "why"),
    [
        (("--width", 9), "generator", "width was 50 and is 9"),
        (("--learning-rate", 0.1), "generator", "training.learning_rate was 0.001 and is 0.1"),
        (("--every", 2), "generator", "pairs.every was 0 and is 2"),
        (("--cone", 2), "pairs", f"cone was {PRESETS['mnist'].pairs.cone} and is 2"),
        (("--latent-dim", 2), "autoencoder", "latent_dim was 3 and is 2"),
        (("--seed", 1), "autoencoder", "training.seed was 0 and is 1"),
    ],
)
def test_other_options_make_exactly_what_they_change(gtn_train, images, options, first, why):
    before = files(images)
    refusal = gtn_train.refused("fit", "--out", images, *options)
    assert f"'{images / first}' is no longer valid: " in refusal
    assert why in refusal
    assert refusal.endswith("--resume rebuilds it; another --out leaves it as it is")
    assert files(images) == before
    done = gtn_train.ok("fit", "--out", images, *options, "--resume")
    wanted = {name: "reused" if ALL.index(name) < ALL.index(first) else "anew" for name in ALL}
    assert done.stages == wanted
    assert gtn_train.ok("fit", "--out", images).stages == dict.fromkeys(ALL, "reused")


def test_another_seed_makes_other_pairs_of_the_same_vectors(gtn_train, vectors):
    done = gtn_train.ok("fit", "--out", vectors, "--seed", 1, "--resume")
    assert done.stages == {
        "latents": "reused",
        "pairs": "anew",
        "generator": "anew",
        "samples": "anew",
    }


def test_another_labeling_leaves_nothing_of_the_first(gtn_train, tmp_path):
    out = tmp_path / "run"
    given = ("--preset", "two-squares", "--n", 200, "--out", out, "--generator-epochs", 1)
    gtn_train.ok("fit", *given)
    assert (out / "pairs" / "mixture.json").exists()
    gtn_train.ok("fit", "--out", out, "--labeling", "algorithm1", "--resume")
    assert not (out / "pairs" / "mixture.json").exists()
    gtn_train.ok("fit", "--out", out, "--labeling", "clusters", "--clusters", 3, "--resume")
    assert len(Mixture.load(out / "pairs" / "mixture.json").weights) == 3


def test_changed_data_are_refused_until_resumed(gtn_train, images, tmp_path):
    write_mnist(tmp_path / "mnist", seed=1)
    before = files(images)
    given = ("fit", "--out", images, "--data", tmp_path / "mnist")
    refusal = gtn_train.refused(*given)
    assert f"'{images / 'autoencoder'}' is no longer valid: its input 'images'" in refusal
    assert files(images) == before
    assert gtn_train.ok(*given, "--resume").stages == dict.fromkeys(ALL, "anew")


def test_other_classes_of_the_same_images(gtn_train, images, tmp_path):
    path = tmp_path / "mnist" / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] = 0
    path.write_bytes(content)
    given = ("fit", "--out", images, "--data", tmp_path / "mnist")
    assert "its input 'classes' has changed" in gtn_train.refused(*given)


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("autoencoder", "weights.safetensors"),
        ("latents", "latents.npy"),
        ("pairs", "pairs.npz"),
        ("generator", "metrics.jsonl"),
        ("samples", "samples.png"),
    ],
)
def test_a_file_that_is_gone_or_changed(gtn_train, images, stage, file):
    path = images / stage / file
    content = path.read_bytes()
    path.unlink()
    assert f"its file {file} is missing" in gtn_train.refused("fit", "--out", images)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refusal = gtn_train.refused("fit", "--out", images)
    assert f"'{images / stage}' is no longer valid: its file {file} is not the" in refusal
    done = gtn_train.ok("fit", "--out", images, "--resume")
    assert done.stages[stage] == "anew"
    assert all(done.stages[name] == "reused" for name in ALL[: ALL.index(stage)])
    if stage != "samples":  # the same bits: what comes after is as it was
        assert path.read_bytes() == content or file == "metrics.jsonl"
        assert done.stages["samples"] == "reused"


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"name": "pairs"}', b"\x00\xff"],
)
def test_a_damaged_manifest(gtn_train, images, content):
    (images / "pairs" / "stage.json").write_bytes(content)
    assert "stage.json' is damaged" in gtn_train.refused("fit", "--out", images)
    assert gtn_train.ok("fit", "--out", images, "--resume").stages["pairs"] == "anew"


def test_a_manifest_that_reaches_outside_its_folder(gtn_train, images, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    path = images / "pairs" / "stage.json"
    manifest = json.loads(path.read_text())
    manifest["outputs"]["../../mine"] = "0" * 64
    path.write_text(json.dumps(manifest))
    assert "outputs must be files in its folder" in gtn_train.refused("fit", "--out", images)
    gtn_train.ok("fit", "--out", images, "--resume")
    assert mine.read_text() == "mine"


def test_an_autoencoder_that_was_retrained(gtn_train, images):
    epochs = ("--autoencoder-epochs", 2)
    assert gtn_train.ok("autoencoder", "--out", images, *epochs, "--resume").stages == {
        "autoencoder": "anew"
    }
    refusal = gtn_train.refused("encode", "--out", images)
    assert f"'{images / 'latents'}' is no longer valid: its input 'autoenc" in refusal
    done = gtn_train.ok("fit", "--out", images, "--resume")
    assert done.stages == {"autoencoder": "reused", **dict.fromkeys(ALL[1:], "anew")}


def test_an_autoencoder_that_was_copied_in(gtn_train, images, tmp_path):
    """Its manifest agrees with the options and its own files: the latents tell."""
    other = tmp_path / "other"
    data = write_mnist(tmp_path / "data", seed=3)
    given = ("--preset", "mnist", "--data", data, "--out", other, *AUTOENCODER)
    gtn_train.ok("autoencoder", *given)
    manifest = json.loads((other / "autoencoder" / "stage.json").read_text())
    ours = json.loads((images / "autoencoder" / "stage.json").read_text())
    manifest["inputs"] = ours["inputs"]
    (other / "autoencoder" / "stage.json").write_text(json.dumps(manifest))
    shutil.rmtree(images / "autoencoder")
    shutil.copytree(other / "autoencoder", images / "autoencoder")
    before = files(images)
    refusal = gtn_train.refused("generator", "--out", images)
    assert f"'{images / 'latents'}' is no longer valid: its input 'autoenc" in refusal
    for command in ("sample", "interpolate", "evaluate", "report"):
        to = () if command == "evaluate" else ("--out", tmp_path / f"x.{command}.html")
        if command in ("sample", "interpolate"):
            to = ("--out", tmp_path / "x.png")
        refusal = gtn_train.refused(command, images, *to)
        assert "latents' is no longer valid: its input 'autoencoder' has changed" in refusal
        assert refusal.endswith(f"gtn-train fit --out {images} --resume rebuilds it")
    assert files(images) == before


def test_weights_of_another_kind_and_shape(gtn_train, images):
    path = images / "generator" / "weights.safetensors"
    manifest = images / "generator" / "stage.json"
    content = json.loads(manifest.read_text())

    def put(model):
        registry.save_model(model, path)
        folder = RunFolder(images / "generator")
        names = tuple(content["outputs"])
        spec = StageSpec("generator", content["inputs"], content["options"], names)
        folder.write_manifest(spec, 1.0)

    put(registry.build("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}))
    refusal = gtn_train.refused("fit", "--out", images)
    assert "must be of kind generator, and is of kind 'vanilla'" in refusal
    put(registry.build("generator", {"dim": 2, "layers": 2, "width": 4}))
    refusal = gtn_train.refused("sample", images)
    assert "its generator makes latents of dimension 2 from 2, and its latents have 3" in refusal


# ------------------------------------------------------------------------------- unfinished runs


class Stop(Exception):
    pass


@pytest.fixture
def unfinished(gtn_train, vectors, monkeypatch):
    """A run whose generator was interrupted in its second epoch."""
    from gtn_train.training import loop

    whole = (vectors / "generator" / "weights.safetensors").read_bytes()
    shutil.rmtree(vectors / "generator")
    shutil.rmtree(vectors / "samples")
    train_epoch = loop._Run.train_epoch

    def stopping(self, epoch, bar):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(self, epoch, bar)

    monkeypatch.setattr(loop._Run, "train_epoch", stopping)
    done = gtn_train("fit", "--out", vectors)
    monkeypatch.undo()
    assert done.code == 130
    assert done.err.splitlines()[-1] == (
        "gtn-train: interrupted; finished stages and the last checkpoint are kept: "
        "the same command with --resume goes on"
    )
    assert (vectors / "generator" / "checkpoint.ckpt").exists()
    return vectors, whole


def test_an_unfinished_stage_is_refused_and_resumed(gtn_train, unfinished):
    out, whole = unfinished
    before = files(out)
    for options in ((), ("--width", 9)):
        refusal = gtn_train.refused("fit", "--out", out, *options)
        assert f"'{out / 'generator'}' is unfinished. --resume continues it" in refusal
    assert "has no generator yet" in gtn_train.refused("sample", out)
    assert files(out) == before
    gtn_train.ok("fit", "--out", out, "--resume")
    assert (out / "generator" / "weights.safetensors").read_bytes() == whole


def test_an_unfinished_stage_with_other_options_starts_over(gtn_train, unfinished, tmp_path):
    out, _ = unfinished
    gtn_train.ok("fit", "--out", out, "--width", 9, "--resume")
    data = json.loads((out / "run.json").read_text())["data"]
    given = ("--preset", "vectors", "--data", data, *VECTOR_RUN[:-1], 9)
    gtn_train.ok("fit", "--out", tmp_path / "whole", *given)
    weights = "generator/weights.safetensors"
    assert (out / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_an_unfinished_stage_goes_on_elsewhere(gtn_train, unfinished):
    out, whole = unfinished
    gtn_train.ok("fit", "--out", out, "--accelerator", "cpu", "--threads", 1, "--resume")
    assert (out / "generator" / "weights.safetensors").read_bytes() == whole
    lines = RunFolder(out / "generator").read_metrics()
    assert [line["epoch"] for line in lines] == [1, 2, 3]


def test_a_checkpoint_of_another_shape(gtn_train, unfinished):
    out, _ = unfinished
    path = out / "generator" / "checkpoint.ckpt"
    state = torch.load(path, weights_only=True)
    state["model"]["net.0.weight"] = torch.zeros(2, 2)
    torch.save(state, path)
    assert "does not fit the model" in gtn_train.refused("fit", "--out", out, "--resume")
    path.write_bytes(b"nonsense")
    refusal = gtn_train.refused("fit", "--out", out, "--resume")
    assert f"checkpoint '{path}' is damaged; delete it to start over" in refusal
