"""RunFolder: the folder of one stage of a run, and its files.

- config.json: what a training was asked for, and the versions that ran.
- metrics.jsonl: one line an epoch.
- weights.safetensors: the best weights.
- checkpoint.ckpt: the *checkpoint* of a partial stage.
- last.ckpt: the same state at the end of training, from which a longer one can go on.
- stage.json: the *manifest* of a complete stage (manifest.py).

Every file appears whole or not at all; metrics.jsonl alone grows line by line. Not here: whether
the files are still valid (verdict.py).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gtn_label.io.atomic import atomic_file
from gtn_label.io.temporary import remove_unlocked
from gtn_label.text import quoted

from ..files import brief, is_number, parse_json, read_json, write_json
from .manifest import Manifest, StageSpec

__all__ = ["RunFolder", "fault_of_line"]


def fault_of_line(line: Mapping[str, Any]) -> str:
    """Return why an object is no line of metrics.jsonl, or nothing."""
    for name, value in line.items():
        if not (isinstance(value, dict) if name == "labels" else is_number(value)):
            kind = "an object" if name == "labels" else "a number"
            return f"{brief(name)} must be {kind}, and is {brief(value)}"
    return ""


class RunFolder:
    """A folder for one stage's files.

    Parameters
    ----------
    path : str or path
    create : bool
        Make the folder if it is missing.

    Raises
    ------
    NotADirectoryError
        If `path` is a file.
    OSError
        If the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> folder = RunFolder(tempfile.mkdtemp())
    >>> folder.write_config({"seed": 1})
    >>> folder.read_config()
    {'seed': 1}
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        self.path = Path(path)
        if not create:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise NotADirectoryError(
                f"a run needs a folder, and {quoted(self.path)} is or lies below a file"
            ) from None

    @property
    def config(self) -> Path:
        """Path of config.json."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """Path of metrics.jsonl."""
        return self.path / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        """Path of weights.safetensors."""
        return self.path / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Path of checkpoint.ckpt."""
        return self.path / "checkpoint.ckpt"

    @property
    def last(self) -> Path:
        """Path of last.ckpt."""
        return self.path / "last.ckpt"

    @property
    def state(self) -> Path:
        """Path of the state to go on from: the checkpoint, or that of an ended training."""
        return self.checkpoint if self.checkpoint.exists() else self.last

    @property
    def manifest(self) -> Path:
        """Path of stage.json."""
        return self.path / "stage.json"

    def clear(self) -> None:
        """Remove the files of an earlier run, the manifest first; other files stay.

        The order matters if the process dies half-way: without a manifest the stage is not
        complete.
        """
        outputs: list[str] = []
        with contextlib.suppress(FileNotFoundError, ValueError):
            outputs = list(Manifest.read(self.manifest).outputs)
        training = (self.checkpoint, self.last, self.weights, self.metrics, self.config)
        for file in (self.manifest, *training):
            file.unlink(missing_ok=True)
        for name in outputs:
            (self.path / name).unlink(missing_ok=True)

    def end(self, *, keep_last: bool) -> None:
        """Declare a training ended: its checkpoint is kept as last.ckpt, or removed."""
        if keep_last and self.checkpoint.exists():
            self.checkpoint.replace(self.last)
        self.checkpoint.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Declare an ended training partial again, so that it can go on from last.ckpt."""
        self.manifest.unlink(missing_ok=True)
        if self.last.exists() and not self.checkpoint.exists():
            self.last.replace(self.checkpoint)

    def sweep(self) -> None:
        """Remove the half-written temporaries of a process that was killed."""
        for file in self.path.glob(".gtn-label-*.tmp"):
            remove_unlocked(file, here=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.json."""
        write_json(self.config, config)

    def read_config(self) -> dict[str, Any]:
        """Read config.json.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it is damaged.
        """
        return read_json(self.config)

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl and flush it.

        Raises
        ------
        OSError
            If writing fails. The lines before stay, and no half line is left.
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
            If the file does not exist.
        ValueError
            If another line is no JSON object, or holds anything but numbers and "labels".
        """
        *whole, _ = self.metrics.read_bytes().split(b"\n")
        return [self._line(text, number) for number, text in enumerate(whole, 1)]

    def _line(self, text: bytes, number: int) -> dict[str, Any]:
        shown = quoted(f"{self.metrics}, line {number}")
        line = parse_json(text, shown)
        if why := fault_of_line(line):
            raise ValueError(f"{shown} is damaged: {why}")
        return line

    def write_manifest(self, spec: StageSpec, seconds: float) -> Manifest:
        """Declare a stage complete: hash its outputs and write stage.json.

        Raises
        ------
        FileNotFoundError
            If an output is missing.
        """
        manifest = Manifest.of(spec, self.path, seconds)
        manifest.write(self.manifest)
        return manifest

    def read_manifest(self) -> Manifest | None:
        """Read stage.json; None if the stage is not complete.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        return Manifest.read(self.manifest) if self.manifest.exists() else None
