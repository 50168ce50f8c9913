"""The picture of a labeling: cosines, norm against norm, and for dim <= 3 the pairs themselves.

Only this module imports matplotlib, and only for `--plot`. It draws through the object interface,
so that no window system is touched and pyplot's global state stays the caller's.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.files import check_named
from ..quality import Summary, norms
from ..text import quoted

__all__ = ["PLOT_SUFFIXES", "draw", "require"]

PLOT_SUFFIXES = (".png", ".pdf", ".svg")

LINES = 150  # pairs drawn with a line between them; more hide each other
DOTS = 20_000  # pairs drawn as dots
LABEL_COLOUR = "#1f6f8b"
ACCENT_COLOUR = "#d1495b"
LINE_COLOUR = "#52606d"


def require(path: Path) -> None:
    """Fail before the run if the picture could not be drawn after it.

    Raises
    ------
    ValueError
        If the suffix is none of `PLOT_SUFFIXES`.
    ImportError
        If matplotlib is missing; the message has the command that installs it.
    """
    check_named(path, PLOT_SUFFIXES, "--plot")
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise ValueError(f"--plot must end in {', '.join(PLOT_SUFFIXES)}, and is {quoted(path)}")
    # On its first run matplotlib reports its font cache on stderr.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"--plot needs matplotlib, which cannot be imported ({error}): "
            'pip install "gtn-label[plot]"'
        ) from None


def draw(
    sources: NDArray[Any],
    latents: NDArray[Any],
    assignment: NDArray[np.int64],
    cosine: NDArray[np.float64],
    summary: Summary,
    file_format: str,
) -> bytes:
    """Draw a labeling.

    Parameters
    ----------
    sources : [n, dim]
    latents : [m, dim]
    assignment : int64 [n]
    cosine : float64 [n]
    summary
        Figures that the picture shows.
    file_format
        "png", "pdf" or "svg".

    Returns
    -------
    bytes
        The contents of the file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    n, dim = sources.shape
    style: dict[Any, Any] = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.grid": False,
        "svg.hashsalt": "gtn-label",
    }
    with mpl.rc_context(style):
        panels = 3 if dim <= 3 else 2
        figure = Figure(figsize=(4.6 * panels, 4.2), layout="constrained")
        figure.suptitle(f"{n:,} pairs, dim {dim}", x=0.01, ha="left", fontweight="bold")
        _draw_cosines(figure.add_subplot(1, panels, 1), cosine, summary)
        _draw_norms(figure, figure.add_subplot(1, panels, 2), sources, latents, assignment, summary)
        if dim <= 3:
            axes = figure.add_subplot(1, panels, 3, projection="3d" if dim == 3 else None)
            _draw_pairs(axes, sources, latents, assignment)
        buffer = io.BytesIO()
        # No date in the file: the same labeling gives the same picture.
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(file_format)
        figure.savefig(buffer, format=file_format, dpi=150, metadata=metadata)
    return buffer.getvalue()


def _draw_cosines(axes: Any, cosine: NDArray[np.float64], summary: Summary) -> None:
    low = float(min(cosine.min(), 1.0))
    low = -1.0 if low < -0.5 else np.floor(low * 10) / 10 if low < 0.95 else low
    # The range has a width also when all cosines are one.
    axes.hist(np.minimum(cosine, 1.0), bins=60, range=(min(low, 1 - 1e-6), 1.0), color=LABEL_COLOUR)
    axes.axvline(summary.mean_cosine, color="black", linewidth=1)
    names = [f"mean {summary.mean_cosine:.4f}"]
    if summary.last_decile_cosine is not None:
        axes.axvline(summary.last_decile_cosine, color=ACCENT_COLOUR, linewidth=1, linestyle="--")
        names.append(f"last tenth visited {summary.last_decile_cosine:.4f}")
    axes.legend(axes.lines, names, frameon=False, loc="best", fontsize=9)
    axes.set(xlabel="cosine of source and label", ylabel="pairs", title="Direction")
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.locator_params(axis="x", nbins=6)


def _draw_norms(
    figure: Any,
    axes: Any,
    sources: NDArray[Any],
    latents: NDArray[Any],
    assignment: NDArray[np.int64],
    summary: Summary,
) -> None:
    x, y = norms(sources), norms(latents, assignment)
    # The few rows of a heavy tail would squeeze the rest into a corner.
    right, top = np.quantile(x, 0.999) * 1.05, np.quantile(y, 0.999) * 1.05
    if len(x) <= 2_000:
        axes.scatter(x, y, s=8, color=LABEL_COLOUR, alpha=0.6, linewidths=0)
    else:
        shown = (x <= right) & (y <= top)
        bins = axes.hexbin(
            x[shown],
            y[shown],
            gridsize=int(np.clip(np.sqrt(len(x)) / 2, 20, 60)),
            mincnt=1,
            cmap="viridis",
            linewidths=0.1,
        )
        figure.colorbar(bins, ax=axes, label="pairs", shrink=0.8)
    edge = min(right, top)
    axes.plot([0, edge], [0, edge], color=ACCENT_COLOUR, linewidth=1, label="equal norms")
    axes.set(xlim=(0, right), ylim=(0, top), xlabel="norm of source", ylabel="norm of label")
    correlation = summary.norm_correlation
    value = "" if correlation is None else f", rank correlation {correlation:.2f}"
    axes.set_title(f"Norm against norm{value}")
    axes.legend(loc="lower right", fontsize=9, edgecolor="none")


def _draw_pairs(
    axes: Any, sources: NDArray[Any], latents: NDArray[Any], assignment: NDArray[np.int64]
) -> None:
    generator = np.random.Generator(np.random.Philox(0))
    chosen = generator.permutation(len(assignment))[:DOTS]
    x = np.asarray(sources[chosen], np.float64)
    y = np.asarray(latents[assignment[chosen]], np.float64)
    if x.shape[1] == 1:
        axes.set_title("Pairs")
        axes.scatter(
            x[:, 0], y[:, 0], s=4, color=LABEL_COLOUR, alpha=0.6, linewidths=0, rasterized=True
        )
        axes.set(xlabel="source", ylabel="label")
        return
    # Labels have the colour of their source's direction: a map that can be learnt shows a smooth
    # wheel of colours, leftovers are dots of the wrong colour.
    direction = np.arctan2(x[:, 1], x[:, 0])
    size = 8 if len(chosen) <= 2_000 else 3
    for source, label in zip(x[:LINES], y[:LINES], strict=True):
        ends = np.stack([source, label], axis=1)
        axes.plot(*ends, color=LINE_COLOUR, linewidth=0.4, alpha=0.4, zorder=1)
    axes.scatter(
        # Rasterized: twenty thousand dots are a burden in a vector file.
        *y.T,
        c=direction,
        cmap="hsv",
        s=size,
        linewidths=0,
        rasterized=True,
        zorder=2,
    )
    if x.shape[1] == 3:
        axes.set_box_aspect((1, 1, 1), zoom=1.1)
        axes.tick_params(labelsize=7)
    else:
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel(f"lines lead to the sources of {min(LINES, len(x)):,} labels")
    axes.set_title("Labels, coloured by their source's direction", loc="left")
