"""Training: formulas re-derived, which weights are kept, when it stops, what it refuses."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import generator, images, latents, options, pairs, same, wiggle

from gtn_label.arrays import convert
from gtn_train.models.registry import load_model, make_model
from gtn_train.pairs import Algorithm1, FixedPairs, FreshPairs
from gtn_train.run.store import RunFolder
from gtn_train.seeds import derive
from gtn_train.training import (
    Metric,
    train_autoencoder,
    train_generator,
)
from gtn_train.training.fabric import make_fabric
from gtn_train.training.loop import Job, train
from gtn_train.training.stopping import Best


@pytest.mark.parametrize(
    ("decay", "rates"),
    [
        ({"learning_rate_decay": 0.5}, (1, 1 / 2, 1 / 4)),
        ({"schedule": "linear"}, (1, 2 / 3, 1 / 3)),
    ],
)
def test_a_run_is_adam_on_shuffled_batches(folder, decay, rates):
    """The whole loop by hand: order of rows, learning rates, mean losses, weights."""
    asked = options(max_epochs=3, weight_decay=0.01, seed=8, **decay)
    ours, theirs = generator(), generator()
    result = train_generator(ours, pairs(50), folder, asked)

    rows = pairs(50).epoch(1)
    theirs.set_scale(rows.labels)
    targets = (rows.labels - theirs.label_mean) / theirs.label_scale
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1.0, weight_decay=0.01)
    for epoch in (1, 2, 3):
        optimizer.param_groups[0]["lr"] = 1e-3 * rates[epoch - 1]
        seed = derive(8, "order", epoch)
        order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
        total = 0.0
        for chosen in order.split(16):  # 16, 16, 16, 2
            optimizer.zero_grad()
            errors = (theirs.normalized(rows.sources[chosen]) - targets[chosen]).square()
            loss = errors.mean()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        line = result.history[epoch - 1]
        assert line["train_loss"] == pytest.approx(total / 50, rel=1e-4)
        assert line["epoch"] == epoch
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    assert (result.epochs, result.best_epoch, result.stopped) == (3, 3, "max_epochs")
    assert result.best_value == result.history[-1]["train_loss"]
    assert not ours.training


def test_the_validation_loss(folder):
    """Same space as the training loss, evaluation mode, and it chooses the weights."""
    training, validation = pairs(60).split(0.2, seed=1)
    model = generator()
    result = train_generator(model, training, folder, options(), validation=validation)
    rows = validation.epoch(1)
    with torch.no_grad():
        errors = (model(rows.sources) - rows.labels) / model.label_scale
    assert errors.square().mean().item() == pytest.approx(result.best_value, rel=1e-5)
    losses = [line["validation_loss"] for line in result.history]
    assert result.best_value == min(losses)
    assert result.best_epoch == 1 + losses.index(min(losses))


def test_the_same_loss_falls_for_images(folder):
    train_set, held_out = images(40, (1, 8, 8)).split(0.25, 0)
    model = make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 3}, 0)
    asked = options(max_epochs=4)
    result = train_autoencoder(model, train_set, folder, asked, validation=held_out)
    losses = [line["train_loss"] for line in result.history]
    assert losses == sorted(losses, reverse=True)
    output = model(torch.from_numpy(held_out.images / 127.5 - 1).float()).detach()
    expected = ((output.numpy() - (held_out.images / 127.5 - 1)) ** 2).mean()
    assert result.best_value == pytest.approx(expected, rel=1e-4)


def test_labels_need_not_be_scaled(folder):
    model = generator()
    train_generator(model, pairs(), folder, options(max_epochs=1), scale_labels=False)
    assert torch.equal(model.label_scale, torch.ones(3))
    model.set_scale(torch.tensor([[0.0, 0, 0], [2, 2, 2]]))
    train_generator(model, pairs(), folder, options(max_epochs=1), overwrite=True)
    assert torch.equal(model.label_mean, torch.ones(3)), "a scale that is there is kept"


# ------------------------------------------------------------------------ best weights, stopping


def scripted(values):
    """A metric that gives these values, one a call."""
    remaining = iter(values)
    return Metric("score", lambda model: next(remaining), larger_is_better=True)


def test_best_weights_are_those_of_the_best_epoch(tmp_path):
    """Kept by reference they would be the last ones."""
    long, short = generator(), generator()
    result = train_generator(
        long, pairs(), RunFolder(tmp_path / "long"), options(), metric=scripted([1, 3, 2, 3, 0, 1])
    )
    assert (result.best_epoch, result.best_value, result.epochs) == (2, 3.0, 6)
    train_generator(short, pairs(), RunFolder(tmp_path / "short"), options(max_epochs=2))
    assert same(long, short)
    assert same(load_model(tmp_path / "long" / "weights.safetensors"), short)


def test_patience_counts_evaluations(tmp_path):
    def stopped_at(values, patience, every, larger=True):
        remaining = iter(values)
        metric = Metric("m", lambda model: next(remaining), larger_is_better=larger, every=every)
        result = train_generator(
            generator(),
            pairs(20),
            RunFolder(tmp_path / "run"),
            options(max_epochs=8, patience=patience),
            metric=metric,
            overwrite=True,
        )
        return result.epochs, result.best_epoch, result.stopped

    assert stopped_at([1, 2, 2, 2, 5], 2, 1) == (4, 2, "patience")
    assert stopped_at([1, 2, 1, 3, 2, 1, 4, 4], 3, 1) == (8, 7, "max_epochs")
    assert stopped_at([3, 2, 1], 2, 2) == (6, 2, "patience")
    assert stopped_at([3, 2, 1], 2, 3, larger=False) == (8, 8, "max_epochs")  # 3, 6 and the last


@pytest.mark.parametrize("found", [None, "good", torch.ones(3)])
def test_a_metric_must_give_a_number(folder, found):
    kind = type(found).__name__
    metric = Metric("score", lambda model: found, larger_is_better=True)
    with pytest.raises(TypeError, match=f"metric 'score' must give a number, got {kind}"):
        train_generator(generator(), pairs(), folder, options(), metric=metric)


def test_batch_normalisation_needs_two_pairs(folder):
    message = "batch normalisation needs batches of at least 2 pairs, got 1"
    with pytest.raises(ValueError, match=message):
        train_generator(generator(), pairs(1), folder, options())
    with pytest.raises(ValueError, match=message):
        train_generator(generator(), pairs(), folder, options(batch_size=1))
    assert not folder.weights.exists()
    train_generator(generator(batch_norm_layers=0), pairs(1), folder, options(max_epochs=1))


def test_best_copies_and_ignores_nan():
    model = nn.Linear(2, 1)
    best = Best(larger_is_better=False, patience=2)
    assert not best.exhausted
    assert best.update(1, 5.0, model)
    kept = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.fill_(9)
    assert torch.equal(best.weights["weight"], kept)
    assert not best.update(2, math.nan, model)
    assert not best.update(3, 5.0, model)
    assert best.exhausted
    other = Best(larger_is_better=False, patience=2)
    other.load_state_dict(best.state_dict())
    assert (other.epoch, other.value, other.waited) == (1, 5.0, 2)


# --------------------------------------------------------------------------------- run folder


def test_what_a_run_leaves(folder):
    (folder.path / ".gtn-label-00.tmp").write_text("of a killed process")
    folder.manifest.write_text("{}")
    model = generator()
    with FreshPairs(latents(), Algorithm1(threads=1), every=2) as fresh:
        result = train_generator(
            model,
            fresh,
            folder,
            options(max_epochs=3),
            metric=Metric("wiggle", wiggle, larger_is_better=True, every=2),
        )
        wanted = [fresh.stats(number)["mean_cosine"] for number in (0, 1)]
    files = {file.name for file in folder.path.iterdir()}
    assert files == {"config.json", "metrics.jsonl", "weights.safetensors", "last.ckpt"}
    lines = folder.read_metrics()
    assert lines == result.history
    assert [line["round"] for line in lines] == [0, 0, 1]
    assert [line.get("labels", {}).get("mean_cosine") for line in lines] == [
        wanted[0],
        None,
        wanted[1],
    ]
    assert ["wiggle" in line for line in lines] == [False, True, True]
    assert result.seconds == sum(line["seconds"] for line in lines)
    config = folder.read_config()
    assert config["latents_sha256"] == convert.sha256(latents())
    assert config["stage"] == "generator"
    assert config["options"] == json.loads(json.dumps(options(max_epochs=3).config()))
    assert config["model"] == {"kind": "generator", **model.config()}
    assert "torch" in config["versions"]
    assert same(load_model(folder.weights), model)


def test_nothing_global_is_changed(folder, capfd):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    first = generator()
    train_generator(
        first,
        pairs(),
        folder,
        options(),
        metric=Metric("noise", lambda m: torch.rand(1).item(), larger_is_better=True),
    )
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
    out, err = capfd.readouterr()
    assert not out + err


def test_progress_is_shown_on_request(folder, capfd, terminal):
    train_generator(generator(), pairs(), folder, options(max_epochs=2), progress=True)
    err = capfd.readouterr().err
    assert "generator 100%" in err
    assert re.search(r"epoch 2/2, train \d\.\d+", err)


def test_tensorboard_that_is_missing(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    message = r"^curves need TensorBoard: pip install 'gtn-label\[train\]'$"
    with pytest.raises(ImportError, match=message):
        train_generator(generator(), pairs(), folder, options(max_epochs=2), tensorboard=True)


def test_tensorboard_on_request(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train_generator(generator(), pairs(), folder, options(max_epochs=2), tensorboard=True)
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    logged = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert logged == [(line["epoch"], pytest.approx(line["train_loss"])) for line in result.history]


def test_bf16_computes_in_bf16_and_keeps_float32(folder):
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, rows):
            output = self.layer(rows)
            seen.append(output.dtype)
            return output

    model = Watched()
    run_stub(folder, model, options(max_epochs=1, precision="bf16-mixed"))
    assert set(seen) == {torch.bfloat16}
    assert model.layer.weight.dtype == torch.float32


# ------------------------------------------------------------------------------- what goes wrong


class Rows:
    """Batches of rows of zeros, whose step may be told to fail."""

    noise_dim = 0

    def __init__(self, n=10):
        self.n = n

    def start(self, epoch, device):
        return {}

    def take(self, rows):
        return (torch.ones(len(rows), 3),)


def run_stub(folder, model, asked, *, poison=None, validation=None, metric=None, resume=False):
    """The loop around any module; `poison` is the number of the call whose loss is NaN."""
    calls = []

    def step(module, batch):
        calls.append(1)
        loss = module(batch[0]).square().sum()
        return (loss * math.nan if len(calls) == poison else loss), len(batch[0]), {}

    def save(module, path):
        path.write_bytes(b"saved")

    job = Job("stub", model, step, Rows(), validation, {}, lambda: None, save, pytest.fail)
    return train(
        job,
        folder,
        asked,
        make_fabric(asked),
        metric=metric,
        progress=False,
        resume=resume,
        tensorboard=False,
    )


def test_a_loss_that_is_not_finite_names_epoch_and_step(folder):
    # Steps of an epoch: 4, 4, 2 rows, and one of validation; the 7th call is epoch 2's third.
    model = nn.Linear(3, 1)
    asked = options(batch_size=4)
    first = nn.Linear(3, 1)
    first.load_state_dict(model.state_dict())
    message = r"stub: the train loss of epoch 2, step 3 is nan, .* best weights \(epoch 1\) are in"
    with pytest.raises(RuntimeError, match=message):
        run_stub(folder, model, asked, poison=7, validation=Rows(4))
    assert folder.weights.read_bytes() == b"saved"
    assert folder.checkpoint.exists()
    run_stub(RunFolder(folder.path / "one"), first, options(batch_size=4, max_epochs=1))
    assert same(model, first), "the model holds the best weights"

    with pytest.raises(RuntimeError, match="stub: the validation loss of epoch 1, step 2 is nan"):
        run_stub(RunFolder(folder.path / "two"), model, asked, poison=5, validation=Rows(8))
    with pytest.raises(RuntimeError, match=r"metric 'score' of epoch 1 is inf.* nothing was kept"):
        run_stub(RunFolder(folder.path / "3"), model, asked, metric=scripted([math.inf]))
    unbounded = options(batch_size=4, learning_rate=1e30)
    with pytest.raises(RuntimeError, match=r"A smaller learning rate than 1e\+30 may help"):
        run_stub(RunFolder(folder.path / "4"), model, unbounded)


def test_a_full_disk_names_the_file_and_leaves_the_checkpoint(folder, monkeypatch):
    real, count = os.fsync, []
    kept = []

    def full(descriptor):
        count.append(1)
        target = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if ".tmp" in target and folder.checkpoint.exists():
            kept.append(folder.checkpoint.read_bytes())
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*checkpoint.ckpt'") as caught:
        train_generator(generator(), pairs(), folder, options())
    assert caught.value.filename == str(folder.checkpoint)
    assert folder.checkpoint.read_bytes() == kept[0]
    monkeypatch.undo()
    resumed, whole = generator(), generator()
    train_generator(resumed, pairs(), folder, options(), resume=True)
    train_generator(whole, pairs(), RunFolder(folder.path / "whole"), options())
    assert same(resumed, whole)


def test_devices_are_those_that_torchrun_started(monkeypatch):
    with pytest.raises(ValueError, match=r"got 2, and there is 1; .* torchrun --nproc-per-node 2"):
        make_fabric(options(devices=2))
    with pytest.raises(ValueError, match="precision '16-mixed' needs a GPU"):
        make_fabric(options(precision="16-mixed"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="accelerator 'cuda' is not available here"):
        make_fabric(options(accelerator="cuda"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"generator": nn.Linear(3, 3)}, TypeError, "model must be one of .*, got Linear"),
        ({"folder": "run"}, TypeError, "folder must be a RunFolder, got str"),
        ({"options": {}}, TypeError, "options must be a TrainingOptions, got dict"),
        ({"metric": wiggle}, TypeError, "metric must be a Metric, got function"),
        (
            {"pairs": FixedPairs(np.ones((9, 2)), np.ones((9, 2)))},
            ValueError,
            "pairs must have the generator's dim 3 and out_dim 3, got dim 2",
        ),
        (
            {"pairs": FixedPairs(latents(9), latents(9), classes=np.zeros(9, np.int64))},
            ValueError,
            "pairs must not have classes, as the generator has none",
        ),
        (
            {"generator": generator(classes=2)},
            ValueError,
            "pairs must have classes, as the generator has$",
        ),
        (
            {"validation": pairs(9)},
            ValueError,
            "validation pairs were made from other latents: SHA-256 [0-9a-f]+, found [0-9a-f]+",
        ),
        (
            {"options": options(patience=2)},
            ValueError,
            "patience needs validation data or a metric to go by",
        ),
    ],
)
def test_what_a_generator_is_not_trained_on(folder, changes, error, message):
    given = {"generator": generator(), "pairs": pairs(), "folder": folder, "options": options()}
    with pytest.raises(error, match=message):
        train_generator(**{**given, **changes})
    assert not list(folder.path.iterdir())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": np.zeros(3)}, TypeError, "images must be Images, got ndarray"),
        ({"validation": 3}, TypeError, "validation must be Images, got int"),
        (
            {"images": images(9)},
            ValueError,
            r"images must have the model's shape \(1, 8, 8\), got \(1, 32, 32\)",
        ),
    ],
)
def test_what_an_autoencoder_is_not_trained_on(folder, changes, error, message):
    model = make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}, 0)
    given = {"images": images(9, (1, 8, 8)), "folder": folder, "options": options()}
    with pytest.raises(error, match=message):
        train_autoencoder(model, **{**given, **changes})
    assert not list(folder.path.iterdir())


def test_one_row_left_over_does_not_stop_batch_normalisation(folder):
    train_generator(generator(), pairs(33), folder, options(max_epochs=1))
