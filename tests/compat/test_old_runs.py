"""Old runs of gtn-train are reused, resumed and read.

A finished run is reused stage by stage, without a byte of its files changed, and gives the same
samples and figures. An interrupted run ends with the weights of an uninterrupted one.

Manifests, hashes and everything that gtn_label computes are compared exactly. Last bits of torch's
results depend on torch's version and on the processor: the tests compare these results exactly on a
machine like the one that made the data, and within a tolerance on others.
"""

from __future__ import annotations

import json
import runpy
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from old_files import (
    BEGUN,
    EVALUATED,
    FITTED,
    FORMER_PLACE,
    FRESH,
    RESUMED,
    SAMPLED,
    SMALL_GENERATOR,
    expected,
    files,
    sha256,
    this_machine,
    unpack_runs,
)
from safetensors.numpy import load

from gtn_label import Matching
from gtn_label.checks import check_seed
from gtn_train.pairs.fixed import split_rows
from gtn_train.run.held_out import HeldOut

STAGES = ("autoencoder", "latents", "pairs", "generator", "samples")
DATA_OF = {"vectors": "v.npy", "squares": None, "images": "mnist"}
FORMER_STOP = ("--stop-by", "loss")  # the default of earlier versions
_ALGORITHM1 = ("--labeling", "algorithm1", "--order", "norm_desc", "--cone", "8")
_MNIST = (  # Table 2's network
    *("--batch-norm-layers", "2", "--slope", "0.5", "--batch-size", "128"),
    *("--learning-rate-decay", "0.95", "--patience", "10"),  # and so no linear schedule
)
FORMER_PRESETS = {  # earlier defaults of presets, where others have taken their place
    "vectors": (*_ALGORITHM1, *_MNIST),
    "images": (*_ALGORITHM1, *_MNIST),
    "squares": (
        *("--labeling", "clusters", "--by-class", "--order", "norm_desc", "--cone", "8"),
        *("--batch-norm-layers", "2", "--slope", "0.5", "--learning-rate-decay", "0.8"),
    ),
}
# Now in standardised columns and from held-out rows; copies are looked for in latents.
MEASURED_OTHERWISE = ("latents: energy distance", "copies: ")
Command = Callable[..., tuple[str, list[str]]]


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    unpack_runs(folder)
    return folder


@pytest.fixture
def runs(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy all runs into the current folder, for the test to change."""
    folder = tmp_path / "copy"
    shutil.copytree(unpacked, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def former_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw samples from the stream of earlier versions, which was `match`'s own.

    The frozen samples and figures are those of that stream. Samples have a stream of their own now,
    on purpose (tests/train/test_sampling_sample.py); everything else must give the same numbers.
    """
    for module in ("sample", "interpolation"):
        monkeypatch.setattr(f"gtn_train.sampling.{module}.sampling_seed", check_seed)


@pytest.fixture(autouse=True)
def former_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all held-out pairs give the validation loss, as in earlier versions.

    On purpose only one half of them does now: the other half is for `evaluate`.
    """

    def former(n: int, share: float, seed: int) -> HeldOut:
        training, held_out = split_rows(n, share, seed)
        return HeldOut(np.sort(training), np.sort(held_out), held_out[:0])

    monkeypatch.setattr("gtn_train.run.stages.divide", former)


@pytest.fixture
def gtn_train(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """Run `python -m gtn_train` in this process: command(*args) -> (stdout, lines of stderr).

    A process of its own would load torch again each time, which takes seconds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the old runs had

    def command(*args: str, code: int = 0) -> tuple[str, list[str]]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["gtn-train", *args])
        with pytest.raises(SystemExit) as left:
            runpy.run_module("gtn_train", run_name="__main__", alter_sys=False)
        out, err = capfd.readouterr()
        assert left.value.code == code, err
        return out, err.splitlines()

    # As a program's start it keeps the signals until the process has gone.
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield command
    for number, handler in handlers.items():
        signal.signal(number, handler)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def same_machine() -> bool:
    return this_machine() == expected()["machine"]


