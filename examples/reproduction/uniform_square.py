"""The uniform square from N(0, I) (Fig. 3B), with the network and training of Table 2.

The study compares Algorithm 1 as published, standardised, in the float32 arithmetic of the authors'
code, without sorting (Fig. 11), with cones of several sizes in both orders, and with fresh pairs.
The preset "uniform" has optimal transport and a network of its own, on three seeds. The measures
are those of squares.py, and the rank correlation of the norms of sources and labels. The norms of
the labels decide: with a cone of 1 the generator learns the boundary of the square or little more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from squares import N_SAMPLES, floor, measure
from study import (
    circumstances,
    network_of,
    options_of,
    quick,
    read,
    train,
    training_of,
    write_figure,
    write_numbers,
)

from gtn_label.arrays.sources import draw_sources
from gtn_label.quality import norms, spearman
from gtn_train.data import uniform_square
from gtn_train.pairs import Labeled, Labeling, PairOptions
from gtn_train.pairs.labelings import standardized
from gtn_train.pairs.rows import cosines_of
from gtn_train.report import figures
from gtn_train.run.paper import as_in_paper
from gtn_train.run.preset_fields import Preset
from gtn_train.run.presets import PRESETS
from gtn_train.seeds import derive

Rows = npt.NDArray[Any]


class AuthorsArithmetic:
    """Algorithm 1 of standardised latents with cosines in float32, as the authors' code has them.

    Float32 has few values near 1. Where latents are dense, many tie for the largest cosine, and
    argmax takes the first one, which has the smallest norm: the ties are a cone that nobody set.
    Without sorting, sources choose in the order in which they were drawn, and the first of the
    latents that tie is the one drawn first.
    """

    conditional = False

    def __init__(self, *, sort: bool = True) -> None:
        self.sort = sort

    def config(self) -> dict[str, Any]:
        """Name of the labeling."""
        return {"labeling": "authors' float32", "sort": self.sort}

    def check(self, latents: Rows) -> None:
        """Accept any latents."""

    def label(self, latents: Rows, seed: int, progress: Any = None) -> Labeled:
        """Let the sources choose, in order of norm or as drawn, among the latents in that order."""
        n, dim = latents.shape
        sources = draw_sources(n, dim, derive(seed, "sources"))
        rows = standardized(latents).astype(np.float32)
        turns, left = (self._order(points) for points in (sources, rows))
        units = _unit(rows)[left].T.copy()
        directions = _unit(sources)
        assignment = np.empty(n, np.int64)
        taken: list[int] = []  # since the last time that they were removed
        for source in turns:
            cosine = units[0] * directions[source, 0]
            for column in range(1, dim):
                cosine += units[column] * directions[source, column]
            cosine[taken] = -2
            taken.append(int(cosine.argmax()))
            assignment[source] = left[taken[-1]]
            if len(taken) == 500:
                left, units = np.delete(left, taken), np.delete(units, taken, axis=1)
                taken = []
        return Labeled(sources, assignment, cosines_of(sources, rows[assignment]), None, "numpy")

    def _order(self, points: Rows) -> npt.NDArray[np.intp]:
        return np.argsort(norms(points), kind="stable") if self.sort else np.arange(len(points))


def _unit(rows: Rows) -> Rows:
    unit: Rows = rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return unit


PRESET = "uniform"
LOW, HIGH = [0.0, 0.0], [1.0, 1.0]

PAIRS: dict[str, PairOptions | AuthorsArithmetic] = {
    "Algorithm 1 as published": PairOptions(),
    "standardised": PairOptions(standardize=True),
    "standardised, authors' float32": AuthorsArithmetic(),
    "as published, no sorting": PairOptions(order="index"),
    "standardised, no sorting": PairOptions(order="index", standardize=True),
    "authors' float32, no sorting": AuthorsArithmetic(sort=False),
    **{
        f"{order}, cone {cone}": PairOptions(order=order, cone=cone, standardize=True)
        for order in ("norm", "norm_desc")
        for cone in (16, 64, 256)
    },
    "fresh, norm, cone 64": PairOptions(cone=64, standardize=True, every=1),
    "fresh, norm_desc, cone 64": PairOptions(order="norm_desc", cone=64, standardize=True, every=1),
}
SHOWN = ("standardised", "standardised, no sorting", "norm, cone 16", f"{PRESET}, seed 0")

DOTS = 2_500  # in a panel, to keep the file small


def main() -> None:
    """Run the study: all pairs with the paper's network, and the preset with three seeds."""
    parser = options_of(__doc__)
    parser.add_argument(
        "--pairs",
        choices=[*PAIRS],
        action="append",
        help="train on these alone, and show them in a figure of their own (default: all, and the "
        "preset)",
    )
    parser.add_argument("--epochs", type=int, default=60, help="epochs of training (%(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    paper, preset = as_in_paper(PRESET), PRESETS[PRESET]
    n, n_samples = preset.data.n or 0, N_SAMPLES
    if asked.quick:
        n, n_samples, asked.epochs, preset = 1000, 1000, 2, quick(preset)
    settings = {"n": n, "epochs": asked.epochs, "samples": n_samples, "seed": asked.seed}
    known = read(asked.out / "uniform_square.json")
    results = known.get("results", {}) if known.get("settings") == settings else {}
    about = {
        "study": "uniform_square",
        "settings": settings,
        "floor": floor(lambda number: uniform_square(n_samples, 100 + number), LOW, HIGH),
    }
    panels = {"data": uniform_square(n_samples, asked.seed + 1)[:DOTS]}
    kinds: list[tuple[str, PairOptions | AuthorsArithmetic, int, Preset, int | None]] = [
        (name, PAIRS[name], asked.seed, paper, asked.epochs) for name in asked.pairs or PAIRS
    ]
    for seed in range(asked.seed, asked.seed + 3) if not asked.pairs else ():
        kinds.append((f"{PRESET}, seed {seed}", preset.pairs, seed, preset, None))
    shown = asked.pairs or SHOWN
    for name, pairs, seed, start, epochs in kinds:
        if name in results and name not in shown:
            continue
        latents, every = uniform_square(n, seed), 0
        labeling: Labeling
        if isinstance(pairs, PairOptions):
            labeling, every = pairs.labeling_of(latents, seed, threads=1), pairs.every
        else:
            labeling = pairs
        options = training_of(start, seed, epochs)
        trained = train(latents, labeling, network_of(start), options, every=every, seed=seed)
        generated = trained.sample(n_samples, seed)
        results[name] = {
            **measure(generated, uniform_square(n_samples, seed + 1), LOW, HIGH),
            "norm_correlation": spearman(
                norms(trained.sources), norms(standardized(trained.labels))
            ),
            "labeling_seconds": round(trained.labeling_seconds, 2),
            "training_seconds": round(trained.training_seconds, 2),
        }
        print(name, results[name], flush=True)
        if name in shown:
            panels[name] = generated[:DOTS]
        write_numbers(
            asked.out / "uniform_square.json", {**about, "results": results, **circumstances()}
        )
    # As in the paper, a sample's colour is the distance of its source from the origin.
    sources = draw_sources(DOTS, 2, derive(asked.seed, "samples"))
    colours = {name: norms(sources[: len(panel)]) for name, panel in panels.items()}
    del colours["data"]
    figure = "uniform_square_pairs.png" if asked.pairs else "uniform_square.png"
    write_figure(asked.out / figure, figures.scatter(panels, colours=colours))


if __name__ == "__main__":
    main()
