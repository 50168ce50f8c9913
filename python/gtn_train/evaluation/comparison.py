"""The latents of a run beside baselines: the same figures, from the same held-out rows, for all.

The last line of a table is the floor: real rows in place of generated ones. Not here: the baselines
(baselines.py), images (images.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data import SYNTHETIC
from ..models.autoencoder import encode_all
from ..run.doubts import FEW_ROWS
from ..run.held_out import trains_on_all
from ..seeds import derive, random_numbers
from .geometry import mmd
from .latents import StandardizedDistance, Standardizer, norm_statistics
from .neighbours import Memorisation, memorisation

if TYPE_CHECKING:
    from ..data import Images
    from ..run.finished_run import FinishedRun

__all__ = [
    *("ENERGY", "FLOOR", "GAUSSIAN", "GENERATOR", "MMD"),
    *("Real", "compare", "few_held_out", "worse_than_gaussian"),
]

ENERGY_ROWS = 4_000  # 16 million distances
MMD_ROWS = 2_000  # 12 million exponentials
NEIGHBOUR_SAMPLES = 1_000

ENERGY, MMD = "energy distance / √d", "MMD × 1,000"
GENERATOR, GAUSSIAN, FLOOR = "generator", "one Gaussian", "two real samples"


@dataclass(frozen=True)
class Real:
    """Real latents: those that the generator was trained on, and held-out ones.

    Attributes
    ----------
    rows : int64 [m]
        Rows of the run's latents that the generator was trained on.
    training, held_out : [m, dim] and [k, dim]
    what : str
        Origin of the held-out latents.
    """

    rows: NDArray[np.int64]
    training: NDArray[Any]
    held_out: NDArray[Any]
    what: str

    @classmethod
    def of_run(cls, run: FinishedRun, test: Images | None, seed: int) -> Real:
        """Take test images, fresh draws, or latents of which no pair was trained on.

        Parameters
        ----------
        run : FinishedRun
        test : Images or None
            Test images, if there are any.
        seed : int
            Random seed of choices and draws.
        """
        preset, parts = run.settings.preset, run.held_out
        every_row = trains_on_all(preset)
        rows = np.arange(len(run.latents)) if every_row else parts.training
        training = run.latents[rows]
        if test is not None:
            chosen = random_numbers(seed, "real").permutation(test.n)[:ENERGY_ROWS]
            latents = encode_all(run.autoencoder, test.images[np.sort(chosen)])
            return cls(rows, training, latents, "test images")
        if preset.data.synthetic and preset.latents_from == "data":
            n = min(preset.data.n or 0, ENERGY_ROWS)
            fresh = SYNTHETIC[preset.data.name](n, derive(run.settings.seed, "held out", seed))
            if run.autoencoder is not None:
                fresh = encode_all(run.autoencoder, fresh)
            return cls(rows, training, fresh, "fresh draws")
        held_out, what = parts.reported, "held-out rows"
        if every_row:
            what = "rows that were trained on too"
        elif not len(held_out):  # a single row was held out
            held_out, what = parts.stopping, "held-out rows, by which training stopped"
        elif run.autoencoder is not None:
            what += " of the generator, which the autoencoder has seen"
        return cls(rows, training, run.latents[held_out], what)


def compare(
    methods: Mapping[str, NDArray[Any]], real: Real, seed: int
) -> tuple[dict[str, dict[str, Any]], Memorisation]:
    """Measure samples of several methods, and real rows as their floor.

    Parameters
    ----------
    methods : dict of name to [n, dim]
        Samples; the generator's first.
    real : Real
    seed : int
        Random seed of the choice of rows.

    Returns
    -------
    table : dict
        Figures of each method by name: the energy distance to the held-out rows in standardised
        columns, over the root of the dimension; 1,000 times `geometry.mmd` there; means and
        deviations of norms over those of the training rows; the median distance to the nearest
        training row over that of held-out rows. nan for a figure that so few rows do not give.
    nearest : Memorisation
        Training rows nearest to the first method's samples.
    """
    scale = Standardizer(real.training)
    training, held_out = scale(real.training), scale(real.held_out)
    distance = StandardizedDistance(real.held_out[:ENERGY_ROWS], scale)

    def line(rows: NDArray[Any], nearest_ratio: float) -> dict[str, Any]:
        norms = norm_statistics(rows, real.training, center=True)
        return {
            ENERGY: energy(rows),
            MMD: discrepancy(rows),
            "mean norm ratio": norms["mean ratio"],
            "spread of norms": norms["spread"],
            "nearest row ratio": nearest_ratio,
        }

    def energy(rows: NDArray[Any]) -> float:
        if min(len(rows), len(held_out)) < 2:
            return float("nan")
        return distance(rows[:ENERGY_ROWS])

    def discrepancy(rows: NDArray[Any]) -> float:
        if min(len(rows), len(held_out)) < 2:
            return float("nan")
        return 1000 * mmd(scale(rows[:MMD_ROWS]), held_out[:MMD_ROWS])

    table: dict[str, dict[str, Any]] = {}
    nearest: list[Memorisation] = []
    for name, rows in methods.items():
        nearest.append(memorisation(scale(rows[:NEIGHBOUR_SAMPLES]), training, held_out))
        table[name] = line(rows, nearest[-1].figures()["ratio"])
    count = min(len(training), max(len(real.held_out), 2), ENERGY_ROWS)
    some = np.sort(random_numbers(seed, "floor").permutation(len(training))[:count])
    other = real.training[some]
    table[FLOOR] = {
        **line(real.held_out, 1.0),
        ENERGY: energy(other),
        MMD: discrepancy(other),
    }
    return table, nearest[0]


def few_held_out(real: Real) -> list[str]:
    """Warn of a handful of held-out rows, whose figures say nothing.

    Parameters
    ----------
    real : Real
    """
    n = len(real.held_out)
    if n >= FEW_ROWS:
        return []
    return [
        f"{ENERGY} and nearest row ratio compare with {n} held-out rows, fewer than {FEW_ROWS}: "
        "they decide nothing"
    ]


def worse_than_gaussian(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Warn of each distance in which the generator is above the Gaussian.

    An energy distance below that of two real samples, in size, is noise: the generator is then
    as good as real data, as far as so few rows can tell.

    Parameters
    ----------
    table : dict
        From `compare`, perhaps with Fréchet distances.
    """
    ours, theirs = table[GENERATOR], table[GAUSSIAN]
    noise = abs(table.get(FLOOR, {}).get(ENERGY, 0.0))
    return [
        f"the generator is worse than one Gaussian fitted to the same latents: {name} "
        f"{ours[name]:.4g} against {theirs[name]:.4g}"
        for name in ours
        if (name == ENERGY or name.startswith(("FD-", "FID")))
        and ours[name] > theirs[name]
        and not (name == ENERGY and ours[name] <= noise)
    ]
