"""Random walks of a VDAE on known shapes and on digits, beside a β-VAE of the same size.

Numbers go to vdae.json after each case, and cases that the file has are not repeated.

- `circle`, `loop`, `torus` and, with --mesh, `bunny`: distance of walks to the data after 1, 5 and
  10 steps from data rows, steps until walks from one row are mixed, energy distances of long walks,
  Gromov-Wasserstein (× 1,000, with POT), bi-Lipschitz constants and MMD (× 1,000), each beside the
  β-VAE and beside a second sample of the data.
- `grid`: 25 normals, the share of samples within four deviations of a mean, and the modes found.
- `digits`: the 8 x 8 digits of scikit-learn as vectors, the share of walks whose end a classifier
  gives the class of the start.

vdae_images.py has images. Torch has one thread.
"""

from __future__ import annotations

import importlib.util
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from baselines import train_beta_vae
from scipy.spatial import cKDTree
from study import circumstances, finite, options_of, read, write_figure, write_numbers

from gtn_train.data import gaussian_grid, loop, mesh_points, ring, torus
from gtn_train.evaluation import bilipschitz, gromov_wasserstein, mmd
from gtn_train.evaluation.latents import EnergyDistance
from gtn_train.models.autoencoder import encode_rows
from gtn_train.models.registry import make_model
from gtn_train.report import figures
from gtn_train.run.raw_data import hold_out_rows
from gtn_train.run.store import RunFolder
from gtn_train.run.vdae_options import VDAEOptions
from gtn_train.sampling import mixing_steps, trajectory
from gtn_train.seeds import derive, random_numbers
from gtn_train.spectral import DiffusionMaps, EmbeddingOptions
from gtn_train.spectral.embedding import told_apart
from gtn_train.spectral.training import explained, outputs_of, train_encoder
from gtn_train.training import TrainingOptions
from gtn_train.training.vdae import train_vdae

Rows = npt.NDArray[Any]

SHAPES: dict[str, tuple[Callable[[int, int], Rows], int]] = {
    "circle": (partial(ring, noise=0), 2),
    "loop": (loop, 3),
    "torus": (torus, 4),
}
CASES = [*SHAPES, "bunny", "grid", "digits"]
BUNNY_DIM = 4
LENGTHS = (1, 5, 10)
LONG = (1, 10, 100, 300)
WALKERS = 500  # of long walks
STEPS = 1_750  # of the VDAE's training, and of the β-VAE's
ENCODER_STEPS = 2_500
BATCH_SIZE = 256
GROMOV_ROWS, GROMOV_DRAWS, GROMOV_STARTS = 300, 3, 3
DEVIATION = 0.1  # of the grid's normals


