"""All figures of one finished run, kept as RUN/evaluation/EXTRACTOR.json.

Runs of images get the figures of images.py against the test set, or the training set if a set has
no other, and the check for copies. All runs get those of latents. Not here: the figures themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.errors import ArgumentError
from gtn_label.io.atomic import atomic_file
from gtn_label.text import quoted

from ..data.sets import NoTestSplit
from ..files import read_json
from ..models.autoencoder import decode_all, encode_all
from ..pairs.classes import as_in_data
from ..report import figures
from ..run.finished_run import FinishedRun
from ..run.manifest import versions
from ..sampling.sample import sample_images, sample_latents
from ..seeds import derive, random_numbers
from . import EXTRACTORS
from .extractors import Extractor, inception, lite0
from .images import evaluate_images
from .latents import energy_distance, intrinsic_dimension, norm_statistics
from .neighbours import memorisation

__all__ = ["evaluate_run", "kept"]

IMAGES = 10_000  # of each kind: the paper's number in its controlled comparison
LATENTS = 10_000
ENERGY_ROWS = 4_000  # 16 million distances
NEIGHBOUR_SAMPLES = 1_000


def evaluate_run(
    run: FinishedRun,
    extractor: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure a run and keep the figures in its folder.

    Parameters
    ----------
    run : FinishedRun
    extractor : {"inception", "lite0", "none"}
        The network of FID and Inception Score; "none" leaves them out. Vectors need none.
    weights : path, optional
        File of Inception's weights.
    n : int, optional
        Images of each kind; 10,000 or as many as there are real ones. Generated latents are 10,000,
        or n in a run without images.
    seed : int
        Random seed of samples and choices.
    progress : bool

    Returns
    -------
    dict
        JSON types: "latents", with "norms" (about the real mean), "energy distance" and its floor
        and "intrinsic dimension" of both; for images also "images", "copies" and "data", which
        names the real images.

    Raises
    ------
    ValueError, ImportError, FileNotFoundError
        As the functions called.

    Notes
    -----
    Vectors are kept as evaluation/none.json, whatever the extractor.
    """
    if extractor not in EXTRACTORS:
        raise ValueError(f"extractor must be one of {', '.join(EXTRACTORS)}, got {extractor!r}")
    if run.autoencoder is None:
        extractor = "none"
        if n is not None and n < 2:
            raise ArgumentError("n", "must be >= 2, the least that has distances", str(n))
    network: Extractor | None = None
    if run.autoencoder is not None and extractor != "none":
        device = next(run.generator.parameters()).device
        if extractor == "inception":
            network = inception(weights, device=device)
        else:
            network = lite0(device=device)
    n_latents = LATENTS if n is None or run.autoencoder is not None else n
    found: dict[str, Any] = {"latents": _latents(run, n_latents, seed)}
    if run.autoencoder is not None:
        found |= _images(run, network, n, seed, progress, f"copies-{extractor}.png")
    found = _json(found)
    folder = run.out / "evaluation"
    folder.mkdir(exist_ok=True)
    content = {**found, "seed": seed, "generator": run.stages["generator"].outputs}
    text = json.dumps({**content, "versions": versions()}, indent=2, allow_nan=False)
    with atomic_file(folder / f"{extractor}.json") as file:
        file.write(text.encode() + b"\n")
    return found


