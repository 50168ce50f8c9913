"""Geodesics of a finished run: its surface, a density of its latents, starts along its rows.

Not here: the descent (geodesic.py), the command (cli/interpolate.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from gtn_label.arrays.sources import draw_sources
from gtn_label.checks import as_integer, as_number, check_seed
from gtn_label.errors import ArgumentError

from ..models.autoencoder import decode_all
from ..models.vae import VanillaVAE
from ..sampling.interpolation import STEPS, Interpolation
from ..sampling.sample import generate_latents
from ..seeds import derive, random_numbers
from . import DENSITIES, POINTS, WEIGHT
from .data_graph import DataGraph
from .density import Density, Kernel, Mixture, Pullback
from .geodesic import Paths, along, geodesics
from .surface import Surface

if TYPE_CHECKING:
    from ..run.finished_run import FinishedRun

__all__ = [
    "REGULAR",
    "SHORTEST",
    "STRAIGHT",
    "common_rows",
    "density_name",
    "run_density",
    "run_geodesics",
]

KERNEL_DIMENSIONS = 20  # above them a kernel density has no neighbours
GRAPH_ROWS = 10_000
COMMON = 0.05  # rows rarer than all but this share of the latents are no nodes of the graph
LEAST_ROWS = 50  # of a graph

STRAIGHT, SHORTEST, REGULAR = "straight", "geodesic", "geodesic with density"


def run_geodesics(
    run: FinishedRun,
    left: npt.NDArray[Any],
    right: npt.NDArray[Any],
    *,
    density: str = "auto",
    weight: float = WEIGHT,
    space: str = "source",
    metric: str | None = None,
    steps: int = STEPS,
    points: int = POINTS,
    classes: Any = None,
    compare: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Interpolation]:
    """Draw geodesics between positions of a finished run.

    Parameters
    ----------
    run : FinishedRun
    left, right : [k, dim]
        Ends: sources, or latents with space "latent".
    density : {"auto", "kde", "mixture", "pullback", "none"}
        Density that curves keep to: a kernel density of the latents, a mixture of ten Gaussians, or
        that of the sources over the change of volume. "auto" is "kde" in up to 20 dimensions, and
        "mixture" above.
    weight : float
        As in `geodesics`.
    space, metric : str
        As in `Surface.of_run`.
    steps : int
        Points of each curve that are returned, both ends included, >= 2.
    points : int
        Points of each curve while it is improved, >= 3; at least `steps` are taken.
    classes : int array [k], optional
        Class of each line, for a run by class; in space "source".
    compare : bool
        Return the straight lines and the geodesics without the density too.
    seed : int
        Random seed of the rows that starts run along, and of a mixture's fit.
    progress : bool
        Show bars on stderr.

    Returns
    -------
    dict of Interpolation
        By "straight", "geodesic" and "geodesic with density"; without `compare` the last alone, or
        "geodesic" for density "none". All have evenly spaced points along the surface.

    Raises
    ------
    TypeError, ValueError
        As `geodesics` and `Surface.of_run`; also if the density does not fit the run.
    """
    steps = as_integer(steps, "steps", 2)
    points = max(as_integer(points, "points", 3), steps)
    weight, seed = as_number(weight, "weight", 0.0), check_seed(seed)
    if compare and density == "none":
        raise ArgumentError("compare", "needs a density", "density 'none'")
    surface = Surface.of_run(run, space, metric)
    chosen = run_density(run, density, space, seed)
    told = None if classes is None or space == "latent" else np.broadcast_to(classes, len(left))
    starts = _starts(run, surface, chosen, np.asarray(left), np.asarray(right), told, seed)
    given: dict[str, Any] = {"classes": told, "progress": progress}
    curves: dict[str, Paths] = {}
    if compare:
        line = np.stack([left, right], axis=1)
        curves[STRAIGHT] = along(surface, line, chosen, points, classes=told)
    kept = None
    if chosen is not None:
        kept = geodesics(surface, left, right, chosen, weight, points, starts=starts, **given)
    if compare or kept is None:
        # A descent may end in a local minimum that is longer than the curve with density.
        more = starts if kept is None else [*starts, [*kept.positions]]
        curves[SHORTEST] = geodesics(
            surface, left, right, chosen, 0.0, points, starts=more, **given
        )
    if kept is not None:
        curves[REGULAR] = kept
    return {name: _drawn(run, surface, name, found, steps, told) for name, found in curves.items()}


def density_name(name: Any, dim: int) -> str:
    """Choose the density of "auto", and refuse names that there are not."""
    if name not in DENSITIES:
        known = ", ".join(repr(word) for word in DENSITIES)
        raise ArgumentError("density", f"must be one of {known}", repr(name))
    if name == "auto":
        return "kde" if dim <= KERNEL_DIMENSIONS else "mixture"
    return str(name)


def run_density(run: FinishedRun, name: str, space: str = "source", seed: int = 0) -> Any:
    """Make the density of a name for a run's latents; None for "none".

    Raises
    ------
    ArgumentError
        If there is no such density, or positions have no distribution that "pullback" could use.
    """
    name = density_name(name, run.latents.shape[1])
    if name == "none":
        return None
    if name == "kde":
        return Kernel(run.latents, seed=seed)
    if name == "mixture":
        return Mixture(run.latents, seed=seed)
    if space == "source":
        return Pullback(run.mixture, seed)
    if isinstance(run.autoencoder, VanillaVAE):
        return Pullback(seed=seed)
    raise ArgumentError(
        "density",
        "'pullback' needs sources or the latents of a VAE: those of an autoencoder have no prior",
        f"space {space!r}",
    )


def _starts(
    run: FinishedRun,
    surface: Surface,
    density: Density | None,
    left: npt.NDArray[Any],
    right: npt.NDArray[Any],
    classes: npt.NDArray[Any] | None,
    seed: int,
) -> list[list[npt.NDArray[Any]]]:
    """Find the shortest paths along rows that are no rarer than the data are.

    Rows of sources are samples, whose sources are known. The sources of the run's pairs are no
    inverse of a generator whose labels have followed it, which is the usual kind.
    """
    ends = np.stack([left, right], axis=1)
    found: list[npt.NDArray[Any]] = [*ends]
    lines = np.zeros(len(left), np.int64) if classes is None else np.asarray(classes)
    for own in np.unique(lines):
        some = np.flatnonzero(lines == own)
        positions, latents = _rows(run, surface, None if classes is None else int(own), seed)
        kept = common_rows(density, surface, run.latents, latents, seed)
        if kept.sum() < LEAST_ROWS:
            continue
        graph = DataGraph(positions[kept], latents[kept])
        of_ends = [end[some] for end in (left, right)]
        told = None if classes is None else np.full(len(some), own)
        at = [_latents_of(run, surface, end, told) for end in of_ends]
        for line, path in zip(some, graph.paths(*of_ends, *at), strict=True):
            found[line] = path
    return [found]


def _rows(
    run: FinishedRun, surface: Surface, own: int | None, seed: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Rows of a graph: positions and latents."""
    if not surface.has_sources:
        chosen = random_numbers(seed, "graph").permutation(len(run.latents))[:GRAPH_ROWS]
        rows = np.array(run.latents[np.sort(chosen)], np.float32)
        return rows, rows
    drawing, told = derive(seed, "graph"), None
    if own is not None:
        told = np.full(GRAPH_ROWS, own, np.int64)
    if run.mixture is None:
        sources = draw_sources(GRAPH_ROWS, surface.dim, drawing)
    else:
        sources, _ = run.mixture.draw(GRAPH_ROWS, drawing, told)
    return sources, generate_latents(run.generator, sources, classes=told)


