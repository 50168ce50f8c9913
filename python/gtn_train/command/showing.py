"""The commands that read a finished run: `sample`, `interpolate`, `evaluate` and `report`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from gtn_label.atomic import check_target

from .. import figures
from ..evaluation.runs import EXTRACTORS, evaluate_run
from ..finished import FinishedRun
from ..interpolation import STEPS, interpolate, matched_sources, random_ends
from ..run_folder import save_array
from ..run_report import report_run
from ..sampling import sample_images, sample_latents

__all__ = ["COMMANDS"]

_Work = TypeVar("_Work", bound=Callable[..., Any])
_RUN = click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
_COUNT = click.IntRange(min=1)
_CLASS = click.option(
    "--class", "of_class", type=click.IntRange(min=0), metavar="K", help="of a conditional run"
)
_SEED = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N"
)


def _out(default: str, what: str) -> Callable[[_Work], _Work]:
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=default,
        show_default=True,
        metavar="FILE",
        help=what,
    )


@click.command()
@_RUN
@click.option("--n", type=_COUNT, default=64, show_default=True, metavar="N", help="how many")
@click.option(
    "--class", "of_class", type=click.IntRange(min=0), metavar="K", help="of a conditional run"
)
@_SEED
@_out("samples.png", "a sheet (.png), or all of them (.npy: uint8 images, or float32 vectors)")
def sample(run: Path, n: int, of_class: int | None, seed: int, out: Path) -> str:
    """Draw new samples from a finished RUN.

    The same seed gives the same sources, and so the same samples.
    """
    finished = FinishedRun(run)
    _check_suffix(out, (".png", ".npy") if finished.autoencoder is not None else (".npy",))
    classes = _classes(finished, n, of_class)
    given: dict[str, Any] = {
        "classes": classes,
        "mixture": finished.mixture,
        "progress": sys.stderr.isatty(),
    }
    if finished.autoencoder is None:
        save_array(out, sample_latents(finished.generator, n, seed, **given))
        return f"{n:,} vectors in {out}"
    images = sample_images(finished.generator, finished.autoencoder, n, seed, **given)
    if out.suffix.lower() == ".npy":
        save_array(out, images)
    else:
        figures.write(out, figures.grid(images))
    return f"{n:,} images in {out}"


@click.command("interpolate")
@_RUN
@click.option(
    "--lines", type=_COUNT, default=8, show_default=True, metavar="K", help="between random sources"
)
@click.option(
    "--between",
    nargs=2,
    type=click.IntRange(min=0),
    multiple=True,
    metavar="I J",
    help="between training images I and J, through their matched sources; may be repeated",
)
@click.option("--steps", type=click.IntRange(min=2), default=STEPS, show_default=True, metavar="N")
@click.option(
    "--class", "of_class", type=click.IntRange(min=0), metavar="K", help="of a conditional run"
)
@_SEED
@_out("interpolation.png", "a sheet, one line a row (.png), or .npy")
def interpolate_(
    run: Path,
    lines: int,
    between: tuple[tuple[int, int], ...],
    steps: int,
    of_class: int | None,
    seed: int,
    out: Path,
) -> str:
    """Generate along straight lines between sources (Fig. 8 of the GTN paper)."""
    finished = FinishedRun(run)
    _check_suffix(out, (".png", ".npy") if finished.autoencoder is not None else (".npy",))
    if between:
        n = len(finished.latents)
        for pair in between:
            for row in pair:
                if row >= n:
                    raise ValueError(f"--between must name rows below {n}, got {row}")
        ends = [
            matched_sources(finished.matching, np.array([pair[side] for pair in between]))
            for side in (0, 1)
        ]
    else:
        ends = list(random_ends(lines, finished.generator.dim, seed, mixture=finished.mixture))
    classes = _classes(finished, len(ends[0]), of_class)
    found = interpolate(
        finished.generator, ends[0], ends[1], finished.autoencoder, steps=steps, classes=classes
    )
    if out.suffix.lower() == ".npy":
        save_array(out, found.latents if found.images is None else found.images)
    else:
        figures.write(out, found.grid())
    return f"{len(ends[0]):,} lines of {steps} points in {out}"


@click.command()
@_RUN
@click.option(
    "--extractor",
    type=click.Choice(EXTRACTORS),
    default="inception",
    show_default=True,
    help="network of FID and Inception Score; lite0's figures are no FID and bear its name",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="of Inception, as torch-fidelity has them; otherwise it fetches them",
)
@click.option("--n", type=_COUNT, metavar="N", help="images of each kind (10,000, or all)")
@_SEED
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def evaluate(
    run: Path, extractor: str, weights: Path | None, n: int | None, seed: int, as_json: bool
) -> str:
    """Measure a finished RUN against its data: FID and its like, copies, norms, dimensions.

    The figures also go to RUN/evaluation/EXTRACTOR.json, which the report shows.
    """
    finished = FinishedRun(run)
    figures_found = evaluate_run(
        finished, extractor, weights=weights, n=n, seed=seed, progress=sys.stderr.isatty()
    )
    text = json.dumps(figures_found, indent=2)
    if as_json:
        return text
    return "\n".join(_lines(figures_found))


@click.command("report")
@_RUN
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="the page (RUN/report.html)"
)
def report_(run: Path, out: Path | None) -> str:
    """Write one self-contained HTML page about a finished RUN."""
    out = run / "report.html" if out is None else out
    _check_suffix(out, (".html",))
    report_run(FinishedRun(run), out)
    return f"wrote {out}"


COMMANDS = [sample, interpolate_, evaluate, report_]


def _check_suffix(out: Path, allowed: tuple[str, ...]) -> None:
    """Refuse a file that could not be written in the end."""
    if out.suffix.lower() not in allowed:
        raise ValueError(f"--out must end in {' or '.join(allowed)}, and is '{out}'")
    check_target(out, "--out")


def _classes(finished: FinishedRun, n: int, of_class: int | None) -> Any:
    classes = finished.generator.classes
    if of_class is None:
        return np.arange(n) % classes if classes else None
    if of_class >= classes:
        having = f"classes 0 to {classes - 1}" if classes else "no classes"
        raise ValueError(f"--class must be one of the run's, which has {having}, got {of_class}")
    return of_class


def _lines(table: dict[str, Any], prefix: str = "") -> list[str]:
    """A nested table as lines of name and value."""
    lines = []
    for name, value in table.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{prefix}{name}: ")
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append(f"{prefix}{name:<{max(1, 44 - len(prefix))}} {shown}")
    return lines
