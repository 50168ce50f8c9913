"""A run goes on to more epochs, to fewer, or to another patience, as if asked so from the start."""

from __future__ import annotations

import pytest
import torch
import training_cases as cases
from training_cases import options, same

from gtn_train.pairs import DriftingPairs, FixedPairs
from gtn_train.run.store import RunFolder
from gtn_train.training import Metric, train_generator
from gtn_train.training.checkpoint import Pace

EMA = {"ema": 0.9}
DECAY = {"learning_rate_decay": 0.9}
CYCLE = {
    "schedule": "CosineAnnealingWarmRestarts",
    "schedule_arguments": {"T_0": 7},
    "schedule_each": "step",
    "warmup_steps": 9,
    "clip_norm": 0.5,
    "optimizer": "adamw",
}


def run(folder, epochs, *, until=99, drifting=False, **changes):
    """A run of so many epochs, interrupted at one of them."""
    calls = []

    def metric(model):
        calls.append(1)
        if len(calls) == until:
            raise KeyboardInterrupt
        return cases.wiggle(model)

    told = {name: changes.pop(name, False) for name in ("resume", "overwrite")}
    said = []
    model = cases.generator(batch_norm_layers=1)
    pairs = FixedPairs(cases.latents() - 3, cases.latents())
    if drifting:
        pairs = DriftingPairs(cases.latents(), every=3, seed=3, threads=1)
    with pairs:
        result = train_generator(
            model,
            pairs,
            RunFolder(folder),
            options(max_epochs=epochs, **changes),
            metric=Metric("wiggle", metric, larger_is_better=True),
            say=said.append,
            **told,
        )
    return model, result, said


@pytest.mark.parametrize("changes", [DECAY, EMA, CYCLE], ids=["decay", "ema", "cycle"])
def test_an_ended_run_goes_on(tmp_path, changes):
    run(tmp_path / "run", 3, **changes)
    ours, found, said = run(tmp_path / "run", 6, resume=True, **changes)
    theirs, wanted, _ = run(tmp_path / "whole", 6, **changes)
    assert said == ["generator: continued: options.max_epochs was 3 and is 6"]
    assert same(ours, theirs)
    assert (found.epochs, found.best_epoch) == (wanted.epochs, wanted.best_epoch)
    folder = RunFolder(tmp_path / "run")
    assert not folder.checkpoint.exists()
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2, 3, 4, 5, 6]
    config = folder.read_config()
    assert [(part["epoch"], part["options"]["max_epochs"]) for part in config["continued"]] == [
        (3, 3)
    ]
    assert run(tmp_path / "run", 6, resume=True, **changes)[1] == found, "it has ended again"


@pytest.mark.parametrize("epochs", [4, 9])
def test_an_interrupted_run_goes_on_to_another_end(tmp_path, epochs):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", 6, until=4)
    ours, found, _ = run(tmp_path / "run", epochs, resume=True)
    theirs, wanted, _ = run(tmp_path / "whole", epochs)
    assert same(ours, theirs)
    assert found.best_value == wanted.best_value


def test_a_run_goes_on_with_more_patience(tmp_path):
    _, short, _ = run(tmp_path / "run", 12, patience=2)
    assert short.stopped == "patience"
    ours, found, _ = run(tmp_path / "run", 12, patience=9, resume=True)
    theirs, wanted, _ = run(tmp_path / "whole", 12, patience=9)
    assert found.epochs == wanted.epochs > short.epochs
    assert same(ours, theirs)


def test_a_run_past_its_new_end_is_another_run(tmp_path):
    run(tmp_path / "run", 6)
    for changes in ({"epochs": 4}, {"epochs": 12, "patience": 1}):
        with pytest.raises(ValueError, match="holds the weights of an earlier run"):
            run(tmp_path / "run", **changes, resume=True)
    ours, _, said = run(tmp_path / "run", 4, resume=True, overwrite=True)
    assert said == ["generator: rebuilt: options.max_epochs was 6 and is 4"]
    assert same(ours, run(tmp_path / "whole", 4)[0])


def test_a_run_that_keeps_nothing_starts_over(tmp_path):
    run(tmp_path / "run", 3, keep_last=False)
    assert not RunFolder(tmp_path / "run").last.exists()
    with pytest.raises(ValueError, match="holds the weights of an earlier run"):
        run(tmp_path / "run", 6, resume=True)
    said = run(tmp_path / "run", 6, resume=True, overwrite=True)[2]
    assert said == ["generator: rebuilt: options.max_epochs was 3 and is 6"]


def test_a_longer_run_that_is_killed_at_once_goes_on(tmp_path):
    run(tmp_path / "run", 3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", 6, until=1, resume=True)
    folder = RunFolder(tmp_path / "run")
    assert torch.load(folder.checkpoint, weights_only=True)["epoch"] == 3
    assert folder.read_config()["options"]["max_epochs"] == 6
    assert same(run(tmp_path / "run", 6, resume=True)[0], run(tmp_path / "whole", 6)[0])


@pytest.mark.parametrize("epochs", [6, 8])
def test_labels_that_follow_go_on_from_the_end_of_a_round(tmp_path, epochs):
    """Of 8 epochs in rounds of 3, the state after the sixth is kept."""
    slow = {"checkpoint_every_epochs": 99}
    run(tmp_path / "run", epochs, drifting=True, **slow)
    kept = torch.load(RunFolder(tmp_path / "run").last, weights_only=True)
    assert kept["epoch"] == 6
    ours = run(tmp_path / "run", 10, drifting=True, resume=True, **slow)[0]
    assert same(ours, run(tmp_path / "whole", 10, drifting=True)[0])


def test_a_damaged_last_state_is_named(tmp_path):
    run(tmp_path / "run", 3)
    RunFolder(tmp_path / "run").last.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"checkpoint '.*last\.ckpt' is damaged; delete it"):
        run(tmp_path / "run", 6, resume=True)


def test_the_pace_of_checkpoints(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace(options(checkpoint_every_seconds=None), 0)
    assert pace.due(1)
    with pace.timed(1):
        now[0] = 2.0
    now[0] = 41.0
    assert not pace.due(2)
    now[0] = 42.0
    assert pace.due(2)
    slow = Pace(options(checkpoint_every_seconds=5, checkpoint_every_epochs=3), 4)
    now[0] = 47.0
    assert [slow.due(epoch) for epoch in (5, 6, 7)] == [False, False, True]
    now[0] = 46.9
    assert not slow.due(7)
