"""The manifest of a complete stage, stage.json: its inputs and options, and hashes of its files.

Not here: the verdict that a manifest leads to (verdict.py).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import gtn_label
from gtn_label.text import quoted

from ..files import brief, file_sha256, is_number, read_json, write_json

__all__ = ["Manifest", "StageSpec", "versions"]

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
        damaged = f"{quoted(path)} is damaged"
        names = {entry.name for entry in fields(cls)}
        if set(content) != names:
            raise ValueError(
                f"{damaged}: it must have {', '.join(sorted(names))}, "
                f"and has {brief(', '.join(sorted(content)) or 'nothing')}"
            )
        for name, (rule, holds) in _RULES.items():
            if not holds(content[name]):
                raise ValueError(f"{damaged}: {name} must be {rule}, and is {brief(content[name])}")
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


def _words(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, str) for entry in value.values())


def _files(value: Any) -> bool:
    """Return True for hashes by names of files that can only lie in the stage's own folder."""
    return _words(value) and all(re.fullmatch(r"\w[\w.-]*", name, re.ASCII) for name in value)


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a string", lambda value: isinstance(value, str)),
    "inputs": ("an object of strings", _words),
    "options": ("an object", lambda value: isinstance(value, dict)),
    "outputs": ("files in its folder, each with a string", _files),
    "seconds": ("a number >= 0", lambda value: is_number(value) and value >= 0),
    "versions": ("an object of strings", _words),
}


def versions() -> dict[str, str]:
    """Versions of Python and the packages that decide a run's numbers; imports none of them."""
    found = {"python": platform.python_version(), "gtn-label": gtn_label.__version__}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
