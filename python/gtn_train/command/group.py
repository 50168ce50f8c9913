"""`gtn-train`, the group of all its commands."""

from __future__ import annotations

import click

from gtn_label import __version__

from ..presets import PRESETS
from .making import COMMANDS as MAKING
from .showing import COMMANDS as SHOWING

__all__ = ["cli"]

_PRESETS = "\n".join(f"  {name:<14} {preset.summary}" for name, preset in PRESETS.items())


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"""\b
Presets:
{_PRESETS}

\b
Start here:
  gtn-train fit --preset mnist --data DATA --out runs/mnist
  gtn-train sample runs/mnist --n 64 --out samples.png
  gtn-train report runs/mnist
DATA holds MNIST/raw/*-ubyte. Nothing is downloaded. A run that was interrupted goes on with the
same command and --resume, and ends with the same weights on the CPU.

\b
Exit codes: 0 done, 2 wrong usage or input, 130 interrupted.""",
)
@click.version_option(__version__, prog_name="gtn-train")
def cli() -> None:
    """Train a generator of images or vectors on noise-to-data pairs.

    By the method of Generative Topological Networks (arXiv 2406.15152).

    A run has five stages, each with a folder of its own: an autoencoder, its latents, their labels
    (exact pairs of Gaussian sources and latents, by gtn-label), the generator, and samples. `fit`
    makes them all; a finished stage is used again as long as what it was made from is unchanged.
    """


for _command in (*MAKING, *SHOWING):
    cli.add_command(_command)
