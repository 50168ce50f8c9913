"""Callbacks and loggers: what they see, when they stop a run, and their state in a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_cases import generator, options, pairs, same

from gtn_train.run.store import RunFolder
from gtn_train.training import Callback, ImageGrid, Metric, train_generator


class Seen(Callback):
    """Keeps what it sees; stops when it has counted far enough."""

    def __init__(self, stop_at=99):
        self.stop_at = stop_at
        self.count = 0
        self.calls = []

    def start(self, training):
        self.calls.append(("start", training.epoch))

    def epoch_end(self, training, figures):
        assert figures["epoch"] == training.epoch
        assert not training.model.training
        torch.rand(3)  # changes nothing
        self.count += 1
        self.calls.append(("epoch", training.epoch))
        if self.count == self.stop_at:
            training.stop()

    def end(self, training):
        self.calls.append(("end", training.epoch))
        assert (training.folder / "weights.safetensors").exists()

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Kept:
    """A logger that keeps everything."""

    def __init__(self):
        self.figures, self.images = {}, {}

    def log(self, figures, epoch):
        self.figures.setdefault(epoch, {}).update(figures)

    def log_image(self, name, image, epoch):
        self.images[name, epoch] = image


def interrupted(epoch):
    def function(model):
        function.calls += 1
        if function.calls == epoch:
            raise KeyboardInterrupt
        return 1.0

    function.calls = 0
    return Metric("one", function, larger_is_better=True)


def test_what_a_callback_sees(folder, tmp_path):
    seen, other = Seen(), Seen()
    ours, theirs = generator(), generator()
    train_generator(ours, pairs(), folder, options(max_epochs=2), callbacks=[seen, other])
    assert seen.calls == other.calls == [("start", 0), ("epoch", 1), ("epoch", 2), ("end", 2)]
    train_generator(theirs, pairs(), RunFolder(tmp_path / "plain"), options(max_epochs=2))
    assert same(ours, theirs)


def test_a_callback_stops_a_run_which_has_then_ended(folder):
    result = train_generator(generator(), pairs(), folder, options(), callbacks=[Seen(3)])
    assert (result.epochs, result.stopped) == (3, "callback")
    assert folder.read_metrics()[-1]["stopped"] == 1
    again = train_generator(generator(), pairs(), folder, options(), resume=True)
    assert again == result
    longer = train_generator(generator(), pairs(), folder, options(max_epochs=9), resume=True)
    assert longer == result


def test_a_callbacks_state_is_resumed(folder, tmp_path):
    given = {"metric": interrupted(3)}
    with pytest.raises(KeyboardInterrupt):
        train_generator(generator(), pairs(), folder, options(), callbacks=[Seen(4)], **given)
    ours, theirs = generator(), generator()
    more = {"metric": interrupted(99), "callbacks": [Seen(4)]}
    result = train_generator(ours, pairs(), folder, options(), resume=True, **more)
    more["callbacks"] = [Seen(4)]
    train_generator(theirs, pairs(), RunFolder(tmp_path / "whole"), options(), **more)
    assert (result.epochs, result.stopped) == (4, "callback")
    assert same(ours, theirs)


def test_a_callback_may_be_left_out_of_a_resumed_run(folder):
    with pytest.raises(KeyboardInterrupt):
        train_generator(
            generator(), pairs(), folder, options(), callbacks=[Seen()], metric=interrupted(3)
        )
    given = {"metric": interrupted(99), "resume": True}
    assert train_generator(generator(), pairs(), folder, options(), **given).epochs == 6


def test_loggers_have_figures_and_images(folder):
    logger, drawn = Kept(), []

    def draw(model):
        drawn.append(model)
        return np.full((4, 6, 3), len(drawn), np.uint8)

    model = generator()
    result = train_generator(
        model,
        pairs(),
        folder,
        options(max_epochs=5, schedule="linear"),
        callbacks=[ImageGrid("sheet", draw, every=2)],
        loggers=[logger],
    )
    assert drawn == [model] * 3
    assert [epoch for _, epoch in logger.images] == [1, 2, 4]
    assert logger.images["sheet", 4].shape == (4, 6, 3)
    for line in result.history:
        found = logger.figures[line["epoch"]]
        assert found.keys() == {"train_loss", "learning_rate"}
        assert found["train_loss"] == line["train_loss"]
    assert logger.figures[5]["learning_rate"] == pytest.approx(1e-3 / 5)


def test_tensorboard_has_images(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    grid = ImageGrid("sheet", lambda model: np.zeros((4, 6, 3), np.uint8))
    given = {"callbacks": [grid], "tensorboard": True}
    train_generator(generator(), pairs(), folder, options(max_epochs=2), **given)
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert [(image.step, image.width) for image in events.Images("sheet")] == [(1, 6), (2, 6)]
    assert [event.step for event in events.Scalars("learning_rate")] == [1, 2]


@pytest.mark.parametrize(
    ("picture", "error", "found"),
    [
        (None, TypeError, "NoneType"),
        (np.zeros((4, 6, 3)), TypeError, "float64"),
        (np.zeros((3, 4, 6), np.uint8), ValueError, r"shape \(3, 4, 6\)"),
    ],
)
def test_what_is_no_picture(folder, picture, error, found):
    grid = ImageGrid("sheet", lambda model: picture)
    given = {"callbacks": [grid], "loggers": [Kept()]}
    message = rf"draw of the picture 'sheet' must give uint8 \[height, width, 3\], got {found}"
    with pytest.raises(error, match=message):
        train_generator(generator(), pairs(), folder, options(max_epochs=1), **given)


def test_pictures_are_drawn_for_loggers_alone(folder):
    grid = ImageGrid("sheet", lambda model: pytest.fail("nobody looks"))
    train_generator(generator(), pairs(), folder, options(max_epochs=1), callbacks=[grid])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"callbacks": Seen()}, "callbacks must be a list, got Seen"),
        ({"callbacks": [Kept()]}, "callbacks must have the base class Callback, got Kept"),
        ({"loggers": [Seen()]}, "loggers must have log and log_image, got Seen"),
    ],
)
def test_others_are_refused(folder, given, message):
    with pytest.raises(TypeError, match=message):
        train_generator(generator(), pairs(), folder, options(), **given)
