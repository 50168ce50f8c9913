"""The commands that make a run: `fit` and each of its stages alone.

Options given change the preset; what the stages do is stages.py's business.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gtn_label import console
from gtn_label.checks import ORDERS

from ..pairs.options import LABELINGS
from ..presets import PRESETS, Preset, preset
from ..settings import RUN_FILE, Computing, RunSettings
from ..stages import STAGES, Stages
from ..training import TrainingOptions
from ..training.options import ACCELERATORS, PRECISIONS

__all__ = ["COMMANDS"]

_COUNT = click.IntRange(min=1)
_OPTIONS: list[Any] = [
    click.option(
        "--preset", "preset_name", metavar="NAME", help="one of those gtn-train --help lists"
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="folder or file of the data; synthetic sets have none",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        required=True,
        help="the run's folder",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), metavar="N", help="of everything random (0)"
    ),
    click.option("--latent-dim", type=_COUNT, metavar="D", help="of the autoencoder"),
    click.option(
        "--size", type=click.IntRange(min=4), metavar="PIXELS", help="of images in folders"
    ),
    click.option("--autoencoder-epochs", type=_COUNT, metavar="N", help="at most"),
    click.option("--generator-epochs", type=_COUNT, metavar="N", help="at most"),
    click.option(
        "--layers", type=_COUNT, metavar="N", help="of the generator, the output's counted"
    ),
    click.option("--width", type=_COUNT, metavar="N", help="of its hidden layers"),
    click.option("--batch-size", type=_COUNT, metavar="N", help="of the generator's training"),
    click.option("--learning-rate", type=float, metavar="X", help="of the generator's training"),
    click.option("--labeling", type=click.Choice(LABELINGS), help="how sources get their latents"),
    click.option("--order", type=click.Choice(ORDERS), help="of visits (Algorithm 1)"),
    click.option("--cone", type=_COUNT, metavar="K", help="of Algorithm 1; 1 is the paper's"),
    click.option(
        "--center/--no-center", default=None, help="centre latents before they are matched"
    ),
    click.option(
        "--standardize/--no-standardize",
        default=None,
        help="match latents of unit deviation in each coordinate",
    ),
    click.option(
        "--every",
        type=click.IntRange(min=0),
        metavar="N",
        help="epochs after which new sources are drawn and matched; 0: never, as in the paper",
    ),
    click.option(
        "--by-class/--no-by-class", default=None, help="a generator for each class's images"
    ),
    click.option("--accelerator", type=click.Choice(ACCELERATORS), default="auto", help="(auto)"),
    click.option(
        "--devices", type=_COUNT, default=1, metavar="N", help="processes, under torchrun (1)"
    ),
    click.option("--precision", type=click.Choice(PRECISIONS), default="32-true", help="(32-true)"),
    click.option("--threads", type=_COUNT, metavar="N", help="of the matching (all)"),
    click.option("--tensorboard", is_flag=True, help="write event files beside metrics.jsonl"),
    click.option(
        "--resume", is_flag=True, help="go on with a run that was interrupted or is changed"
    ),
    click.option("--quiet", "-q", is_flag=True, help="no progress, no summary"),
]
_PAIRS = ("labeling", "order", "cone", "center", "standardize", "every", "by_class")
_TRAINING = ("batch_size", "learning_rate")


def _command(name: str, stage: str, summary: str) -> click.Command:
    def work(**given: Any) -> str:
        return _make(stage, given)

    options: Callable[..., Any] = work
    for option in reversed(_OPTIONS):
        options = option(options)
    return click.command(name, help=summary)(options)


COMMANDS = [
    _command("fit", "samples", "Make a whole run: all stages, in their order."),
    _command("autoencoder", "autoencoder", "Train the autoencoder alone."),
    _command("encode", "encode", "Encode the data, training the autoencoder if that is missing."),
    _command("label", "label", "Give each Gaussian source its latent, making what is missing."),
    _command("generator", "generator", "Train the generator, making what is missing."),
]


def _make(stage: str, given: dict[str, Any]) -> str:
    out: Path = given["out"]
    quiet = given["quiet"]
    settings = _settings(out, given)

    def say(line: str) -> None:
        if not quiet:
            console.say("gtn-train", line)

    stages = Stages(
        out,
        settings,
        say=say,
        progress=not quiet and sys.stderr.isatty(),
        resume=given["resume"],
        tensorboard=given["tensorboard"],
    )
    stages.run(stage)
    return "" if quiet else summary(out, stage)


def _settings(out: Path, given: dict[str, Any]) -> RunSettings:
    """What is asked for: a preset with changes, or the folder's own run."""
    computing = Computing(
        given["accelerator"], given["devices"], given["precision"], given["threads"]
    )
    name = given["preset_name"]
    earlier = RunSettings.read(out) if (out / RUN_FILE).exists() else None
    if name is None and earlier is None:
        raise click.UsageError(f"--preset is needed: '{out}' holds no run yet.")
    if name is not None and name not in PRESETS:
        raise click.UsageError(f"--preset must be one of {', '.join(PRESETS)}, got {name!r}.")
    if name is None or (earlier is not None and earlier.preset_name == name):
        start, seed, data = earlier.preset, earlier.seed, earlier.data  # type: ignore[union-attr]
        name = earlier.preset_name  # type: ignore[union-attr]
    else:
        start, seed, data = preset(name), 0, None
    if given["data"] is not None:
        data = str(given["data"].absolute())
        if not given["data"].exists():
            raise FileNotFoundError(f"--data '{given['data']}' is not there")
    if given["seed"] is not None:
        seed = given["seed"]
    return RunSettings(name, _changed(start, given), data, seed, computing)


