"""Runs that are run again: what is reused, resumed, rebuilt or refused, and why."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from command_cases import (
    AUTOENCODER,
    IMAGE_RUN,
    VECTOR_RUN,
    files,
    write_mnist,
)

from gtn_train.models import registry
from gtn_train.pairs.mixture import Mixture
from gtn_train.run.finished_run import FinishedRun
from gtn_train.run.manifest import StageSpec
from gtn_train.run.presets import PRESETS
from gtn_train.run.store import RunFolder
from gtn_train.training import loop

ALL = ("autoencoder", "latents", "pairs", "generator", "samples")


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
    for folder in (vectors, vectors / "latents"):
        (folder / ".gtn-label-0123.tmp").write_bytes(b"half")
    gtn_train.ok("fit", "--out", vectors, "--width", 9, "--resume")
    assert not list(vectors.rglob("*.tmp"))


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
        (("--width", 9), "generator", f"--width was {PRESETS['mnist'].width} and is 9"),
        (("--learning-rate", 0.1), "generator", "--learning-rate was 0.001 and is 0.1"),
        (("--slope", 0.2), "generator", "--slope was 0.1 and is 0.2"),
        (("--tolerance", 0.1), "pairs", "--tolerance was 0.01 and is 0.1"),
        (("--latent-dim", 2), "autoencoder", "--latent-dim was 3 and is 2"),
        (("--seed", 1), "autoencoder", "--seed was 0 and is 1"),
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


def test_optimal_pairs_make_a_run(gtn_train, images, tmp_path):
    given = ("fit", "--out", images, "--labeling", "optimal", "--transport-batch", 0, "--by-class")
    gtn_train.ok(*given, "--every", 1, "--by-prices", "--resume")
    refusal = gtn_train.refused("fit", "--out", images, "--tolerance", 0.1)
    assert "--tolerance was 0.01 and is 0.1" in refusal
    refusal = gtn_train.refused("fit", "--out", images, "--no-by-prices")
    assert f"'{images / 'generator'}' is no longer valid: --by-prices was true" in refusal
    assert set(gtn_train.ok("fit", "--out", images).stages.values()) == {"reused"}


def test_labels_that_follow_the_generator_make_a_run(gtn_train, images):
    given = ("fit", "--out", images, "--labeling", "drift", "--every", 1, "--by-class")
    more = ("--transport-batch", 20, "--round-size", 30, "--learning-rate-decay", 0.5)
    more += ("--ema", 0.9, "--ema-labels")
    done = gtn_train.ok(*given, *more, "--resume")
    assert "labels followed the generator between rounds of training 2 times" in done.out
    assert "generator: 2 epochs in" in done.err
    assert ", energy distance of 1000 " in done.err
    lines = RunFolder(images / "generator").read_metrics()
    assert [line["round"] for line in lines] == [0, 1]
    assert "excess" in lines[1]["labels"]
    assert "validation_loss" not in lines[1]
    changes = (("--transport-batch", 9), ("--learning-rate-decay", 0.9), ("--ema", 0.8))
    for option, value in changes:
        assert f"{option} was" in gtn_train.refused("fit", "--out", images, option, value)
    refusal = gtn_train.refused("fit", "--out", images, "--round-size", 9)
    assert f"'{images / 'generator'}' is no longer valid: --round-size was 30" in refusal
    refusal = gtn_train.refused("fit", "--out", images, "--labeling", "optimal", "--resume")
    assert "--ema-labels needs --labeling 'drift'" in refusal
    assert set(gtn_train.ok("fit", "--out", images).stages.values()) == {"reused"}
    gtn_train.ok("report", images)


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


def test_a_damaged_manifest(gtn_train, images):
    (images / "pairs" / "stage.json").write_bytes(b"{")
    assert "stage.json' is damaged" in gtn_train.refused("fit", "--out", images)
    for command in ("sample", "interpolate", "evaluate", "report"):
        refusal = gtn_train.refused(command, images)
        assert "stage.json' is damaged" in refusal
        assert refusal.endswith(f"; gtn-train fit --out {images} --resume rebuilds it")
    done = gtn_train.ok("fit", "--out", images, "--resume")
    assert done.stages["pairs"] == "anew"
    assert f"gtn-train: pairs: rebuilt: '{images / 'pairs' / 'stage.json'}' is damaged" in done.err


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
        "autoencoder": "continued"
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
        "gtn-train: interrupted; complete stages and the last checkpoint are kept: "
        "the same command with --resume continues"
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
    done = gtn_train.ok("fit", "--out", out, "--width", 9, "--resume")
    assert "gtn-train: generator: rebuilt: model.width was 8 and is 9\n" in done.err
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


def test_more_epochs_continue_a_complete_stage(gtn_train, vectors, tmp_path):
    """The run's three epochs go on to five, which a new run has from the start."""
    config = json.loads((vectors / "run.json").read_text())
    decay = ("--learning-rate-decay", 0.9)  # in place of a schedule that ends with the epochs
    gtn_train.ok("fit", "--out", vectors, *decay, "--resume")
    refusal = gtn_train.refused("fit", "--out", vectors, "--generator-epochs", 5)
    assert "is no longer valid: --generator-epochs was 3 and is 5. --resume continues" in refusal
    done = gtn_train.ok("fit", "--out", vectors, "--generator-epochs", 5, "--resume")
    assert "generator: continued: options.max_epochs was 3 and is 5" in done.err
    assert "generator: 5 epochs in" in done.err
    whole = ("--preset", "vectors", "--data", config["data"], "--out", tmp_path / "whole")
    gtn_train.ok("fit", *whole, *VECTOR_RUN, *decay, "--generator-epochs", 5)
    weights = [run / "generator" / "weights.safetensors" for run in (vectors, tmp_path / "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert set(gtn_train.ok("fit", "--out", vectors).stages.values()) == {"reused"}
    done = gtn_train.ok("fit", "--out", vectors, "--generator-epochs", 4, "--resume")
    assert "generator: rebuilt: options.max_epochs was 5 and is 4" in done.err
    (vectors / "generator" / "last.ckpt").unlink()
    refusal = gtn_train.refused("fit", "--out", vectors, "--generator-epochs", 5)
    assert "--generator-epochs was 4 and is 5. --resume rebuilds it" in refusal


def test_options_of_training_reach_it(gtn_train, vectors):
    given = ("--optimizer", "adamw", "--weight-decay", 0.1, "--clip-norm", 0.5, "--dropout", 0.1)
    rate = ("--schedule", "cosine", "--warmup-steps", 3)
    place = ("--training-threads", 1, "--checkpoint-seconds", 9, "--no-keep-last")
    gtn_train.ok("fit", "--out", vectors, *given, *rate, *place, "--resume")
    options = RunFolder(vectors / "generator").read_config()["options"]
    assert options["optimizer"] == "adamw"
    assert (options["weight_decay"], options["clip_norm"]) == (0.1, 0.5)
    assert (options["schedule"], options["warmup_steps"]) == ("cosine", 3)
    assert (options["threads"], options["checkpoint_every_seconds"]) == (1, 9.0)
    assert not (vectors / "generator" / "last.ckpt").exists()
    for option, value in (("--clip-norm", 0), ("--dropout", 0), ("--warmup-steps", 0)):
        assert f"{option} was" in gtn_train.refused("fit", "--out", vectors, option, value)
    refusal = gtn_train.refused("fit", "--out", vectors, "--checkpoint-seconds", -1)
    assert refusal == "--checkpoint-seconds must be a finite number >= 0, got -1.0"
    assert set(gtn_train.ok("fit", "--out", vectors).stages.values()) == {"reused"}


def test_a_network_of_ones_own(gtn_train, vectors):
    given = ("fit", "--out", vectors, "--generator-class", "networks:Residual")
    assert "no_such:Net" in gtn_train.refused(*given[:-1], "no_such:Net", "--resume")
    gtn_train.ok(*given, "--generator-arguments", '{"dim": 3, "width": 5}', "--resume")
    model = RunFolder(vectors / "generator").read_config()["model"]
    assert (model["network"], model["arguments"]) == ("networks:Residual", {"dim": 3, "width": 5})
    gtn_train.ok("sample", vectors, "--n", 3, "--out", vectors / "s.npy")
    gtn_train.ok("report", vectors)
    refusal = gtn_train.refused("fit", "--out", vectors, "--generator-arguments", '{"dim": 3}')
    assert "width of --generator-arguments was 5 and is not given" in refusal
    refusal = gtn_train.refused(*given, "--generator", "flow")
    assert "--generator-class is a generator of its own" in refusal
    gtn_train.ok("fit", "--out", vectors, "--generator", "network", "--resume")


def test_a_network_of_ones_own_is_tried_before_the_autoencoder(gtn_train, finished, tmp_path):
    given = ("--preset", "mnist", "--data", finished / "mnist", *IMAGE_RUN)
    own = ("--generator-class", "networks:Residual", "--generator-arguments", '{"dim": 7}')
    refusal = gtn_train.refused("fit", "--out", tmp_path / "run", *given, *own)
    assert "network must map (2, 3) to (2, 3), got networks:Residual" in refusal
    assert not (tmp_path / "run" / "autoencoder").exists()
