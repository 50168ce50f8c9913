"""Warnings before work begins, and the refusal of a precision that a GPU lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from command_cases import IMAGE_RUN, write_mnist, write_vectors

from gtn_train.evaluation.latents import intrinsic_dimension
from gtn_train.run.doubts import (
    about_dimension,
    about_drift,
    about_equal_rows,
    about_held_out,
    about_precision,
    about_steps,
    two_nn,
)
from gtn_train.run.presets import preset
from gtn_train.training import accelerator

BOTH = ("autoencoder", "generator")
CPU = torch.device("cpu")


def curved(n, dim, among, seed=0):
    """Rows of `among` numbers that vary along `dim`."""
    rng = np.random.default_rng(seed)
    flat = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, among))
    return np.tanh(flat / np.sqrt(dim)).astype(np.float32)


def test_batches_larger_than_the_rows_and_a_dozen_steps():
    mnist = preset("mnist")
    assert about_steps(mnist, 60_000, BOTH) == []
    lines = about_steps(mnist, 100, BOTH)
    assert lines == [
        "--autoencoder-batch-size is 128, and the autoencoder has 80 rows: every epoch is one step",
        "the autoencoder trains for 12 steps in all, hardly a training: raise "
        "--autoencoder-epochs or lower --autoencoder-batch-size",
        "--batch-size is 256, and the generator has 80 rows: every epoch is one step",
    ]
    assert about_steps(mnist, 100, ("generator",)) == lines[2:]
    assert about_steps(mnist, 100, ()) == []


def test_one_row_and_one_step_are_no_plural():
    vectors = preset("vectors")
    once = replace(vectors, generator_training=replace(vectors.generator_training, max_epochs=1))
    batch, all_steps = about_steps(replace(once, pairs=preset("swiss-roll").pairs), 2, BOTH)
    assert "the generator has 1 row: every epoch" in batch
    assert "trains for 1 step in all" in all_steps


def test_a_round_of_drift_counts_its_own_rows():
    vectors = preset("vectors")
    assert len(about_steps(vectors, 100, BOTH)) == 1
    vectors = replace(vectors, pairs=replace(vectors.pairs, round_size=2_000))
    assert about_steps(vectors, 100, BOTH) == []


def test_a_warm_up_of_more_than_half_the_training():
    mnist = preset("mnist")
    training = mnist.generator_training
    for steps, warned in ((8460, 0), (100_000, 1)):  # of 16,920
        lines = about_steps(
            replace(mnist, generator_training=replace(training, warmup_steps=steps)), 60_000, BOTH
        )
        assert len(lines) == warned
    assert lines == [
        "--warmup-steps is 100,000, and the generator trains for 16,920 steps in all: lower it"
    ]
    images = replace(mnist.autoencoder_training, warmup_steps=9_000)
    (line,) = about_steps(replace(mnist, autoencoder_training=images), 60_000, BOTH)
    assert line.startswith(
        "--autoencoder-warmup-steps is 9,000, and the autoencoder trains for 4,5"
    )


@pytest.mark.parametrize(("dim", "among"), [(2, 30), (6, 30)])
def test_the_estimate_is_that_of_scikit_dimension(dim, among):
    rows = curved(800, dim, among)
    assert two_nn(rows) == pytest.approx(intrinsic_dimension(rows), rel=0.02)
    assert two_nn(rows) == pytest.approx(dim, rel=0.2)


def test_rows_without_a_dimension():
    assert two_nn(np.zeros((100, 3), np.float32)) is None
    assert two_nn(np.tile(curved(20, 2, 3), (5, 1))) is None
    assert two_nn(curved(20, 2, 3)) is None


def test_dimensions_far_above_those_that_data_vary_along():
    images = (127 * (1 + curved(400, 3, 192).reshape(400, 3, 8, 8))).astype(np.uint8)
    assert about_dimension(images, 20) == []
    (line,) = about_dimension(images, 40)
    assert line.startswith("--latent-dim is 40, and the images vary along about 3 (TwoNN of 400)")
    (line,) = about_dimension(curved(400, 3, 64), None)
    assert line.startswith("the vectors have 64 dimensions and vary along about 3 (TwoNN of 400)")


def test_more_dimensions_than_rows():
    images = np.zeros((40, 3, 4, 4), np.uint8)
    assert about_dimension(images, 40) == []
    assert about_dimension(images, 400) == [
        "--latent-dim is 400, and there are 40 images: choose fewer latent dimensions"
    ]
    (line,) = about_dimension(curved(40, 3, 64), None)
    assert line == "the 40 vectors have 64 dimensions, more than there are vectors"


def test_a_handful_of_held_out_rows():
    vectors = preset("vectors")
    (line,) = about_held_out(vectors, 36)
    assert line.startswith("4 held-out rows alone choose the generator's weights, fewer than 20: ")
    assert about_held_out(vectors, 195) == []
    (line,) = about_held_out(replace(vectors, stop_by="loss"), 95)
    assert line.startswith("19 held-out rows alone")
    assert about_held_out(replace(vectors, stop_by="loss"), 100) == []
    assert about_held_out(preset("mnist", stop_by="IS-Lite0"), 36) == []


def test_rows_that_are_all_equal():
    rows = np.zeros((50, 4), np.float32)
    line = "all 50 rows of the data are equal: there is nothing to learn"
    assert about_equal_rows(rows) == [line]
    rows[-1, -1] = 1
    assert about_equal_rows(rows) == []


def test_a_precision_that_a_cpu_imitates(monkeypatch):
    assert about_precision(CPU, "32-true") == []
    assert about_precision(torch.device("meta"), "bf16-mixed") == []
    for supported in (True, False):
        ops = type("ops", (), {"_is_mkldnn_bf16_supported": staticmethod(lambda s=supported: s)})
        monkeypatch.setattr(torch.ops, "mkldnn", ops)
        assert len(about_precision(CPU, "bf16-mixed")) == (not supported)


def test_a_precision_that_a_gpu_lacks_is_refused(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(accelerator, "_has_bf16", lambda: False)
    with pytest.raises(
        ValueError, match=r"'bf16-mixed' needs a GPU of compute .*; on this GPU use"
    ):
        accelerator.check_trainable(gpu, "bf16-mixed", 1)
    accelerator.check_trainable(gpu, "16-mixed", 1)
    monkeypatch.setattr(accelerator, "_has_bf16", lambda: True)
    accelerator.check_trainable(gpu, "bf16-mixed", 1)


def test_the_command_warns_before_it_works(gtn_train, tmp_path):
    data, out = write_mnist(tmp_path / "data"), tmp_path / "run"
    given = ("--preset", "mnist", "--data", data, "--out", out, *IMAGE_RUN)
    _, first, *_ = gtn_train.ok("fit", *given).err.splitlines()
    assert first.startswith("gtn-train: warning: --autoencoder-batch-size is 128, and the ")
    assert "warning" not in gtn_train.ok("fit", *given).err, "nothing is left to train"
    again = gtn_train.ok("fit", *given[:4], "--out", tmp_path / "q", *IMAGE_RUN, "--quiet")
    assert again.err == ""
    vectors = write_vectors(tmp_path / "v.npy", n=60)
    words = ("encode", "--preset", "vectors", "--data", vectors, "--out", tmp_path / "v")
    assert "warning" not in gtn_train.ok(*words).err, "no generator is asked for"


def test_labels_that_move_need_a_rate_that_falls():
    drifting = preset("vectors")
    assert about_drift(drifting) == []
    training = replace(drifting.generator_training, schedule="exponential")
    (line,) = about_drift(replace(drifting, generator_training=training))
    assert "the learning rate stays as it is: --schedule linear lets it fall to 0" in line
    falling = replace(training, learning_rate_decay=0.9)
    assert about_drift(replace(drifting, generator_training=falling)) == []
    fixed = replace(drifting.pairs, labeling="optimal")
    assert about_drift(replace(drifting, generator_training=training, pairs=fixed)) == []


def test_patience_has_no_figure_to_wait_for():
    drifting = preset("vectors", stop_by="loss")
    assert about_drift(drifting) == []
    training = replace(drifting.generator_training, patience=2)
    (line,) = about_drift(replace(drifting, generator_training=training))
    assert "every epoch runs, whatever --patience (2) is" in line
