"""VDAEOptions: the random walk that a VDAE learns, as plain values.

Not here: the model (models/vdae.py), its training (training/vdae.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from gtn_label.checks import as_integer, as_number
from gtn_label.errors import ArgumentError, ArgumentTypeError

__all__ = ["VDAEOptions"]


@dataclass(frozen=True)
class VDAEOptions:
    """Options of a variational diffusion autoencoder.

    Parameters
    ----------
    neighbours : int
        Nearest latents whose covariance is that of a step, >= 2.
    step : float
        Factor on that covariance, > 0: α of the paper.
    ridge : float
        Share of the mean variance that is added to each variance, >= 0.
    noise : float
        Standard deviation of the decoder's noise, > 0, in units of the data's. It weighs the
        reconstruction, which matters with `couple` alone.
    couple : bool
        Let the reconstruction train the covariances too, as in the paper. That makes steps shorter
        than `step` says.

    Raises
    ------
    TypeError, ValueError
        If an option is invalid; the message names it.

    Examples
    --------
    >>> VDAEOptions().step
    16.0
    """

    neighbours: int = 32
    step: float = 16.0
    ridge: float = 0.01
    noise: float = 0.1
    couple: bool = False

    def __post_init__(self) -> None:
        as_integer(self.neighbours, "vdae_neighbours", 2)
        as_number(self.ridge, "vdae_ridge", 0.0)
        for name in ("step", "noise"):
            value = getattr(self, name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
                raise ArgumentError(f"vdae_{name}", "must be above 0", repr(value))
            as_number(value, f"vdae_{name}", 0.0)
        if not isinstance(self.couple, bool):
            raise ArgumentTypeError("vdae_couple", "must be True or False", repr(self.couple))
