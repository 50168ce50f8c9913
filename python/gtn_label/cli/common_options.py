"""Options that gtn-label and gtn-label-cluster have alike: keywords of `option`."""

from __future__ import annotations

from typing import Any

import click

from ..checks import ORDERS
from .sections import Integer

__all__ = ["CENTER", "CONE", "INDICES_ONLY", "ORDER", "SEED"]

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
