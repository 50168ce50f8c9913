"""RunSettings: the settings of a whole run, kept in its folder as run.json.

A run's folder has one subfolder per stage. Not here: the presets (presets.py), the stages
(stages.py), a stage's own files (store.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gtn_label.checks import as_integer, check_seed
from gtn_label.errors import ArgumentError, ArgumentTypeError
from gtn_label.io.atomic import atomic_file
from gtn_label.text import quoted

from ..files import DAMAGED, INVALID, brief, read_json, read_toml
from ..training import TrainingOptions
from ..training.training_options import ACCELERATORS, PRECISIONS
from .preset_fields import PRETRAINED, Preset
from .presets import PRESETS
from .sections import from_section

__all__ = ["RUN_FILE", "STAGES", "Computing", "RunSettings"]

RUN_FILE = "run.json"
MOST_CHARACTERS = 900  # of a refusal, which lists up to 25 fields
# And their subfolders. Few runs have an embedding, and those of vectors mostly no autoencoder.
STAGES = ("embedding", "autoencoder", "latents", "pairs", "generator", "samples")


@dataclass(frozen=True)
class Computing:
    """Place and speed of a run's computation.

    Another call may continue a run with other values. Only another precision decides the result,
    and makes trained stages invalid.

    Attributes
    ----------
    accelerator, devices, precision
        As in `TrainingOptions`.
    threads : int or None
        CPU threads for matching; None for all.
    weights : str or None
        File of Inception's weights, for a generator that stops by its figures.

    Raises
    ------
    TypeError, ValueError
        If an option is invalid; the message names it.
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    threads: int | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("accelerator", ACCELERATORS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ArgumentError(
                    name, f"must be one of {', '.join(known)}", repr(getattr(self, name))
                )
        as_integer(self.devices, "devices", 1)
        if self.threads is not None:
            as_integer(self.threads, "threads", 1)
        if not isinstance(self.weights, (str, type(None))):
            raise ArgumentTypeError("weights", "must be a path as str", repr(self.weights))


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides a run.

    Attributes
    ----------
    preset_name : str
        Preset that the run started from.
    preset : Preset
        The preset with all changes.
    data : str or None
        File or folder; None for a synthetic set.
    seed : int
    computing : Computing
    pretrained : str or None
        Folder of diffusers' AutoencoderKL, for a preset whose autoencoder is that.

    Raises
    ------
    TypeError, ValueError
        If data are missing, or given to a synthetic set, or a value is of the wrong type.
    """

    preset_name: str
    preset: Preset
    data: str | None
    seed: int = 0
    computing: Computing = Computing()
    pretrained: str | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, kind in (("preset_name", str), ("preset", Preset), ("computing", Computing)):
            if not isinstance(getattr(self, name), kind):
                raise ArgumentTypeError(
                    name, f"must be a {kind.__name__}", repr(getattr(self, name))
                )
        for name in ("data", "pretrained"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise ArgumentTypeError(name, "must be a path as str", repr(getattr(self, name)))
        if (self.pretrained is None) == (self.preset.autoencoder == PRETRAINED):
            raise ArgumentError(
                "pretrained",
                f"must name a folder for the autoencoder {PRETRAINED!r} alone",
                repr(self.pretrained),
            )
        if self.preset.data.synthetic and self.data is not None:
            raise ArgumentError(
                "data",
                f"must not be given for the synthetic set {self.preset.data.name!r}",
                quoted(self.data),
            )
        if not self.preset.data.synthetic and self.data is None:
            raise ValueError(
                f"data must name the file or folder of {self.preset.data.name!r}, got none"
            )

    def training(self, options: TrainingOptions) -> TrainingOptions:
        """Add this run's seed and device to a stage's training options."""
        computing = self.computing
        return replace(
            options,
            seed=self.seed,
            accelerator=computing.accelerator,
            devices=computing.devices,
            precision=computing.precision,
        )

    def write(self, out: Path) -> None:
        """Write run.json into a run's folder; a missing folder is made.

        Raises
        ------
        NotADirectoryError
            If `out` is a file.
        OSError
            If it cannot be written.
        """
        try:
            out.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise NotADirectoryError(
                f"a run needs a folder, and {quoted(out)} is or lies below a file"
            ) from None
        with atomic_file(out / RUN_FILE) as file:
            content = {**asdict(self), "preset": self.preset.config()}
            if self.pretrained is None:  # as in runs of versions without one
                del content["pretrained"]
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
            raise FileNotFoundError(
                f"{quoted(out)} holds no run of gtn-train: it has no {RUN_FILE}"
            )
        return cls._from_content(read_json(path), path)

    @classmethod
    def read_config(cls, path: str | os.PathLike[str]) -> RunSettings:
        """Read a file of settings: a run's run.json, or JSON or TOML with some of its fields.

        `preset_name` is needed. Fields that are missing below "preset" are those of the preset of
        that name, unless the section has a `summary`, as that of every run.json has. A relative
        path of `data` is one from the file's own folder.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is not valid, or a value is none that a run can have.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"config must be a file, and {quoted(path)} is not one")
        toml = path.suffix.lower() == ".toml"
        content = read_toml(path) if toml else read_json(path, INVALID)
        name = content.get("preset_name")
        if not isinstance(name, str) or name not in PRESETS:
            raise ValueError(
                f"preset_name of {quoted(path)} must be one of {', '.join(PRESETS)}, got "
                f"{brief(repr(name))}"
            )
        section = content.get("preset", {})
        if isinstance(section, Mapping) and "summary" not in section:
            content["preset"] = _merged(PRESETS[name].config(), section)
        for place in ("data", "pretrained"):
            if isinstance(content.get(place), str):
                content[place] = os.fspath((path.parent / content[place]).absolute())
        return cls._from_content({"data": None, **content}, path, INVALID)

    @classmethod
    def _from_content(
        cls, content: dict[str, Any], path: Path, fault: str = DAMAGED
    ) -> RunSettings:
        try:
            if "preset" in content:
                content["preset"] = Preset.from_config(content["preset"])
            if "computing" in content:
                content["computing"] = from_section(Computing, content["computing"], "computing")
            return from_section(cls, content, "")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{quoted(path)} {fault}: {brief(error, MOST_CHARACTERS)}") from None


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Put changes into nested sections."""
    merged = {**base, **changes}
    for name, value in changes.items():
        before = base.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            merged[name] = _merged(before, value)
    return merged
