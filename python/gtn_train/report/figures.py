"""Pictures: grids of images, learning curves, scatter plots, histograms; as bytes or files.

Real and generated images go through the one function `grid` (torchvision's make_grid), with the
same frame and scale, so that nobody, and no metric, can tell them apart by their files. Curves and
plots use matplotlib's object interface: pyplot's global state and window systems are not touched.
The same input gives the same bytes, up to library versions. Not here: the choice of pictures
(report_run.py).
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.io.atomic import atomic_file
from gtn_label.text import quoted

__all__ = [
    "curve_names",
    "curves",
    "decode",
    "encode",
    "grid",
    "histograms",
    "learning_curves",
    "scatter",
    "write",
]

SUFFIXES = (".png", ".pdf", ".svg")
PADDING = 2  # white pixels around each image of a grid
DOTS = 20_000  # more hide each other
COLOURS = ("#1f6f8b", "#d1495b", "#edae49", "#52606d", "#3a7d44", "#7b4ea3")


def grid(images: npt.NDArray[np.uint8], *, columns: int | None = None) -> npt.NDArray[np.uint8]:
    """Lay images out in rows, with white between them.

    Parameters
    ----------
    images : uint8 [n, c, h, w]
        c is 1 or 3. Floats are refused: scale real and generated images alike, with
        `data.images.to_bytes`.
    columns : int, optional
        Images a row; by default about as many as rows.

    Returns
    -------
    uint8 [3, height, width]

    Raises
    ------
    TypeError, ValueError
        If they are no such images.
    """
    import torch

    from ..data.images import check_images
    from ..data.vision import torchvision

    check_images(images)
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, got shape {images.shape}")
    columns = math.ceil(math.sqrt(len(images))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns must be >= 1, got {columns}")
    rows = torch.from_numpy(np.array(images))  # a copy: torch has no read-only tensors
    if len(rows) == 1:  # make_grid gives a single image no frame
        rows = torch.nn.functional.pad(rows.expand(-1, 3, -1, -1), [PADDING] * 4, value=255)[0]
        return np.asarray(rows.numpy())
    laid_out = torchvision.utils.make_grid(rows, nrow=columns, padding=PADDING, pad_value=255)
    return np.asarray(laid_out.numpy())


def curves(
    history: Sequence[Mapping[str, Any]],
    panels: Mapping[str, Sequence[str]] | None = None,
    *,
    x: str = "epoch",
    mark: float | None = None,
) -> Any:
    """Draw learning curves.

    Parameters
    ----------
    history : sequence of dict
        One an epoch, as metrics.jsonl has them: `x` and numbers by name. Rows without a name, and
        values that are no finite number, leave a gap.
    panels : dict, optional
        Title of each panel and the names it shows. By default each name has its own.
    x : str
        Name of the horizontal axis.
    mark : float, optional
        A vertical line, such as the best epoch.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    if panels is None:
        panels = {name: (name,) for name in curve_names(history, x=x)}
    if not history or not panels:
        raise ValueError("history must have rows with numbers to draw, got none")
    figure, all_axes = _panels(len(panels))
    for axes, (title, names_shown) in zip(all_axes, panels.items(), strict=True):
        _draw_curves(axes, history, names_shown, x, mark)
        axes.set(title=title)
    return figure


def learning_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Draw the curves of several trainings in one picture.

    Parameters
    ----------
    histories : dict of sequence of dict
        By stage; each as `curves` takes it. Names with the same word after their first underscore
        share a panel: train_loss and validation_loss are both "loss".

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    panels: dict[tuple[str, str], list[str]] = {}
    for stage, history in histories.items():
        for name in curve_names(history):
            about = name.split("_", 1)[1] if "_" in name else name
            panels.setdefault((stage, about), []).append(name)
    if not panels:
        raise ValueError("histories must have rows with numbers to draw, got none")
    figure, all_axes = _panels(len(panels))
    for axes, ((stage, about), names) in zip(all_axes, panels.items(), strict=True):
        _draw_curves(axes, histories[stage], names, "epoch", None)
        axes.set(title=f"{stage}: {about}")
    return figure


def _draw_curves(
    axes: Any,
    history: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    x: str,
    mark: float | None,
) -> None:
    """Draw the numbers of some names into one panel, on a logarithmic scale if all are above 0."""
    from matplotlib.ticker import MaxNLocator

    lowest = math.inf
    for name, colour in zip(names, _colours(len(names)), strict=True):
        points = [
            (row[x], row[name]) for row in history if _number(row.get(x)) and _number(row.get(name))
        ]
        if not points:
            continue
        epochs, values = zip(*points, strict=True)
        lowest = min(lowest, *values)
        axes.plot(
            epochs,
            values,
            color=colour,
            label=name,
            linewidth=1.5,
            marker="o" if len(points) < 30 else None,
            markersize=3,
        )
    if mark is not None:
        axes.axvline(mark, color="0.6", linewidth=1, linestyle="--")
    if 0 < lowest < math.inf:
        axes.set_yscale("log")
    axes.set(xlabel=x)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=8)


def curve_names(history: Sequence[Mapping[str, Any]], *, x: str = "epoch") -> list[str]:
    """Names that `curves` draws by default: those with numbers, less `x` and the seconds."""
    names = {name: None for row in history for name, value in row.items() if _number(value)}
    return [name for name in names if name not in (x, "seconds", "round")]


