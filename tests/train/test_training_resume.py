"""Runs that are killed or interrupted go on as if nothing had happened, or say why they cannot."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import training_cases as cases
from forked import Forked

from gtn_train.evaluation.latent_metric import latent_metric
from gtn_train.models.registry import save_model
from gtn_train.pairs import DriftingPairs, FixedPairs, FreshPairs
from gtn_train.run.store import RunFolder
from gtn_train.training import Metric, train_autoencoder, train_generator
from gtn_train.training.loop import Diverged

RUNS = {
    "generator": cases.run_generator,
    "drifting": cases.run_drifting,
    "average": cases.run_average,
    "cycle": cases.run_cycle,
    "flow": cases.run_flow,
    "vae": cases.run_vae,
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """All runs, each killed by SIGKILL once it had a checkpoint and went on."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RUNS}
    printed = tmp_path_factory.mktemp("printed")
    processes = {
        name: Forked(printed, RUNS[name], folder, pause=0.1) for name, folder in folders.items()
    }
    try:
        for name, process in processes.items():
            metrics = folders[name] / "metrics.jsonl"
            while not metrics.exists() or metrics.read_text().count("\n") < 3:
                assert process.poll() is None, f"{name} ended before it could be killed"
                time.sleep(0.02)
            process.kill()
            process.wait()
    finally:
        for process in processes.values():
            process.kill()
    return folders


@pytest.mark.parametrize(("name", "run"), RUNS.items())
def test_killed_and_resumed_is_bit_for_bit_the_same(name, run, killed, tmp_path):
    folder = RunFolder(killed[name])
    assert folder.checkpoint.exists()
    assert not folder.weights.exists()
    before = len(folder.read_metrics())
    resumed, result = run(folder.path, resume=True)
    whole, expected = run(tmp_path / "whole")
    assert 3 <= before < expected.epochs, "it was killed on the way"
    assert cases.same(resumed, whole)
    assert (folder.path / "weights.safetensors").read_bytes() == (
        tmp_path / "whole" / "weights.safetensors"
    ).read_bytes()
    assert (result.best_epoch, result.best_value) == (expected.best_epoch, expected.best_value)
    lines = folder.read_metrics()
    assert [line["epoch"] for line in lines] == list(range(1, expected.epochs + 1))
    for line, wanted in zip(lines, expected.history, strict=True):
        for key in ("train_loss", "validation_loss", "wiggle", "round"):
            assert line.get(key) == wanted.get(key)
    assert not folder.checkpoint.exists()


def test_a_round_that_follows_the_generator_is_resumed_from_its_start(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), following() as pairs:
        start(folder, pairs=pairs, metric=interrupted_at(6))
    assert len(folder.read_metrics()) == 5
    assert torch.load(folder.checkpoint, weights_only=True)["epoch"] == 3, "a round ended there"
    resumed, whole = cases.generator(), cases.generator()
    with following() as pairs:
        start(folder, model=resumed, pairs=pairs, resume=True)
    with following() as pairs:
        start(RunFolder(tmp_path / "whole"), model=whole, pairs=pairs)
    assert cases.same(resumed, whole)


def test_a_run_that_stops_by_samples_is_resumed(tmp_path):
    def metric():
        return latent_metric(cases.latents(), cases.latents(40) + 0.1, n=40, seed=2)

    def interrupted():
        plain, calls = metric(), []

        def function(model):
            calls.append(1)
            if len(calls) == 4:
                signal.raise_signal(signal.SIGINT)
            return plain.function(model)

        return replace(plain, function=function)

    folder, resumed, whole = RunFolder(tmp_path / "run"), cases.generator(), cases.generator()
    with pytest.raises(KeyboardInterrupt):
        start(folder, metric=interrupted())
    ours = start(folder, model=resumed, metric=metric(), resume=True)
    theirs = start(RunFolder(tmp_path / "whole"), model=whole, metric=metric())
    assert cases.same(resumed, whole)
    assert (ours.best_epoch, ours.best_value) == (theirs.best_epoch, theirs.best_value)
    other = latent_metric(cases.latents(), cases.latents(40) + 0.2, n=40, seed=2)
    with pytest.raises(ValueError, match="holds the weights of an earlier run"):
        start(folder, metric=other, resume=True)


