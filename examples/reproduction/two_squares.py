"""Two disjoint squares (Fig. 9), with a mixture of two normals as the source, and without.

The share of samples in the gap is what a mixture is for: a continuous map of N(0, I) must send
something there. With a mixture, labels are Algorithm 1's within the clusters that k-means finds, by
cosines from the origin as in the paper ("mixture"), or from each cluster's mean, in units of its
deviations ("mixture, standardised"): the sources of a cluster then lie around its latents' middle,
as those of Algorithm 1 do. The paper does not say which network it took: here the uniform square's
(6 layers of 6), and a wider one (6 layers of 50, batch normalisation), alone and told which cluster
a source is of, as a conditional generator is ("by class", the preset). Measures as in squares.py,
and "in_gap": more than 1 % of a side away from both squares, between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from squares import N_SAMPLES, measure
from study import (
    circumstances,
    finite,
    network_of,
    options_of,
    train,
    training_of,
    write_figure,
    write_numbers,
)

from gtn_label import arrays
from gtn_label.report import norms
from gtn_train import figures
from gtn_train.data import two_squares
from gtn_train.mixture import Mixture
from gtn_train.pairs import Algorithm1, Clusters, Labeling
from gtn_train.presets import PRESETS
from gtn_train.sampling import generate_latents
from gtn_train.seeds import derive
from gtn_train.training import TrainingOptions

Rows = npt.NDArray[Any]

GAP = 1.0
LOW, HIGH = [[0.0, 0.0], [1 + GAP, 0.0]], [[1.0, 1.0], [2 + GAP, 1.0]]
SHOWN = (
    "standardised, cone 16",
    "mixture",
    "mixture, standardised, cone 16",
    "the same, wide, by class",
)


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


def main() -> None:
    """Run the study."""
    parser = options_of(__doc__)
    parser.add_argument("--epochs", type=int, default=60, help="(%(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    preset = PRESETS["two-squares"]
    n, n_samples = preset.data.n or 0, N_SAMPLES
    if asked.quick:
        n, n_samples, asked.epochs = 1000, 1000, 2
    latents = two_squares(n, asked.seed, GAP)
    fresh = two_squares(n_samples, asked.seed + 1, GAP)
    small_preset = PRESETS["uniform"]
    small = network_of(small_preset), training_of(small_preset, asked.seed, asked.epochs)
    wide = network_of(preset), training_of(preset, asked.seed, max(1, asked.epochs // 4))

    def mixture_of(**options: Any) -> Clusters:
        return Clusters(latents, 2, seed=asked.seed, threads=1, **options)

    by_class = {**wide[0], "classes": 2}
    kinds = {
        "Algorithm 1 as published": Kind(Algorithm1(threads=1), *small),
        "standardised, cone 16": Kind(Algorithm1(standardize=True, cone=16, threads=1), *small),
        "mixture": Kind(mixture_of(), *small),
        "mixture, cone 16": Kind(mixture_of(cone=16), *small),
        "mixture, standardised": Kind(mixture_of(standardize=True), *small),
        "mixture, standardised, cone 16": Kind(mixture_of(standardize=True, cone=16), *small),
        "the same, wide": Kind(mixture_of(standardize=True, cone=16), *wide),
        "the same, wide, by class": Kind(
            mixture_of(standardize=True, cone=16, by_class=True), by_class, wide[1]
        ),
    }
    results: dict[str, dict[str, float]] = {}
    panels: dict[str, Rows] = {"data": fresh}
    colours: dict[str, Rows] = {}
    seed = derive(asked.seed, "samples")
    for name, kind in kinds.items():
        labeling = kind.labeling
        mixture: Mixture | None = getattr(labeling, "mixture", None)
        trained = train(latents, labeling, kind.network, kind.options, seed=asked.seed)
        if mixture is None:
            sources, clusters = arrays.draw_sources(n_samples, 2, seed), None
        else:
            sources, clusters = mixture.draw(n_samples, seed)
        told = clusters if labeling.conditional else None
        points = generate_latents(trained.generator, sources, classes=told)
        results[name] = {
            **gap_share(points),
            **measure(points, fresh, LOW, HIGH),
            "labeling_seconds": round(trained.labeling_seconds, 2),
            "training_seconds": round(trained.training_seconds, 2),
        }
        print(name, results[name], flush=True)
        if name in SHOWN:
            panels[name] = points
            # As in the paper: a sample's colour is its source's, here its distance from the centre.
            colours[name] = norms(arrays.draw_sources(n_samples, 2, seed))
            if mixture is not None and "sources" not in panels:
                panels["sources"] = sources
                colours["sources"] = colours[name]
    floor = measure(two_squares(n_samples, asked.seed + 2, GAP), fresh, LOW, HIGH)
    settings = {"n": n, "gap": GAP, "epochs": asked.epochs, "samples": n_samples, "wide": wide[0]}
    write_numbers(
        asked.out / "two_squares.json",
        {
            "study": "two_squares",
            "settings": settings,
            "floor": floor,
            "results": results,
            **circumstances(),
        },
    )
    write_figure(asked.out / "two_squares.png", figures.scatter(panels, colours=colours))


def gap_share(points: Rows) -> dict[str, float]:
    """Share of points [n, 2] between the squares."""
    return finite({"in_gap": float(((points[:, 0] > 1.01) & (points[:, 0] < 0.99 + GAP)).mean())})


if __name__ == "__main__":
    main()