def scatter(
    points: Mapping[str, npt.NDArray[Any]],
    *,
    colours: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Any:
    """Draw sets of points side by side, in equal axes where they have two columns.

    Parameters
    ----------
    points : dict of [n, 1] or [n, 2]
        By title. One column is drawn as a histogram. All panels share their limits, so that a
        point outside the data's support is seen as such.
    colours : dict of [n], optional
        A number for each point, such as its source's angle (Fig. 3).

    Returns
    -------
    matplotlib.figure.Figure
    """
    sets = {title: np.asarray(rows, np.float64) for title, rows in points.items()}
    for title, rows in sets.items():
        if rows.ndim != 2 or rows.shape[1] not in (1, 2) or len(rows) == 0:
            raise ValueError(f"points must be [n >= 1, 1 or 2], got {rows.shape} for {title!r}")
    if not sets:
        raise ValueError("points must have at least one set, got none")
    figure, all_axes = _panels(len(sets), square=True)
    limits = [_limits([rows[:, c] for rows in sets.values() if c < rows.shape[1]]) for c in (0, 1)]
    for axes, (title, rows) in zip(all_axes, sets.items(), strict=True):
        axes.set(title=title, xlim=limits[0])
        if rows.shape[1] == 1:
            axes.hist(rows[:, 0], bins=100, range=limits[0], color=COLOURS[0], density=True)
            continue
        shown = np.random.Generator(np.random.Philox(0)).permutation(len(rows))[:DOTS]
        given = None if colours is None else colours.get(title)
        paint = {"color": COLOURS[0]} if given is None else {"c": given[shown], "cmap": "hsv"}
        axes.scatter(*rows[shown].T, s=3, linewidths=0, alpha=0.7, rasterized=True, **paint)
        axes.set(ylim=limits[1])
        axes.set_aspect("equal")
    return figure


def histograms(values: Mapping[str, npt.NDArray[Any]], *, label: str = "norm") -> Any:
    """Draw numbers of several sets, such as norms of real and generated latents, in one panel.

    Parameters
    ----------
    values : dict of [n]
        By name; drawn as densities over common bins.
    label : str
        Label of the horizontal axis.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not values:
        raise ValueError("values must have at least one set, got none")
    figure, (axes,) = _panels(1)
    span = _limits(list(values.values()))
    for (name, numbers), colour in zip(values.items(), _colours(len(values)), strict=True):
        axes.hist(
            numbers,
            bins=60,
            range=span,
            density=True,
            histtype="stepfilled",
            alpha=0.35,
            color=colour,
        )
        axes.hist(
            numbers, bins=60, range=span, density=True, histtype="step", color=colour, label=name
        )
    axes.set(xlabel=label, ylabel="density")
    axes.legend(frameon=False)
    return figure


def encode(picture: Any, file_format: str = "png") -> bytes:
    """Turn a figure of matplotlib's, or a uint8 image [1 or 3, height, width], into a file's bytes.

    Raises
    ------
    TypeError, ValueError
        If the picture is neither, or an image's format is not "png".
    """
    buffer = io.BytesIO()
    if isinstance(picture, np.ndarray):
        from PIL import Image

        if picture.dtype != np.uint8:
            raise TypeError(f"picture must be uint8, got {picture.dtype}")
        if picture.ndim != 3 or picture.shape[0] not in (1, 3):
            raise ValueError(f"picture must be [1 or 3, height, width], got {picture.shape}")
        if file_format != "png":
            raise ValueError(f"images are written as png, got {file_format!r}")
        rows = picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))
        Image.fromarray(rows).save(buffer, "png")
        return buffer.getvalue()
    if not hasattr(picture, "savefig"):
        raise TypeError(f"picture must be a figure or an array, got {type(picture).__name__}")
    import matplotlib as mpl

    # No date and no random ids: the same figure gives the same bytes.
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(file_format)
    with mpl.rc_context({"svg.hashsalt": "gtn-train"}):
        picture.savefig(buffer, format=file_format, dpi=110, metadata=metadata)
    return buffer.getvalue()


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Turn the bytes of a PNG file into an image, uint8 [3, height, width].

    Raises
    ------
    ValueError
        If they are no such file.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (OSError, SyntaxError) as error:  # Pillow's, for what it cannot read
        raise ValueError(f"a picture is damaged: {error}") from None


def write(path: str | os.PathLike[str], picture: Any) -> None:
    """Write a figure (.png, .pdf, .svg) or an image (.png), whole or not at all.

    Raises
    ------
    TypeError, ValueError
        As `encode`; also for another suffix.
    OSError
        If the file cannot be written; an earlier file then stays unchanged.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"path must end in {', '.join(SUFFIXES)}, and is {quoted(path)}")
    content = encode(picture, suffix[1:])
    with atomic_file(path) as file:
        file.write(content)


def _panels(count: int, *, square: bool = False) -> tuple[Any, list[Any]]:
    """Make a figure of up to three panels a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, 3)
    rows = math.ceil(count / columns)
    size = (4.0 if square else 4.6, 4.0 if square else 3.2)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def _limits(values: Sequence[npt.NDArray[Any]]) -> tuple[float, float]:
    """Span of all values and a little more; something with a width, also if all are alike."""
    if not values:
        return 0.0, 1.0
    low = min(float(np.min(v)) for v in values)
    high = max(float(np.max(v)) for v in values)
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