def _latents_of(
    run: FinishedRun, surface: Surface, positions: npt.NDArray[Any], classes: Any
) -> npt.NDArray[Any]:
    if not surface.has_sources:
        return positions
    return generate_latents(run.generator, positions, classes=classes)


def common_rows(
    density: Density | None, surface: Surface, real: Any, latents: Any, seed: int
) -> npt.NDArray[np.bool_]:
    """Choose latents [n, d] that are no rarer than all but a twentieth of the real ones.

    A density that is not fitted to latents chooses all.
    """
    if not isinstance(density, (Kernel, Mixture)):
        return np.ones(len(latents), bool)
    few = random_numbers(seed, "common").permutation(len(real))[:2000]
    with torch.no_grad():
        known, ours = (
            density.log_density(surface.tensor(np.array(rows))).cpu().numpy()
            for rows in (real[np.sort(few)], latents)
        )
    return np.asarray(ours >= np.quantile(known, COMMON))


def _drawn(
    run: FinishedRun,
    surface: Surface,
    name: str,
    curves: Paths,
    steps: int,
    classes: Any,
) -> Interpolation:
    """Generate and decode along curves."""
    placed = along(surface, curves.positions, None, steps, classes=classes).positions
    flat = np.asarray(placed, np.float32).reshape(-1, surface.dim)
    told = None if classes is None else np.repeat(classes, steps)
    latents = _latents_of(run, surface, flat, told)
    images = None
    if run.autoencoder is not None:
        images = decode_all(run.autoencoder, latents)
        images = images.reshape(*placed.shape[:2], *images.shape[1:])
    sources = flat.reshape(placed.shape) if surface.has_sources else None
    weights = np.linspace(1, 0, steps)
    path = "straight" if name == STRAIGHT else "geodesic"
    return Interpolation(
        weights, sources, latents.reshape(*placed.shape[:2], -1), images, path, curves
    )
