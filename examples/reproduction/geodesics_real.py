"""Lines between two real images (Figs. 8 and 16), beside geodesics.

Fig. 8 has straight lines between the sources that Algorithm 1 matched with two images of the same
orientation, Fig. 16 such lines between a hand and a palm, with no data between. Here the images are
digits: of one class ("like"), or of two ("unlike"). Two runs share one autoencoder: the preset
"mnist" with fewer epochs, whose labels follow the generator, and the paper's pairs and network
(as_in_paper). A following generator does not take a matched source to its image, so it also has
the sources of the nearest samples. The two images' codes need no generator. For each kind of ends
there are the straight line, the geodesic and the geodesic with density, which a classifier of
digits (own_features.py) judges. "ends" tells how far from its image an end is. Runs stay in --run;
seeds that geodesics_real.json has are not repeated. --quick has blobs in place of digits.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from geodesics import File, of_images, probabilities
from latent_dims import blobs
from own_features import own_features
from PIL import Image
from study import options_of, quick, write_figure

from gtn_label.arrays.sources import draw_sources
from gtn_train.geometry import Surface, run_geodesics
from gtn_train.geometry.run_geodesics import REGULAR, STRAIGHT
from gtn_train.models.autoencoder import decode_all
from gtn_train.report import figures
from gtn_train.run.data_options import DataOptions
from gtn_train.run.finished_run import FinishedRun
from gtn_train.run.paper import as_in_paper
from gtn_train.run.pipeline import run_pipeline
from gtn_train.run.preset_fields import Preset
from gtn_train.run.presets import PRESETS
from gtn_train.run.settings import RunSettings
from gtn_train.sampling.interpolation import matched_sources
from gtn_train.sampling.sample import generate_latents
from gtn_train.seeds import derive, random_numbers

Rows = npt.NDArray[Any]

PRESET = "mnist"
EPOCHS = 4  # of the autoencoder
FOLLOWING_EPOCHS = 45  # of the preset's generator
REAL = 10_000  # real images of which the nearest is found
SHOWN = 3  # pairs of each kind in the figure
COLUMNS = 20  # images of a curve in the figure, as in Fig. 8
SAMPLES = 50_000  # among which the nearest to an image is sought
MODELS = {  # run and positions of the ends
    "paper": ("paper", "matched"),
    "preset": ("preset", "matched"),
    "preset, nearest": ("preset", "nearest"),
    "codes": ("preset", "codes"),
}
IN_FIGURE = (  # rows of a pair
    ("paper", STRAIGHT),
    ("paper", REGULAR),
    ("preset, nearest", STRAIGHT),
    ("preset, nearest", REGULAR),
    ("codes", STRAIGHT),
    ("codes", REGULAR),
)


def presets_of(asked: Any) -> dict[str, Preset]:
    """Both kinds of run, with the same autoencoder and one thread."""
    preset = PRESETS[PRESET]
    assert preset.autoencoder_training is not None
    epochs = 2 if asked.quick else EPOCHS
    training = replace(preset.autoencoder_training, max_epochs=epochs, threads=1)
    following = replace(preset.generator_training, max_epochs=FOLLOWING_EPOCHS)
    preset = replace(preset, autoencoder_training=training, generator_training=following)
    if asked.quick:
        data = DataOptions("folder", size=16, channels=1)
        training = replace(training, batch_size=16)
        preset = replace(preset, data=data, latent_dim=2, autoencoder_training=training)
    both = {"preset": preset, "paper": as_in_paper(PRESET, preset)}
    return {name: quick(one) for name, one in both.items()} if asked.quick else both


def write_blobs(folder: Path, seed: int) -> Path:
    """Write blobs as image files, in a subfolder for each class."""
    images = blobs(400, seed)
    assert images.labels is not None
    assert images.classes is not None
    for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
        path = folder / images.classes[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0]).save(path)
    return folder


def runs_of(asked: Any) -> dict[str, FinishedRun]:
    """Train both runs, or take what --run has of them."""
    data = write_blobs(asked.run / "blobs", asked.seed) if asked.quick else asked.data.absolute()
    runs: dict[str, FinishedRun] = {}
    for name, preset in presets_of(asked).items():
        folder = asked.run / name
        if runs and not folder.exists():  # it takes the autoencoder and its codes
            shutil.copytree(runs["preset"].out, folder)
        settings = RunSettings(PRESET, preset, str(data), asked.seed)
        run_pipeline(folder, settings, say=lambda line: print(line, flush=True), resume=True)
        runs[name] = FinishedRun(folder, accelerator="cpu")
    if not np.array_equal(runs["preset"].latents, runs["paper"].latents):
        raise SystemExit(f"{asked.run}: its two runs differ in their autoencoder: remove them")
    return runs


def pairs_of(labels: Rows, like: bool, n: int, seed: int) -> Rows:
    """Draw n pairs of rows of one class, or of two classes: int64 [n, 2]."""
    kind = "like" if like else "unlike"
    order = random_numbers(seed, kind).permutation(len(labels))
    pairs: Rows = order[: len(order) // 2 * 2].reshape(-1, 2)
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    chosen: Rows = pairs[same == like][:n]
    return chosen


def positions_of(run: FinishedRun, rows: Rows, how: str, seed: int) -> Rows:
    """Positions of training rows: their codes, matched sources, or the sources of near samples.

    Parameters
    ----------
    run : FinishedRun
    rows : int [n]
    how : {"codes", "matched", "nearest"}
    seed : int
        Random seed of the samples.
    """
    if how == "matched":
        return matched_sources(run.matching, rows)
    codes = np.array(run.latents[rows])
    if how == "codes":
        return codes
    sources = draw_sources(SAMPLES, codes.shape[1], derive(seed, "nearest"))
    deviations = run.latents.std(axis=0)
    samples = generate_latents(run.generator, sources) / deviations
    taken: list[int] = []  # no sample is the end of two lines
    for code in codes / deviations:
        distances = np.square(samples - code).sum(axis=1)
        distances[taken] = np.inf
        taken.append(int(distances.argmin()))
    return sources[taken]


def ends_of(run: FinishedRun, sources: Rows, rows: Rows, images: Any, judge: Any) -> dict[str, Any]:
    """Compare what the generator makes of sources with the codes of their rows.

    The error is a distance of codes in units of their deviations. "chance" is that of codes drawn
    at random. "own digit" is 1 where the classifier finds the image's class.
    """
    deviations = run.latents.std(axis=0)
    codes, made = np.array(run.latents[rows]), generate_latents(run.generator, sources)
    drawn = random_numbers(0, "chance").permutation(len(run.latents))[: len(rows)]
    found = {
        "error": np.linalg.norm((made - codes) / deviations, axis=1),
        "chance": np.linalg.norm((run.latents[drawn] - codes) / deviations, axis=1),
    }
    for name, latents in (("source", made), ("code", codes)):
        chances = probabilities(judge, decode_all(run.autoencoder, latents))
        found[f"own digit, {name}"] = chances.argmax(axis=1) == images.labels[rows]
    return {name: values.astype(float).tolist() for name, values in found.items()}


def on_the_way(images: Rows, labels: Rows, judge: Any) -> dict[str, list[float]]:
    """Let the classifier judge the inner images of lines.

    Parameters
    ----------
    images : uint8 [k, steps, c, h, w]
    labels : int [k, 2]
        Classes of the ends.

    Returns
    -------
    dict of list
        "least probability", the smallest of a line's largest probabilities, and "other digits", the
        share of its images that are of neither end's class.
    """
    inner = images[:, 1:-1]
    chances = probabilities(judge, inner.reshape(-1, *images.shape[2:])).reshape(
        *inner.shape[:2], -1
    )
    others = (chances.argmax(axis=2)[:, :, None] != labels[:, None]).all(axis=2)
    return {
        "least probability": chances.max(axis=2).min(axis=1).tolist(),
        "other digits": others.mean(axis=1).tolist(),
    }


def sheet_of(images: Rows, ends: Rows) -> Rows:
    """Put the real images [k, 2, c, h, w] at both ends of lines [k, curves, steps, c, h, w]."""
    left, right = (
        np.repeat(ends[:, None, side : side + 1], images.shape[1], axis=1) for side in (0, 1)
    )
    rows: Rows = np.concatenate([left, images, right], axis=2)
    return figures.grid(rows.reshape(-1, *rows.shape[3:]), columns=rows.shape[2])


def main() -> None:
    """Run the study."""
    parser = options_of(__doc__)
    parser.add_argument("--data", type=Path, help="folder of MNIST's four files")
    parser.add_argument(
        "--run", type=Path, default=Path("runs/real"), help="folder of both runs (%(default)s)"
    )
    parser.add_argument("--weight", type=float, default=4, help="of the density (%(default)s)")
    parser.add_argument("--pairs", type=int, default=10, help="of each kind (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="draws of pairs (%(default)s)")
    asked = parser.parse_args()
    if asked.quick:
        asked.run, asked.pairs, asked.seeds = asked.out / "real", 2, 1
    elif asked.data is None:
        parser.error("--data is required")
    torch.set_num_threads(1)
    runs = runs_of(asked)
    images = runs["preset"].images()
    assert images.labels is not None
    judge = own_features(images, asked.run / "own_features.pt")
    real = np.asarray(images.images[:REAL])
    settings = {"pairs": asked.pairs, "weight": asked.weight, "epochs": [EPOCHS, FOLLOWING_EPOCHS]}
    file = File(asked, "real", settings)
    for seed in range(asked.seed, asked.seed + asked.seeds):
        for kind in ("like", "unlike"):
            pairs = pairs_of(images.labels, kind == "like", asked.pairs, seed)
            shown: list[Rows] = []
            for model, (name, how) in MODELS.items():
                if file.has(f"{model}, {kind}", seed):
                    continue
                run, space = runs[name], "latent" if how == "codes" else "source"
                positions = positions_of(run, pairs.reshape(-1), how, seed)
                curves = run_geodesics(
                    run,
                    positions[::2],
                    positions[1::2],
                    weight=asked.weight,
                    space=space,
                    steps=COLUMNS,
                    compare=True,
                    seed=seed,
                )
                surface = Surface.of_run(run, space)
                found: dict[str, Any] = {}
                if space == "source":
                    found["ends"] = ends_of(run, positions, pairs.reshape(-1), images, judge)
                for curve, line in curves.items():
                    assert line.curves is not None
                    drawn: Any = line.images
                    found[curve] = of_images(surface, line.curves, run, judge, real)
                    found[curve] |= on_the_way(drawn, images.labels[pairs], judge)
                    if (model, curve) in IN_FIGURE:
                        shown.append(drawn[:SHOWN])
                file.add(f"{model}, {kind}", seed, found)
            if seed == asked.seed and len(shown) == len(IN_FIGURE):
                sheet = sheet_of(np.stack(shown, axis=1), images.images[pairs[:SHOWN]])
                write_figure(asked.out / f"geodesics_real_{kind}.png", sheet)


if __name__ == "__main__":
    main()
