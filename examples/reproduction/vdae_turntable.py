"""A VDAE with two coordinates on frames of a thing that turns: a stand-in for Fig. 3's bulldog.

Frames of a whole turn are a closed curve, so that good coordinates are a circle and samples stay on
it. The scatter vdae_turntable_CASE.png shows the frames' coordinates, and 300 samples in the
latents of a VDAE (walks of 10 steps from frames), a spherical VAE and a β-VAE of the same size; a
sample's colour is the angle of the nearest frame. Numbers go to vdae_turntable.json:

- for the VDAE, the share of drawn latents, and of the samples' coordinates, within a tenth of the
  radius of the curve through the frames' coordinates;
- for each model, the share of samples that are as near to a frame as frames are to the second next
  (in the median), and the share of frames that are the nearest one of a sample.

Rows are the frames' principal components, all of them: distances are those of the pixels, and few
columns are quick to learn. Cases: `coil`, the 72 frames of COIL's first object (--data with
coil20-32.npz); `bunny`, 200 frames of 64 x 64 (--mesh); `tetrahedron`, which needs no file. Torch
has one thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from baselines import train_beta_vae
from scipy.spatial.distance import cdist
from spherical_vae import train_spherical_vae
from study import circumstances, finite, options_of, read, write_figure, write_numbers
from turntable import TETRAHEDRON, turntable
from vdae import STEPS, Rows, fit, walks
from vdae_images import vectors

from gtn_train.data.mesh import read_mesh
from gtn_train.models.autoencoder import encode_rows
from gtn_train.report import figures
from gtn_train.run.vdae_options import VDAEOptions
from gtn_train.seeds import random_numbers
from gtn_train.spectral import EmbeddingOptions

CASES = ("tetrahedron", "coil", "bunny")
FRAMES, SIZE = 200, 64
SAMPLES = 300
NEIGHBOURS = 6  # of graph and covariances: frames are few
STEP = 4.0
NEAR = 0.1  # of the radius


def frames_of(case: str, asked: Any) -> Rows:
    """Frames in the order of their angles, uint8 [n, h, w]."""
    if case == "coil":
        with np.load(asked.data / "coil20-32.npz", allow_pickle=False) as arrays:
            objects = arrays["label_gnd"]
            images: Rows = arrays["images"][objects == objects.min()]
        return images
    mesh = TETRAHEDRON if case == "tetrahedron" else read_mesh(asked.mesh)
    return turntable(mesh, 60, 16, 20_000) if asked.quick else turntable(mesh, FRAMES, SIZE)


def isometric(rows: Rows) -> Rows:
    """Rotate n centred rows into the n - 1 columns that they need, float32 [n, n - 1]."""
    left, spread, _ = np.linalg.svd(rows - rows.mean(axis=0, dtype=np.float64), full_matrices=False)
    found: Rows = (left * spread)[:, : len(rows) - 1].astype(np.float32)
    return found


def to_curve(points: Rows, corners: Rows) -> Rows:
    """Distance of points [n, d] to the closed line through corners [m, d] in their order."""
    sides = np.roll(corners, -1, axis=0) - corners
    apart = points[:, None] - corners
    along = (apart * sides).sum(axis=2) / (sides**2).sum(axis=1)
    feet = np.clip(along, 0, 1)[:, :, None] * sides
    found: Rows = np.linalg.norm(apart - feet, axis=2).min(axis=1)
    return found


def near(samples: Rows, rows: Rows) -> tuple[dict[str, float], Rows]:
    """Share of samples near a frame, and of frames near a sample; the frame nearest to each."""
    distances = cdist(samples, rows)
    second = np.linalg.norm(np.roll(rows, -2, axis=0) - rows, axis=1)
    nearest = distances.argmin(axis=1)
    return {
        "near a frame": float((distances.min(axis=1) <= np.median(second)).mean()),
        "frames found": len(np.unique(nearest)) / len(rows),
    }, nearest


def study(
    rows: Rows, seed: int, quick: bool
) -> tuple[dict[str, Any], dict[str, Rows], dict[str, Rows]]:
    """Train on frames as rows; return figures, panels, and the frame nearest to each point."""
    embedding = EmbeddingOptions(dim=2, neighbours=NEIGHBOURS)
    options = VDAEOptions(neighbours=NEIGHBOURS, step=STEP)
    model, given, found = fit(rows, embedding, options, seed, quick)
    curve = encode_rows(model, rows)
    starts = rows[random_numbers(seed, "starts").integers(len(rows), size=SAMPLES)]
    ten = walks(model, starts, seed)[10]
    radius = np.linalg.norm(curve - curve.mean(axis=0), axis=1).mean()
    figure, nearest = near(ten.rows, rows)
    for label, points in (("drawn", ten.latents), ("coordinates", encode_rows(model, ten.rows))):
        figure[f"on the circle, {label}"] = float((to_curve(points, curve) <= NEAR * radius).mean())
    found["VDAE"] = finite(figure)
    panels, colours = {"frames": curve, "VDAE": ten.latents}, {"VDAE": nearest}
    colours["frames"] = np.arange(len(rows))
    for name, train in (("SVAE", train_spherical_vae), ("β-VAE", train_beta_vae)):
        other = train(given, 2, 20 if quick else STEPS, seed)
        latents = other.latents(SAMPLES, seed)
        figure, colours[name] = near(other.sample(latents), rows)
        found[name], panels[name] = finite(figure), latents
    return found, panels, colours


def main() -> None:
    """Run the cases that the file lacks."""
    parser = options_of(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds (%(default)s)")
    parser.add_argument("--case", action="append", choices=CASES, help="case to run (all)")
    parser.add_argument("--mesh", type=Path, help="file of the case bunny, .obj or .ply")
    parser.add_argument("--data", type=Path, help="folder of the case coil")
    asked = parser.parse_args()
    lacking = {"bunny": asked.mesh is None, "coil": asked.data is None}
    cases = asked.case or [case for case in CASES if not lacking.get(case)]
    for case in cases:
        if lacking.get(case):
            parser.error(f"--case {case}: needs {'--mesh FILE' if case == 'bunny' else '--data'}")
    torch.set_num_threads(1)
    path = asked.out / "vdae_turntable.json"
    settings = {"neighbours": NEIGHBOURS, "step": STEP, "samples": SAMPLES, "frames": FRAMES}
    known = read(path).get("cases", {}) if read(path).get("settings") == settings else {}
    for case in cases:
        rows = isometric(vectors(frames_of(case, asked)))
        for seed in range(asked.seed, asked.seed + (1 if asked.quick else asked.seeds)):
            if str(seed) in known.setdefault(case, {}):
                continue
            known[case][str(seed)], panels, colours = study(rows, seed, asked.quick)
            print(case, seed, known[case][str(seed)], flush=True)
            if seed == asked.seed:
                shown = figures.scatter(panels, colours=colours)
                write_figure(asked.out / f"vdae_turntable_{case}.png", shown)
            told = {"study": "vdae_turntable", "settings": settings, **circumstances()}
            write_numbers(path, {**told, "cases": known})


if __name__ == "__main__":
    main()
