"""Two disjoint squares (Fig. 9), with a mixture of two normals as the source, and without.

A mixture should reduce the share of samples in the gap, into which a continuous map of N(0, I) must
send some. With a mixture, labels are Algorithm 1's within the clusters that k-means finds. Cosines
are taken from the origin, as in the paper ("mixture"), or from each cluster's mean in units of its
deviations ("mixture, standardised"): the sources of a cluster then lie around its latents' middle,
as with Algorithm 1. The paper does not name its network. Here there are the uniform square's (6
layers of 6) and a wider one (6 layers of 50, batch normalisation), the latter also with the cluster
of a source as its class ("by class"). The preset "two-squares" has optimal transport within the
clusters, by class, and a network of its own. The measures are those of squares.py, and "in_gap":
the share between the squares, more than 1 % of a side away from both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from squares import N_SAMPLES, floor, measure
from study import (
    circumstances,
    finite,
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
from gtn_label.quality import norms
from gtn_train.data import two_squares
from gtn_train.pairs import Algorithm1, Clusters, Labeling
from gtn_train.report import figures
from gtn_train.run.paper import as_in_paper
from gtn_train.run.presets import PRESETS
from gtn_train.sampling.sample import generate_latents
from gtn_train.seeds import derive
from gtn_train.training import TrainingOptions

Rows = npt.NDArray[Any]

GAP = 1.0
LOW, HIGH = [[0.0, 0.0], [1 + GAP, 0.0]], [[1.0, 1.0], [2 + GAP, 1.0]]
PRESET = "two-squares"
SHOWN = ("mixture", "mixture, standardised, cone 16", PRESET)


@dataclass(frozen=True)
class Kind:
    """A labeling and the network that learns it.

    Attributes
    ----------
    labeling : Labeling
    network : dict
    options : TrainingOptions
    """

    labeling: Labeling
    network: dict[str, int]
    options: TrainingOptions


def kinds_of(latents: Rows, seed: int, epochs: int) -> dict[str, Kind]:
    """The kinds compared; wide networks train for a quarter of the epochs."""
    uniform = as_in_paper("uniform")
    small = network_of(uniform), training_of(uniform, seed, epochs)
    short = training_of(uniform, seed, max(1, epochs // 4), learning_rate_decay=0.8)
    wide: dict[str, Any] = {"layers": 6, "width": 50, "batch_norm_layers": 5}

    def mixture(**own: Any) -> Clusters:
        return Clusters(latents, 2, seed=seed, threads=1, **own)

    around: dict[str, Any] = {"standardize": True, "cone": 16}
    return {
        "Algorithm 1 as published": Kind(Algorithm1(threads=1), *small),
        "standardised, cone 16": Kind(Algorithm1(threads=1, **around), *small),
        "mixture": Kind(mixture(), *small),
        "mixture, cone 16": Kind(mixture(cone=16), *small),
        "mixture, standardised": Kind(mixture(standardize=True), *small),
        "mixture, standardised, cone 16": Kind(mixture(**around), *small),
        "the same, wide": Kind(mixture(**around), wide, short),
        "wide, by class, norm_desc, cone 8": Kind(
            mixture(standardize=True, order="norm_desc", cone=8, by_class=True),
            {**wide, "classes": 2},
            short,
        ),
        "wide, by class, cone 16": Kind(
            mixture(by_class=True, **around), {**wide, "classes": 2}, short
        ),
        PRESET: preset_kind(latents, seed),
    }


def preset_kind(latents: Rows, seed: int) -> Kind:
    """The preset."""
    preset = PRESETS[PRESET]
    return Kind(
        preset.pairs.labeling_of(latents, seed, threads=1),
        {**network_of(preset), "classes": 2},
        training_of(preset, seed),
    )


def main() -> None:
    """Run the study: all kinds once, the preset with two more seeds."""
    parser = options_of(__doc__)
    parser.add_argument("--epochs", type=int, default=60, help="epochs of training (%(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    n, n_samples = PRESETS[PRESET].data.n or 0, N_SAMPLES
    if asked.quick:
        n, n_samples, asked.epochs = 1000, 1000, 2
        PRESETS[PRESET] = quick(PRESETS[PRESET])
    about = {
        "study": "two_squares",
        "settings": {"n": n, "gap": GAP, "epochs": asked.epochs, "samples": n_samples},
        "floor": floor(lambda number: two_squares(n_samples, 100 + number, GAP), LOW, HIGH),
    }
    known = read(asked.out / "two_squares.json")
    results: dict[str, dict[str, float]] = {}
    if known.get("settings") == about["settings"]:
        results = known["results"]
    panels: dict[str, Rows] = {}
    colours: dict[str, Rows] = {}
    # As in the paper: a sample's colour is its source's, here its distance from the centre.
    colour = norms(draw_sources(n_samples, 2, derive(asked.seed, "samples")))
    for seed in range(asked.seed, asked.seed + 3):
        latents, fresh = two_squares(n, seed, GAP), two_squares(n_samples, seed + 1, GAP)
        panels.setdefault("data", fresh)
        kinds = {PRESET: preset_kind(latents, seed)}
        if seed == asked.seed:
            kinds = kinds_of(latents, seed, asked.epochs)
        for name, kind in kinds.items():
            title = name if seed == asked.seed else f"{name}, seed {seed}"
            if title in results and title not in SHOWN:
                continue
            trained = train(latents, kind.labeling, kind.network, kind.options, seed=seed)
            sources, points = _sample(trained.generator, kind.labeling, n_samples, seed)
            results[title] = {
                **gap_share(points),
                **measure(points, fresh, LOW, HIGH),
                "labeling_seconds": round(trained.labeling_seconds, 2),
                "training_seconds": round(trained.training_seconds, 2),
            }
            print(title, results[title], flush=True)
            write_numbers(
                asked.out / "two_squares.json", {**about, "results": results, **circumstances()}
            )
            if title in SHOWN:
                panels[title] = points
                colours[title] = colour
                if isinstance(kind.labeling, Clusters) and "sources" not in panels:
                    panels["sources"], colours["sources"] = sources, colour
    write_figure(asked.out / "two_squares.png", figures.scatter(panels, colours=colours))


def _sample(generator: Any, labeling: Labeling, n: int, seed: int) -> tuple[Rows, Rows]:
    """Sources of the labeling's distribution, and the generator's output for them."""
    drawn = derive(seed, "samples")
    if not isinstance(labeling, Clusters):
        sources, clusters = draw_sources(n, 2, drawn), None
    else:
        sources, clusters = labeling.mixture.draw(n, drawn)
    told = clusters if labeling.conditional else None
    return sources, generate_latents(generator, sources, classes=told)


def gap_share(points: Rows) -> dict[str, float]:
    """Share of points [n, 2] between the squares."""
    return finite({"in_gap": float(((points[:, 0] > 1.01) & (points[:, 0] < 0.99 + GAP)).mean())})


if __name__ == "__main__":
    main()
