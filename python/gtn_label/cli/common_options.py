"""Options that gtn-label and gtn-label-cluster have alike: keywords of `option`, and rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from ..checks import ORDERS
from ..match_options import DEFAULT_TOLERANCE
from .sections import Integer, Number

__all__ = [
    "CENTER",
    "CONE",
    "INDICES_ONLY",
    "OPTIMAL",
    "ORDER",
    "SEED",
    "TOLERANCE",
    "given_options",
    "spelling",
    "take_optimal",
]

SEED: dict[str, Any] = {
    "type": Integer(min=0),
    "metavar": "N",
    "help": "Random seed of the sources drawn.  [default: 0]",
}
ORDER: dict[str, Any] = {
    "type": click.Choice(ORDERS),
    "default": "norm",
    "show_default": True,
    "help": "Order in which sources choose: small norms first, large norms first, or as given.",
}
CONE: dict[str, Any] = {
    "type": Integer(min=1),
    "default": 1,
    "show_default": True,
    "metavar": "K",
    "help": "Number of free latents of largest cosine from which a source takes the one of "
    "smallest norm; 1 is Algorithm 1.",
}
CENTER: dict[str, Any] = {
    "is_flag": True,
    "help": "Subtract the mean of the latents before matching; labels stay as given.",
}
INDICES_ONLY: dict[str, Any] = {
    "is_flag": True,
    "help": "Write assignment and cosine without the rows.",
}
OPTIMAL: dict[str, Any] = {
    "is_flag": True,
    "help": "Make the one-to-one pairs of least mean squared distance (optimal transport) in place "
    "of Algorithm 1's, with a certificate.",
}
TOLERANCE: dict[str, Any] = {
    "type": Number(min=0),
    "metavar": "T",
    "help": "Relative gap to the lower bound at which --optimal may stop; 0 is the optimum.  "
    f"[default: {DEFAULT_TOLERANCE}]",
}


def take_optimal(
    ctx: click.Context, values: dict[str, Any], others: Sequence[str]
) -> dict[str, Any] | None:
    """Take the options of --optimal out of `values`; None for a run of Algorithm 1.

    Raises
    ------
    click.UsageError
        For --tolerance alone, and for one of the `others` beside --optimal.
    """
    wanted, tolerance = values.pop("optimal"), values.pop("tolerance")
    if not wanted:
        if tolerance is not None:
            raise click.UsageError("--tolerance needs --optimal.")
        return None
    given = given_options(ctx)
    for name in others:
        if name in given:
            raise click.UsageError(f"{spelling(ctx, name)} has no meaning with --optimal.")
    return {} if tolerance is None else {"tolerance": tolerance}


def given_options(ctx: click.Context) -> set[str]:
    """Return the names of the options and arguments that the user gave."""
    unset = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    return {name for name in ctx.params if ctx.get_parameter_source(name) not in unset}


def spelling(ctx: click.Context, name: str) -> str:
    """Return an option as the command line spells it."""
    return next(param.opts[0] for param in ctx.command.params if param.name == name)