def training(steps: int, n: int, seed: int) -> TrainingOptions:
    """Options of a training of about so many steps."""
    return TrainingOptions(
        batch_size=BATCH_SIZE,
        learning_rate=1e-3,
        max_epochs=max(1, steps // -(-n // BATCH_SIZE)),
        schedule="cosine",
        accelerator="cpu",
        threads=1,
        seed=seed,
        checkpoint_every_seconds=1e6,
        keep_last=False,
    )


def fit(
    rows: Rows, options: EmbeddingOptions, vdae: VDAEOptions, seed: int, quick: bool
) -> tuple[Any, Rows, dict[str, Any]]:
    """Embed rows, train encoder and VDAE; return the model, its training rows and figures."""
    began = time.perf_counter()
    maps = DiffusionMaps.fit(rows, options)
    config = {
        "data_shape": [rows.shape[1]],
        "latent_dim": options.dim,
        "components": len(maps.maps),
        "apart": told_apart(options.dim),
    }
    encoder = make_model("spectral", config, seed)
    held_out = hold_out_rows(len(rows), 0.2, seed)
    given = np.delete(rows, held_out, axis=0)
    how = training(20 if quick else ENCODER_STEPS, len(given), seed)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = (rows, maps.coordinates, maps.part, held_out, RunFolder(scratch), how)
        train_encoder(encoder, *arguments)
    outputs, _ = outputs_of(encoder, rows[held_out])
    own = outputs[np.arange(len(held_out)), maps.part[held_out]]
    r2 = explained(own, encoder.normalize(maps.coordinates, maps.part)[held_out])
    model = make_model("vdae", {"encoder": encoder.config()}, seed)
    model.encoder.load_state_dict(encoder.state_dict())
    how = training(20 if quick else STEPS, len(given), seed)
    with tempfile.TemporaryDirectory() as scratch:
        result = train_vdae(model, given, rows[held_out], vdae, RunFolder(scratch), how)
    last = result.history[result.best_epoch - 1]
    found = {
        "components": len(maps.maps),
        "encoder R2, least": round(float(r2.min()), 4),
        "held-out KL": round(last["validation_kl"], 3),
        "held-out mse": float(f"{last['validation_mse']:.3g}"),
        "seconds": round(time.perf_counter() - began, 1),
    }
    return model, given, found


def walks(model: Any, starts: Rows, seed: int, known: Rows | None = None) -> dict[int, Any]:
    """Walk from rows, and keep what `LENGTHS` name."""
    steps = itertools.islice(trajectory(model, starts, seed, snap_to=known), max(LENGTHS))
    return {number: moved for number, moved in enumerate(steps, 1) if number in LENGTHS}


def off(samples: Rows, rows: Rows) -> float:
    """Mean distance of samples to the nearest row."""
    return float(cKDTree(rows).query(samples)[0].mean())


def unlike(samples: Rows, real: Rows, seed: int) -> dict[str, float]:
    """Compare samples with rows of the data: MMD and Gromov-Wasserstein, both times 1,000."""
    found = {"MMD": 1_000 * mmd(samples, real)}
    if importlib.util.find_spec("ot") is None:
        return found
    orders = [random_numbers(seed, "study", side).permutation(len(real)) for side in range(2)]
    size = min(GROMOV_ROWS, len(real) // GROMOV_DRAWS)
    values = []
    for draw in range(GROMOV_DRAWS):
        part = slice(draw * size, (draw + 1) * size)
        pair = (rows[order[part]] for rows, order in zip((samples, real), orders, strict=True))
        values.append(1_000 * gromov_wasserstein(*pair, starts=GROMOV_STARTS, seed=seed))
    return {**found, "GW": float(np.mean(values)), "GW, deviation": float(np.std(values))}


def spread(
    model: Any, starts: Rows, real: Rows, lengths: tuple[int, ...], seed: int
) -> dict[str, float]:
    """Measure energy distances of long walks to the data."""
    steps = itertools.islice(trajectory(model, starts, seed), lengths[-1])
    kept = [moved.rows for number, moved in enumerate(steps, 1) if number in lengths]
    return dict(zip(map(str, lengths), energies(kept, real), strict=True))


def energies(samples: list[Rows], real: Rows) -> list[float]:
    """Measure energy distances to as many rows of the data."""
    distance = EnergyDistance(real[:WALKERS])
    return [float(f"{distance(rows):.3g}") for rows in samples]


def stretch(latents: Rows, samples: Rows) -> dict[str, float]:
    """Measure bi-Lipschitz constants of drawn latents and their decodings."""
    found = bilipschitz(latents, samples, k=20)
    return {f"bi-Lipschitz, {name}": value for name, value in found.items()}


def shape(
    draw: Callable[[int, int], Rows], dim: int, n: int, seed: int, quick: bool, vdae: VDAEOptions
) -> tuple[Any, Rows]:
    """Walk on a shape, and compare with the β-VAE and with the data."""
    rows, fresh = draw(n, seed), draw(n, derive(seed, "new"))
    model, given, found = fit(rows, EmbeddingOptions(dim=dim), vdae, seed, quick)
    starts = rows[random_numbers(seed, "starts").permutation(n)]
    known = encode_rows(model, given)
    figure: dict[str, Any] = {"off the data, two samples": off(fresh, rows)}
    for label, to in (("", None), (", snapped", known)):
        moved = walks(model, starts, seed, to)
        for number, one in moved.items():
            figure[f"off the data, {number} steps{label}"] = off(one.rows, rows)
        if to is None:
            last = moved
    vae = train_beta_vae(given, dim, 20 if quick else STEPS, seed)
    latents = random_numbers(seed, "beta-vae").standard_normal((n, dim), np.float32)
    decoded = vae.sample(latents)
    figure["off the data, β-VAE"] = off(decoded, rows)
    ten = last[max(LENGTHS)]
    found |= finite(figure)
    found["VDAE"] = finite(
        {**unlike(ten.rows, fresh, seed), **stretch(last[1].latents, last[1].rows)}
    )
    found["β-VAE"] = finite({**unlike(decoded, fresh, seed), **stretch(latents, decoded)})
    found["data"] = finite(unlike(rows, fresh, seed))
    lengths = (1, 5) if quick else LONG
    found["steps until mixed, from one row"] = mixing_steps(model, rows, 0, seed, most=lengths[-1])
    few = starts[:WALKERS]
    found["energy distance to the data"] = {
        "two samples": energies([rows[:WALKERS]], fresh)[0],
        "from one row": spread(model, np.repeat(rows[:1], len(few), axis=0), fresh, lengths, seed),
        "from data rows": spread(model, few, fresh, lengths, seed),
    }
    return found, ten.rows


def grid(n: int, seed: int, quick: bool, vdae: VDAEOptions) -> tuple[Any, Rows]:
    """Walk on 25 normals, with coordinates of each component by itself and of all together."""
    rows = gaussian_grid(n, seed)
    starts = rows[random_numbers(seed, "starts").permutation(n)[:2_000]]
    separate = EmbeddingOptions(dim=2)
    joint = replace(separate, dim=24, components="joint")
    found: dict[str, Any] = {}
    for label, options in (("separate", separate), ("joint", joint)):
        model, given, told = fit(rows, options, vdae, seed, quick)
        known = encode_rows(model, given)
        for way, to in (("", None), (", snapped", known)):
            moved = walks(model, starts, seed, to)
            for number in LENGTHS:
                told[f"{number} steps{way}"] = on_grid(moved[number].rows)
            if label == "separate" and to is None:
                last: Rows = moved[5].rows
        found[label] = told
    vae = train_beta_vae(rows, 2, 20 if quick else STEPS, seed)
    latents = random_numbers(seed, "beta-vae").standard_normal((2_000, 2), np.float32)
    found["β-VAE"] = on_grid(vae.sample(latents))
    found["data"] = on_grid(gaussian_grid(2_000, derive(seed, "new")))
    return found, last


def on_grid(samples: Rows) -> dict[str, float]:
    """Share within four deviations of a mean, modes with a sample, and the deviation there."""
    means = np.clip(np.rint(samples), -2, 2)
    apart = samples - means
    near = np.linalg.norm(apart, axis=1) <= 4 * DEVIATION
    modes = len(np.unique(means[near], axis=0))
    spread = float(apart[near].std()) if near.any() else 0.0
    return {**finite({"within 4 sd": float(near.mean()), "sd": spread}), "modes": modes}


def digits(seed: int, quick: bool, vdae: VDAEOptions) -> tuple[Any, Rows]:
    """Walk on digits, and ask a classifier of pixels for the class of each end."""
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    pixels, classes = load_digits(return_X_y=True)
    rows = (pixels / 8 - 1).astype(np.float32)
    model, given, found = fit(rows, EmbeddingOptions(dim=10), vdae, seed, quick)
    classifier = KNeighborsClassifier(5).fit(rows, classes)
    known = encode_rows(model, given)
    for label, to in (("", None), (", snapped", known)):
        moved = walks(model, rows, seed, to)
        for number, one in moved.items():
            share = float((classifier.predict(one.rows) == classes).mean())
            found[f"class of the start, {number} steps{label}"] = round(share, 4)
        if to is None:
            last = moved[5]
    found |= finite(stretch(last.latents, last.rows))
    return found, encode_rows(model, last.rows)[:, :2]


def main() -> None:
    """Run the cases that the file lacks."""
    parser = options_of(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds (%(default)s)")
    parser.add_argument("--case", action="append", choices=CASES, help="case to run (all)")
    parser.add_argument("--mesh", type=Path, help="file of the case bunny, .obj or .ply")
    parser.add_argument("--n", type=int, default=2_000, help="rows of a shape (%(default)s)")
    parser.add_argument(
        "--step", type=float, default=16.0, help="factor on covariances (%(default)s)"
    )
    parser.add_argument("--couple", action="store_true", help="couple as in the paper")
    asked = parser.parse_args()
    if asked.mesh is None and "bunny" in (asked.case or ()):
        parser.error("--case bunny: needs --mesh FILE")
    torch.set_num_threads(1)
    n, seeds = (300, 1) if asked.quick else (asked.n, asked.seeds)
    path = asked.out / "vdae.json"
    vdae = VDAEOptions(step=asked.step, couple=asked.couple)
    of_walk = {"step": vdae.step, "couple": vdae.couple}
    settings = {"n": n, "encoder steps": ENCODER_STEPS, "steps": STEPS, **of_walk}
    cases = read(path).get("cases", {}) if read(path).get("settings") == settings else {}
    panels: dict[str, Rows] = {}
    for seed in range(asked.seed, asked.seed + seeds):
        for name in asked.case or [case for case in CASES if case != "bunny" or asked.mesh]:
            known = cases.setdefault(name, {})
            if str(seed) in known:
                continue
            if name in SHAPES:
                known[str(seed)], shown = shape(*SHAPES[name], n, seed, asked.quick, vdae)
            elif name == "bunny":
                draw = partial(mesh_points, asked.mesh)
                known[str(seed)], shown = shape(draw, BUNNY_DIM, n, seed, asked.quick, vdae)
            elif name == "grid":
                known[str(seed)], shown = grid(
                    2 * n if asked.quick else 7_500, seed, asked.quick, vdae
                )
            else:
                known[str(seed)], shown = digits(seed, asked.quick, vdae)
            if seed == asked.seed:
                panels[name] = shown[:, :2]
            print(name, seed, known[str(seed)], flush=True)
            told = {"study": "vdae", "settings": settings, **circumstances()}
            write_numbers(path, {**told, "cases": cases})
    if panels:
        write_figure(asked.out / "vdae.png", figures.scatter(panels))


if __name__ == "__main__":
    main()
