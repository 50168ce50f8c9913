"""Geodesics: curves of least energy on a surface, that may keep to where a density is high.

The loss of a line is E / E_line + weight · mean R. E is the curve's energy, E_line that of the
straight line between the same ends, R the surprisal -log density of its inner points. The weight
has thus no unit. The geodesic paper (Data Interpolations in Deep Generative Models under
Non-Simply-Connected Manifold Topology, Algorithm 1) instead takes steps along a natural gradient of
E, and a Euclidean one of R, so that its weight means another thing at every position. Not here: the
surface (surface.py), densities (density.py), starts along the data (data_graph.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gtn_label.arrays import convert
from gtn_label.checks import as_integer, as_number
from gtn_label.errors import ArgumentError

from ..progress import progress_bar
from . import POINTS, WEIGHT
from .density import Density
from .surface import Places, Surface

__all__ = ["Paths", "along", "geodesics"]

LEAST_APART = 1e-12  # ends of a line
STEPS = 300
COARSE = 3  # starts are tried with a third of the points
RATES = 0.05, 0.02  # first steps of the coarse and the last descent, on a line of length √(2 dim)
LOOK = 5  # steps between two looks at a line's fall, and at the rows near it
FALL = 5e-4  # of the loss in as many steps: with less the rate is halved
HALVINGS = 3
STILL = 1e-3  # norm of the gradient at which a line of length 1 is at rest
KEPT = 0.9  # of a running mean
FINE = 4  # points that a length is measured with, for each point of the curve
BATCH = 512

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Paths:
    """Curves between k pairs of ends, their points evenly spaced along the surface.

    Attributes
    ----------
    positions : float32 or float64 [k, points, dim]
        The first is the left end and the last the right, exactly.
    length, energy : float64 [k]
        On the surface; energy is half the squared length, because points are evenly spaced.
    surprisals : float64 [k, points] or None
        -log density along each curve; None without a density.
    spacing : float64 [k]
        Longest step over the mean step, before points were spaced evenly.
    loss : float64 [k]
        At the end of the descent.
    converged : bool [k]
        False where the descent was still falling at its last step.
    start : int [k]
        Start that was taken: 0 for the straight line, i for the i-th of `starts`.
    steps : int
        Steps of the descent.
    """

    positions: npt.NDArray[Any]
    length: Floats
    energy: Floats
    surprisals: Floats | None
    spacing: Floats
    loss: Floats
    converged: npt.NDArray[np.bool_]
    start: npt.NDArray[np.int64]
    steps: int

    @property
    def surprisal(self) -> Floats | None:
        """Mean -log density of each curve: [k]; None without a density."""
        return None if self.surprisals is None else self.surprisals.mean(axis=1)

    @property
    def worst(self) -> Floats | None:
        """Largest -log density of each curve: [k]; None without a density."""
        return None if self.surprisals is None else self.surprisals.max(axis=1)


def geodesics(
    surface: Surface,
    left: Any,
    right: Any,
    density: Density | None = None,
    weight: float = WEIGHT,
    points: int = POINTS,
    *,
    starts: Sequence[Any] = (),
    classes: Any = None,
    steps: int = STEPS,
    progress: bool = False,
) -> Paths:
    """Find curves of least energy between pairs of ends, all at once.

    A descent seldom changes the side on which a curve passes a hole. It therefore begins at the
    straight line and at each of `starts`, with a third of the points, and goes on from the best.

    Parameters
    ----------
    surface : Surface
    left, right : [k, dim]
        Positions of the ends.
    density : Kernel, Mixture, Pullback or None
        Density that curves keep to.
    weight : float
        Of the mean -log density, against an energy of 1 for the straight line; >= 0. 0 measures the
        density, and does not keep to it.
    points : int
        Points of a curve, both ends included, >= 3.
    starts : sequence of (list of k arrays [m, dim])
        Further curves to begin at, such as `DataGraph.paths` gives.
    classes : int array [k], optional
        Class of each line, for a conditional surface.
    steps : int
        Most steps of a descent, >= 1.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    Paths

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, two ends are equal, the surface is constant along a line or not
        finite, or the density says nothing of the surface.

    Examples
    --------
    >>> sphere = Surface(lambda z: torch.cat([z, (1 - z.square().sum(1, True)).sqrt()], 1), 2)
    >>> found = geodesics(sphere, [[-0.6, 0.3]], [[0.6, 0.3]])
    >>> wanted = math.acos(-0.36 + 0.09 + 0.55)  # the great circle
    >>> bool(abs(found.length[0] / wanted - 1) < 1e-3)
    True
    """
    weight = as_number(weight, "weight", 0.0)
    points = as_integer(points, "points", 3)
    steps = as_integer(steps, "steps", 1)
    left, right = _ends(surface, left, right)
    told = _classes(surface, classes, len(left))
    pulling = density if weight > 0 else None
    if density is not None:
        density.check(surface, told)
    line = np.stack([left, right], axis=1)
    begins = [line, *starts]
    coarse = max(3, points // COARSE)
    work = steps * (len(begins) + 1)
    with progress_bar(progress, total=work, unit=" steps", desc="geodesics") as bar:
        tried = []
        for begin in begins:
            _check_start(begin, line)
            even = _evenly(surface, begin, coarse, told)[0]
            tried.append(_descend(surface, even, pulling, weight, told, RATES[0], steps, bar))
        losses = np.stack([one.loss for one in tried])
        best = losses.argmin(axis=0)  # the straight line if all are alike
        chosen = np.stack([tried[start].positions[i] for i, start in enumerate(best)])
        even = _evenly(surface, chosen, points, told)[0]
        ended = _descend(surface, even, pulling, weight, told, RATES[1], steps, bar)
        bar.update(work - bar.n)
    found = along(surface, ended.positions, density, points, classes=classes)
    return replace(
        found,
        loss=ended.loss,
        converged=ended.converged,
        start=best.astype(np.int64),
        steps=sum(one.steps for one in (*tried, ended)),
    )


def along(
    surface: Surface,
    curves: Any,
    density: Density | None = None,
    points: int = POINTS,
    *,
    classes: Any = None,
) -> Paths:
    """Measure given curves, such as straight lines, as `geodesics` measures its own.

    Parameters
    ----------
    surface, density, points, classes
        As in `geodesics`.
    curves : [k, m >= 2, dim]
        Positions, joined by straight lines. Two points are a straight line.

    Returns
    -------
    Paths
        Positions anew, evenly spaced along the surface. `loss` is NaN.
    """
    given = np.asarray(curves)
    if given.ndim != 3 or given.shape[1] < 2 or given.shape[2] != surface.dim:
        raise ValueError(
            f"curves must have shape (k, m >= 2, {surface.dim}), got shape {given.shape}"
        )
    points = as_integer(points, "points", 2)
    told = _classes(surface, classes, len(given))
    positions, length, spacing = _evenly(surface, given, points, told)
    surprisals = None
    if density is not None:
        surprisals = np.stack(
            [
                _surprisals(surface, density, line, _of_line(told, i))
                for i, line in enumerate(positions)
            ]
        )
    k = len(given)
    return Paths(
        positions,
        length,
        length**2 / 2,
        surprisals,
        spacing,
        np.full(k, np.nan),
        np.ones(k, bool),
        np.zeros(k, np.int64),
        0,
    )


@dataclass(frozen=True)
class _Descent:
    """Curves at the end of a descent: positions [k, points, dim], and how it went."""

    positions: npt.NDArray[Any]
    loss: Floats
    converged: npt.NDArray[np.bool_]
    steps: int


def _descend(
    surface: Surface,
    begin: npt.NDArray[Any],
    density: Density | None,
    weight: float,
    classes: Tensor | None,
    rate: float,
    steps: int,
    bar: Any,
) -> _Descent:
    """Improve the inner points of all lines at once.

    The gradient is smoothed along each line (by the inverse of the second difference, which is the
    energy's own curvature on a plane), and scaled by its running root mean square over the line.
    This took a quarter of the steps of Adam on the points. A line whose loss stalls goes back to
    its best points at half the rate, and is done after three halvings.
    """
    best = surface.tensor(begin)
    k, count, dim = best.shape
    ends = best[:, [0, -1]]
    told = None if classes is None else classes[:, None]
    fixed = _without_gradients(surface, ends, told)
    share = torch.linspace(0, 1, count).to(best)[:, None]
    straight = ends[:, :1] + share * (ends[:, 1:] - ends[:, :1])
    unit = _energy(_without_gradients(surface, straight, told))
    if not bool((unit > 0).all()):
        line = int((unit <= 0).nonzero()[0, 0])
        raise ValueError(f"the surface is constant along line {line}, which has no length there")
    smoothing = _inverse_second_difference(count - 2).to(best)
    span = (best[:, 1:] - best[:, :-1]).norm(dim=2).sum(dim=1)  # length among positions
    rates = rate * span / math.sqrt(2 * dim)
    inner = best[:, 1:-1].clone()
    mean, square = torch.zeros_like(inner), torch.zeros_like(inner[:, :1, :1])
    lowest = torch.full_like(span, math.inf)
    before = lowest.clone()  # lowest loss at the last look
    halvings = torch.zeros_like(span)
    active = torch.arange(k, device=best.device)
    near: Tensor | None = None
    step = 0
    while step < steps and len(active):
        positions = inner[active].requires_grad_()
        at, points = _of_inner(surface, positions, None if told is None else told[active])
        points = torch.cat([fixed[active, :1], points, fixed[active, 1:]], dim=1)
        loss = _energy(points) / unit[active]
        if density is not None:
            if step % LOOK == 0:
                near = _near(density, at, k, active)
            rows = None if near is None else near[active].flatten(0, 1)
            rare = density.surprisal(at, rows).reshape(len(active), -1).mean(dim=1)
            loss = loss + weight * rare.to(loss)  # a pullback has float64, on the CPU if need be
        if not points.requires_grad:
            raise ValueError("the surface must have a gradient in torch, and has none")
        (gradient,) = torch.autograd.grad(loss.sum(), positions)
        loss = loss.detach()
        finite = torch.isfinite(loss) & torch.isfinite(gradient).flatten(1).all(dim=1)
        if not bool(finite.all()):
            line = int(active[~finite][0])
            raise ValueError(f"the loss of line {line} is not finite at step {step}")
        better = loss < lowest[active]
        lowest[active] = torch.where(better, loss, lowest[active])
        best[active[better], 1:-1] = inner[active[better]]
        step += 1
        bar.update()
        resting = active[gradient.flatten(1).norm(dim=1) * span[active] < STILL]
        halvings[resting] = math.inf
        change = smoothing @ gradient
        mean[active] = KEPT * mean[active] + (1 - KEPT) * change
        power = change.square().mean(dim=(1, 2), keepdim=True)
        square[active] = KEPT * square[active] + (1 - KEPT) * power
        full = 1 - KEPT**step  # sum of the weights of the running means
        scale = (square[active] / full).sqrt().clamp_min(torch.finfo(best.dtype).tiny)
        inner[active] -= rates[active][:, None, None] * (mean[active] / full) / scale
        if step % LOOK == 0:
            stalled = active[before[active] - lowest[active] < FALL]
            halvings[stalled] += 1
            rates[stalled] *= 0.5
            inner[stalled] = best[stalled, 1:-1]
            mean[stalled] = 0
            before = lowest.clone()
        active = active[halvings[active] <= HALVINGS]
    converged = torch.ones(k, dtype=torch.bool)
    converged[active.cpu()] = False
    return _Descent(best.cpu().numpy(), lowest.cpu().double().numpy(), converged.numpy(), step)


def _near(density: Density, at: Places, k: int, active: Tensor) -> Tensor | None:
    """Rows that the density adds up at the places of the active lines: [k, m, rows] or None."""
    found = density.neighbours(at.latents)
    if found is None:
        return None
    near = found.new_zeros(k, len(found) // len(active), found.shape[1])
    near[active] = found.reshape(len(active), -1, found.shape[1])
    return near


def _inverse_second_difference(n: int) -> Tensor:
    """Inverse of the matrix with 2 on its diagonal and -1 beside it: [n, n], positive."""
    index = torch.arange(1, n + 1, dtype=torch.float64)
    low, high = torch.minimum(index, index[:, None]), torch.maximum(index, index[:, None])
    return low * (n + 1 - high) / (n + 1)


def _of_inner(surface: Surface, positions: Tensor, classes: Tensor | None) -> tuple[Places, Tensor]:
    """Places of positions [k, m, dim], flat, and their points [k, m, M]."""
    k, m, _ = positions.shape
    told = None if classes is None else classes.expand(k, m).reshape(-1)
    at = surface.at(positions.flatten(0, 1), told)
    return at, at.points.reshape(k, m, -1)


def _without_gradients(surface: Surface, positions: Tensor, classes: Tensor | None) -> Tensor:
    """Points [k, m, M] of positions [k, m, dim]; refused unless finite."""
    with torch.no_grad():
        points = _of_inner(surface, positions, classes)[1]
    if not bool(torch.isfinite(points).all()):
        raise ValueError("the surface must have finite points, and has NaN or infinity")
    return points


def _energy(points: Tensor) -> Tensor:
    """Energy of curves [k, m, M]: (m - 1) / 2 · Σ |step|², [k]."""
    steps = points[:, 1:] - points[:, :-1]
    return (points.shape[1] - 1) / 2 * steps.square().sum(dim=(1, 2))


def _evenly(
    surface: Surface, curves: Any, points: int, classes: Tensor | None
) -> tuple[npt.NDArray[Any], Floats, Floats]:
    """Space the points of curves evenly along the surface; lengths and former spacings, [k].

    Lengths are those of a polyline with `FINE` times the points.
    """
    placed, lengths, spacings = [], [], []
    for line, curve in enumerate(curves):
        curve = np.asarray(curve)
        fine = (max(points, len(curve)) - 1) * FINE
        at = np.linspace(0, len(curve) - 1, fine + 1)
        dense = _on(curve, at)
        told = _of_line(classes, line)
        steps = np.linalg.norm(np.diff(_points(surface, dense, told), axis=0), axis=1)
        passed = np.concatenate([[0.0], np.cumsum(steps)])
        own = np.diff(np.interp(np.arange(len(curve)), at, passed))
        wanted = np.interp(np.linspace(0, passed[-1], points), passed, at)
        again = _on(curve, wanted)
        again[0], again[-1] = curve[0], curve[-1]
        placed.append(again)
        lengths.append(passed[-1])
        spacings.append(own.max() / own.mean() if own.mean() > 0 else 1.0)
    return np.stack(placed), np.array(lengths), np.array(spacings)


def _on(curve: npt.NDArray[Any], at: Floats) -> npt.NDArray[Any]:
    """Positions of a polyline [m, dim] at fractional indices."""
    below = np.minimum(at.astype(np.int64), len(curve) - 2)
    share = (at - below)[:, None]
    found = (1 - share) * curve[below] + share * curve[below + 1]
    return np.asarray(found, curve.dtype)


def _points(surface: Surface, positions: npt.NDArray[Any], told: Tensor | None) -> Floats:
    """Points of positions [m, dim], a batch at a time: float64 [m, M]."""
    found = []
    with torch.no_grad():
        for some in np.array_split(positions, -(-len(positions) // BATCH)):
            classes = None if told is None else told.expand(len(some))
            found.append(surface.points(surface.tensor(some), classes).cpu().double().numpy())
    points = np.concatenate(found)
    convert.refuse_non_finite(points, "the surface's points")
    return points


def _surprisals(
    surface: Surface, density: Density, positions: npt.NDArray[Any], told: Tensor | None
) -> Floats:
    """-log density of positions [m, dim]: float64 [m]."""
    classes = None if told is None else told.expand(len(positions))
    with torch.no_grad():
        at = surface.at(surface.tensor(positions), classes)
        found = density.surprisal(at, density.neighbours(at.latents))
    return np.asarray(found.cpu().double().numpy(), np.float64)


def _of_line(classes: Tensor | None, line: int) -> Tensor | None:
    return None if classes is None else classes[line]


def _ends(surface: Surface, left: Any, right: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    found = []
    for name, end in (("left", left), ("right", right)):
        rows = convert.as_rows(end, name).rows
        convert.refuse_non_finite(rows, name)
        found.append(np.asarray(surface.tensor(np.array(rows)).cpu().numpy()))
    one, other = found
    if one.shape != other.shape or one.shape[1] != surface.dim:
        raise ArgumentError(
            ("left", "right"),
            f"must have shapes (k, {surface.dim}) alike",
            f"{one.shape} and {other.shape}",
        )
    apart = np.linalg.norm(one - other, axis=1)
    if (apart <= LEAST_APART).any():
        line = int((apart <= LEAST_APART).argmax())
        raise ArgumentError(
            ("left", "right"),
            f"must be more than {LEAST_APART:g} apart on each line",
            f"{apart[line]:g} on line {line}",
        )
    return one, other


def _classes(surface: Surface, classes: Any, k: int) -> Tensor | None:
    if classes is None:
        return None
    rows = np.full(k, classes) if np.ndim(classes) == 0 else classes
    labels = np.array(convert.as_labels(rows, "classes", k, "lines"))  # torch has no read-only ones
    return torch.as_tensor(labels, device=surface.device)


def _check_start(begin: Any, line: npt.NDArray[Any]) -> None:
    if len(begin) != len(line):
        raise ArgumentError("starts", f"must have {len(line)} curves each", str(len(begin)))
    for curve, (left, right) in zip(begin, line, strict=True):
        if not (np.allclose(curve[0], left) and np.allclose(curve[-1], right)):
            raise ArgumentError("starts", "must begin and end at the ends of each line")
