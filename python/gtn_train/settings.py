"""RunSettings: what a whole run was asked for, kept in its folder as run.json.

A run's folder has one subfolder a stage. Not here: the stages (stages.py), a stage's own files
(run_folder.py), the presets (presets.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gtn_label.atomic import atomic_file
from gtn_label.checks import check_seed

from .presets import Preset
from .training import TrainingOptions
from .training.checkpoint import differences

__all__ = ["RUN_FILE", "Computing", "RunSettings"]

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Computing:
    """How a run computes; another call may continue it with other values.

    Attributes
    ----------
    accelerator, devices, precision
        As in `TrainingOptions`.
    threads : int or None
        Of the matching.
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    threads: int | None = None


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides a run.

    Attributes
    ----------
    preset_name : str
        Where it started from.
    preset : Preset
        With all changes.
    data : str or None
        File or folder; None for a synthetic set.
    seed : int
    computing : Computing

    Raises
    ------
    ValueError
        If data are missing, or given to a synthetic set.
    """

    preset_name: str
    preset: Preset
    data: str | None
    seed: int = 0
    computing: Computing = Computing()

    def __post_init__(self) -> None:
        check_seed(self.seed)
        synthetic = self.preset.data.synthetic
        if synthetic and self.data is not None:
            raise ValueError(
                f"data must not be given for the synthetic set {self.preset.data.name!r}, "
                f"got '{self.data}'"
            )
        if not synthetic and self.data is None:
            raise ValueError(
                f"data must name the file or folder of {self.preset.data.name!r}, got none"
            )

    def training(self, options: TrainingOptions) -> TrainingOptions:
        """Give a stage's training options this run's seed and device."""
        computing = self.computing
        return replace(
            options,
            seed=self.seed,
            accelerator=computing.accelerator,
            devices=computing.devices,
            precision=computing.precision,
        )

    def write(self, out: Path, *, change: bool = False) -> None:
        """Write run.json into a run's folder.

        Parameters
        ----------
        out : path
        change : bool
            Accept that the folder's run had other settings: its stages see to what is made anew.

        Raises
        ------
        ValueError
            If it holds a run with other settings: it says where they differ.
        """
        path = out / RUN_FILE
        content = json.loads(json.dumps(asdict(self)))
        if path.exists() and not change:
            earlier = _read(path)
            now = dict(content)
            earlier.pop("computing", None)
            now.pop("computing")
            found = differences(earlier, now)
            if found:
                raise ValueError(
                    f"'{out}' holds another run: {'; '.join(found)}. Choose another folder, or "
                    "--resume to make anew what this changes"
                )
        out.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(json.dumps(content, indent=2).encode() + b"\n")

    @classmethod
    def read(cls, out: str | os.PathLike[str]) -> RunSettings:
        """Read a run's run.json.

        Raises
        ------
        FileNotFoundError
            If the folder holds no run.
        ValueError
            If the file is damaged.
        """
        path = Path(out) / RUN_FILE
        if not path.exists():
            raise FileNotFoundError(f"'{out}' holds no run of gtn-train: it has no {RUN_FILE}")
        content = _read(path)
        try:
            content["preset"] = Preset.from_config(content["preset"])
            content["computing"] = Computing(**content["computing"])
            return cls(**content)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"'{path}' is damaged: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"'{path}' is damaged: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"'{path}' is damaged: it must hold a JSON object")
    return dict(content)
