"""`gtn-train`, the group of all its commands."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from typing import Any

import click

from gtn_label import __version__
from gtn_label.cli.console import EXIT_CODES
from gtn_label.errors import ArgumentError, ArgumentTypeError

from ..run.presets import PRESETS
from .export import export_
from .make import COMMANDS as MAKING
from .use import COMMANDS

__all__ = ["cli"]

SHOWING = (*COMMANDS, export_)

# Clearer words for a summary that must not change: every run.json of the preset holds it.
_CLEARER = {
    "two-squares": "two disjoint squares from a mixture of two normals (Fig. 9); the generator is "
    "told which normal a source is from",
}


def _presets() -> str:
    lines: list[str] = []
    for name, preset in PRESETS.items():
        indent = " " * 19
        lines += textwrap.wrap(
            _CLEARER.get(name, preset.summary),
            76,
            initial_indent=f"  {name:<17}",
            subsequent_indent=indent,
        )
    return "\n".join(lines)


class _InOrder(click.Group):
    """Lists commands in the order of a run's stages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in (("Make a run", MAKING), ("Use it", SHOWING)):
            with formatter.section(heading):
                formatter.write_dl(
                    [(str(entry.name), entry.get_short_help_str(60)) for entry in commands]
                )


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"""\b
Presets:
{_presets()}

\b
Start here:
  gtn-train fit --preset swiss-roll --out runs/roll
  gtn-train fit --preset mnist --data DATA --out runs/mnist
  gtn-train sample runs/mnist --n 64 --out samples.png
  gtn-train report runs/mnist
DATA holds MNIST/raw/*-ubyte. Nothing is downloaded.

The same command with --resume continues an interrupted run. On the CPU the weights are then the
same, bit for bit.

\b
Several GPUs, here 4:
  torchrun --nproc-per-node 4 -m gtn_train -- fit --preset celeba ...
Without the -- torchrun takes --n for an option of its own. Processes wait at
most 6 hours for process 0; GTN_TRAIN_BARRIER_SECONDS sets another limit.

\b
Exit codes:
{textwrap.indent(EXIT_CODES.format(more=""), "  ")}
Under torchrun all processes end with the code of process 0 if that one fails.""",
)
@click.version_option(__version__, prog_name="gtn-train", message="%(prog)s %(version)s")
def cli() -> None:
    """Train a generator of images or vectors on pairs of noise and data.

    The method is that of Generative Topological Networks (arXiv 2406.15152).

    A run has five stages, each with its own folder: the autoencoder, the latents, the pairs (each
    Gaussian source is matched with one latent, exactly, by gtn-label), the generator, and samples.
    `fit` makes them all. `embed` makes a stage in front: diffusion coordinates of the data.
    """


def _later(callback: Callable[..., list[str]]) -> Callable[..., Callable[[], list[str]]]:
    """Return the command as a job, to be done after click has read all options."""

    @functools.wraps(callback)
    def asked(**given: Any) -> Callable[[], list[str]]:
        context = click.get_current_context()

        def job() -> list[str]:
            try:
                return callback(**given)
            except click.UsageError as error:
                error.ctx = error.ctx or context
                raise
            except (ArgumentError, ArgumentTypeError) as error:
                kind = ValueError if isinstance(error, ValueError) else TypeError
                raise kind(error.spelled(_words(context.command))) from None

        return job

    return asked


def _words(command: click.Command) -> dict[str, str]:
    """Return the command's spelling of arguments, by their names in Python."""
    words = {str(param.name): param.opts[0] for param in command.params}
    return {name: word for name, word in words.items() if word.startswith("--")}


for _command in (*MAKING, *SHOWING):
    _command.callback = _later(_command.callback)  # type: ignore[arg-type]
    cli.add_command(_command)