def _latents(run: FinishedRun, n: int, seed: int) -> dict[str, Any]:
    generated = sample_latents(
        run.generator,
        n,
        derive(seed, "latents"),
        classes=_classes(run, n, seed),
        mixture=run.mixture,
    )
    real = run.latents
    chosen = random_numbers(seed, "real").permutation(len(real))
    half = min(ENERGY_ROWS, len(real) // 2)
    one, other = real[chosen[:half]], real[chosen[half : 2 * half]]
    found: dict[str, Any] = {
        "n": n,
        "norms": norm_statistics(generated, real, center=True),
        "energy distance": energy_distance(generated[:ENERGY_ROWS], one),
        "energy distance of real from real": energy_distance(one, other),
    }
    if real.shape[1] > 1:
        found["intrinsic dimension (TwoNN)"] = _or_reason(lambda: intrinsic_dimension(real))
        found["intrinsic dimension of generated"] = _or_reason(
            lambda: intrinsic_dimension(generated)
        )
    return found


def _images(
    run: FinishedRun,
    network: Extractor | None,
    n: int | None,
    seed: int,
    progress: bool,
    picture: str,
) -> dict[str, Any]:
    training = run.images()
    try:
        real, what = run.images("test"), "test images"
    except (FileNotFoundError, NoTestSplit):  # damaged test images are an error
        real, what = training, "training images"
    count = min(IMAGES, real.n) if n is None else n
    if count > real.n:
        raise ArgumentError("n", f"must be at most {real.n}, the number of {what}", str(n))
    generated = sample_images(
        run.generator,
        run.autoencoder,
        count,
        derive(seed, "images"),
        classes=_classes(run, count, seed),
        mixture=run.mixture,
        progress=progress,
    )
    found: dict[str, Any] = {"data": f"{count:,} generated against {count:,} {what}"}
    if network is not None:
        rows = random_numbers(seed, "again").permutation(real.n)
        some_real = real.images[np.sort(rows[:count])]
        again = decode_all(run.autoencoder, encode_all(run.autoencoder, some_real))
        found["images"] = evaluate_images(
            generated,
            real.images,
            network,
            n=count,
            seed=seed,
            reconstructions=again,
            splits=min(10, count),
            cache=run.out / "evaluation" / "features",
            progress=progress,
        )
    if what == "test images":
        some = min(NEIGHBOUR_SAMPLES, count, real.n)
        copies = memorisation(generated[:some], training.images, real.images[:some])
        found["copies"] = copies.figures()
        folder = run.out / "evaluation"
        folder.mkdir(exist_ok=True)
        figures.write(folder / picture, copies.grid(generated[:some], training.images))
    return found


def _json(value: Any) -> Any:
    """Plain values; null for a figure that is not defined."""
    if isinstance(value, dict):
        return {name: _json(entry) for name, entry in value.items()}
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _classes(run: FinishedRun, n: int, seed: int) -> NDArray[np.int64] | None:
    return None if run.classes is None else as_in_data(run.classes, n, seed)


def _or_reason(estimate: Callable[[], float]) -> float | str:
    """Return a figure, or the reason that there is none: some latents have no dimension."""
    try:
        return estimate()
    except (ValueError, ImportError) as error:
        return f"none: {error}"


def kept(out: Path) -> dict[str, dict[str, Any]]:
    """Figures measured earlier, by extractor, the newest last."""
    found = {}
    paths = [out / "evaluation" / f"{name}.json" for name in EXTRACTORS]
    for path in sorted(
        (path for path in paths if path.exists()), key=lambda path: path.stat().st_mtime_ns
    ):
        try:
            figures = read_json(path)
        except ValueError as error:
            raise ValueError(f"{error}; evaluate again") from None
        if why := _fault(figures):
            raise ValueError(f"{quoted(path)} is damaged: {why}; evaluate again")
        found[path.stem] = figures
    return found


def _fault(figures: dict[str, Any]) -> str:
    """Return why an object is none that `evaluate_run` wrote, or nothing."""
    for name in ("generator", "latents", "images", "copies"):
        needed = name in ("generator", "latents")
        if not isinstance(figures.get(name, None if needed else {}), dict):
            return f"{name} must be an object"
    images = figures.get("images", {"n": 0, "extractor": ""})
    lacks = [name for name in ("n", "extractor") if name not in images]
    lacks += ["data"] if "images" in figures and "data" not in figures else []
    return f"it lacks {', '.join(lacks)}" if lacks else ""
