"""The readers of gtn_train for targets.py: first inputs, and what their values must obey.

Each imports what it needs on the call: gtn_train is an extra.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np


def run_settings_seeds() -> dict[str, bytes]:
    from gtn_train.run.presets import PRESETS
    from gtn_train.run.settings import Computing, RunSettings

    computing = Computing("cpu", threads=2)
    found = {}
    for name in ("swiss-roll", "mnist", "vectors"):
        data = None if PRESETS[name].data.synthetic else "data/of/a/user"
        settings = RunSettings(name, PRESETS[name], data, 3, computing)
        found[name] = json.dumps(asdict(settings)).encode()
    return found


def read_run_settings(path: Path) -> Any:
    from gtn_train.run.settings import RunSettings

    return RunSettings.read(path.parent)


def inspect_run_settings(data: bytes, value: Any) -> None:
    """Whatever was read can be written, and is read as the same again."""
    from gtn_train.run.settings import RunSettings

    with tempfile.TemporaryDirectory() as folder:
        value.write(Path(folder))
        assert RunSettings.read(folder) == value, "not what is read again"


def manifest_seeds() -> dict[str, bytes]:
    from gtn_train.run.manifest import Manifest

    options = {"cone": 1, "order": "norm", "share": 0.1, "names": ["a"], "nested": {"x": None}}
    manifest = Manifest("pairs", {"latents": "0" * 64}, options, {"pairs.npz": "1" * 64}, 1.5)
    return {"whole": json.dumps(asdict(manifest)).encode()}


def read_manifest(path: Path) -> Any:
    from gtn_train.run.manifest import Manifest

    return Manifest.read(path)


def inspect_manifest(data: bytes, value: Any) -> None:
    from gtn_train.run.manifest import StageSpec
    from gtn_train.run.store import RunFolder
    from gtn_train.run.verdict import verdict

    assert all("/" not in file and file not in ("", ".", "..") for file in value.outputs), (
        "an output outside the folder"
    )
    # A verdict is reached on every manifest that is read.
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(name)
        folder.manifest.write_bytes(data)
        found = verdict(folder, StageSpec("pairs", {"latents": "0" * 64}, {"cone": 1}))
    assert found.action in ("reuse", "refuse")


def read_metrics(path: Path) -> Any:
    from gtn_train.run.store import RunFolder

    return RunFolder(path.parent, create=False).read_metrics()


def inspect_metrics(data: bytes, value: Any) -> None:
    assert all(isinstance(line, dict) for line in value)


def metrics_seeds() -> dict[str, bytes]:
    line = json.dumps({"epoch": 1, "train_loss": 0.5, "seconds": 1.25}).encode() + b"\n"
    return {"two": line + line, "cut": line + line[:20]}


def training_checkpoint_seeds() -> dict[str, bytes]:
    import torch

    from gtn_train.training.checkpoint import FORMAT

    weights = {"layer.weight": torch.ones(2, 2)}
    line = {"epoch": 1, "train_loss": 0.5, "seconds": 1.25, "labels": {"backend": "cpu"}}
    state = {
        "format": FORMAT,
        "epoch": 1,
        "model": weights,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        "precision": {},
        "best": {"epoch": 1, "value": 0.5, "waited": 0, "weights": weights},
        "history": [line],
    }
    found = {}
    for name, content in (("whole", state), ("other", weights), ("list", [state])):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        found[name] = buffer.getvalue()
    return found


def read_training_checkpoint(path: Path) -> Any:
    from gtn_train.run.store import RunFolder
    from gtn_train.training.atomic_checkpoints import AtomicCheckpoints
    from gtn_train.training.checkpoint import read_checkpoint

    plugin = AtomicCheckpoints()
    folder = RunFolder(path.parent, create=False)
    return read_checkpoint(folder, lambda file: plugin.load_checkpoint(file, weights_only=True))


def inspect_training_checkpoint(data: bytes, value: Any) -> None:
    """The history can be written, and the loop or the model refuses all that does not fit."""
    from gtn_train.training.stopping import Best

    assert isinstance(value, dict)
    json.dumps(value["history"], allow_nan=False)
    with contextlib.suppress(KeyError, TypeError):
        Best(larger_is_better=True, patience=None).load_state_dict(value["best"])


def model_seeds() -> dict[str, bytes]:
    """Generators: the weights of an autoencoder fill more than an input may have."""
    from gtn_train.models.registry import make_model, save_model

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        for layers in (1, 2):
            config = {"dim": 2, "layers": layers, "width": 2}
            save_model(make_model("generator", config, 0), path)
            found[f"layers{layers}"] = path.read_bytes()
    return found


def read_model(path: Path) -> Any:
    from gtn_train.models.registry import load_model

    return load_model(path)


def inspect_model(data: bytes, value: Any) -> None:
    """Whatever was read can be written, and is of a kind that is known."""
    from gtn_train.models.registry import KINDS

    assert type(value) in KINDS.values()
    assert not any(tensor.is_meta for tensor in value.state_dict().values()), "without weights"


def mixture_seeds() -> dict[str, bytes]:
    content = {
        "weights": [0.25, 0.75],
        "means": [[0.0, 1.0], [2.5, -1.0]],
        "stds": [[1.0, 0.5], [0.0, 2.0]],
    }
    return {"two": json.dumps(content).encode()}


def read_mixture(path: Path) -> Any:
    from gtn_train.pairs.mixture import Mixture

    return Mixture.load(path)


def inspect_mixture(data: bytes, value: Any) -> None:
    clusters = np.arange(len(value.weights))
    assert value.frames(clusters, value.means).shape == value.means.shape


def classes_seeds() -> dict[str, bytes]:
    from gtn_label.io.files import write_pairs

    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    content = {
        "sources": rows,
        "labels": rows,
        "assignment": np.array([2, 0, 1, 3]),
        "cosine": np.ones(4),
        "classes": np.array([0, 1, 0, 1]),
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.npz"
        for name, entries in (
            ("classes", content),
            ("none", {name: value for name, value in content.items() if name != "classes"}),
        ):
            write_pairs(path, entries, {"method": "gtn-train", "seed": 0})
            found[name] = path.read_bytes()
    return found


def read_classes(path: Path) -> Any:
    from gtn_train.pairs.classes import of_latents

    return of_latents(path)


def inspect_classes(data: bytes, value: Any) -> None:
    if value is None:
        return
    assert value.dtype == np.int64
    assert value.ndim == 1
    assert value.min() >= 0, "a negative class"
