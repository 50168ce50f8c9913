"""The average of a model's weights: by hand, in evaluation, in labels; and where it is refused."""

from __future__ import annotations

import pytest
import torch
from training_cases import generator, images, latents, options, pairs, same

from gtn_train.models.registry import load_model, make_model
from gtn_train.pairs import DriftingPairs
from gtn_train.run.store import RunFolder
from gtn_train.training import Metric, train_autoencoder, train_generator
from gtn_train.training.averaging import Average, decay_at
from gtn_train.training.loop import train


def test_the_average_by_hand():
    model, wanted = generator(), {}
    average = Average(model, 0.5)
    for step in (1, 2, 20):
        decay = min(0.5, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, tensor in average.model.state_dict().items():
                wanted[name] = tensor.clone()
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.add_(1)
        average.update(step)
        for name, tensor in model.state_dict().items():
            known = tensor
            if tensor.is_floating_point():
                known = decay * wanted[name] + (1 - decay) * tensor
            torch.testing.assert_close(average.model.state_dict()[name], known)
    assert not average.model.training
    assert not any(tensor.requires_grad for tensor in average.model.parameters())
    assert decay_at(0.999, 10**6) == 0.999


@pytest.fixture
def averages(monkeypatch):
    """All averages that a training makes."""
    made = []

    class Kept(Average):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setitem(train.__globals__, "Average", Kept)
    return made


def test_the_average_is_evaluated_and_kept(folder, averages):
    training, validation = pairs(60).split(0.2, seed=1)
    measured = []
    metric = Metric("one", lambda model: measured.append(model) or 1.0, larger_is_better=True)
    model = generator()
    result = train_generator(
        model, training, folder, options(ema=0.9), validation=validation, metric=metric
    )
    assert result.best_epoch == 1
    assert set(map(id, measured)) == {id(averages[0].model)}
    rows = validation.epoch(1)
    with torch.no_grad():
        errors = (averages[0].model(rows.sources) - rows.labels) / model.label_scale
    assert result.history[-1]["validation_loss"] == pytest.approx(
        errors.square().mean().item(), rel=1e-5
    )


def test_without_validation_the_last_average_is_kept(folder, averages, tmp_path):
    averaged, plain = generator(), generator()
    train_generator(averaged, pairs(), folder, options(ema=0.9))
    train_generator(plain, pairs(), RunFolder(tmp_path / "plain"), options())
    assert same(averaged, averages[0].model)
    assert same(averaged, load_model(folder.weights))
    assert not same(averaged, plain)


def test_training_itself_is_unchanged(folder, tmp_path):
    histories = [
        train_generator(generator(), pairs(), where, options(ema=decay)).history
        for where, decay in ((folder, 0.9), (RunFolder(tmp_path / "plain"), 0.0))
    ]
    losses = [[line["train_loss"] for line in history] for history in histories]
    assert losses[0] == losses[1]


def test_labels_follow_the_average_only_if_asked(tmp_path):
    labels = []
    for number, more in enumerate(({}, {"ema": 0.9}, {"ema": 0.9, "ema_labels": True})):
        with DriftingPairs(latents(), seed=3, threads=1) as made:
            folder = RunFolder(tmp_path / str(number))
            train_generator(generator(), made, folder, options(max_epochs=2, **more))
            labels.append(made.epoch(2).labels)
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[1], labels[2])


def test_an_average_of_an_autoencoder(folder):
    model = make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}, 1)
    small = images(20, (1, 8, 8))
    result = train_autoencoder(
        model, small, folder, options(ema=0.9, max_epochs=2), validation=small
    )
    assert result.best_value < 1


def test_the_average_is_evaluated_in_the_precision_asked_for(folder, tmp_path):
    training, validation = pairs(60).split(0.2, seed=1)
    losses = [
        train_generator(
            generator(),
            training,
            where,
            options(ema=0.9, max_epochs=2, precision=precision),
            validation=validation,
        ).best_value
        for where, precision in ((folder, "bf16-mixed"), (RunFolder(tmp_path / "b"), "32-true"))
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_labels_that_follow_nothing_are_refused(folder):
    asked = options(ema=0.9, ema_labels=True)
    with pytest.raises(ValueError, match="ema_labels needs labels that follow the generator"):
        train_generator(generator(), pairs(), folder, asked)
    model = make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}, 1)
    with pytest.raises(ValueError, match="ema_labels is for generators"):
        train_autoencoder(model, images(20, (1, 8, 8)), folder, asked)


def test_a_run_with_another_average_is_not_resumed(folder):
    def stop(model):
        raise KeyboardInterrupt

    metric = Metric("stop", stop, larger_is_better=True, every=3)
    with pytest.raises(KeyboardInterrupt):
        train_generator(generator(), pairs(), folder, options(ema=0.9), metric=metric)
    with pytest.raises(ValueError, match=r"options.ema was 0\.9 and is not given"):
        train_generator(generator(), pairs(), folder, options(), metric=metric, resume=True)
