"""TrainingOptions and Metric: every value is checked by name."""

from __future__ import annotations

import math

import pytest
from training_cases import options, wiggle

from gtn_train.training import (
    Metric,
)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"max_epochs": 1.5}, TypeError, "max_epochs must be an int"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be > 0, got 0"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate must be finite, got nan"),
        ({"learning_rate": "1"}, TypeError, "learning_rate must be a number, got str '1'"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be >= 0, got -1"),
        ({"learning_rate_decay": 1.5}, ValueError, r"learning_rate_decay must be in \(0, 1\]"),
        ({"schedule": "step"}, ValueError, "schedule must be one of 'exponential', 'linear'"),
        (
            {"schedule": "linear", "learning_rate_decay": 0.5},
            ValueError,
            "learning_rate_decay must be 1 with schedule 'linear', got 0.5",
        ),
        (
            {"schedule": "ReduceLROnPlateau", "schedule_each": "step"},
            ValueError,
            "schedule_each must be 'epoch' with schedule ReduceLROnPlateau, .*, got 'step'",
        ),
        ({"ema": 1}, ValueError, r"ema must be in \[0, 1\), got 1"),
        ({"ema_labels": True}, ValueError, "ema_labels needs ema above 0, got 0"),
        ({"patience": 0}, ValueError, "patience must be >= 1"),
        ({"seed": -1}, ValueError, "seed must be >= 0"),
        ({"precision": "8"}, ValueError, "precision must be one of '32-true', 'bf16-mixed'"),
        ({"accelerator": "tpu"}, ValueError, "accelerator must be one of 'auto', 'cpu'"),
        ({"devices": 0}, ValueError, "devices must be >= 1"),
        ({"threads": 0}, ValueError, "threads must be >= 1"),
        ({"threads": 1025}, ValueError, "threads must be <= 1024, got 1025"),
        ({"checkpoint_every_epochs": 0}, ValueError, "checkpoint_every_epochs must be >= 1"),
    ],
)
def test_options_are_checked_by_name(changes, error, message):
    with pytest.raises(error, match=message):
        options(**changes)


def test_the_learning_rate_of_an_epoch():
    falling = options(max_epochs=4, learning_rate=1.0, schedule="linear")
    assert [falling.rate(epoch) for epoch in (1, 2, 3, 4)] == [1, 0.75, 0.5, 0.25]
    decaying = options(max_epochs=4, learning_rate=1.0, learning_rate_decay=0.5)
    assert [decaying.rate(epoch) for epoch in (1, 2, 3, 4)] == [1, 0.5, 0.25, 0.125]


def test_options_of_earlier_versions_are_theirs():
    assert "schedule" not in options().config()
    assert options(schedule="linear").config()["schedule"] == "linear"
    assert options(schedule="linear").deciding()["schedule"] == "linear"
    assert "ema" not in options(ema=0).config()
    assert options(ema=0.9).deciding()["ema"] == 0.9


def test_metrics_are_checked():
    with pytest.raises(ValueError, match="metric name must be a word other than epoch"):
        Metric("seconds", wiggle, larger_is_better=True)
    with pytest.raises(TypeError, match="metric function must be callable"):
        Metric("fid", 3, larger_is_better=False)
    with pytest.raises(ValueError, match="metric every must be >= 1"):
        Metric("fid", wiggle, larger_is_better=False, every=0)
