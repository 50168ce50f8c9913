"""GTN against a VAE of the same architecture (Table 1), without tuning for either.

The vanilla VAE and its autoencoder twin (the same layers, without noise and KL term) are trained
alike, from the same first weights. The VAE's samples are decoded normal vectors; the GTN's are the
twin's decoder behind a generator that was trained on exact pairs. Images are compared by
EfficientNet-Lite0: FD-Lite0 and IS-Lite0 are no FID and no Inception Score. Both train on the same
part of a data set, small enough for minutes on a CPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from study import (
    circumstances,
    options_of,
    read,
    train,
    write_figure,
    write_numbers,
)

from gtn_label.arrays.sources import draw_sources
from gtn_train.data import Images, open_images
from gtn_train.evaluation.extractors import lite0
from gtn_train.evaluation.images import evaluate_images
from gtn_train.evaluation.latents import norm_statistics
from gtn_train.models.autoencoder import decode_all, encode_all
from gtn_train.models.registry import make_model
from gtn_train.report import figures
from gtn_train.run.presets import PRESETS
from gtn_train.run.store import RunFolder
from gtn_train.seeds import derive, random_numbers
from gtn_train.training import TrainingOptions, train_autoencoder

LATENT_DIM = 128  # the vanilla VAE's
GENERATOR = {"layers": 7, "width": 500, "batch_norm_layers": 6}
SETS = {  # by name: set of gtn_train.data, training images, epochs
    "mnist": ("mnist", 6000, 12),
    "fashion-mnist": ("fashion-mnist", 6000, 12),
    "cifar10": ("cifar10-jpeg", 6000, 12),
    "faces": ("array", 320, 80),
}


def main() -> None:
    """Run the study on one data set."""
    parser = options_of(__doc__)
    parser.add_argument("--set", choices=[*SETS], required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder or file of the data")
    parser.add_argument(
        "--run", type=Path, default=Path("runs/vae"), help="scratch folder (%(default)s)"
    )
    parser.add_argument("--n", type=int, default=1000, help="images compared (%(default)s)")
    parser.add_argument("--epochs", type=int, help="epochs of both autoencoders (the set's own)")
    asked = parser.parse_args()
    if asked.quick:
        parser.error("--quick: this study has no small form; a set takes some ten minutes")
    name, n_train, epochs = SETS[asked.set]
    training, test = _images(name, asked.data, n_train, asked.seed)
    real = np.concatenate([test.images, training.images])[: 2 * asked.n]
    n = min(asked.n, len(real) // 2) if asked.set == "faces" else asked.n
    options = TrainingOptions(
        batch_size=64,
        learning_rate=5e-3,
        learning_rate_decay=0.95,
        max_epochs=asked.epochs or epochs,
        seed=asked.seed,
        accelerator="cpu",
        checkpoint_every_epochs=1000,
    )
    found: dict[str, Any] = {}
    panels: dict[str, npt.NDArray[np.uint8]] = {"real": real[:32]}
    cache = asked.run / "features"  # of the real images, which both methods share
    for method, kind in (("VAE", "vae"), ("GTN", "vae-twin")):
        began = time.perf_counter()
        model = _trained(kind, training, options)
        if method == "VAE":
            latents = draw_sources(n, LATENT_DIM, derive(asked.seed, "samples"))
            extra: dict[str, Any] = {}
        else:
            latents, extra = _generate(model, training, n, asked.seed)
        generated = decode_all(model, latents)
        again = decode_all(model, encode_all(model, real[:n]))
        seconds = time.perf_counter() - began
        figures_found = evaluate_images(
            generated, real, lite0(), n=n, seed=asked.seed, reconstructions=again, cache=cache
        )
        found[method] = {**figures_found, **extra, "training_seconds": round(seconds, 1)}
        panels[method] = generated[:32]
        print(asked.set, method, found[method], flush=True)
    _write(asked, found, panels, options, len(training.images))


def _images(name: str, data: Path, n: int, seed: int) -> tuple[Images, Images]:
    """Training and test images; a set without a test split has a part held out."""
    chance = random_numbers(seed, "subset")
    training = open_images(name, data)
    if name == "array":
        order = chance.permutation(training.n)
        return training.subset(np.sort(order[:n])), training.subset(np.sort(order[n:]))
    test = open_images(name, data, split="test")
    return training.subset(np.sort(chance.permutation(training.n)[:n])), test


def _trained(kind: str, images: Images, options: TrainingOptions) -> Any:
    model = make_model(kind, {"image_shape": images.shape, "latent_dim": LATENT_DIM}, options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        result = train_autoencoder(model, images, RunFolder(scratch), options)
    print(kind, "loss", result.best_value, "seconds", round(result.seconds), flush=True)
    return model


def _generate(
    model: Any, images: Images, n: int, seed: int
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    latents = encode_all(model, images.images)
    pairs = PRESETS["cifar10"].pairs
    options = TrainingOptions(
        batch_size=128,
        learning_rate=1e-3,
        learning_rate_decay=0.95,
        max_epochs=60,
        seed=seed,
        accelerator="cpu",
        checkpoint_every_epochs=1000,
    )
    labeling = pairs.labeling_of(latents, seed)
    trained = train(latents, labeling, GENERATOR, options, every=pairs.every, seed=seed)
    generated = trained.sample(n, seed)
    return generated, {
        "norms": norm_statistics(generated, latents, center=True),
        "labeling_seconds": round(trained.labeling_seconds, 2),
        "rounds": trained.rounds,
    }


def _write(
    asked: argparse.Namespace,
    found: dict[str, Any],
    panels: dict[str, npt.NDArray[np.uint8]],
    options: TrainingOptions,
    n_train: int,
) -> None:
    file = asked.out / "vae_comparison.json"
    content = read(file)
    content.update(study="vae_comparison", latent_dim=LATENT_DIM, generator=GENERATOR)
    content.setdefault("sets", {})[asked.set] = {
        "results": found,
        "training_images": n_train,
        "epochs": options.max_epochs,
        "pairs": PRESETS["cifar10"].pairs.config(),
        "seed": asked.seed,
        **circumstances(),
    }
    write_numbers(file, content)
    rows = np.concatenate([panels["real"][:16], panels["GTN"][:16], panels["VAE"][:16]])
    write_figure(asked.out / f"vae_comparison_{asked.set}.png", figures.grid(rows, columns=16))


if __name__ == "__main__":
    main()
