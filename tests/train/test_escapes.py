"""Names in files and paths cannot steer a terminal: every reader of gtn_train escapes them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from gtn_label.io.lock import FileLock
from gtn_train.data import open_images, open_vectors
from gtn_train.evaluation.evaluate_run import kept
from gtn_train.evaluation.extractors import inception
from gtn_train.files import brief, read_json
from gtn_train.models.registry import load_model
from gtn_train.pairs import FixedPairs
from gtn_train.pairs.classes import of_latents
from gtn_train.pairs.mixture import Mixture
from gtn_train.run.finished_run import FinishedRun
from gtn_train.run.lock import RunLock
from gtn_train.run.manifest import Manifest
from gtn_train.run.settings import RunSettings
from gtn_train.run.store import RunFolder
from gtn_train.training.checkpoint import read_checkpoint

CLEAR = "\x1b[2J\u202e"


@pytest.fixture
def odd(tmp_path):
    """A folder with a name that clears the screen, and damaged files of a run."""
    folder = tmp_path / f"a{CLEAR}b"
    (folder / "evaluation").mkdir(parents=True)
    for name in ("run.json", "stage.json", "metrics.jsonl", "checkpoint.ckpt", "mixture.json"):
        (folder / name).write_text("[]\n")
    for name in ("evaluation/none.json", "x.safetensors", "x.npy", "x.npz", "x.png", "x.pt"):
        (folder / name).write_text("[]\n")
    return folder


READERS = {
    "settings": RunSettings.read,
    "no settings": lambda folder: RunSettings.read(folder / "none"),
    "finished run": FinishedRun,
    "manifest": lambda folder: Manifest.read(folder / "stage.json"),
    "metrics": lambda folder: RunFolder(folder).read_metrics(),
    "no folder": lambda folder: RunFolder(folder / "x.npy" / "below"),
    "checkpoint": lambda folder: read_checkpoint(RunFolder(folder), torch.load),
    "json": lambda folder: read_json(folder / "stage.json"),
    "mixture": lambda folder: Mixture.load(folder / "mixture.json"),
    "model": lambda folder: load_model(folder / "x.safetensors"),
    "figures": kept,
    "inception": lambda folder: inception(folder / "x.pt"),
    "no inception": lambda folder: inception(folder / "none.pt"),
    "vectors": lambda folder: open_vectors(folder / "x.npy"),
    "array": lambda folder: open_images("array", folder / "x.npy"),
    "folder": lambda folder: open_images("folder", folder, size=8),
    "no folder of images": lambda folder: open_images("folder", folder / "none", size=8),
    "mnist": lambda folder: open_images("mnist", folder),
    "cifar10": lambda folder: open_images("cifar10", folder),
    "pairs": lambda folder: FixedPairs.from_file(folder / "x.npz"),
    "classes": lambda folder: of_latents(folder / "x.npz"),
}


@pytest.mark.parametrize("name", READERS)
def test_paths_are_escaped(odd, name):
    with pytest.raises((ValueError, OSError)) as refused:
        READERS[name](odd)
    text = str(refused.value)
    assert r"a\x1b[2J\u202eb" in text
    assert text.isprintable()


def test_names_of_tensors_are_escaped(tmp_path):
    path = tmp_path / "x.safetensors"
    about = json.dumps({"kind": "generator", "config": {"dim": 1, "layers": 1, "width": 1}})
    tensors = {CLEAR: torch.zeros(1)}
    for name, shape in (("net.0.weight", (1, 1)), ("net.0.bias", 1)):
        tensors[name] = torch.zeros(shape)
    tensors |= {"label_mean": torch.zeros(1), "label_scale": torch.ones(1)}
    safetensors.torch.save_file(tensors, path, metadata={"gtn_train": about})
    with pytest.raises(ValueError, match="holds a tensor") as refused:
        load_model(path)
    assert str(refused.value).isprintable()


def test_warnings_are_escaped(odd, monkeypatch):
    monkeypatch.setattr(FileLock, "acquire", lambda self: False)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        RunLock(odd).acquire()
    assert str(warned[0].message).isprintable()


def test_a_text_is_brief():
    assert brief("a\n b\x1b") == r"a b\x1b"
    assert len(brief("x" * 10**6)) < 400
    assert brief(KeyError()) == "KeyError"


def test_latents_of_a_path_that_is_odd(odd):
    np.save(odd / "x.npy", np.zeros(3, np.float32))
    with pytest.raises((TypeError, ValueError)) as refused:
        open_vectors(Path(odd) / "x.npy")
    assert str(refused.value).isprintable()
