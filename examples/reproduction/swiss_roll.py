"""The swiss roll (Fig. 3A and 12): θ from N(0, 1) by quantile labels, beside a diffusion baseline.

The measures of 10,000 samples are the share whose θ lies in [1.5π, 4.5π] widened by 1 %, and the
Kolmogorov-Smirnov and energy distances of θ to the uniform distribution, for three seeds. They are
repeated for Algorithm 1 with centred latents, for the generator early in training (Fig. 12), and
for a diffusion model of points in the plane (diffusion.py, settings of Fig. 4). A sample of the
diffusion gets the θ of the nearest point of the roll, and counts as on the roll within a stated
distance. The KS distance of the sources and the energy distance of the exact map of them are given
too: a monotone map keeps the one, and no generator comes to less than the other but by chance. A
source of two dimensions has points of the plane for labels ("plane"): the paper says that such a
generator has no hope, because the roll has one dimension.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusion import Diffusion
from scipy import stats
from scipy.spatial import cKDTree
from study import (
    circumstances,
    finite,
    network_of,
    options_of,
    read,
    train,
    training_of,
    write_figure,
    write_numbers,
)

from gtn_label.arrays.sources import draw_sources
from gtn_train.data import SWISS_ROLL_RANGE, swiss_roll, swiss_roll_points
from gtn_train.evaluation.latents import ks_distance, share_inside
from gtn_train.pairs import Algorithm1, Labeling, PairOptions, Quantile
from gtn_train.report import figures
from gtn_train.run.paper import as_in_paper
from gtn_train.run.presets import PRESETS
from gtn_train.seeds import derive

Rows = npt.NDArray[Any]

N_SAMPLES = 10_000
NOISE = 0.5  # in the diffusion's data, as in Fig. 4; turns of the roll are 2π apart
NEAR = (0.5, 1.5)  # distances within which a sample counts as on the roll: 1 and 3 deviations
EARLY: tuple[int, ...] = (1, 3, 10)
PARTS = ("line", "diffusion", "plane")
DOTS = 2_500  # in a panel of the plane's figure
PLANE = {  # by name: pairs, and the preset whose network and training they have
    "2-D source, Algorithm 1": (PairOptions(standardize=True), as_in_paper("uniform")),
    "2-D source, Algorithm 1, wide": (PairOptions(standardize=True), PRESETS["uniform"]),
    "2-D source, optimal transport": (PRESETS["uniform"].pairs, PRESETS["uniform"]),
}


def uniform_cdf(theta: Rows) -> Rows:
    """CDF of θ ~ U(1.5π, 4.5π)."""
    low, high = SWISS_ROLL_RANGE
    return np.clip((theta - low) / (high - low), 0, 1)


def energy_to_uniform(theta: Rows) -> float:
    """Energy distance of θ [n, 1] to its exact distribution, which has no noise of its own."""
    low, high = SWISS_ROLL_RANGE
    values = np.sort(theta[:, 0].astype(np.float64))
    outside = np.maximum(low - values, 0) + np.maximum(values - high, 0)
    inner = np.clip(values, low, high)
    across = ((inner - low) ** 2 + (high - inner) ** 2) / (2 * (high - low)) + outside
    n = len(values)
    within = 2 * ((2 * np.arange(n) - n + 1) * values).sum() / (n * (n - 1))
    return float(2 * across.mean() - within - (high - low) / 3)


def of_parameters(theta: Rows) -> dict[str, float]:
    """Measure generated θ [n, 1]."""
    low, high = SWISS_ROLL_RANGE
    return {
        "inside": share_inside(theta, [low], [high], margin=0.01),
        "ks": ks_distance(theta, uniform_cdf),
        "energy_distance": energy_to_uniform(theta),
        **of_points(swiss_roll_points(theta)),
    }


def of_points(points: Rows) -> dict[str, float]:
    """Measure points of the plane by the nearest of 100,000 points of the roll."""
    grid = np.linspace(*SWISS_ROLL_RANGE, 100_000)
    distance, nearest = cKDTree(swiss_roll_points(grid)).query(points)
    near = {f"within_{limit}": float((distance <= limit).mean()) for limit in NEAR}
    return {"ks_nearest": ks_distance(grid[nearest], uniform_cdf), **near}


def sources_of(seed: int) -> Rows:
    """Sources of the samples of a seed, [10,000, 1]."""
    return draw_sources(N_SAMPLES, 1, derive(seed, "samples"))


def plane(n: int, epochs: int | None, seed: int) -> tuple[dict[str, Any], dict[str, Rows]]:
    """Train generators of the roll's points from N(0, I) in the plane.

    Parameters
    ----------
    n : int
        Number of pairs.
    epochs : int, optional
        Epochs of training; by default those of the line for Algorithm 1, and the preset's.
    seed : int

    Returns
    -------
    numbers, panels : dict
        Measures of 10,000 samples, and points to show, of each kind.
    """
    numbers: dict[str, Any] = {}
    panels: dict[str, Rows] = {}
    points = swiss_roll_points(swiss_roll(n, seed)).astype(np.float32)
    numbers["data"] = finite(of_points(points[:N_SAMPLES]))
    line = PRESETS["swiss-roll"].generator_training.max_epochs
    for name, (pairs, preset) in PLANE.items():
        most = epochs or min(line, preset.generator_training.max_epochs)
        began = time.perf_counter()
        trained = train(
            points,
            pairs.labeling_of(points, seed, threads=1),
            network_of(preset),
            training_of(preset, seed, most),
            seed=seed,
        )
        generated = trained.sample(N_SAMPLES, seed)
        seconds = {"epochs": most, "seconds": time.perf_counter() - began}
        numbers[name] = finite({**of_points(generated), **seconds})
        panels[name] = generated[:DOTS]
        print(name, numbers[name], flush=True)
    return numbers, panels


def main() -> None:
    """Run the study."""
    parser = options_of(__doc__)
    parser.add_argument(
        "--part",
        choices=PARTS,
        action="append",
        help="run this part alone, and keep the numbers of the others (default: all)",
    )
    asked = parser.parse_args()
    parts = asked.part or PARTS
    torch.set_num_threads(1)
    preset = PRESETS["swiss-roll"]
    n, epochs = preset.data.n or 0, preset.generator_training.max_epochs
    n_diffusion, diffusion_epochs, early = 100_000, 100, EARLY
    if asked.quick:
        n, epochs, n_diffusion, diffusion_epochs, early = 1000, 2, 4096, 1, EARLY[:1]
    file = asked.out / "swiss_roll.json"
    numbers: dict[str, dict[str, float]] = {}
    if asked.part:
        numbers = read(file).get("results", {})
    panels: dict[str, Rows] = {"data": swiss_roll_points(swiss_roll(N_SAMPLES, asked.seed + 1))}

    def generator(name: str, labeling: Labeling, max_epochs: int, seed: int) -> None:
        began = time.perf_counter()
        trained = train(
            swiss_roll(n, seed),
            labeling,
            network_of(preset),
            training_of(preset, seed, max_epochs),
            seed=seed,
        )
        generated = trained.sample(N_SAMPLES, seed)
        seconds = time.perf_counter() - began
        drawn = ks_distance(sources_of(seed), stats.norm.cdf)
        low, high = SWISS_ROLL_RANGE
        exact = low + (high - low) * stats.norm.cdf(sources_of(seed))
        about = {
            "ks_of_sources": drawn,
            "energy_of_exact_map": energy_to_uniform(exact),
            "seconds": seconds,
        }
        numbers[name] = finite({**of_parameters(generated), **about})
        print(name, numbers[name], flush=True)
        if seed == asked.seed:
            panels[name] = swiss_roll_points(generated)

    for epoch in early if "line" in parts else ():
        # The order of rows is a function of seed and epoch: a short run is the start of a long one.
        generator(f"quantile, epoch {epoch}", Quantile(), epoch, asked.seed)
    for seed in range(asked.seed, asked.seed + 3) if "line" in parts else ():
        suffix = "" if seed == asked.seed else f", seed {seed}"
        generator(f"quantile{suffix}", Quantile(), epochs, seed)
        centred = Algorithm1(center=True, threads=1)
        generator(f"Algorithm 1, centred{suffix}", centred, epochs, seed)
    sources = sources_of(asked.seed)
    colours = {name: sources[:, 0] for name in panels if name != "data"}
    for noise in (NOISE, 0.0) if "diffusion" in parts else ():
        points = swiss_roll_points(swiss_roll(n_diffusion, asked.seed), noise, asked.seed)
        began = time.perf_counter()
        seed = derive(asked.seed, "diffusion")
        model = Diffusion(points, epochs=diffusion_epochs, seed=seed)
        generated = model.sample(N_SAMPLES, derive(asked.seed, "diffusion samples"))
        seconds = time.perf_counter() - began
        name = f"diffusion, noise {noise:g}"
        numbers[f"data, noise {noise:g}"] = finite(of_points(points[:N_SAMPLES]))
        numbers[name] = finite({**of_points(generated), "seconds": seconds})
        panels[name] = generated
        print(name, numbers[name], flush=True)
    if "plane" in parts:
        found, shown = plane(n, epochs if asked.quick else None, asked.seed)
        numbers |= found
        shown = {"data": panels["data"][:DOTS], **shown}
        write_figure(asked.out / "swiss_roll_plane.png", figures.scatter(shown))
    write_numbers(
        file,
        {
            "study": "swiss_roll",
            "settings": {
                "n": n,
                "epochs": epochs,
                "samples": N_SAMPLES,
                "range": [bound / math.pi for bound in SWISS_ROLL_RANGE],
                "diffusion": {"n": n_diffusion, "epochs": diffusion_epochs, "noise": NOISE},
            },
            "results": numbers,
            **circumstances(),
        },
    )
    if {"line", "diffusion"} <= set(parts):
        write_figure(asked.out / "swiss_roll.png", figures.scatter(panels, colours=colours))


if __name__ == "__main__":
    main()
