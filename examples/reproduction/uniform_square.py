"""The uniform square from N(0, I) (Fig. 3B), with the network and training of Table 2.

The study compares Algorithm 1 as published, standardised, with cones of several sizes in both
orders, and with fresh pairs. The measures are the share of samples outside the square widened by
1 %, coverage, and the energy distance to the data with its floor (squares.py). The norms of the
labels decide: with a cone of 1 the generator learns the boundary of the square or little more.
"""

from __future__ import annotations

import torch
from squares import N_SAMPLES, measure
from study import (
    circumstances,
    network_of,
    options_of,
    read,
    train,
    training_of,
    write_figure,
    write_numbers,
)

from gtn_label.arrays.sources import draw_sources
from gtn_label.quality import norms
from gtn_train.data import uniform_square
from gtn_train.pairs import PairOptions
from gtn_train.report import figures
from gtn_train.run.presets import PRESETS
from gtn_train.seeds import derive

PAIRS = {
    "Algorithm 1 as published": PairOptions(),
    "standardised": PairOptions(standardize=True),
    **{
        f"{order}, cone {cone}": PairOptions(order=order, cone=cone, standardize=True)
        for order in ("norm", "norm_desc")
        for cone in (16, 64, 256)
    },
    "fresh, norm, cone 64": PairOptions(cone=64, standardize=True, every=1),
    "fresh, norm_desc, cone 64": PairOptions(order="norm_desc", cone=64, standardize=True, every=1),
}
SHOWN = ("Algorithm 1 as published", "standardised", "norm, cone 16", "norm_desc, cone 64")

DOTS = 2_500  # in a panel, to keep the file small


def main() -> None:
    """Run the study."""
    parser = options_of(__doc__)
    parser.add_argument("--pairs", choices=[*PAIRS], action="append", help="default: all")
    parser.add_argument("--epochs", type=int, default=60, help="epochs of training (%(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    preset = PRESETS["uniform"]
    n, n_samples = preset.data.n or 0, N_SAMPLES
    if asked.quick:
        n, n_samples, asked.epochs = 1000, 1000, 2
    options = training_of(preset, asked.seed, asked.epochs)
    latents = uniform_square(n, asked.seed)
    fresh = uniform_square(n_samples, asked.seed + 1)
    sources = draw_sources(n_samples, 2, derive(asked.seed, "samples"))
    settings = {"n": n, "epochs": asked.epochs, "samples": n_samples, "seed": asked.seed}
    file = asked.out / "uniform_square.json"
    results = read(file).get("results", {}) if read(file).get("settings") == settings else {}
    panels = {"data": fresh[:DOTS]}
    low, high = [0.0, 0.0], [1.0, 1.0]
    for name in asked.pairs or PAIRS:
        if name in results and name not in SHOWN:
            continue
        pairs = PAIRS[name]
        trained = train(
            latents,
            pairs.labeling_of(latents, asked.seed, threads=1),
            network_of(preset),
            options,
            every=pairs.every,
            seed=asked.seed,
        )
        generated = trained.sample(n_samples, asked.seed)
        results[name] = {
            **measure(generated, fresh, low, high),
            "labeling_seconds": round(trained.labeling_seconds, 2),
            "training_seconds": round(trained.training_seconds, 2),
        }
        print(name, results[name], flush=True)
        if name in SHOWN:
            panels[name] = generated[:DOTS]
        floor = measure(uniform_square(n_samples, asked.seed + 2), fresh, low, high)
        write_numbers(
            file,
            {
                "study": "uniform_square",
                "settings": settings,
                "floor": floor,
                "results": results,
                **circumstances(),
            },
        )
    # As in the paper, a sample's colour is the distance of its source from the origin.
    colours = {name: norms(sources[:DOTS]) for name in panels if name != "data"}
    write_figure(asked.out / "uniform_square.png", figures.scatter(panels, colours=colours))


if __name__ == "__main__":
    main()
