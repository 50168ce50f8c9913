"""One self-contained HTML page about a run: curves, grids, label statistics, figures, provenance.

`Contents` holds what the page shows; page.html.j2 is its layout. The file is self-contained:
pictures are embedded as base64 PNG, there is no script, and a content security policy keeps the
page from fetching anything. All text is escaped. Not here: drawing pictures (figures.py), computing
figures (`evaluation`).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.io.atomic import atomic_file

from . import figures

__all__ = ["Contents", "render", "write_report"]

TEMPLATE = "page.html.j2"
SHEET_WIDTH = 1240  # to which small images are enlarged: the page is a little wider


@dataclass(frozen=True)
class Contents:
    """The contents of a page; empty parts are left out.

    Attributes
    ----------
    title : str
    summary : str
        A sentence or two below it.
    metrics : sequence of dict
        As `evaluation.images.evaluate_images` gives them, one table each: with "n" and
        "extractor", which head it.
    grids : dict of uint8 [n, c, h, w]
        Images by caption, all framed alike.
    curves : dict of sequence of dict
        The rows of metrics.jsonl by stage, as `figures.curves` takes them.
    pictures : dict of bytes or figure
        Further pictures by caption: PNG files, figures of matplotlib's, or images uint8
        [c, height, width] such as `Interpolation.grid` gives.
    labels : dict
        Statistics of the labels by name.
    comparison : dict of dict
        Figures of several methods, by method and then by figure: one table with a line a method.
    tables : dict of dict
        Further tables by caption, such as norm statistics or the check for copies.
    config, versions, hashes : dict
        The settings, the versions that ran, and the SHA-256 of inputs and outputs. Nested dicts are
        shown as "outer.inner".
    """

    title: str
    summary: str = ""
    metrics: Sequence[Mapping[str, Any]] = ()
    grids: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    comparison: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, Any] = field(default_factory=dict)


def render(contents: Contents) -> str:
    """Make the page.

    Raises
    ------
    ValueError
        If figures come without their number of images or extractor, or there is nothing to draw.
    ImportError
        If jinja2 or matplotlib is missing.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ImportError("a report needs jinja2: pip install 'gtn-label[train]'") from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text("utf-8"))
    grids = [(caption, figures.grid(images)) for caption, images in contents.grids.items()]
    shown = {stage: rows for stage, rows in contents.curves.items() if figures.curve_names(rows)}
    curves = [(", ".join(shown), figures.learning_curves(shown))] if shown else []
    page: str = template.render(
        title=contents.title,
        summary=contents.summary,
        metrics=[_metrics(row) for row in contents.metrics],
        tables=[
            (caption, _rows(table))
            for caption, table in {"Labels": contents.labels, **contents.tables}.items()
            if table
        ],
        picture_sections=[
            (heading, [(caption, *_picture(picture)) for caption, picture in pictures])
            for heading, pictures in (
                ("Images", grids),
                ("Learning curves", curves),
                ("Figures", list(contents.pictures.items())),
            )
            if pictures
        ],
        comparison=_comparison(contents.comparison),
        provenance=[
            (heading, _rows(table))
            for heading, table in (
                ("Configuration", contents.config),
                ("Versions", contents.versions),
                ("SHA-256", contents.hashes),
            )
            if table
        ],
    )
    return page


def write_report(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write the page, whole or not at all; errors as in `render`, and OSError.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> page = pathlib.Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(page, Contents("A run", labels={"mean cosine": 0.97}))
    >>> "mean cosine" in page.read_text()
    True
    """
    page = render(contents).encode()
    with atomic_file(path) as file:
        file.write(page)


def _metrics(row: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """Heading and rows of one evaluation."""
    missing = [name for name in ("n", "extractor") if name not in row]
    if missing:
        raise ValueError(f"metrics must say {' and '.join(missing)}, got {sorted(row)}")
    rest = {name: value for name, value in row.items() if name not in ("n", "extractor")}
    return f"N = {_text(row['n'])}, by {row['extractor']}", _rows(rest)


def _comparison(
    table: Mapping[str, Mapping[str, Any]],
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Headings of the columns, and each method with its figures as text."""
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    return names, [
        (method, [_text(row.get(name)) for name in names]) for method, row in table.items()
    ]


def _rows(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names and values as text, nested tables flattened."""
    rows: list[tuple[str, str]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            rows += _rows(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", _text(value)))
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(part) for part in value)
    return str(value)


def _picture(picture: Any) -> tuple[str, int | None]:
    """Base64 of a PNG file, and the width to show it in, for images: a multiple of their own."""
    content = picture if isinstance(picture, bytes) else figures.encode(picture)
    width = None
    if isinstance(picture, np.ndarray):
        width = picture.shape[2] * max(1, min(4, SHEET_WIDTH // picture.shape[2]))
    return base64.b64encode(content).decode(), width
