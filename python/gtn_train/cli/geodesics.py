"""The options of `interpolate --path geodesic`, and its file of figures.

Not here: the command (use.py), the curves themselves (geometry/run_geodesics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from gtn_label.cli.sections import Integer, Number
from gtn_label.io.atomic import check_target

from ..files import write_json
from ..geometry import DENSITIES, METRICS, POINTS, SPACES, WEIGHT

if TYPE_CHECKING:
    from ..run.finished_run import FinishedRun
    from ..sampling.interpolation import Interpolation

__all__ = [
    "check_path",
    "effective",
    "figures_file",
    "geodesic_options",
    "means",
    "unfinished",
    "write_figures",
]

_OPTIONS = (
    click.option(
        "--path",
        type=click.Choice(("straight", "geodesic")),
        default="straight",
        show_default=True,
        help="Straight lines, or curves of least energy on the surface that the decoder spans.",
    ),
    click.option(
        "--density",
        type=click.Choice(DENSITIES),
        help="Density that geodesics keep to: kde, a kernel density of the latents; mixture, ten "
        "Gaussians fitted to them; pullback, that of the sources over the change of volume, for "
        "smooth networks; none.  [default: auto, which is kde up to 20 dimensions and mixture "
        "above]",
    ),
    click.option(
        "--weight",
        type=Number(min=0),
        metavar="MU",
        help="Weight of the mean -log density, against an energy of 1 for the straight line.  "
        f"[default: {WEIGHT}]",
    ),
    click.option(
        "--points",
        type=Integer(min=3),
        metavar="N",
        help="Points of a geodesic while it is improved, and for its figures; at least --steps.  "
        f"[default: {POINTS}]",
    ),
    click.option(
        "--space",
        type=click.Choice(SPACES),
        help="Curves of sources, through generator and decoder, or of latents, through the "
        "decoder.  [default: source]",
    ),
    click.option(
        "--metric",
        type=click.Choice(METRICS),
        help="Measure lengths between images or between latents.  [default: image, if the run has "
        "images]",
    ),
    click.option(
        "--compare",
        is_flag=True,
        help="Show the straight line, the geodesic and the geodesic with density of each pair of "
        "ends, and write their figures beside the sheet, to FILE.json.",
    ),
)
_ONLY_GEODESIC = ("density", "weight", "points", "space", "metric", "compare")


def geodesic_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of geodesics."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_path(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse options of geodesics for straight lines; return those that were given."""
    given = {  # 0 is a weight
        name: asked[name]
        for name in _ONLY_GEODESIC
        if asked[name] is not None and asked[name] is not False
    }
    if asked["path"] == "straight" and given:
        raise click.UsageError(f"--{next(iter(given))} needs --path geodesic.")
    if given.get("compare") and given.get("density") == "none":
        raise click.UsageError("--compare needs a density, and --density is none.")
    return given


def figures_file(out: Path) -> Path:
    """Name the file of figures beside the file of a comparison, if it can be written."""
    path = out.with_suffix(".json")
    check_target(path, "--out")
    return path


def effective(run: FinishedRun, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of geodesics as they took effect, in JSON types."""
    from ..geometry.run_geodesics import density_name

    space = given.get("space", "source")
    dim = run.latents.shape[1]
    metric = "latent" if run.autoencoder is None else "image"
    return {
        "seed": given["seed"],
        "steps": given["steps"],
        "density": density_name(given.get("density", "auto"), dim),
        "weight": given.get("weight", WEIGHT),
        "points": max(given.get("points", POINTS), given["steps"]),
        "space": space,
        "metric": given.get("metric") or metric,
    }


def means(found: Mapping[str, Interpolation]) -> dict[str, dict[str, Any]]:
    """Tabulate the means over lines, by kind of curve."""
    table = {}
    for name, lines in found.items():
        rows = _rows(lines)
        table[name] = {
            title: float(np.mean([row[title] for row in rows])) if title in rows[0] else None
            for title in ("length", "energy", "-log density", "worst", "spacing")
        }
    return table


def unfinished(found: Mapping[str, Interpolation]) -> list[str]:
    """Say of which curves the descent had not come to its end."""
    said = []
    for name, lines in found.items():
        done = np.array([row.get("converged", True) for row in _rows(lines)])
        if not done.all():
            missing = int((~done).sum())
            said.append(f"{missing} of {len(done)} lines of {name!r} were still falling")
    return said


def write_figures(
    path: Path,
    found: Mapping[str, Interpolation],
    *,
    between: Any = None,
    **settings: Any,
) -> None:
    """Write the figures of each line and kind of curve, and their means, as JSON."""
    by_line = zip(*(_rows(lines) for lines in found.values()), strict=True)
    lines = [dict(zip(found, rows, strict=True)) for rows in by_line]
    for line, rows in zip(lines, between or (), strict=False):
        line["between"] = list(rows)
    write_json(path, {"settings": settings, "means": means(found), "lines": lines})


def _rows(lines: Interpolation) -> list[dict[str, Any]]:
    """Figures of each line in JSON types; those of a density only where there is one."""
    curves = lines.curves
    assert curves is not None, "geodesics and what they are compared with are measured"
    rows = []
    for line in range(len(curves.length)):
        row: dict[str, Any] = {
            "length": float(curves.length[line]),
            "energy": float(curves.energy[line]),
            "spacing": float(curves.spacing[line]),
        }
        if curves.surprisals is not None:
            row["-log density"] = float(curves.surprisals[line].mean())
            row["worst"] = float(curves.surprisals[line].max())
        if lines.path == "geodesic":
            row["converged"] = bool(curves.converged[line])
        rows.append(row)
    return rows
