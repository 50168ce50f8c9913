"""Random walks of a VDAE on images as vectors, beside a β-VAE of the same size (Table 1, Fig. 5).

Numbers go to vdae_images.json after each case, and cases that the file has are not repeated.

- `digits`: the 8 x 8 digits of scikit-learn, without files.
- `mnist`: 6,000 training images, --data with MNIST/raw; real images are as many others.
- `frey`, `coil`: --data with frey-28x20.npz and coil20-32.npz (`images`, uint8, and COIL's
  `label_gnd`).
  COIL has its first five objects.

Only MNIST has other images than those that are trained on. Elsewhere these are the real ones.

Gromov-Wasserstein (× 1,000, with POT), MMD (× 1,000) and bi-Lipschitz constants are those after 10
steps. Where images have classes, the share of walks whose end a classifier by 5 neighbours gives
the class of the start. Torch has one thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from baselines import train_beta_vae
from study import circumstances, finite, options_of, read, write_figure, write_numbers
from vdae import ENCODER_STEPS, STEPS, fit, stretch, unlike, walks

from gtn_train.data import open_images
from gtn_train.models.autoencoder import encode_rows
from gtn_train.report import figures
from gtn_train.run.vdae_options import VDAEOptions
from gtn_train.seeds import random_numbers
from gtn_train.spectral import EmbeddingOptions

Rows = npt.NDArray[Any]

N_MNIST = 6_000
OBJECTS = 5  # of COIL
DIM = 10
NEIGHBOURS = 5  # of the classifier
SHOWN = 8  # walks of the picture
FILES = ("mnist", "frey", "coil")  # cases that need --data
# What the graph is built on.
CASES = {"digits": "data", "mnist": "pca50", "frey": "data", "coil": "data"}


def vectors(images: Rows) -> npt.NDArray[np.float32]:
    """Pixels from -1 to 1, a row an image."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(127.5) - 1


def load(name: str, folder: Path | None, seed: int, quick: bool) -> tuple[Rows, Rows, Rows | None]:
    """Images to train on, real ones to compare with, and classes of the first."""
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        n = 300 if quick else len(images)
        return images[:n], images[:n], digits.target[:n]
    if folder is None:
        raise ValueError(f"the case {name} needs a folder of images, and got none")
    if name == "mnist":
        data = open_images("mnist", folder)
        n = 300 if quick else N_MNIST
        order = random_numbers(seed, "subset").permutation(data.n)[: 2 * n]
        images, classes = np.asarray(data.images), np.asarray(data.labels)
        return images[order[:n]], images[order[n:]], classes[order[:n]]
    if name == "frey":
        with np.load(folder / "frey-28x20.npz", allow_pickle=False) as arrays:
            images = arrays["images"]
        return images, images, None
    with np.load(folder / "coil20-32.npz", allow_pickle=False) as arrays:
        images, objects = arrays["images"], arrays["label_gnd"]
    kept = np.isin(objects, np.unique(objects)[:OBJECTS])
    return images[kept], images[kept], objects[kept]


def study(
    name: str, folder: Path | None, seed: int, quick: bool, vdae: VDAEOptions
) -> tuple[dict[str, Any], Rows]:
    """Walk on images, and compare with the β-VAE and with real images."""
    images, others, classes = load(name, folder, seed, quick)
    rows, real = vectors(images), vectors(others)
    embedding = EmbeddingOptions(dim=DIM, on=CASES[name])
    model, given, found = fit(rows, embedding, vdae, seed, quick)
    known = encode_rows(model, given)
    for label, to in (("", None), (", snapped", known)):
        moved = walks(model, rows, seed, to)
        if classes is not None:
            told = classes_told(rows, classes, {k: one.rows for k, one in moved.items()})
            found |= {f"class of the start, {k} steps{label}": v for k, v in told.items()}
        ten = moved[10]
        figure = {**unlike(ten.rows, real, seed), "off the data": off(ten.rows, real)}
        found[f"VDAE{label}"] = finite({**figure, **stretch(ten.latents, ten.rows)})
        if to is None:
            steps = [rows[:SHOWN], *(one.rows[:SHOWN] for one in moved.values())]
    vae = train_beta_vae(given, DIM, 20 if quick else STEPS, seed)
    latents = random_numbers(seed, "beta-vae").standard_normal((len(rows), DIM), np.float32)
    decoded = vae.sample(latents)
    figure = {**unlike(decoded, real, seed), "off the data": off(decoded, real)}
    found["β-VAE"] = finite({**figure, **stretch(latents, decoded)})
    if name == "mnist":
        found["data"] = finite({**unlike(rows, real, seed), "off the data": off(rows, real)})
    pixels = np.clip((np.concatenate([*steps, decoded[:SHOWN]]) + 1) * 127.5, 0, 255)
    return found, pixels.astype(np.uint8).reshape(-1, 1, *images.shape[-2:])


def off(samples: Rows, real: Rows) -> float:
    """Mean distance of samples to the nearest real image."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(real)
    return float(near.kneighbors(samples)[0].mean())


def classes_told(rows: Rows, classes: Rows, ends: dict[int, Rows]) -> dict[int, float]:
    """Share of ends that a classifier of the rows gives their start's class."""
    from sklearn.neighbors import KNeighborsClassifier

    told = KNeighborsClassifier(NEIGHBOURS).fit(rows, classes)
    return {k: round(float((told.predict(end) == classes).mean()), 4) for k, end in ends.items()}


def main() -> None:
    """Run the cases that the file lacks."""
    parser = options_of(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds (%(default)s)")
    parser.add_argument("--case", action="append", choices=[*CASES], help="case to run (all)")
    parser.add_argument("--data", type=Path, help="folder of the images of all cases but digits")
    parser.add_argument(
        "--step", type=float, default=16.0, help="factor on covariances (%(default)s)"
    )
    asked = parser.parse_args()
    names = asked.case or [case for case in CASES if asked.data or case not in FILES]
    for name in names:
        if name in FILES and asked.data is None:
            parser.error(f"--case {name}: needs --data FOLDER")
    torch.set_num_threads(1)
    path = asked.out / "vdae_images.json"
    vdae = VDAEOptions(step=asked.step)
    settings = {"dim": DIM, "encoder steps": ENCODER_STEPS, "steps": STEPS, "step": vdae.step}
    cases = read(path).get("cases", {}) if read(path).get("settings") == settings else {}
    for seed in range(asked.seed, asked.seed + (1 if asked.quick else asked.seeds)):
        for name in names:
            known = cases.setdefault(name, {})
            if str(seed) in known:
                continue
            known[str(seed)], shown = study(name, asked.data, seed, asked.quick, vdae)
            if seed == asked.seed:
                sheet = figures.grid(shown, columns=SHOWN)
                write_figure(asked.out / f"vdae_{name}.png", sheet)
            print(name, seed, known[str(seed)], flush=True)
            told = {"study": "vdae_images", "settings": settings, **circumstances()}
            write_numbers(path, {**told, "cases": cases})


if __name__ == "__main__":
    main()
