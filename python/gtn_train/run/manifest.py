"""The manifest of a complete stage, stage.json: what made the stage, and the hashes of its files.

Every JSON file of a run is read and written here, whole or not at all. Not here: what a manifest
means for a new run (store.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

import gtn_label
from gtn_label.io.atomic import atomic_file

__all__ = [
    "Manifest",
    "StageSpec",
    "file_sha256",
    "parse_json",
    "read_json",
    "save_array",
    "versions",
    "write_json",
]

_PACKAGES = ("numpy", "torch", "torchvision", "lightning-fabric", "safetensors", "torch-fidelity")


@dataclass(frozen=True)
class StageSpec:
    """A stage as a run asks for it.

    Attributes
    ----------
    name : str
        Such as "autoencoder"; also the stage's subfolder.
    inputs : dict of str to str
        SHA-256 of each input: data, latents, pairs, weights.
    options : dict
        Everything else that decides the files, in JSON types.
    outputs : tuple of str
        Names of the files that the stage makes.
    """

    name: str
    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """A complete stage, as stage.json holds it.

    Attributes
    ----------
    name, inputs, options
        As in `StageSpec`.
    outputs : dict of str to str
        SHA-256 of each file that the stage made, by the file's name.
    seconds : float
        Time that the stage took, interrupted parts included.
    versions : dict of str to str
        Versions of Python and the packages that decide the numbers.
    """

    name: str
    inputs: dict[str, str]
    options: dict[str, Any]
    outputs: dict[str, str]
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it is damaged.
        """
        content = read_json(path)
        names = {entry.name for entry in fields(cls)}
        if set(content) != names:
            raise ValueError(
                f"'{path}' is damaged: it must have {', '.join(sorted(names))}, "
                f"and has {', '.join(sorted(content)) or 'nothing'}"
            )
        for name, kind in (("name", str), ("options", dict), ("inputs", dict), ("outputs", dict)):
            if not isinstance(content[name], kind):
                raise ValueError(
                    f"'{path}' is damaged: {name} must be a {kind.__name__}, and is "
                    f"{content[name]!r}"
                )
        if any(Path(file).name != file for file in content["outputs"]):
            raise ValueError(
                f"'{path}' is damaged: outputs must be files in its folder, and are "
                f"{', '.join(content['outputs'])}"
            )
        return cls(**content)

    @classmethod
    def of(cls, spec: StageSpec, folder: Path, seconds: float) -> Manifest:
        """Describe a stage whose files are complete, and hash them.

        Raises
        ------
        FileNotFoundError
            If an output is missing.
        """
        hashes = {file: file_sha256(folder / file) for file in sorted(spec.outputs)}
        return cls(spec.name, dict(spec.inputs), dict(spec.options), hashes, seconds, versions())

    def write(self, path: Path) -> None:
        """Write the manifest."""
        write_json(path, asdict(self))


def versions() -> dict[str, str]:
    """Versions of Python and the packages that decide a run's numbers; imports none of them."""
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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises ValueError if the file is damaged."""
    return parse_json(path.read_bytes(), str(path))


def parse_json(text: str | bytes, shown: str) -> dict[str, Any]:
    """Parse a JSON object; `shown` names its place in messages."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{shown}' is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"'{shown}' is damaged: it must hold a JSON object")
    return content
