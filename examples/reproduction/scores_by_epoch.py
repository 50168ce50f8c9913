"""Scores by epoch beside the validation loss (version 2: Figs. 9, 14, 16), on few images.

A generator trains on the codes of latent_dims.py's autoencoder, with the paper's pairs (Algorithm
1, fixed) and Table 2's network of MNIST. At some epochs its samples get the Fréchet distance and
the score of the chosen features, and the energy distance of latents over √d. The paper stops by the
Inception Score, because it improves long after the validation loss. "best" names the epoch of each
measure's best value. The same sources are sampled at all epochs, and a sheet shows some of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from latent_dims import (
    add_options,
    autoencoder_of,
    checked,
    extractor_of,
    split_of,
)
from study import (
    circumstances,
    finite,
    network_of,
    options_of,
    read,
    sample_of,
    train_on,
    training_of,
    write_figure,
    write_numbers,
)

from gtn_train.evaluation.extractors import Extractor, figure_names
from gtn_train.evaluation.images import evaluate_images
from gtn_train.evaluation.latents import StandardizedDistance, Standardizer
from gtn_train.models.autoencoder import decode_all, encode_all
from gtn_train.pairs.pair_options import one_round
from gtn_train.report import figures
from gtn_train.run.paper import as_in_paper
from gtn_train.seeds import derive, random_numbers
from gtn_train.training import Callback

EPOCHS: tuple[int, ...] = (1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 80, 100)
N_LATENTS = 3_000  # of each epoch, for the energy distance
N_IMAGES = 1_000  # of each epoch
COLUMNS = 16  # images of each epoch in the sheet


class Scores(Callback):
    """Measures samples at some epochs.

    Parameters
    ----------
    epochs : tuple of int
    decoder : Autoencoder
    real : uint8 [m, c, h, w]
    network : Extractor
    to_test : callable (latents) -> float
        Energy distance to the codes of test images.
    asked : Namespace
        With `seed` and `run`.

    Attributes
    ----------
    rows : list of dict
        Measures, one entry for each of the epochs.
    sheet : list of uint8 [16, c, h, w]
    """

    def __init__(
        self,
        epochs: tuple[int, ...],
        decoder: Any,
        real: npt.NDArray[np.uint8],
        network: Extractor,
        to_test: StandardizedDistance,
        asked: Any,
    ) -> None:
        self.epochs, self.decoder, self.real, self.network = epochs, decoder, real, network
        self.to_test, self.asked = to_test, asked
        self.rows: list[dict[str, Any]] = []
        self.sheet: list[npt.NDArray[np.uint8]] = []

    def epoch_end(self, training: Any, figures: Mapping[str, Any]) -> None:
        """Measure the samples of this epoch, if it is one of those."""
        if training.epoch not in self.epochs:
            return
        latents = sample_of(training.model, N_LATENTS, self.asked.seed)
        measured = self.measure(decode_all(self.decoder, latents[: len(self.real) // 2]))
        self.rows.append(
            {
                "epoch": training.epoch,
                **finite(
                    {
                        "train_loss": figures["train_loss"],
                        "validation_loss": figures["validation_loss"],
                        "energy_distance": self.to_test(latents),
                        **{name: measured[name] for name in figure_names(self.network)},
                    }
                ),
            }
        )
        self.sheet.append(decode_all(self.decoder, latents[:COLUMNS]))
        print(self.rows[-1], flush=True)

    def measure(self, images: Any, **more: Any) -> dict[str, Any]:
        """Compare images with real ones."""
        return evaluate_images(
            images,
            self.real,
            self.network,
            n=len(self.real) // 2,
            seed=self.asked.seed,
            splits=1,
            cache=self.asked.run / "features",
            **more,
        )


def best_epochs(rows: list[dict[str, Any]], score: str) -> dict[str, int]:
    """Epoch of the best value of each measure: the largest score, and the least of all others."""
    found = {}
    for name in rows[0]:
        if name not in ("epoch", "train_loss"):
            sign = -1 if name == score else 1
            found[name] = min(rows, key=lambda row: sign * row[name])["epoch"]
    return found


def main() -> None:
    """Run the study on one data set."""
    parser = options_of(__doc__)
    add_options(parser)
    parser.add_argument("--dim", type=int, default=5, help="latent dimension (%(default)s)")
    asked = checked(parser)
    epochs = EPOCHS
    if asked.quick:
        asked.dim, epochs = 2, EPOCHS[:2]
    torch.set_num_threads(1)
    training, test = split_of(asked)
    network = extractor_of(asked, training)
    n = min(N_IMAGES, test.n // 2)
    order = random_numbers(asked.seed, "real").permutation(test.n)[: 2 * n]
    model = autoencoder_of(asked, training, asked.dim)
    codes, held_out = (encode_all(model, part.images) for part in (training, test))
    some = random_numbers(asked.seed, "test codes").permutation(len(held_out))[:N_LATENTS]
    to_test = StandardizedDistance(held_out[some], Standardizer(codes))
    real = test.images[order]
    scores = Scores(epochs, model, real, network, to_test, asked)
    preset = as_in_paper("mnist")
    labeling = preset.pairs.labeling_of(codes, asked.seed, threads=1)
    pairs, validation = one_round(codes, labeling, derive(asked.seed, "round", 0)).split(
        preset.validation_share, asked.seed
    )
    with pairs, validation:
        train_on(
            pairs,
            network_of(preset),
            training_of(preset, asked.seed, epochs[-1]),
            asked.seed,
            validation=validation,
            callbacks=[scores],
        )
    again = decode_all(model, encode_all(model, real))
    bounds = scores.measure(again[:n], reconstructions=again[:n])
    distance, score = figure_names(network)
    results = {
        "epochs": scores.rows,
        "best": best_epochs(scores.rows, score),
        **finite(
            {f"recon-{name}": bounds[f"recon-{name}"] for name in (distance, score)}
            | {f"real {name}": bounds[f"real {name}"] for name in (distance, score)}
        ),
        "training codes": finite({"energy_distance": to_test(codes[:N_LATENTS])}),
    }
    file = asked.out / "scores_by_epoch.json"
    sets = read(file).get("sets", {})
    settings = {"training": training.n, "compared": n, "seed": asked.seed}
    sets[f"{asked.set}, d = {asked.dim}, {network.name}"] = {
        "settings": settings | {"network": network_of(preset), "epochs": epochs[-1]},
        "results": results,
        **circumstances(),
    }
    write_numbers(file, {"study": "scores_by_epoch", "sets": sets})
    names = ("validation_loss", distance, score)
    curves = figures.curves(scores.rows, {name: (name,) for name in names})
    write_figure(asked.out / f"scores_by_epoch_{asked.set}.png", curves)
    sheet = figures.grid(np.concatenate([*scores.sheet, again[:COLUMNS]]), columns=COLUMNS)
    write_figure(asked.out / f"samples_by_epoch_{asked.set}.png", sheet)


if __name__ == "__main__":
    main()
