"""Learning rates, warm-up, clipping and weight decay against torch's own, step by step."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import lr_scheduler
from training_cases import generator, options, pairs

from gtn_train.pairs import FixedPairs
from gtn_train.seeds import derive
from gtn_train.training import train_generator
from gtn_train.training.optimizers import Schedule, check_schedule, make_optimizer

ONE_CYCLE = {"max_lr": 0.01, "total_steps": 12}


def rates(steps=4, epochs=3, values=None, **changes):
    """Learning rate of each step of a few epochs."""
    asked = options(max_epochs=epochs, learning_rate=1.0, **changes)
    optimizer = make_optimizer(torch.nn.Linear(1, 1), asked)
    schedule = Schedule(asked, optimizer)
    found = []
    for epoch in range(1, epochs + 1):
        for step in range(1, steps + 1):
            schedule.before_step(epoch, (epoch - 1) * steps + step)
            schedule.after_step()
            found.append(schedule.rate)
        schedule.after_epoch(None if values is None else values[epoch - 1])
    return found


def of_torch(kind, steps, lr=1.0, **arguments):
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = getattr(lr_scheduler, kind)(optimizer, **arguments)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_and_warm_up():
    cosine = [(1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)]
    assert rates(1, schedule="cosine") == pytest.approx(cosine)
    assert rates(2, 2, warmup_steps=3) == pytest.approx([1 / 3, 2 / 3, 1, 1])
    linear = rates(2, 2, warmup_steps=4, schedule="linear")
    assert linear == pytest.approx([1 / 4, 2 / 4, 3 / 4 * 0.5, 1 * 0.5])


def test_schedules_of_torch():
    given = {"schedule": "CosineAnnealingLR", "schedule_arguments": {"T_max": 3}}
    by_epoch = of_torch("CosineAnnealingLR", 3, T_max=3)
    assert rates(1, **given) == by_epoch
    warm = rates(2, warmup_steps=2, **given)
    assert warm == pytest.approx([0.5, 1.0, *[rate for rate in by_epoch[1:] for _ in (1, 2)]])
    found = rates(schedule="OneCycleLR", schedule_arguments=ONE_CYCLE, schedule_each="step")
    assert found == of_torch("OneCycleLR", 12, **ONE_CYCLE)
    plateau = {"schedule": "ReduceLROnPlateau", "schedule_arguments": {"patience": 0}}
    assert rates(1, values=[1.0, 2.0, None], **plateau) == [1.0, 1.0, pytest.approx(0.1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "NoSuchLR"}, "schedule must be one of .* or a class of torch.optim"),
        (
            {"schedule": "StepLR", "schedule_arguments": {"gamma": 0.1}},
            "schedule_arguments must be arguments of torch's StepLR in JSON types, got .*step_size",
        ),
        ({"schedule": "LambdaLR", "schedule_arguments": {"lr_lambda": 3}}, "schedule_arguments"),
        ({"schedule": "SequentialLR"}, "schedule_arguments must be arguments of torch's"),
        ({"schedule": "LRScheduler"}, "schedule must be one of .*, got 'LRScheduler'"),
        *(
            ({"schedule": name, "schedule_arguments": given}, f"arguments of torch's {name} in")
            for name, given in (
                ("StepLR", {"step_size": "x"}),
                ("StepLR", {"step_size": 0}),
                ("ExponentialLR", {"gamma": "x"}),
                ("ReduceLROnPlateau", {"patience": "x"}),
            )
        ),
    ],
)
def test_schedules_that_torch_lacks(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        train_generator(generator(), pairs(), folder, options(**changes))
    assert list(folder.path.iterdir()) == []


def test_a_schedule_of_the_autoencoder_is_named_as_such():
    asked = options(schedule="StepLR", schedule_arguments={"step_size": "x"})
    with pytest.raises(ValueError, match=r"^autoencoder_schedule_arguments must be arguments of"):
        check_schedule(asked, "autoencoder_")


def test_a_schedule_that_is_too_short(folder):
    asked = options(
        schedule="OneCycleLR", schedule_arguments={**ONE_CYCLE}, schedule_each="step", max_epochs=9
    )
    with pytest.raises(ValueError, match="schedule_arguments must let OneCycleLR last for the"):
        train_generator(generator(), pairs(50), folder, asked)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("scheduler", "step", 3),
        ("scheduler", "last_epoch", "x"),
        ("scheduler", "_schedule_phases", []),
        ("optimizer", "lr", [1]),
        ("optimizer", "betas", 0.5),
    ],
)
def test_a_hostile_state_changes_nothing_else(part, name, value):
    asked = options(schedule="OneCycleLR", schedule_arguments=ONE_CYCLE, schedule_each="step")
    schedule = Schedule(asked, make_optimizer(torch.nn.Linear(1, 1), asked))
    state = schedule.state_dict()
    state[part] = {**state[part], name: value}
    if name == "step":
        schedule.load_state_dict(state)
        assert callable(schedule._scheduler.step)
        return
    with pytest.raises(TypeError, match=f"{name} of the schedule is"):
        schedule.load_state_dict(state)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_clipped_steps_by_hand(folder, name):
    asked = options(
        max_epochs=1, optimizer=name, clip_norm=0.01, weight_decay=0.1, warmup_steps=2, seed=8
    )
    ours, theirs = generator(), generator()
    train_generator(ours, pairs(50), folder, asked)
    rows = pairs(50).epoch(1)
    theirs.set_scale(rows.labels)
    targets = (rows.labels - theirs.label_mean) / theirs.label_scale
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    optimizer = kind(theirs.parameters(), weight_decay=0.1)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(derive(8, "order", 1)))
    for step, chosen in enumerate(order.split(16), 1):
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, step / 2)
        optimizer.zero_grad()
        (theirs.normalized(rows.sources[chosen]) - targets[chosen]).square().mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.01)
        assert norm > 0.01
        optimizer.step()
    for key, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], tensor, rtol=1e-4, atol=1e-6)


def test_a_plateau_is_one_of_the_training_loss_without_validation(folder):
    class Rates:
        def __init__(self):
            self.seen = []

        def log(self, figures, epoch):
            self.seen.append(figures["learning_rate"])

        def log_image(self, name, image, epoch):
            pass

    still = FixedPairs(torch.zeros(20, 3).numpy(), torch.zeros(20, 3).numpy())
    asked = options(
        max_epochs=4,
        learning_rate=1e-30,
        schedule="ReduceLROnPlateau",
        schedule_arguments={"patience": 0, "eps": 0.0},
    )
    logger = Rates()
    train_generator(generator(), still, folder, asked, loggers=[logger])
    assert logger.seen == pytest.approx([1e-30, 1e-30, 1e-31, 1e-32])
