"""Pictures of a VDAE's walks and bursts on known shapes (Figs. 2, 4 and 6 of its paper).

Each case is drawn as vdae_CASE.png in its first two coordinates: the data, 20 steps of walks from
one row, walks from rows of the data after 10 steps, and a burst. Numbers of bursts go to
vdae_pictures.json: their distance to the data, and the length of their steps. Torch has one thread.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study import circumstances, finite, options_of, write_figure, write_numbers
from vdae import BUNNY_DIM, SHAPES, Rows, fit, off, walks

from gtn_train.data import gaussian_grid, mesh_points
from gtn_train.report import figures
from gtn_train.run.vdae_options import VDAEOptions
from gtn_train.sampling import burst, trajectory
from gtn_train.spectral import EmbeddingOptions

CASES = ["loop", "torus", "bunny", "grid"]
LENGTH = 20  # steps of the walks from one row, as in Fig. 4
WALKERS, BURST, ROWS = 25, 500, 20
GRID_ROWS, GRID_STEP = 7_500, 4.0  # the step is that of the preset vdae-grid


def pictures(rows: Rows, dim: int, seed: int, quick: bool, step: float) -> tuple[Any, Any]:
    """Train on rows; return figures of bursts, and panels."""
    model, _, _ = fit(rows, EmbeddingOptions(dim=dim), VDAEOptions(step=step), seed, quick)
    bursts = [burst(model, row, BURST, seed) for row in rows[:ROWS]]
    lengths = [np.linalg.norm(b - r, axis=1).mean() for b, r in zip(bursts, rows, strict=False)]
    steps = itertools.islice(trajectory(model, np.repeat(rows[:1], WALKERS, axis=0), seed), LENGTH)
    panels = {
        "data": rows,
        f"{LENGTH} steps from one row": np.concatenate([moved.rows for moved in steps]),
        "10 steps from data rows": walks(model, rows[:2_000], seed)[10].rows,
        "one burst": bursts[0],
    }
    found = {
        "bursts, off the data": off(np.concatenate(bursts), rows),
        "bursts, length of a step, mean over rows": float(np.mean(lengths)),
        "bursts, length of a step, deviation over rows": float(np.std(lengths)),
    }
    return finite(found), {title: shown[:, :2] for title, shown in panels.items()}


def main() -> None:
    """Draw the cases."""
    parser = options_of(__doc__)
    parser.add_argument("--case", action="append", choices=CASES, help="case to draw (all)")
    parser.add_argument("--mesh", type=Path, help="file of the case bunny, .obj or .ply")
    asked = parser.parse_args()
    if asked.mesh is None and "bunny" in (asked.case or ()):
        parser.error("--case bunny: needs --mesh FILE")
    torch.set_num_threads(1)
    n = 300 if asked.quick else 2_000
    cases: dict[str, Any] = {}
    for name in asked.case or [case for case in CASES if case != "bunny" or asked.mesh]:
        if name == "grid":
            rows, dim = gaussian_grid(600 if asked.quick else GRID_ROWS, asked.seed), 2
        else:
            draw, dim = SHAPES.get(name) or (partial(mesh_points, asked.mesh), BUNNY_DIM)
            rows = draw(n, asked.seed)
        step = GRID_STEP if name == "grid" else VDAEOptions().step
        cases[name], panels = pictures(rows, dim, asked.seed, asked.quick, step)
        print(name, cases[name], flush=True)
        write_figure(asked.out / f"vdae_{name}.png", figures.scatter(panels))
        told = {"study": "vdae_pictures", "seed": asked.seed, **circumstances()}
        write_numbers(asked.out / "vdae_pictures.json", {**told, "cases": cases})


if __name__ == "__main__":
    main()
