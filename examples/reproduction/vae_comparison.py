"""GTN against a VAE of the same architecture (Table 1), without tuning for either.

The vanilla VAE and its autoencoder twin (the same layers, without noise and KL term) are trained
alike, from the same first weights. The VAE's samples are decoded normal vectors. All others are the
twin's decoder behind a model of its codes: a generator as the preset "cifar10" has it ("GTN"), one
on Algorithm 1's pairs with batch normalisation and 7 of the paper's 26 layers ("GTN, paper's
pairs"), one Gaussian with full covariance, and a mixture of ten. With a few hundred images rounds
are those of the preset "small-folder". Both generators see as many pairs. Images are compared by
EfficientNet-Lite0: FD-Lite0 and IS-Lite0 are no FID and no Inception Score. All train on the same
part of a data set, small enough for minutes on a CPU. Trained autoencoders stay in --run, and the
study goes on with them. A seed other than 0 has an entry and figures of its own. A second figure
shows reconstructions beside samples (Fig. 6).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from study import (
    circumstances,
    network_of,
    options_of,
    read,
    sample_of,
    train_on,
    training_of,
    write_figure,
    write_numbers,
)

from gtn_label.arrays.sources import draw_sources
from gtn_train.data import Images, open_images
from gtn_train.evaluation.baselines import gaussian, gaussian_mixture
from gtn_train.evaluation.extractors import lite0
from gtn_train.evaluation.images import evaluate_images
from gtn_train.evaluation.latents import StandardizedDistance, Standardizer, norm_statistics
from gtn_train.evaluation.neighbours import memorisation
from gtn_train.models.autoencoder import decode_all, encode_all
from gtn_train.models.registry import make_model
from gtn_train.report import figures
from gtn_train.run.paper import as_in_paper
from gtn_train.run.presets import PRESETS
from gtn_train.run.store import RunFolder
from gtn_train.seeds import derive, random_numbers
from gtn_train.training import TrainingOptions, train_autoencoder

LATENT_DIM = 128  # the vanilla VAE's
N_LATENTS = 10_000  # of each kind, for the energy distance
SETS = {  # by name: set of gtn_train.data, training images, epochs
    "mnist": ("mnist", 6000, 12),
    "fashion-mnist": ("fashion-mnist", 6000, 12),
    "cifar10": ("cifar10-jpeg", 6000, 12),
    "faces": ("array", 320, 80),
}
FEW = 1000  # training images, below which rounds are those of the preset "small-folder"

Rows = npt.NDArray[Any]

PRESET = "cifar10"  # whose pairs and network all generators have
EPOCHS = 90
PAPERS_NETWORK = {"layers": 7, "width": 500, "batch_norm_layers": 6}  # of 26 layers of 1,500
FITTED = {"Gaussian": gaussian, "mixture of 10": gaussian_mixture}
METHODS = ("VAE", "GTN", "GTN, paper's pairs", *FITTED)


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
    entry = asked.set if asked.seed == 0 else f"{asked.set}_seed_{asked.seed}"
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
        threads=1,
    )
    torch.set_num_threads(1)
    models = {
        kind: _trained(kind, training, options, asked.run / entry / kind)
        for kind in ("vae", "vae-twin")
    }
    twin = models["vae-twin"]
    codes, held_out = (encode_all(twin, part.images) for part in (training, test))
    scale = Standardizer(codes)
    distance = StandardizedDistance(held_out[:N_LATENTS], scale)
    again = decode_all(twin, encode_all(twin, real[:n]))
    found: dict[str, Any] = {"floor": {"energy_distance": distance(codes[:N_LATENTS])}}
    panels: dict[str, npt.NDArray[np.uint8]] = {"real": real[:16]}
    for method in METHODS:
        model = twin
        extra: dict[str, Any] = {}
        more: dict[str, Any] = {"reconstructions": again} if method == "GTN" else {}
        if method == "VAE":
            model = models["vae"]
            latents = draw_sources(n, LATENT_DIM, derive(asked.seed, "samples"))
            by_vae = decode_all(model, encode_all(model, real[:n]))
            more = {"reconstructions": by_vae}
        else:
            latents, extra = _latents(method, codes, asked.seed)
            norms = norm_statistics(scale(latents), scale(codes))
            copies = memorisation(scale(latents[:1000]), scale(codes), scale(held_out[:1000]))
            extra |= {
                "energy_distance": distance(latents),
                "norm_ratio": norms["mean ratio"],
                "spread": norms["spread"],
                "nearest_ratio": copies.figures()["ratio"],
            }
        images = decode_all(model, latents[:n])
        cache = asked.run / "features"  # of the real images, which all methods share
        judged = evaluate_images(images, real, lite0(), n=n, seed=asked.seed, cache=cache, **more)
        found[method] = {**judged, **extra}
        panels[method] = images[:16]
        print(entry, method, found[method], flush=True)
        _write(asked, entry, found, options, len(training.images))
    beside = [panels["real"], by_vae[:16], panels["VAE"], again[:16], panels["GTN"]]
    for file, rows in ((entry, [*panels.values()]), (f"{entry}_reconstructions", beside)):
        sheet = figures.grid(np.concatenate(rows), columns=16)
        write_figure(asked.out / f"vae_comparison_{file}.png", sheet)


def _images(name: str, data: Path, n: int, seed: int) -> tuple[Images, Images]:
    """Training and test images; a set without a test split has a part held out."""
    chance = random_numbers(seed, "subset")
    training = open_images(name, data)
    if name == "array":
        order = chance.permutation(training.n)
        return training.subset(np.sort(order[:n])), training.subset(np.sort(order[n:]))
    test = open_images(name, data, split="test")
    return training.subset(np.sort(chance.permutation(training.n)[:n])), test


def _trained(kind: str, images: Images, options: TrainingOptions, folder: Path) -> Any:
    """Train an autoencoder, go on with its training, or take it as it is."""
    model = make_model(kind, {"image_shape": images.shape, "latent_dim": LATENT_DIM}, options.seed)
    result = train_autoencoder(model, images, RunFolder(folder), options, resume=True)
    print(kind, "loss", result.best_value, "seconds", round(result.seconds), flush=True)
    return model


def _latents(method: str, codes: Rows, seed: int) -> tuple[Rows, dict[str, Any]]:
    """Draw latents from a model of the codes; tell the seconds of the generator's training."""
    if method in FITTED:
        return FITTED[method](codes, N_LATENTS, seed), {}
    preset, network, epochs = PRESETS[PRESET], network_of(PRESETS[PRESET]), EPOCHS
    size = PRESETS["small-folder"].pairs.round_size if len(codes) < FEW else 0
    asked = replace(preset.pairs, round_size=size)
    options = training_of(preset, seed, epochs)
    if method != "GTN":
        preset, network = as_in_paper(PRESET), PAPERS_NETWORK
        asked = preset.pairs
        epochs = EPOCHS * (size or len(codes)) // len(codes)  # as many pairs as the other sees
        options = training_of(preset, seed, epochs, learning_rate=1e-3)
    with asked.make(codes, seed, threads=1) as pairs:
        generator, result = train_on(pairs, network, options, seed)
    return sample_of(generator, N_LATENTS, seed), {
        "network": network,
        "pairs": asked.config(),
        "generator_epochs": result.epochs,
        "generator_seconds": round(result.seconds, 1),
    }


def _write(
    asked: Any, entry: str, found: dict[str, Any], options: TrainingOptions, n_train: int
) -> None:
    file = asked.out / "vae_comparison.json"
    this = {
        "results": found,
        "training_images": n_train,
        "epochs": options.max_epochs,
        "seed": asked.seed,
        **circumstances(),
    }
    sets = {**read(file).get("sets", {}), entry: this}
    write_numbers(file, {"study": "vae_comparison", "latent_dim": LATENT_DIM, "sets": sets})


if __name__ == "__main__":
    main()
