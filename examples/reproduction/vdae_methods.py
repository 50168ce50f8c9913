"""Other generative models beside a VDAE's walks: the other columns of Table 1, and Fig. 6's GANs.

WGAN-GP (wgan.py), a spherical VAE (spherical_vae.py) and this project's generator (gtn.py) train on
the rows of vdae.py and vdae_images.py, with networks and steps of their β-VAE, and are measured
alike. Numbers go to vdae_methods.json after each method, and methods that the file has are not
repeated. So the walks of vdae.json and vdae_images.json stay as they are.

- `circle`, `loop`, `torus` and, with --mesh, `bunny`: Gromov-Wasserstein (× 1,000, with POT), MMD
  (× 1,000), bi-Lipschitz constants, and the distance to the data.
- `grid`: 25 normals, the share of 2,000 samples within four deviations of a mean, and the modes
  found; the generator also with clusters.
- `digits`, without files, and, with --data, `frey`, `coil` and `mnist`: as the shapes.

Torch has one thread.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import vdae_images
from gtn import sample_clusters, train_gtn
from spherical_vae import train_spherical_vae
from study import circumstances, finite, options_of, read, write_numbers
from vdae import BUNNY_DIM, SHAPES, STEPS, off, on_grid, stretch, unlike
from wgan import train_wgan

from gtn_train.data import gaussian_grid, mesh_points
from gtn_train.run.raw_data import hold_out_rows
from gtn_train.seeds import derive

Rows = npt.NDArray[Any]

METHODS: dict[str, Any] = {"WGAN-GP": train_wgan, "SVAE": train_spherical_vae, "GTN": train_gtn}
CLUSTERS = "GTN, 25 clusters"  # of the grid alone
CASES = [*SHAPES, "bunny", "grid", *vdae_images.CASES]
GRID_ROWS, GRID_SAMPLES = 7_500, 2_000


def on_rows(
    method: str, rows: Rows, fresh: Rows, dim: int, steps: int, seed: int
) -> tuple[dict[str, float], Rows]:
    """Train on four fifths of the rows, as the β-VAE does; return figures and as many samples."""
    given = np.delete(rows, hold_out_rows(len(rows), 0.2, seed), axis=0)
    model = METHODS[method](given, dim, steps, seed)
    latents = model.latents(len(rows), seed)
    samples = model.sample(latents)
    return {**unlike(samples, fresh, seed), **stretch(latents, samples)}, samples


def grid(method: str, n: int, steps: int, seed: int) -> dict[str, float]:
    """Train on all rows of the grid, as the β-VAE does there, and look where samples are."""
    rows = gaussian_grid(n, seed)
    if method == CLUSTERS:
        return on_grid(sample_clusters(rows, 25, GRID_SAMPLES, steps, seed))
    model = METHODS[method](rows, 2, steps, seed)
    return on_grid(model.sample(model.latents(GRID_SAMPLES, seed)))


def study(case: str, method: str, seed: int, asked: Any) -> dict[str, float]:
    """Train one method on one case."""
    steps = 20 if asked.quick else STEPS
    n = 300 if asked.quick else asked.n
    if case == "grid":
        return grid(method, 2 * n if asked.quick else GRID_ROWS, steps, seed)
    if case in vdae_images.CASES:
        images, others, _ = vdae_images.load(case, asked.data, seed, asked.quick)
        rows, real = vdae_images.vectors(images), vdae_images.vectors(others)
        found, samples = on_rows(method, rows, real, vdae_images.DIM, steps, seed)
        return finite({**found, "off the data": vdae_images.off(samples, real)})
    draw, dim = SHAPES.get(case) or (partial(mesh_points, asked.mesh), BUNNY_DIM)
    rows, fresh = draw(n, seed), draw(n, derive(seed, "new"))
    found, samples = on_rows(method, rows, fresh, dim, steps, seed)
    return finite({**found, "off the data": off(samples, rows)})


def main() -> None:
    """Run the methods that the file lacks."""
    parser = options_of(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds (%(default)s)")
    parser.add_argument("--case", action="append", choices=CASES, help="case to run (all)")
    parser.add_argument("--method", action="append", choices=[*METHODS, CLUSTERS], help="(all)")
    parser.add_argument("--mesh", type=Path, help="file of the case bunny, .obj or .ply")
    parser.add_argument("--data", type=Path, help="folder of frey, coil and mnist")
    parser.add_argument("--n", type=int, default=2_000, help="rows of a shape (%(default)s)")
    asked = parser.parse_args()
    lacking = {"bunny": asked.mesh is None} | dict.fromkeys(vdae_images.FILES, asked.data is None)
    cases = asked.case or [case for case in CASES if not lacking.get(case)]
    for case in cases:
        if lacking.get(case):
            parser.error(f"--case {case}: needs {'--mesh FILE' if case == 'bunny' else '--data'}")
    torch.set_num_threads(1)
    path = asked.out / "vdae_methods.json"
    settings = {"n": asked.n, "steps": STEPS, "dim of images": vdae_images.DIM}
    known = read(path).get("cases", {}) if read(path).get("settings") == settings else {}
    for seed in range(asked.seed, asked.seed + (1 if asked.quick else asked.seeds)):
        for case in cases:
            found = known.setdefault(case, {}).setdefault(str(seed), {})
            for method in [*METHODS, *([CLUSTERS] if case == "grid" else [])]:
                if method in found or (asked.method and method not in asked.method):
                    continue
                began = time.process_time()
                figures = study(case, method, seed, asked)
                found[method] = {**figures, "CPU seconds": round(time.process_time() - began, 1)}
                print(case, seed, method, found[method], flush=True)
                told = {"study": "vdae_methods", "settings": settings, **circumstances()}
                write_numbers(path, {**told, "cases": known})


if __name__ == "__main__":
    main()
