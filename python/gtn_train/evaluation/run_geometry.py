"""Shape of a run's generator and of its samples, in sizes that take seconds.

Not here: the measures themselves (geometry.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtn_label.arrays.sources import draw_sources

from ..models.flow import Flow
from ..models.vdae import VDAE
from ..pairs.classes import as_in_data
from ..progress import progress_bar
from ..sampling.sample import generate_latents, sampling_seed
from ..sampling.walks import mixing_steps
from ..seeds import derive, random_numbers
from .comparison import Real
from .geometry import bilipschitz, gromov_wasserstein, orientation

if TYPE_CHECKING:
    from ..run.finished_run import FinishedRun

__all__ = ["or_reason", "run_geometry"]

SOURCES = 2_000  # for bi-Lipschitz constants
NEIGHBOURS = 20
ORIENTATION_SOURCES = 1_000
LEAST_ORIENTATION_SOURCES = 32
ORIENTATION_WORK = 10**11  # weights × outputs × sources: some 15 seconds of one core
GROMOV_ROWS, GROMOV_DRAWS, GROMOV_STARTS = 200, 5, 3  # 30 starts for a run: a few seconds

MIXING_WALKERS, MIXING_VECTORS, MIXING_IMAGES = 300, 300, 20  # rows, and steps at most


def run_geometry(
    run: FinishedRun,
    generated: NDArray[Any],
    real: Real,
    seed: int,
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure the map from sources to latents, and how unlike the distances of latents are.

    Parameters
    ----------
    run : FinishedRun
    generated : [n, dim]
        Samples.
    real : Real
    seed : int
        Random seed of sources and choices.
    progress : bool
        Show a bar, which tells the time left.

    Returns
    -------
    dict
        Each figure, or the reason that there is none. Gromov-Wasserstein is 1,000 times the mean
        over up to 5 disjoint draws of 200 rows, as in Table 1 of the VDAE paper. A run with a VDAE
        also has the steps after which walks from one row are mixed.
    """
    sources, classes = _sources(run, SOURCES, derive(seed, "geometry"))
    outputs = generate_latents(run.generator, sources, classes=classes)
    rows = _orientation_rows(run.generator)
    first = None if classes is None else classes[:rows]
    with progress_bar(progress, total=2 + 2 * GROMOV_DRAWS, desc="geometry", unit=" parts") as bar:
        found: dict[str, Any] = {
            f"bi-Lipschitz constant, k = {NEIGHBOURS}": or_reason(
                lambda: bilipschitz(sources, outputs, k=NEIGHBOURS, classes=classes)
            )
        }
        bar.update()
        found["orientation changes"] = or_reason(
            lambda: orientation(run.generator, sources[:rows], classes=first)
        )
        bar.update()
        for name, ours in (("", generated), (" of two real samples", real.training)):
            found[f"Gromov-Wasserstein × 1,000{name}"] = or_reason(
                partial(_gromov, ours, real.held_out, seed, bar)
            )
    if isinstance(run.autoencoder, VDAE):
        found["steps until walks from one row are mixed"] = or_reason(lambda: _mixing(run, seed))
    return found


def _mixing(run: FinishedRun, seed: int) -> int:
    """Steps of the VDAE's walk until it has the data's spread, from one row drawn by the seed."""
    most = MIXING_IMAGES if run.autoencoder.of_images else MIXING_VECTORS
    try:
        data = run.rows
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error
    order = random_numbers(seed, "mixing").permutation(len(data))
    rows = np.array(data[order[: 2 * MIXING_WALKERS]])
    steps = mixing_steps(run.autoencoder, rows, 0, seed, most=most)
    if steps is None:
        raise ValueError(f"more than {most}")
    return steps


def _sources(
    run: FinishedRun, n: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Draw sources as samples have them, and the class that the generator is told of each."""
    own = sampling_seed(seed)
    classes = None if run.classes is None else as_in_data(run.classes, n, seed)
    if run.mixture is None:
        return draw_sources(n, run.generator.dim, own), classes
    sources, clusters = run.mixture.draw(n, own, classes)
    return sources, clusters if run.generator.classes else classes


def _orientation_rows(generator: Any) -> int:
    """Sources to measure, by counted work: one backward pass for each output."""
    work = sum(weight.numel() for weight in generator.parameters()) * generator.dim
    if isinstance(generator, Flow):
        work *= 2 * generator.steps
    return int(np.clip(ORIENTATION_WORK // work, LEAST_ORIENTATION_SOURCES, ORIENTATION_SOURCES))


def _gromov(ours: NDArray[Any], theirs: NDArray[Any], seed: int, bar: Any) -> dict[str, float]:
    """Mean and deviation over disjoint draws of both sets; few rows are one draw."""
    least = min(len(ours), len(theirs))
    draws = min(GROMOV_DRAWS, max(1, least // GROMOV_ROWS))
    size = min(GROMOV_ROWS, least)
    orders = [
        random_numbers(seed, "gromov-wasserstein", side).permutation(len(rows))
        for side, rows in enumerate((ours, theirs))
    ]
    values = []
    for draw in range(draws):
        part = slice(draw * size, (draw + 1) * size)
        pair = (
            np.asarray(rows[np.sort(order[part])], np.float64)
            for rows, order in zip((ours, theirs), orders, strict=True)
        )
        values.append(1000 * gromov_wasserstein(*pair, starts=GROMOV_STARTS, seed=seed))
        bar.update()
    bar.update(GROMOV_DRAWS - draws)
    return {
        "mean": float(np.mean(values)),
        "deviation": float(np.std(values)),
        "draws": draws,
        "rows": size,
    }


def or_reason(measure: Callable[[], Any]) -> Any:
    """Return a figure, or the reason that there is none: some latents have no dimension."""
    try:
        return measure()
    except (ValueError, ImportError) as error:
        return f"none: {error}"
