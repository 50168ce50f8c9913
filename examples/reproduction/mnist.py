"""MNIST in five latent dimensions (Fig. 6), the whole preset: samples, lines, figures of merit.

Runs the stages of `gtn-train fit --preset mnist` and measures the samples, with EfficientNet-Lite0
in place of Inception, and with the features of a classifier of digits (own_features.py), for which
5,000 samples stand beside as many of a Gaussian and of a mixture of ten. The run stays in --run; a
finished run is measured again without training.
"""

from __future__ import annotations

import time
from pathlib import Path

from latent_sets import N_TEST, Decoded
from study import circumstances, options_of, write_figure, write_numbers

from gtn_train.evaluation.baselines import gaussian, gaussian_mixture
from gtn_train.evaluation.evaluate_run import evaluate_run
from gtn_train.report import figures
from gtn_train.run.finished_run import FinishedRun
from gtn_train.run.pipeline import run_pipeline
from gtn_train.run.presets import preset
from gtn_train.run.settings import RunSettings
from gtn_train.sampling.sample import sample_images, sample_latents
from gtn_train.seeds import random_numbers


def main() -> None:
    """Run the study."""
    parser = options_of(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's four files")
    parser.add_argument("--run", type=Path, default=Path("runs/mnist"), help="folder (%(default)s)")
    parser.add_argument("--n", type=int, default=2000, help="images of each kind (%(default)s)")
    asked = parser.parse_args()
    if asked.quick:
        parser.error("--quick: this study has no small form; it takes some 20 minutes")
    began = time.perf_counter()
    settings = RunSettings("mnist", preset("mnist"), str(asked.data.absolute()), asked.seed)
    run_pipeline(asked.run, settings, say=print, resume=True)
    run = FinishedRun(asked.run)
    found = evaluate_run(run, "lite0", n=asked.n, seed=asked.seed)
    own = Decoded(asked.run, "own", asked.seed)
    models = {
        "generator": sample_latents(run.generator, N_TEST, asked.seed + 1),
        "one Gaussian": gaussian(run.latents, N_TEST, asked.seed),
        "mixture of 10": gaussian_mixture(run.latents, N_TEST, asked.seed),
        "training codes": run.latents[
            random_numbers(asked.seed, "floor").permutation(len(run.latents))[:N_TEST]
        ],
    }
    seconds = {name: round(stage.seconds, 1) for name, stage in run.stages.items()}
    metrics = {name: run.folder(name).read_metrics() for name in ("autoencoder", "generator")}
    rounds = [line for line in metrics["generator"] if "labels" in line]
    labels = {line["round"]: line["labels"]["seconds"] for line in rounds}
    labeling = seconds["pairs"] + sum(labels.values())
    write_numbers(
        asked.out / "mnist.json",
        {
            "study": "mnist",
            "settings": run.settings.preset.config(),
            "results": found,
            "fd_own": {name: own.distance(rows)["fd_own"] for name, rows in models.items()},
            "seconds": seconds,
            "labeling_seconds": round(labeling, 1),
            "labeling_share": labeling / sum(seconds.values()),
            "last_epochs": {name: lines[-1] for name, lines in metrics.items()},
            "wall_seconds": round(time.perf_counter() - began, 1),
            **circumstances(),
        },
    )
    samples = sample_images(run.generator, run.autoencoder, 100, asked.seed + 1)
    write_figure(asked.out / "mnist_samples.png", figures.grid(samples))
    for name in ("reconstructions", "interpolation"):
        target = asked.out / f"mnist_{name}.png"
        target.write_bytes((asked.run / "samples" / f"{name}.png").read_bytes())


if __name__ == "__main__":
    main()
