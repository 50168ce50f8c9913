"""Two disjoint squares (Fig. 9), with a mixture of two normals as the source, and without.

The share of samples in the gap is what a mixture is for: a continuous map of N(0, I) must send
something there. With a mixture, labels are Algorithm 1's within the clusters that k-means finds, by
cosines from the origin as in the paper ("mixture"), or by cosines from each cluster's mean, of
latents divided by its standard deviations ("mixture, own frames"): the sources of a cluster then
lie around its latents' middle, as those of Algorithm 1 do. Measures as in squares.py, and "in_gap":
more than 1 % of a side away from both squares, between them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
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

from gtn_label import arrays, match
from gtn_label.report import norms
from gtn_train import figures
from gtn_train.data import two_squares
from gtn_train.mixture import Mixture
from gtn_train.pairs import Algorithm1, Clusters, Labeled, Labeling
from gtn_train.presets import PRESETS
from gtn_train.seeds import derive

Rows = npt.NDArray[Any]

GAP = 1.0
LOW, HIGH = [[0.0, 0.0], [1 + GAP, 0.0]], [[1.0, 1.0], [2 + GAP, 1.0]]
SHOWN = ("standardised, cone 16", "mixture", "mixture, own frames, cone 16")


class OwnFrames:
    """Algorithm 1 within clusters, each seen from its mean in units of its deviations.

    Parameters
    ----------
    latents : [m, dim]
    mixture : Mixture
        Its means say which cluster a latent is of: the nearest.
    cone : int
    order : str
    """

    conditional = False

    def __init__(self, latents: Rows, mixture: Mixture, cone: int = 1, order: str = "norm") -> None:
        distances = np.linalg.norm(latents[:, None] - mixture.means, axis=2)
        self._clusters = distances.argmin(axis=1)
        self.mixture = Mixture.of_clusters(latents, self._clusters)
        self._options: dict[str, Any] = {"cone": cone, "order": order}

    def config(self) -> dict[str, Any]:
        """Options, and how many clusters."""
        return {
            "labeling": "own frames",
            "clusters": len(self.mixture.weights),
            **self._options,
        }

    def check(self, latents: Rows) -> None:
        """Each latent needs its cluster."""
        if len(latents) != len(self._clusters):
            raise ValueError(f"{len(self._clusters)} latents have clusters, got {len(latents)}")

    def label(self, latents: Rows, seed: int, progress: Any = None) -> Labeled:
        """Match z with the latents of its cluster; the source is mean + deviation · z."""
        cluster = self._clusters
        n, dim = latents.shape
        z = arrays.draw_sources(n, dim, derive(seed, "sources"))
        frames = (latents - self.mixture.means[cluster]) / self.mixture.stds[cluster]
        groups = (cluster, cluster)
        matching = match(frames, z, groups=groups, threads=1, progress=progress, **self._options)
        sources = self.mixture.around(cluster, z)
        return Labeled(
            sources, matching.assignment, matching.cosine, None, matching.stats["backend"]
        )


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
    found = Clusters(latents, 2, seed=asked.seed, threads=1).mixture
    kinds: dict[str, Labeling] = {
        "Algorithm 1 as published": Algorithm1(threads=1),
        "standardised, cone 16": Algorithm1(standardize=True, cone=16, threads=1),
        "mixture": Clusters(latents, 2, seed=asked.seed, threads=1),
        "mixture, cone 16": Clusters(latents, 2, seed=asked.seed, cone=16, threads=1),
        "mixture, own frames": OwnFrames(latents, found),
        "mixture, own frames, cone 16": OwnFrames(latents, found, 16),
        "mixture, own frames, norm_desc, cone 16": OwnFrames(latents, found, 16, "norm_desc"),
    }
    results: dict[str, dict[str, float]] = {}
    panels: dict[str, Rows] = {"data": fresh}
    colours: dict[str, Rows] = {}
    for name, labeling in kinds.items():
        mixture: Mixture | None = getattr(labeling, "mixture", None)
        trained = train(
            latents,
            labeling,
            network_of(preset),
            training_of(preset, asked.seed, asked.epochs),
            seed=asked.seed,
        )
        points = trained.sample(n_samples, asked.seed, mixture)
        results[name] = {
            **gap_share(points),
            **measure(points, fresh, LOW, HIGH),
            "labeling_seconds": round(trained.labeling_seconds, 2),
            "training_seconds": round(trained.training_seconds, 2),
        }
        print(name, results[name], flush=True)
        if name in SHOWN:
            seed = derive(asked.seed, "samples")
            panels[name] = points
            # As in the paper: a sample's colour is its source's, here its distance from the centre.
            colours[name] = norms(arrays.draw_sources(n_samples, 2, seed))
            if mixture is not None and "sources" not in panels:
                panels["sources"], _ = mixture.draw(n_samples, seed)
                colours["sources"] = colours[name]
    floor = measure(two_squares(n_samples, asked.seed + 2, GAP), fresh, LOW, HIGH)
    settings = {"n": n, "gap": GAP, "epochs": asked.epochs, "samples": n_samples}
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
