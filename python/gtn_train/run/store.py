"""The folder of a stage: its configuration, metrics, weights, checkpoint, and what it was made of.

- config.json: what was asked for, and the versions that ran.
- metrics.jsonl: one line an epoch.
- weights.safetensors: the best weights.
- checkpoint.ckpt: what an interrupted run continues from; gone when the stage is finished.
- stage.json: the manifest of a finished stage, with the SHA-256 of its inputs and outputs.

Every file appears whole or not at all; metrics.jsonl alone grows line by line. Not here: what the
files mean to training (training/checkpoint.py) and which stage needs which (pipeline.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

import gtn_label
from gtn_label.io.atomic import atomic_file

__all__ = ["RunFolder", "Stage", "file_sha256", "save_array", "versions"]

_PACKAGES = ("numpy", "torch", "torchvision", "lightning-fabric", "safetensors", "torch-fidelity")


@dataclass(frozen=True)
class Stage:
    """Manifest of a finished stage, as stage.json holds it.

    Attributes
    ----------
    name : str
        Such as "autoencoder".
    inputs : dict of str to str
        SHA-256 of each thing it was made from: data, latents, pairs, weights.
    options : dict
        What was asked for, in JSON types.
    outputs : dict of str to str
        SHA-256 of each file it made, by its name in the folder.
    seconds : float
    versions : dict of str to str
    """

    name: str
    inputs: dict[str, str]
    options: dict[str, Any]
    outputs: dict[str, str]
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)


class RunFolder:
    """A folder for one stage's files; made if it is not there.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    NotADirectoryError
        If `path` is a file.
    OSError
        If it cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> folder = RunFolder(tempfile.mkdtemp())
    >>> folder.write_config({"seed": 1})
    >>> folder.read_config()
    {'seed': 1}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise NotADirectoryError(
                f"a run needs a folder, and '{self.path}' is or lies below a file"
            ) from None

    @property
    def config(self) -> Path:
        """Where config.json is or will be."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """Where metrics.jsonl is or will be."""
        return self.path / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        """Where weights.safetensors is or will be."""
        return self.path / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Where checkpoint.ckpt is or will be."""
        return self.path / "checkpoint.ckpt"

    @property
    def manifest(self) -> Path:
        """Where stage.json is or will be."""
        return self.path / "stage.json"

    def clear(self) -> None:
        """Remove what an earlier run left, the manifest first: nothing then claims to be finished.

        Other files stay.
        """
        for file in (self.manifest, self.checkpoint, self.weights, self.metrics, self.config):
            file.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the half-written temporaries of a process that was killed."""
        for file in self.path.glob(".gtn-label-*.tmp"):
            file.unlink(missing_ok=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.json."""
        _write_json(self.config, config)

    def read_config(self) -> dict[str, Any]:
        """Read config.json.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it is damaged.
        """
        return _read_json(self.config)

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl and flush it.

        Raises
        ------
        OSError
            If that fails. The lines before stay, and no half of one is left.
        """
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        before = self.metrics.stat().st_size if self.metrics.exists() else 0
        try:
            with self.metrics.open("ab") as file:
                file.write(text)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.metrics, before)
            raise OSError(error.errno, error.strerror, str(self.metrics)) from None

    def write_metrics(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Replace metrics.jsonl: a resumed run cuts it back to its checkpoint."""
        with atomic_file(self.metrics) as file:
            for line in lines:
                file.write(json.dumps(line, allow_nan=False).encode() + b"\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl; a last line that a kill cut short is left out.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If another line is no JSON object.
        """
        *whole, _ = self.metrics.read_text().split("\n")
        return [_parse(text, f"{self.metrics}, line {i}") for i, text in enumerate(whole, 1)]

    def finish(
        self,
        name: str,
        inputs: Mapping[str, str],
        options: Mapping[str, Any],
        outputs: Iterable[str],
        seconds: float,
    ) -> Stage:
        """Write the manifest of a finished stage.

        Parameters
        ----------
        name, inputs, options, seconds
            See `Stage`.
        outputs : iterable of str
            Names of the files it made, in this folder; they are hashed here.

        Raises
        ------
        FileNotFoundError
            If one is not there.
        """
        hashes = {file: file_sha256(self.path / file) for file in sorted(outputs)}
        stage = Stage(name, dict(inputs), dict(options), hashes, seconds, versions())
        _write_json(self.manifest, asdict(stage))
        return stage

    def stage(self) -> Stage | None:
        """Read the manifest; None if the stage is not finished.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        if not self.manifest.exists():
            return None
        content = _read_json(self.manifest)
        names = {entry.name for entry in fields(Stage)}
        if set(content) != names:
            raise ValueError(
                f"'{self.manifest}' is damaged: it must have {', '.join(sorted(names))}, "
                f"and has {', '.join(sorted(content)) or 'nothing'}"
            )
        for name, kind in (("name", str), ("options", dict), ("inputs", dict), ("outputs", dict)):
            if not isinstance(content[name], kind):
                raise ValueError(
                    f"'{self.manifest}' is damaged: {name} must be a {kind.__name__}, and is "
                    f"{content[name]!r}"
                )
        if any(Path(file).name != file for file in content["outputs"]):
            raise ValueError(
                f"'{self.manifest}' is damaged: outputs must be files in its folder, and are "
                f"{', '.join(content['outputs'])}"
            )
        return Stage(**content)

    def is_finished(self, name: str, inputs: Mapping[str, str], options: Mapping[str, Any]) -> bool:
        """Whether this very stage is done and its files are still what it made.

        The manifest must name the same stage, inputs and options, and the SHA-256 of every output
        must be the manifest's.
        """
        stage = self.stage()
        if stage is None:
            return False
        asked = json.loads(json.dumps({"inputs": dict(inputs), "options": dict(options)}))
        if (stage.name, stage.inputs, stage.options) != (name, asked["inputs"], asked["options"]):
            return False
        return all(
            (self.path / file).is_file() and file_sha256(self.path / file) == known
            for file, known in stage.outputs.items()
        )


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers, without importing any of it."""
    found = {"python": platform.python_version(), "gtn-label": gtn_label.__version__}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_array(path: Path, rows: Any) -> None:
    """Write a NumPy array as .npy, whole or not at all."""
    with atomic_file(path) as file:
        np.save(file, rows, allow_pickle=False)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")


def _read_json(path: Path) -> dict[str, Any]:
    return _parse(path.read_bytes(), str(path))


def _parse(text: str | bytes, shown: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{shown}' is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"'{shown}' is damaged: it must hold a JSON object")
    return content
