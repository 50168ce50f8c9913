"""The commands that read a finished run: `sample`, `interpolate`, `evaluate` and `report`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from gtn_label.cli import console
from gtn_label.cli.sections import Integer
from gtn_label.io.atomic import check_target
from gtn_label.text import quoted

from ..evaluation import EXTRACTORS
from ..pairs.classes import as_in_data, in_turn
from ..run.settings import RUN_FILE, STAGES, RunSettings
from ..training.training_options import ACCELERATORS
from .geodesics import (
    check_path,
    effective,
    figures_file,
    geodesic_options,
    means,
    unfinished,
    write_figures,
)
from .walks import check_walk, walk_options, walked

if TYPE_CHECKING:
    from ..run.finished_run import FinishedRun

__all__ = ["COMMANDS"]

SHEET = 4096  # images at most on one sheet: a picture of 64 x 64 of them is a large one already

_COUNT = Integer(min=1)
_RUN = click.argument("run", type=click.Path(path_type=Path, readable=False), metavar="RUN")
_CLASS = click.option(
    "--class",
    "of_class",
    type=Integer(min=0),
    metavar="K",
    help="Class of all samples, for a run made --by-class. By default sheets and lines show the "
    "classes in turn, and an array has them as often as the data.",
)
_SEED = click.option(
    "--seed",
    type=Integer(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Random seed of the sources.",
)
_ACCELERATOR = click.option(
    "--accelerator",
    type=click.Choice(ACCELERATORS),
    default="auto",
    show_default=True,
    help="Device.",
)


def _out(what: str) -> Callable[..., Any]:
    return click.option(
        "--out", type=click.Path(path_type=Path, readable=False), metavar="FILE", help=what
    )


@click.command("sample", short_help="Draw new samples.")
@_RUN
@click.option(
    "--n",
    type=_COUNT,
    default=64,
    show_default=True,
    metavar="N",
    help="Number of images or vectors to draw.",
)
@_CLASS
@click.option(
    "--steps",
    type=_COUNT,
    metavar="N",
    help="Steps of a flow, if not those that the run was made with.",
)
@walk_options
@_SEED
@_out(
    "File to write: a sheet of images (.png), an array of images (.npy, uint8 [n, c, h, w]) or of "
    "vectors (.npy, float32 [n, dim]).  [default: samples.png, or samples.npy for vectors]"
)
@_ACCELERATOR
def sample(
    run: Path,
    n: int,
    of_class: int | None,
    steps: int | None,
    seed: int,
    out: Path | None,
    accelerator: str,
    **asked: Any,
) -> list[str]:
    """Draw N new samples from a finished RUN.

    The sources come from N(0, I) or from the run's mixture. They are none of the sources that
    `gtn-label` or the run drew, whatever their seeds. With --walk samples are the ends of N random
    walks on the data (Variational Diffusion Autoencoders with Random Walk Sampling).
    """
    check_walk(run, asked, {"--class": of_class, "--steps": steps})
    out = _target(run, out, "samples")
    if out.suffix.lower() == ".png" and n > SHEET:
        raise click.UsageError(
            f"--n must be at most {SHEET} for one sheet, got {n}; .npy has room."
        )
    if asked["walk"] is not None:
        return walked(run, asked, n, seed, out, accelerator)
    finished = _open(run, accelerator)
    if steps is not None:
        if finished.settings.preset.generator != "flow":
            raise ValueError(f"--steps needs a run made with --generator flow, got {steps}")
        finished.generator.steps = steps
    from ..files import save_array
    from ..sampling.sample import sample_images, sample_latents

    classes = _classes(finished, n, of_class)
    if of_class is None and finished.classes is not None and out.suffix.lower() == ".npy":
        classes = as_in_data(finished.classes, n, seed)
    given: dict[str, Any] = {
        "classes": classes,
        "mixture": finished.mixture,
        "progress": True,
    }
    coder, of_images = finished.autoencoder, finished.settings.preset.makes_images
    images: Any
    if coder is None:
        images = sample_latents(finished.generator, n, seed, **given)
    else:
        images = sample_images(finished.generator, coder, n, seed, **given)
    if not of_images:
        save_array(out, images)
        return [f"{console.counted(n, 'vector')} in {out}"]
    if out.suffix.lower() == ".npy":
        save_array(out, images)
    else:
        from ..report import figures
        from ..report.sheets import sheet_columns

        columns = None
        if of_class is None and finished.classes is not None:
            columns = sheet_columns(finished.classes)
        figures.write(out, figures.grid(images, columns=columns))
    return [f"{console.counted(n, 'image')} in {out}"]


@click.command("interpolate", short_help="Generate along lines between sources.")
@_RUN
@click.option(
    "--lines",
    type=_COUNT,
    default=8,
    show_default=True,
    metavar="K",
    help="Number of lines between random sources.",
)
@click.option(
    "--between",
    nargs=2,
    type=Integer(min=0),
    multiple=True,
    metavar="I J",
    help="Draw a line between the sources matched with training images I and J (rows from 0), "
    "instead of random lines; may be repeated. A sheet shows each image and its reconstruction "
    "before its end of the line.",
)
@click.option(
    "--steps",
    type=Integer(min=2),
    default=20,
    show_default=True,
    metavar="N",
    help="Points on a line, including both ends.",
)
@geodesic_options
@_CLASS
@_SEED
@_out(
    "File to write: a sheet with one line per row (.png), or an array (.npy).  "
    "[default: interpolation.png, or interpolation.npy for vectors]"
)
@_ACCELERATOR
def interpolate_(
    run: Path,
    lines: int,
    between: tuple[tuple[int, int], ...],
    steps: int,
    of_class: int | None,
    seed: int,
    out: Path | None,
    accelerator: str,
    **asked: Any,
) -> list[str]:
    """Generate along lines between sources of a finished RUN (Fig. 8 of the GTN paper).

    The lines are straight, or geodesics that keep to where the data are dense (Data Interpolations
    in Deep Generative Models under Non-Simply-Connected Manifold Topology).
    """
    given = check_path(asked)
    out = _target(run, out, "interpolation")
    compare, space = given.get("compare", False), given.get("space", "source")
    beside = None
    if compare:
        beside = figures_file(out)
        _refuse_file_of_run(beside, run)
    finished = _open(run, accelerator)
    from ..files import save_array
    from ..report import figures
    from ..sampling.interpolation import interpolate, random_ends
    from ..sampling.sample import generate_latents

    if between:
        ends, classes = _matched(finished, between, of_class, space)
    else:
        classes = _classes(finished, lines, of_class)
        drawn = {"mixture": finished.mixture, "classes": classes}
        ends = [*random_ends(lines, finished.generator.dim, seed, **drawn)]
        if space == "latent":
            ends = [generate_latents(finished.generator, end, classes=classes) for end in ends]
    said = []
    if asked["path"] == "straight":
        given = {"steps": steps, "classes": classes, "progress": True}
        left, right = ends
        found = {"": interpolate(finished.generator, left, right, finished.autoencoder, **given)}
    else:
        from ..geometry.run_geodesics import run_geodesics

        given = {**given, "steps": steps, "classes": classes, "seed": seed, "progress": True}
        found = run_geodesics(finished, *ends, **given)
        for line in unfinished(found):
            _said(f"warning: {line}")
        said = _columns(means(found))
    shown: list[Any] = [one.latents if one.images is None else one.images for one in found.values()]
    if out.suffix.lower() == ".npy":
        save_array(out, np.stack(shown, axis=1) if compare else shown[0])
    else:
        if between:
            shown = [_with_ends(finished, images, np.array(between)) for images in shown]
        images: Any = np.stack(shown, axis=1)  # the kinds of one line below each other
        rows = images.reshape(-1, *images.shape[3:])
        figures.write(out, figures.grid(rows, columns=images.shape[2]))
    if beside is not None:
        settings = effective(finished, given)
        write_figures(beside, found, between=between, run=str(run), **settings)
    return [f"{console.counted(len(ends[0]), 'line')} of {steps} points in {out}", *said]


@click.command("evaluate", short_help="Measure FID and the like, copies, norms, dimensions.")
@_RUN
@click.option(
    "--extractor",
    type=click.Choice(EXTRACTORS),
    help="Network for FID and Inception Score. Figures of lite0 are no FID, and carry its name. "
    "none skips them. Vectors need no network.  [default: inception if its weights are here, else "
    "lite0 if it is installed, else none]",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="File of Inception's weights, in torch-fidelity's format. Without it, --extractor "
    "inception downloads them.",
)
@click.option(
    "--n",
    type=_COUNT,
    metavar="N",
    help="Images of each kind, or generated vectors.  [default: 10,000, or as many images as the "
    "data have]",
)
@_SEED
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@_ACCELERATOR
def evaluate(
    run: Path,
    extractor: str | None,
    weights: Path | None,
    n: int | None,
    seed: int,
    as_json: bool,
    accelerator: str,
) -> list[str]:
    """Measure a finished RUN against its data; nothing is downloaded by default.

    Images are compared with the test images or, if a set has none, with the training images; the
    line `data` says which. The table at the end has the same figures of simple models of the
    latents: one Gaussian, a mixture of ten, and training rows with noise, which are copies. Its
    last line is what real data reach. The lines `geometry` measure how the generator stretches and
    folds; Gromov-Wasserstein needs the extra `geometry`. A flow is measured at 1, 2, 4, 8 and 32
    steps as well. The figures also go to RUN/evaluation/EXTRACTOR.json, and from there into the
    report.
    """
    if weights is not None and extractor not in (None, "inception"):
        raise click.UsageError(f"--weights needs --extractor inception, got {extractor}.")
    finished = _open(run, accelerator)
    with console.held():
        from ..evaluation.evaluate_run import evaluate_run

    found = evaluate_run(
        finished,
        extractor,
        weights=weights,
        n=n,
        seed=seed,
        progress=True,
        say=_said,
    )
    for line in found.pop("warnings") if not as_json else found["warnings"]:
        _said(f"warning: {line}")
    if as_json:
        return console.json_text(found, indent=2)
    table = found.pop("comparison")
    return [*_lines(found), "", *_columns(table), "", _NORMS]


@click.command("report", short_help="Write a page with curves, grids and figures.")
@_RUN
@_out("File of the page (.html).  [default: RUN/report.html]")
def report_(run: Path, out: Path | None) -> list[str]:
    """Write one self-contained HTML page about a finished RUN.

    The page shows learning curves, samples, reconstructions and interpolations, statistics of the
    pairs, the figures of `evaluate`, options, versions and hashes. It fetches nothing and can be
    mailed.
    """
    RunSettings.read(run)  # first, for a clear message about a folder without a run
    out = run / "report.html" if out is None else out
    _check_suffix(out, (".html",))
    finished = _open(run, "cpu")
    from ..report.report_run import report_run

    report_run(finished, out)
    return [f"wrote {out}"]


_NORMS = (
    "Norms in the table compare with the latents trained on; `latents: norms` compares with all."
)

COMMANDS = [sample, interpolate_, evaluate, report_]


def _said(line: str) -> None:
    console.say("gtn-train", line)


def _open(run: Path, accelerator: str) -> FinishedRun:
    with console.held():
        from ..run.finished_run import FinishedRun

    return FinishedRun(run, accelerator=accelerator)


def _target(run: Path, out: Path | None, stem: str) -> Path:
    """Choose the file to write, before anything is loaded."""
    images = RunSettings.read(run).preset.makes_images
    if out is None:
        out = Path(f"{stem}.png" if images else f"{stem}.npy")
    _check_suffix(out, (".png", ".npy") if images else (".npy",))
    _refuse_file_of_run(out, run)
    return out


def _refuse_file_of_run(path: Path, run: Path) -> None:
    """Refuse to write over what a run consists of."""
    place, home = path.resolve(), run.resolve()
    of_run = place == home / RUN_FILE or (
        place.parent.parent == home and place.parent.name in STAGES
    )
    if of_run and place.exists():
        raise ValueError(
            f"--out must not replace a file of the run, and would replace {quoted(path)}"
        )


def _check_suffix(out: Path, allowed: tuple[str, ...]) -> None:
    """Refuse a file that cannot be written, before any work is done."""
    if out.suffix.lower() not in allowed:
        raise ValueError(f"--out must end in {' or '.join(allowed)}, and is {quoted(out)}")
    check_target(out, "--out")


def _classes(finished: FinishedRun, n: int, of_class: int | None) -> Any:
    if finished.classes is None:
        if of_class is None:
            return None
        raise ValueError(f"--class needs a run made --by-class, got {of_class}")
    if of_class is None:
        return in_turn(finished.classes, n)
    known = np.unique(finished.classes)
    if of_class not in known:
        listed = ", ".join(map(str, known[:20])) + (", ..." if len(known) > 20 else "")
        raise ValueError(f"--class must be one that the data have ({listed}), got {of_class}")
    return of_class


def _matched(
    finished: FinishedRun,
    between: tuple[tuple[int, int], ...],
    of_class: int | None,
    space: str = "source",
) -> tuple[Any, Any]:
    """Sources matched with training rows, and the classes of the lines between them.

    In the space of latents the ends are the rows themselves, and lines have no class.
    """
    from ..sampling.interpolation import matched_sources

    if of_class is not None:
        raise click.UsageError(
            "--between has the classes of its rows: --class has no meaning for it."
        )
    rows = np.array(between)
    n = len(finished.latents)
    if rows.max() >= n:
        raise ValueError(f"--between must name rows below {n}, got {rows.max()}")
    for left, right in rows[rows[:, 0] == rows[:, 1]]:
        raise ValueError(f"--between must name two different rows, got {left} {right}")
    if space == "latent":
        return [np.array(finished.latents[rows[:, side]]) for side in (0, 1)], None
    ends = [matched_sources(finished.matching, rows[:, side]) for side in (0, 1)]
    classes = finished.classes
    if classes is None:
        return ends, None
    left, right = classes[rows[:, 0]], classes[rows[:, 1]]
    for (i, j), one, other in zip(between, left, right, strict=True):
        if one != other:
            raise ValueError(
                "--between must name rows of one class in a run by class, and row "
                f"{i} is of class {one}, {j} of class {other}"
            )
    return ends, np.asarray(left)


def _with_ends(finished: FinishedRun, images: Any, rows: NDArray[np.int64]) -> Any:
    """Put real images and their reconstructions at both ends of lines [k, steps, c, h, w].

    Where the data are no longer there, reconstructions stand alone.
    """
    from ..models.autoencoder import decode_all

    real = None
    try:
        real = finished.images().images
    except FileNotFoundError as error:
        _said(f"warning: the sheet has no real images: {error}")
    ends = []
    for side in (0, 1):
        chosen = rows[:, side]
        shown = [] if real is None else [np.asarray(real[chosen])]
        shown.append(decode_all(finished.autoencoder, finished.latents[chosen]))
        ends.append(np.stack(shown, axis=1))
    return np.concatenate([ends[0], images, ends[1][:, ::-1]], axis=1)


def _columns(table: dict[str, dict[str, Any]]) -> list[str]:
    """A table of methods and their figures, one method a line."""
    names = [*next(iter(table.values()))]
    first = max(map(len, table))
    lines = [" " * first + "".join(f"  {name}" for name in names)]
    for method, row in table.items():
        cells = ["-" if row[name] is None else f"{row[name]:.4g}" for name in names]
        pads = [f"  {cell:>{len(name)}}" for name, cell in zip(names, cells, strict=True)]
        lines.append(f"{method:<{first}}{''.join(pads)}")
    return lines


def _lines(table: dict[str, Any], prefix: str = "") -> list[str]:
    """A nested table as lines of name and value."""
    lines = []
    for name, value in table.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{prefix}{name}: ")
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            with contextlib.suppress(ValueError):
                shown = f"{value:,}" if isinstance(value, int) else shown
            lines.append(f"{prefix + name:<48} {shown}")
    return lines