def _changed(start: Preset, given: dict[str, Any]) -> Preset:
    pairs = {key: given[key] for key in _PAIRS if given[key] is not None}
    training = {key: given[key] for key in _TRAINING if given[key] is not None}
    if given["generator_epochs"] is not None:
        training["max_epochs"] = given["generator_epochs"]
    changes: dict[str, Any] = {
        "pairs": replace(start.pairs, **pairs),
        "generator_training": replace(start.generator_training, **training),
    }
    for key in ("layers", "width"):
        if given[key] is not None:
            changes[key] = given[key]
    hidden = changes.get("layers", start.layers) - 1
    changes["batch_norm_layers"] = min(start.batch_norm_layers, hidden)
    if given["size"] is not None:
        changes["data"] = replace(start.data, size=given["size"])
    if given["latent_dim"] is not None or given["autoencoder_epochs"] is not None:
        if start.autoencoder_training is None:
            raise click.UsageError(
                "--latent-dim and --autoencoder-epochs need an autoencoder; this preset has none."
            )
        changes["latent_dim"] = given["latent_dim"] or start.latent_dim
        changes["autoencoder_training"] = _epochs(
            start.autoencoder_training, given["autoencoder_epochs"]
        )
    return replace(start, **changes)


def _epochs(training: TrainingOptions, epochs: int | None) -> TrainingOptions:
    return training if epochs is None else replace(training, max_epochs=epochs)


def summary(out: Path, stage: str) -> str:
    """Say what a run's stages took, and where things are.

    Parameters
    ----------
    out : path
    stage : str
        The last one of interest.
    """
    from ..run_folder import RunFolder

    names = {"encode": "latents", "label": "pairs"}
    lines, total, labeling = [], 0.0, 0.0
    for name in STAGES[: STAGES.index(stage) + 1]:
        folder = out / names.get(name, name)
        found = RunFolder(folder).stage() if folder.is_dir() else None
        if found is not None:
            lines.append(f"{found.name:<12} {found.seconds:>9.1f} s   {folder}")
            total += found.seconds
            labeling += found.seconds if found.name == "pairs" else 0.0
    lines.append(f"{'together':<12} {total:>9.1f} s")
    if labeling and stage == "samples":
        lines[-1] += f"   labeling {100 * labeling / total:.2f} % of it"
    if stage == "samples":
        lines.append(f"next: gtn-train report {out}")
    return "\n".join(lines)
