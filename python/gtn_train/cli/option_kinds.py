"""What options of several stages share: values, sections of --help, and those of any training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gtn_label.cli.sections import Integer
from gtn_label.cli.sections import option as _option

from ..training.training_options import OPTIMIZERS

__all__ = ["COUNT", "FROM_ZERO", "PATH", "Option", "in_section", "training"]

Option = Callable[..., Any]

COUNT, FROM_ZERO = Integer(min=1), Integer(min=0)
PATH = click.Path(path_type=Path, readable=False)


def in_section(section: str) -> Callable[..., Option]:
    """Return `option` for one section."""

    def declare(*names: str, **attributes: Any) -> Option:
        return _option(section, *names, **attributes)

    return declare


def training(declare: Callable[..., Option], of: str, prefix: str, rows: str) -> list[Option]:
    """Options of a training: of the autoencoder, with a prefix, or of the generator."""
    return [
        declare(f"--{of}-epochs", type=COUNT, metavar="N", help=f"Maximum epochs of the {of}."),
        declare(
            f"--{prefix}batch-size",
            type=COUNT,
            metavar="N",
            help=f"{rows} in a step of the {of}.",
        ),
        declare(
            f"--{prefix}learning-rate",
            type=float,
            metavar="X",
            help=f"Adam's learning rate for the {of}.",
        ),
        declare(
            f"--{prefix}learning-rate-decay",
            type=float,
            metavar="X",
            help=f"Factor on the {of}'s learning rate after each epoch.",
        ),
        declare(
            f"--{prefix}schedule",
            metavar="NAME",
            help=f"Decay of the {of}'s learning rate: exponential, by that factor; linear, evenly "
            "to 0; cosine, along half a cosine to 0; or a class of torch.optim.lr_scheduler.",
        ),
        declare(
            f"--{prefix}schedule-arguments",
            metavar="JSON",
            help="Arguments of a schedule of torch, as a JSON object.  [default: {}]",
        ),
        declare(
            f"--{prefix}schedule-each",
            type=click.Choice(("epoch", "step")),
            help="Pace of a schedule of torch.  [default: epoch]",
        ),
        declare(
            f"--{prefix}warmup-steps",
            type=FROM_ZERO,
            metavar="N",
            help=f"Steps over which the {of}'s learning rate rises at first.  [default: 0]",
        ),
        declare(
            f"--{prefix}optimizer",
            type=click.Choice(OPTIMIZERS),
            help=f"Optimizer of the {of}.  [default: adam]",
        ),
        declare(
            f"--{prefix}weight-decay",
            type=float,
            metavar="X",
            help=f"L2 penalty of Adam on the {of}'s weights, or decay of AdamW.",
        ),
        declare(
            f"--{prefix}clip-norm",
            type=float,
            metavar="X",
            help=f"Largest norm of the {of}'s gradient; 0: any.  [default: 0]",
        ),
        declare(
            f"--{prefix}ema",
            type=float,
            metavar="X",
            help=f"Decay of a moving average of the {of}'s weights, which is evaluated and kept "
            "in their place; 0: none.  [default: 0]",
        ),
        declare(
            f"--{prefix}patience",
            type=FROM_ZERO,
            metavar="N",
            help=f"Stop the {of} after N evaluations in a row without improvement; 0: never.",
        ),
    ]
