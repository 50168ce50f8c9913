"""Random walks of `gtn-train sample`: their options, what is refused, and the file of samples.

Not here: the command (use.py), the walk (sampling/walks.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gtn_label.cli import console
from gtn_label.cli.sections import Integer
from gtn_label.text import quoted

from ..run.preset_fields import ON_EMBEDDING
from ..run.settings import RunSettings

__all__ = ["check_walk", "walk_options", "walked"]

_OPTIONS = [
    click.option(
        "--walk",
        type=Integer(min=1),
        metavar="T",
        help="Walk T steps at random from rows of the training data, in a run with --autoencoder "
        "vdae, in place of the generator, which the run may lack.",
    ),
    click.option(
        "--from",
        "start",
        type=Integer(min=0),
        metavar="ROW",
        help="Row of the training data (from 0) at which all walks start.  [default: rows at "
        "random]",
    ),
    click.option(
        "--snap", is_flag=True, help="Start each step of a walk at the nearest training latent."
    ),
]


def walk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a walk to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_walk(run: Path, asked: dict[str, Any], others: dict[str, Any]) -> None:
    """Refuse options that do not go with a walk, and a walk in a run without a VDAE.

    Parameters
    ----------
    run : path
    asked : dict
        Values of the options of a walk.
    others : dict
        Values of options that have no meaning with a walk, by their spelling.

    Raises
    ------
    click.UsageError, FileNotFoundError, ValueError
    """
    if asked["walk"] is None:
        for name, given in (("--from", asked["start"] is not None), ("--snap", asked["snap"])):
            if given:
                raise click.UsageError(f"{name} needs --walk.")
        return
    for name, value in others.items():
        if value is not None:
            raise click.UsageError(f"{name} has no meaning with --walk.")
    kind = RunSettings.read(run).preset.autoencoder
    if kind != ON_EMBEDDING:
        has = "none" if kind is None else repr(kind)
        raise ValueError(
            f"--walk needs a run with --autoencoder vdae, and the autoencoder of {quoted(run)} is "
            f"{has}"
        )


def walked(
    run: Path, asked: dict[str, Any], n: int, seed: int, out: Path, accelerator: str
) -> list[str]:
    """Walk, write the samples, and say so.

    Parameters
    ----------
    run : path
    asked : dict
        As in `check_walk`.
    n, seed : int
    out : path
    accelerator : str

    Returns
    -------
    list of str
        Lines to print.
    """
    with console.held():
        from ..run.encoded_run import EncodedRun

    encoded = EncodedRun(run, accelerator=accelerator)
    start, steps, total = asked["start"], asked["walk"], len(encoded.latents)
    if start is not None and start >= total:
        raise ValueError(f"--from must be a row below {total}, got {start}")
    rows = encoded.walk(steps, n, seed, start=start, snap=asked["snap"], progress=True)
    if out.suffix.lower() == ".npy":
        from ..files import save_array

        save_array(out, rows)
    else:
        from ..report import figures

        figures.write(out, figures.grid(rows))
    what = "image" if encoded.settings.preset.makes_images else "vector"
    return [f"{console.counted(n, what)} after {console.counted(steps, 'step')} in {out}"]
