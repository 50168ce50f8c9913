"""The verdict: reuse, resume, rebuild or refuse, by manifest, checkpoint and weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gtn_train.run.manifest import StageSpec
from gtn_train.run.store import RunFolder
from gtn_train.run.verdict import TrainingSpec, verdict

STAGE = StageSpec(
    "encode", {"data": "ab", "weights": "cd"}, {"batch": (1, 2), "x": 0.5}, ("latents.npy",)
)
CONFIG = {"stage": "generator", "options": {"learning_rate": 0.5, "threads": 1}}


def training(ended=lambda: True, **options):
    config = {**CONFIG, "options": {**CONFIG["options"], **options}}
    return TrainingSpec(config, ("threads",), ended)


def judge(folder, asked, **permitted):
    found = verdict(folder, asked, **permitted)
    return found.action, found.why


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "stage")


@pytest.fixture
def complete(folder):
    (folder.path / "latents.npy").write_bytes(b"rows")
    folder.write_manifest(STAGE, 1.5)
    return folder


@pytest.mark.parametrize(
    ("stage", "options", "why"),
    [
        ("generator", {"training": {"max_epochs": 3}}, "--generator-epochs was 2 and is 3"),
        ("autoencoder", {"training": {"max_epochs": 3}}, "--autoencoder-epochs was 2 and is 3"),
        ("generator", {"training": {"batch_size": 3}}, "--batch-size was 2 and is 3"),
        ("autoencoder", {"training": {"batch_size": 3}}, "--autoencoder-batch-size was 2 and is 3"),
        ("autoencoder", {"kind": 3}, "--autoencoder was 2 and is 3"),
        ("generator", {"pairs": {"by_class": 3}}, "--by-class was 2 and is 3"),
        ("generator", {"validation_share": 3}, "--validation-share was 2 and is 3"),
        ("generator", {"stranger": 3}, "stranger was 2 and is 3"),
    ],
)
def test_options_are_spelled_as_the_command_has_them(tmp_path, stage, options, why):
    def twos(entry):
        return {key: twos(value) for key, value in entry.items()} if entry != 3 else 2

    folder = RunFolder(tmp_path / stage)
    folder.write_manifest(StageSpec(stage, {}, twos(options), ()), 1.5)
    _, found = judge(folder, StageSpec(stage, {}, options, ()))
    assert found == f"is no longer valid: {why}"


@pytest.mark.parametrize("asked", [STAGE, training()])
def test_an_empty_folder_is_built(tmp_path, asked):
    missing = RunFolder(tmp_path / "missing", create=False)
    assert judge(missing, asked) == ("rebuild", "")
    assert not missing.path.exists()


def test_a_complete_stage_is_reused(complete):
    assert judge(complete, STAGE) == judge(complete, STAGE, resume=True) == ("reuse", "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "label"}, "its name is 'encode'"),
        (
            {"inputs": {"data": "ef", "weights": "cd"}},
            "its input 'data' has changed (SHA-256 ab..., now ef...)",
        ),
        (
            {"inputs": {"data": "ab"}},
            "its input 'weights' has changed (SHA-256 cd..., now none)",
        ),
        ({"options": {"batch": (1, 2), "x": 0.25}}, "x was 0.5 and is 0.25"),
        ({"options": {"batch": (1, 2)}}, "x was 0.5 and is not given"),
    ],
)
def test_another_stage_is_refused_or_rebuilt(complete, changes, why):
    asked = replace(STAGE, **changes)
    refused = ("refuse", f"is no longer valid: {why}")
    assert judge(complete, asked) == judge(complete, asked, resume=True) == refused
    assert judge(complete, asked, overwrite=True) == ("rebuild", why)


def test_another_file_or_none_is_refused_or_rebuilt(complete):
    path = complete.path / "latents.npy"
    path.write_bytes(b"rowz")
    assert judge(complete, STAGE)[1].endswith("its file latents.npy is not the one it made")
    path.unlink()
    assert judge(complete, STAGE)[1].endswith("its file latents.npy is missing")
    assert judge(complete, STAGE, overwrite=True)[0] == "rebuild"


@pytest.mark.parametrize("file", ["checkpoint.ckpt", "weights.safetensors"])
def test_a_partial_stage_is_refused_or_resumed(folder, file):
    (folder.path / file).touch()
    assert judge(folder, STAGE) == ("refuse", "is unfinished")
    assert judge(folder, STAGE, resume=True) == ("resume", "")


def test_a_checkpoint_is_resumed_with_the_same_config(folder):
    folder.write_config({**CONFIG, "versions": {"torch": "1"}})
    folder.checkpoint.touch()
    for overwrite in (False, True):
        action, why = judge(folder, training(), overwrite=overwrite)
        assert (action, "holds an unfinished run: resume it" in why) == ("refuse", True)
        assert judge(folder, training(threads=9), resume=True, overwrite=overwrite)[0] == "resume"
    action, why = judge(folder, training(learning_rate=1), resume=True)
    assert action == "refuse"
    assert why.endswith("with these settings: options.learning_rate was 0.5 and is 1")
    found = judge(folder, training(learning_rate=1), resume=True, overwrite=True)
    assert found == ("rebuild", "options.learning_rate was 0.5 and is 1")


def test_weights_of_an_ended_training_are_reused(folder):
    def damaged():
        raise ValueError("no weights")

    folder.write_config(CONFIG)
    folder.weights.touch()
    assert judge(folder, training(), resume=True) == ("reuse", "")
    earlier = "holds the weights of an earlier run"
    for asked, resume, refusal, why in (
        (training(), False, earlier, "an earlier run's weights are there"),
        (training(lambda: False), True, earlier, "it had not come to its end"),
        (training(learning_rate=1), True, earlier, "options.learning_rate was 0.5 and is 1"),
        (training(damaged), True, "and is damaged; delete", "its files are damaged: no weights"),
    ):
        action, found = judge(folder, asked, resume=resume)
        assert (action, refusal in found) == ("refuse", True)
        assert judge(folder, asked, resume=resume, overwrite=True) == ("rebuild", why)