def test_a_generator_that_diverged_has_no_labels(tmp_path):
    message = "the generator's latents must be finite.* A smaller learning rate than 1e.30 may help"
    pairs = DriftingPairs(cases.latents(), seed=3, threads=1)  # a round for each epoch
    with pytest.raises(Diverged, match=message):
        start(
            RunFolder(tmp_path),
            pairs=pairs,
            metric=Metric("one", lambda model: 1.0, larger_is_better=True),
            batch_size=96,
            learning_rate=1e30,
        )


def following():
    return DriftingPairs(cases.latents(), every=3, seed=3, threads=1)


def interrupted_at(epoch):
    """A metric during which Ctrl-C is pressed, once."""
    calls = []

    def metric(model):
        calls.append(1)
        if len(calls) == epoch:
            signal.raise_signal(signal.SIGINT)
        return cases.wiggle(model)

    return Metric("wiggle", metric, larger_is_better=True)


def test_ctrl_c_leaves_the_last_checkpoint(tmp_path):
    folder = RunFolder(tmp_path / "run")
    asked = cases.options(checkpoint_every_epochs=2)
    pairs = FixedPairs(cases.latents() - 3, cases.latents())
    with pytest.raises(KeyboardInterrupt):
        train_generator(cases.generator(), pairs, folder, asked, metric=interrupted_at(4))
    assert len(folder.read_metrics()) == 3
    resumed, whole = cases.generator(), cases.generator()
    with pytest.raises(KeyboardInterrupt):  # before its first checkpoint: the old one stands
        train_generator(resumed, pairs, folder, asked, metric=interrupted_at(1), resume=True)
    train_generator(resumed, pairs, folder, asked, metric=interrupted_at(9), resume=True)
    train_generator(whole, pairs, RunFolder(tmp_path / "whole"), asked, metric=interrupted_at(9))
    assert cases.same(resumed, whole)


@pytest.fixture
def unfinished(tmp_path):
    """A folder whose run was interrupted in its third epoch."""
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        start(folder, metric=interrupted_at(3))
    return folder


def start(folder, *, model=None, pairs=None, metric=None, resume=False, overwrite=False, **changes):
    return train_generator(
        model or cases.generator(),
        pairs or FixedPairs(cases.latents() - 3, cases.latents()),
        folder,
        cases.options(**changes),
        metric=metric or interrupted_at(99),
        resume=resume,
        overwrite=overwrite,
    )


def scores():
    """A metric that is best in the second epoch."""
    values = iter([1.0, 3.0] + [2.0] * 98)
    return Metric("score", lambda model: next(values), larger_is_better=True)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.path.iterdir()}


def test_an_unfinished_run_is_not_overwritten(unfinished):
    before = contents(unfinished)
    with pytest.raises(ValueError, match="holds an unfinished run: resume it, choose another"):
        start(unfinished)
    assert contents(unfinished) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.5}, r"options.learning_rate was 0.001 and is 0.5"),
        (
            {"patience": 4, "seed": 2},
            r"options.patience was not given and is 4; options.seed was 0",
        ),
        ({"model": cases.generator(width=9)}, r"model.width was 8 and is 9"),
        (
            {"pairs": FixedPairs(cases.latents() - 3, cases.latents() + 1)},
            r'latents_sha256 was "[0-9a-f]{64}" and is .*; pairs.labels_sha256 was',
        ),
        (
            {"metric": Metric("wiggle", cases.wiggle, larger_is_better=False)},
            "metric.larger_is_better was true and is false",
        ),
    ],
)
def test_another_run_is_not_resumed(unfinished, changes, message):
    before = contents(unfinished)
    with pytest.raises(ValueError, match=f"holds another run, .* {message}"):
        start(unfinished, resume=True, **changes)
    assert contents(unfinished) == before