def close(found: Any, known: Any, same_machine: bool, rtol: float, atol: float) -> None:
    if same_machine:
        np.testing.assert_array_equal(found, known)
    np.testing.assert_allclose(found, known, rtol=rtol, atol=atol)


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        entries = flat(value, f"{prefix}{name}: ") if isinstance(value, dict) else {}
        found |= entries or {f"{prefix}{name}": value}
    return found


def manifests(run: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in run.glob("*/stage.json")}


def metrics(path: Path) -> list[dict[str, Any]]:
    """Read a metrics.jsonl, flat, without times and without the backend, which may be a GPU."""
    lines = [flat(json.loads(line)) for line in path.read_text().splitlines()]
    for line in lines:
        for name in ("seconds", "labels: seconds", "labels: backend"):
            line.pop(name, None)
    return lines


def same_metrics(found: Path, known: Path, same_machine: bool) -> None:
    """Compare two metrics.jsonl. A resumed run may describe the labels of its round once more."""
    for ours, theirs in zip(metrics(found), metrics(known), strict=True):
        about = {name for name in {*ours, *theirs} if name.startswith("labels: ")}
        assert [name for name in ours if name not in about] == [
            name for name in theirs if name not in about
        ]
        for name in ours.keys() & theirs.keys():
            close(ours[name], theirs[name], same_machine, rtol=1e-3, atol=1e-6)


def same_weights(found: bytes, known: bytes, same_machine: bool) -> None:
    """Compare two weights.safetensors."""
    new, old = load(found), load(known)
    assert new.keys() == old.keys()
    for name, tensor in old.items():
        # Where a gradient is next to 0, its last bits decide the direction of Adam's step, which is
        # as long as the learning rate. Losses and samples do not depend on such weights.
        close(new[name], tensor, same_machine, rtol=0, atol=0.02)
    if same_machine:
        assert found == known


# ------------------------------------------------------------------------------ finished runs


@pytest.mark.parametrize("name", DATA_OF)
def test_a_finished_run_is_reused(runs: Path, gtn_train: Command, name: str) -> None:
    before = files(runs / name)
    there = () if DATA_OF[name] is None else ("--data", str(DATA_OF[name]))
    _, lines = gtn_train("fit", "--out", name, "--resume", *there)
    made = [stage for stage in STAGES if (runs / name / stage).exists()]
    assert lines.pop(0).startswith("gtn-train: run: preset ")
    assert len(lines) == len(made), lines
    for line, stage in zip(lines, made, strict=True):
        assert line.startswith(f"gtn-train: {stage}: ")
        assert "again" in line or "reuse" in line, line
    after = files(runs / name)
    if there:  # the data have moved, and run.json alone says where they are
        moved = before["run.json"].replace(FORMER_PLACE.encode(), str(runs).encode())
        assert moved != before["run.json"]
        assert after["run.json"] == moved
        before["run.json"] = moved
    assert after == before
    gtn_train("fit", "--out", name, "--quiet")
    assert files(runs / name) == before


@pytest.mark.parametrize("name", SAMPLED)
def test_the_same_arrays_are_drawn(
    runs: Path, gtn_train: Command, same_machine: bool, name: str
) -> None:
    known = np.load(name)
    out = f"new-{name}"
    gtn_train(*SAMPLED[name], "--out", out, "--accelerator", "cpu")
    found = np.load(out)
    assert (found.dtype, found.shape) == (known.dtype, known.shape)
    if known.dtype == np.uint8:
        close(found.astype(int), known.astype(int), same_machine, rtol=0, atol=1)
    else:
        close(found, known, same_machine, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVALUATED)
