"""The commands that make a run: `fit` and each of its stages alone.

Not here: their options (options.py, asked.py), the stages (run/stages.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gtn_label.cli import console
from gtn_label.cli.sections import SectionedCommand
from gtn_label.text import quoted

from ..run.settings import STAGES
from ..training.processes import is_first_process
from .asked import settings_of
from .embedded import about_embedding
from .options import options_of

__all__ = ["COMMANDS"]

_LEFT_OUT = (
    "Options that are not given keep the preset's values or, if DIR holds a run already, that "
    "run's values: `gtn-train {name} --out DIR --resume` continues a run."
)


def _command(name: str, stage: str, summary: str, more: str) -> click.Command:
    def work(**given: Any) -> list[str]:
        return _make(stage, given)

    decorated: Callable[..., Any] = work
    for option in reversed(options_of(stage)):
        decorated = option(decorated)
    text = "\n\n".join((summary, more, _LEFT_OUT.format(name=name)))
    command = click.command(name, cls=SectionedCommand, help=text, short_help=summary)
    return command(decorated)


COMMANDS = [
    _command(
        "fit",
        "samples",
        "Make a whole run: all stages in their order.",
        "DIR then holds autoencoder/, latents/, pairs/, generator/ and samples/. A complete stage "
        "is reused as long as its inputs, options and files are unchanged.",
    ),
    _command(
        "embed",
        "embedding",
        "Compute diffusion coordinates of the data, and train an encoder to them.",
        "The coordinates go to DIR/embedding/embedding.npz, the encoder's weights to "
        "DIR/embedding/weights.safetensors. The command tells into how many components the data "
        "fall, the eigenvalues, and how well the encoder does. A run with --latents-from embedding "
        "makes its latents of them.",
    ),
    _command(
        "autoencoder",
        "autoencoder",
        "Train the autoencoder alone.",
        "The weights of the lowest validation loss go to DIR/autoencoder/weights.safetensors.",
    ),
    _command(
        "encode",
        "latents",
        "Encode the data; a missing autoencoder is trained first.",
        "DIR/latents/latents.npy has one row per image, in the order of the images.",
    ),
    _command(
        "label",
        "pairs",
        "Match each Gaussian source with a latent; missing stages run first.",
        "DIR/pairs/pairs.npz has gtn-label's format. A run that draws new sources during training "
        "(--every of `generator`) starts with these pairs.",
    ),
    _command(
        "generator",
        "generator",
        "Train the generator; missing stages run first.",
        "The weights of the lowest energy distance (or see --stop-by) go to "
        "DIR/generator/weights.safetensors.",
    ),
]


def _make(stage: str, given: dict[str, Any]) -> list[str]:
    out: Path = given["out"]
    quiet = given["quiet"]
    settings = settings_of(out, {**given, "embed": stage == "embedding"})

    def say(line: str) -> None:
        if not quiet:
            console.say("gtn-train", line)

    if is_first_process():  # at once: torch takes seconds to import
        say(f"run: preset {settings.preset_name!r}, seed {settings.seed}, in {quoted(out)}")
    with console.held():
        from ..run.pipeline import run_pipeline

    run_pipeline(
        out,
        settings,
        stage,
        say=say,
        progress=not quiet,
        resume=given["resume"],
        tensorboard=given["tensorboard"],
    )
    return [] if quiet else _summary(out, stage)


def _summary(out: Path, last: str) -> list[str]:
    """Say how long each stage took and where its files are; only process 0 says so."""
    from ..run.store import RunFolder

    if not is_first_process():
        return []
    lines, total, matching = [], 0.0, 0.0
    for name in STAGES[: STAGES.index(last) + 1]:
        found = RunFolder(out / name, create=False).read_manifest()
        if found is None:
            continue
        lines.append(f"{name:<12} {found.seconds:>9.1f} s   {out / name}")
        total += found.seconds
        if name == "pairs":
            matching = found.seconds
    lines.append(f"{'together':<12} {total:>9.1f} s")
    if last == "embedding":
        return [*lines, *about_embedding(out)]
    if last == "samples":
        rounds = [
            line["labels"]
            for line in RunFolder(out / "generator").read_metrics()
            if line.get("labels", {}).get("seconds") is not None
        ]
        seconds = sum(found["seconds"] for found in rounds)
        behind = len(rounds) > 1 and "drift" not in rounds[-1]  # beside the training
        share = 100 * (matching + (0.0 if behind else seconds)) / total
        lines[-1] += f"   labels {share:.2g} % of it"
        if len(rounds) > 1:
            what = "pairs were rematched in the background of training"
            if "drift" in rounds[-1]:
                what = "labels followed the generator between rounds of training"
            lines.append(f"{what} {len(rounds)} times, {seconds:.1f} s in all")
        lines.append(f"next: gtn-train report {out}")
    return lines