def test_another_run_starts_over_if_told_to(unfinished, tmp_path):
    train_generator(
        again := cases.generator(),
        FixedPairs(cases.latents() - 3, cases.latents()),
        unfinished,
        cases.options(learning_rate=0.5),
        resume=True,
        overwrite=True,
    )
    train_generator(
        whole := cases.generator(),
        FixedPairs(cases.latents() - 3, cases.latents()),
        RunFolder(tmp_path / "whole"),
        cases.options(learning_rate=0.5),
    )
    assert cases.same(again, whole)


@pytest.mark.parametrize("overwrite", [False, True])
def test_where_it_computes_makes_no_other_run(unfinished, tmp_path, overwrite):
    assert unfinished.checkpoint.exists()
    whole = start(RunFolder(tmp_path / "whole"))
    elsewhere = {"accelerator": "auto", "threads": None, "checkpoint_every_epochs": 3}
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        del elsewhere["accelerator"]
    result = train_generator(
        cases.generator(),
        FixedPairs(cases.latents() - 3, cases.latents()),
        unfinished,
        cases.options(**elsewhere),
        metric=interrupted_at(99),
        resume=True,
        overwrite=overwrite,
    )
    lines = unfinished.read_metrics()
    assert [line["epoch"] for line in lines] == list(range(1, whole.epochs + 1))
    assert result.epochs == whole.epochs
    assert lines[-1]["train_loss"] == pytest.approx(whole.history[-1]["train_loss"], rel=1e-4)


def test_another_source_of_pairs_is_not_resumed(unfinished):
    with (
        FreshPairs(cases.latents()) as pairs,
        pytest.raises(ValueError, match=r'pairs.kind was "fixed" and is "fresh"'),
    ):
        start(unfinished, pairs=pairs, resume=True)
    assert pairs._current is None, "nothing was matched for a run that cannot be"


def test_other_images_are_not_resumed(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(
            cases.make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}, 1),
            cases.images(9, (1, 8, 8)),
            folder,
            cases.options(),
            metric=interrupted_at(2),
        )
    with pytest.raises(ValueError, match=r"data.sha256 was .* and is"):
        train_autoencoder(
            cases.make_model("vanilla", {"image_shape": [1, 8, 8], "latent_dim": 2}, 1),
            cases.images(9, (1, 8, 8), seed=1),
            folder,
            cases.options(),
            metric=interrupted_at(99),
            resume=True,
        )


def test_a_damaged_checkpoint_is_named(unfinished):
    whole = unfinished.checkpoint.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not a checkpoint", whole[:-50]):
        unfinished.checkpoint.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint '.*checkpoint.ckpt' is damaged; delete"):
            start(unfinished, resume=True)
    torch.save({"epoch": 1}, unfinished.checkpoint)
    with pytest.raises(ValueError, match=r"is damaged; .*: gtn-train did not write it"):
        start(unfinished, resume=True)


def test_nothing_is_unpickled(unfinished, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"format": Evil()}, unfinished.checkpoint)
    with pytest.raises(ValueError, match="is damaged"):
        start(unfinished, resume=True)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_shape(unfinished):
    state = torch.load(unfinished.checkpoint, weights_only=True)
    state["model"]["net.0.weight"] = torch.zeros(2, 2)
    torch.save(state, unfinished.checkpoint)
    with pytest.raises(ValueError, match=r"does not fit the model: .*net\.0\.weight"):
        start(unfinished, resume=True)


def test_without_a_checkpoint_resume_starts(tmp_path):
    fresh, again = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    first, second = cases.generator(), cases.generator()
    start(fresh, model=first, resume=True)
    start(again, model=second)
    assert cases.same(first, second)


def test_an_ended_run_is_overwritten_only_when_told_to(tmp_path):
    folder = RunFolder(tmp_path)
    first, second = cases.generator(), cases.generator()
    start(folder, model=first)
    before = contents(folder)
    message = "holds the weights of an earlier run: overwrite it, choose"
    with pytest.raises(ValueError, match=message):
        start(folder, model=second)
    differs = rf"{message} .*\(options\.learning_rate was .* and is 0\.5\)$"
    with pytest.raises(ValueError, match=differs):
        start(folder, model=second, resume=True, learning_rate=0.5)
    assert contents(folder) == before
    start(folder, model=second, overwrite=True)
    assert cases.same(first, second)