def test_the_same_figures_are_measured(
    runs: Path, gtn_train: Command, same_machine: bool, name: str
) -> None:
    settings = runs / name / "run.json"
    settings.write_text(settings.read_text().replace(FORMER_PLACE, str(runs)))
    printed, _ = gtn_train(*EVALUATED[name], "--accelerator", "cpu")
    found, known = flat(json.loads(printed)), flat(expected()["evaluations"][name])
    for key, value in known.items():
        if key.startswith(MEASURED_OTHERWISE):
            continue
        if isinstance(value, float):
            close(found[key], value, same_machine, rtol=1e-3, atol=1e-4)
        else:
            assert found[key] == value, key


@pytest.mark.parametrize("name", DATA_OF)
def test_old_pairs_of_runs_load(unpacked: Path, name: str) -> None:
    path = unpacked / name / "pairs" / "pairs.npz"
    loaded = Matching.load(path)
    with np.load(path) as content:
        assert loaded.meta == json.loads(str(content["meta"]))
        assert loaded.meta["method"] == "gtn-train"
        for known, found in zip(
            ("assignment", "cosine", "sources", "labels"),
            (loaded.assignment, loaded.cosine, *loaded.pairs()),
            strict=True,
        ):
            np.testing.assert_array_equal(found, content[known])


def test_a_report_is_written(runs: Path, gtn_train: Command) -> None:
    before = files(runs / "vectors")
    gtn_train("report", "vectors")
    page = (runs / "vectors" / "report.html").read_text()
    for stage in manifests(runs / "vectors").values():
        for digest in stage["outputs"].values():
            assert digest in page
    assert {**files(runs / "vectors"), "report.html": b""} == {**before, "report.html": b""}