def test_an_ended_run_is_taken_over_by_resume(tmp_path):
    folder, first, second = RunFolder(tmp_path), cases.generator(), cases.generator(seed=9)
    wanted = start(folder, model=first, metric=scores())
    before = contents(folder)
    found = start(folder, model=second, metric=scores(), resume=True)
    assert contents(folder) == before
    assert found == wanted
    assert 0 < found.best_epoch < found.epochs
    assert cases.same(first, second)
    assert not second.training


@pytest.mark.parametrize("broken", ["weights", "other weights", "metrics"])
def test_a_damaged_ended_run_is_started_over_by_overwrite(tmp_path, broken):
    folder = RunFolder(tmp_path)
    wanted = start(folder)
    if broken == "metrics":
        folder.metrics.write_text("nonsense\n")
    elif broken == "weights":
        folder.weights.write_bytes(b"x")
    else:
        save_model(cases.generator(width=9), folder.weights)
    with pytest.raises(ValueError, match=r"has ended and is damaged; delete '.*weights\.safetenso"):
        start(folder, resume=True)
    assert start(folder, resume=True, overwrite=True).best_value == wanted.best_value


def test_a_metric_about_something_else_makes_another_run(tmp_path):
    folder = RunFolder(tmp_path)
    start(folder, metric=replace(scores(), about={"seed": 1}))
    with pytest.raises(ValueError, match="holds the weights of an earlier run"):
        start(folder, metric=replace(scores(), about={"seed": 2}), resume=True)


def test_what_did_not_come_to_its_end_is_not_taken_over(tmp_path):
    folder = RunFolder(tmp_path)
    start(folder, metric=scores())
    folder.write_metrics(folder.read_metrics()[:-1])
    with pytest.raises(ValueError, match="holds the weights of an earlier run"):
        start(folder, metric=scores(), resume=True)
    wanted = start(RunFolder(tmp_path / "b"), metric=scores())
    again = start(folder, metric=scores(), resume=True, overwrite=True)
    assert again.best_value == wanted.best_value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", None),
        ("epoch", 7),
        ("model", []),
        ("model", {1: 2}),
        ("optimizer", {}),
        ("optimizer", {"state": 3, "param_groups": [3]}),
        ("precision", None),
        ("best", {}),
        ("best", {"epoch": 1, "value": "x", "waited": 0, "weights": {}}),
        ("history", [1]),
        ("history", [{"epoch": 1}]),
        ("history", [{"epoch": 1, "train_loss": "\x1b" * 900, "seconds": 1.0}]),
    ],
)
def test_a_hostile_checkpoint_changes_nothing(unfinished, name, value):
    state = torch.load(unfinished.checkpoint, weights_only=True)
    state[name] = value
    if name == "history":
        state["epoch"] = 1
    torch.save(state, unfinished.checkpoint)
    before = contents(unfinished)
    with pytest.raises(ValueError, match=r"checkpoint '.*' (is damaged|does not fit)") as refused:
        start(unfinished, resume=True)
    assert contents(unfinished) == before
    assert len(str(refused.value)) < len(str(unfinished.checkpoint)) + 500
    assert str(refused.value).isprintable()


def test_odd_protocols_of_pickle_do_not_warn(unfinished):
    for protocol in (0, 4, 77):
        unfinished.checkpoint.write_bytes(bytes([0x80, protocol]) + b"K\x01.")
        with pytest.raises(ValueError, match="is damaged"):
            start(unfinished, resume=True)  # pytest makes an error of a warning


@pytest.mark.parametrize("line", ['{"epoch": 1}', '{"train_loss": 1, "seconds": 1}', "{}"])
def test_a_history_without_its_entries_is_damaged(tmp_path, line):
    folder = RunFolder(tmp_path)
    start(folder)
    folder.metrics.write_text(f"{line}\n" * lines(folder))
    with pytest.raises(ValueError, match=r"is damaged; delete .*metrics\.jsonl' lacks "):
        start(folder, resume=True)


def lines(folder):
    return folder.metrics.read_text().count("\n")