def test_a_run_from_before_stop_by_gives_the_same_samples(
    runs: Path, gtn_train: Command, same_machine: bool
) -> None:
    """Versions before commit 10cea3b wrote neither `stop_by` nor Inception's `weights`."""
    path, manifest = runs / "vectors" / "run.json", runs / "vectors" / "generator" / "stage.json"
    settings, stage = json.loads(path.read_text()), json.loads(manifest.read_text())
    assert settings["preset"].pop("stop_by") == stage["options"].pop("stop_by") == "loss"
    assert settings["computing"].pop("weights") is None
    path.write_text(json.dumps(settings))
    manifest.write_text(json.dumps(stage))
    name = "vectors-samples.npy"
    gtn_train(*SAMPLED[name], "--out", "new.npy", "--accelerator", "cpu")
    close(np.load("new.npy"), np.load(name), same_machine, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------- new runs


@pytest.mark.parametrize("name", ["vectors", "squares"])
def test_a_new_run_is_as_the_old_one(
    runs: Path, gtn_train: Command, same_machine: bool, name: str
) -> None:
    former = (*FORMER_PRESETS[name], *FORMER_STOP)
    gtn_train("fit", "-q", *FITTED[name], "--out", "new", *SMALL_GENERATOR, *former)
    new, old = runs / "new", runs / name
    added = {"generator/last.ckpt"}  # the last state, for more epochs
    assert {*files(new)} - added == {*files(old)}
    ours, theirs = manifests(new), manifests(old)
    for stage, known in theirs.items():
        assert ours[stage].keys() == known.keys()
        assert ours[stage]["options"] == known["options"]
        assert ours[stage]["inputs"].keys() == known["inputs"].keys()
        if same_machine and stage != "samples":
            assert ours[stage]["inputs"] == known["inputs"]
    settings = [json.loads((run / "run.json").read_text()) for run in (new, old)]
    for content in settings:
        del content["data"]
    assert settings[0] == settings[1]
    with np.load(new / "pairs" / "pairs.npz") as found, np.load(old / "pairs" / "pairs.npz") as was:
        assert found.files == was.files
        np.testing.assert_array_equal(found["assignment"], was["assignment"])
        close(found["sources"], was["sources"], same_machine, rtol=1e-5, atol=1e-6)
        close(found["labels"], was["labels"], same_machine, rtol=1e-5, atol=1e-6)
    weights = Path("generator", "weights.safetensors")
    same_weights((new / weights).read_bytes(), (old / weights).read_bytes(), same_machine)
    same_metrics(*(run / "generator" / "metrics.jsonl" for run in (new, old)), same_machine)
    drawn = [np.load(run / "samples" / "latents.npy") for run in (new, old)]
    close(*drawn, same_machine, rtol=1e-3, atol=1e-4)


def test_a_new_run_of_images_is_as_the_old_one(
    runs: Path, gtn_train: Command, same_machine: bool
) -> None:
    """On other machines only the first stage is compared: last bits of latents may change pairs."""
    former = (*FORMER_PRESETS["images"], *FORMER_STOP)
    gtn_train("fit", "-q", *FITTED["images"], "--out", "new", *SMALL_GENERATOR, *former)
    same_metrics(runs / "new" / "autoencoder" / "metrics.jsonl", runs / FRESH, same_machine)
    if same_machine:
        made = files(runs / "new")
        known = expected()["fresh images"]
        assert {name: sha256(made[name]) for name in known} == known


# --------------------------------------------------------------------------- interrupted runs


def test_an_interrupted_generator_goes_on(
    runs: Path, gtn_train: Command, same_machine: bool
) -> None:
    before = files(runs / "rounds")
    assert "generator/checkpoint.ckpt" in before
    _, err = gtn_train(*RESUMED["rounds"])
    said = dict.fromkeys(line.split(": ")[1] for line in err)  # a training's plan and its end
    # So small a run is warned of.
    assert list(said) == ["run", "warning", "latents", "pairs", "generator"]
    after = files(runs / "rounds")
    assert "generator/checkpoint.ckpt" not in after
    # Finished stages and the epochs before the kill are as they were: nothing was rebuilt.
    for name, content in before.items():
        if name.startswith(("latents/", "pairs/")) or name == "generator/config.json":
            assert after[name] == content
    assert after["generator/metrics.jsonl"].startswith(before["generator/metrics.jsonl"])
    same_metrics(
        runs / "rounds" / "generator" / "metrics.jsonl",
        runs / "rounds-metrics.jsonl",
        same_machine,
    )
    same_weights(
        after["generator/weights.safetensors"],
        (runs / "rounds-weights.safetensors").read_bytes(),
        same_machine,
    )
    manifest = manifests(runs / "rounds")["generator"]
    assert list(manifest["outputs"]) == ["config.json", "metrics.jsonl", "weights.safetensors"]


def test_an_interrupted_autoencoder_goes_on(
    runs: Path, gtn_train: Command, same_machine: bool
) -> None:
    before = files(runs / BEGUN)
    assert "autoencoder/checkpoint.ckpt" in before
    gtn_train(*RESUMED[BEGUN])
    after, whole = files(runs / BEGUN), files(runs / "images")
    assert "autoencoder/checkpoint.ckpt" not in after
    assert after["autoencoder/config.json"] == before["autoencoder/config.json"]
    assert after["autoencoder/metrics.jsonl"].startswith(before["autoencoder/metrics.jsonl"])
    same_metrics(
        *(runs / run / "autoencoder" / "metrics.jsonl" for run in (BEGUN, "images")), same_machine
    )
    # The best weights are those of the checkpoint (make_data.py) on every machine.
    weights = "autoencoder/weights.safetensors"
    assert after[weights] == whole[weights]
    new, old = (manifests(runs / run)["autoencoder"] for run in (BEGUN, "images"))
    for entry in ("name", "inputs", "options"):
        assert new[entry] == old[entry]
    assert list(new) == list(old)


@pytest.mark.parametrize("name", RESUMED)
def test_an_interrupted_run_is_refused_without_resume(
    runs: Path, gtn_train: Command, name: str
) -> None:
    before = files(runs / name)
    _, err = gtn_train(*(word for word in RESUMED[name] if word != "--resume"), code=2)
    assert "--resume" in err[-1]
    assert files(runs / name) == before
