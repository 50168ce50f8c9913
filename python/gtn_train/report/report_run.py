"""The report of one finished run: gathers the page's contents from the run's folder.

Not here: how the page looks (page.py, page.html.j2), and measuring (evaluation/evaluate_run.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtn_label.io.files import read_array

from ..evaluation.evaluate_run import kept
from ..evaluation.latents import norm_statistics
from ..models import registry
from ..run.finished_run import FinishedRun
from ..run.settings import RunSettings
from . import figures
from .page import Contents, write_report

__all__ = ["report_run"]

_SHEETS = {  # of images, which are enlarged
    "Samples": "samples.png",
    "Real images (odd places) and their reconstructions": "reconstructions.png",
    "Lines between random sources": "interpolation.png",
}
_PLOTS = {
    "On the roll": "roll.png",
    "Generated and real": "scatter.png",
    "Distances of latents from the real mean": "norms.png",
}


def report_run(run: FinishedRun, path: Path) -> None:
    """Write the page of a run.

    Samples and figures of an earlier generator are left out, and the summary says so.

    Parameters
    ----------
    run : FinishedRun
    path : path
        The .html file.

    Raises
    ------
    ImportError, OSError
        As `page.write_report`.
    ValueError
        If a file of figures is damaged.
    """
    measured = kept(run.out)
    current = run.stages["generator"].outputs
    stale = [name for name, found in measured.items() if found["generator"] != current]
    for name in stale:
        del measured[name]
    notes = [f"{run.settings.preset.summary}. Seed {run.settings.seed}."]
    if stale:
        notes.append(
            f"The figures of {', '.join(stale)} belong to an earlier generator: evaluate again."
        )
    elif not measured:
        notes.append("Not evaluated yet: gtn-train evaluate.")
    notes += [
        f"Warning: {line}." for found in measured.values() for line in found.get("warnings", ())
    ]
    sheets = _sheets(run)
    if not sheets:
        notes.append("It has no samples of this generator yet: gtn-train fit makes them.")
    compared = [name for name, found in measured.items() if "copies" in found]
    if compared:
        copies = run.out / "evaluation" / f"copies-{compared[-1]}.png"
        if copies.exists():
            nearest = figures.decode(copies.read_bytes())
            sheets["Samples nearest to a training row, above its image"] = nearest
    seconds = {name: f"{stage.seconds:.1f} s" for name, stage in run.stages.items()}
    curves: dict[str, Any] = {
        name: run.folder(name).read_metrics()
        for name in ("embedding", "autoencoder", "generator")
        if name in run.stages and run.folder(name).metrics.exists()
    }
    settings = run.settings
    write_report(
        path,
        Contents(
            title=f"{settings.preset_name}: {run.out.resolve().name}",
            summary=" ".join(notes),
            metrics=[
                {
                    "data": found["data"],
                    **{k: v for k, v in found["images"].items() if not isinstance(v, dict)},
                }
                for found in measured.values()
                if "images" in found
            ],
            curves=curves,
            pictures=sheets,
            labels=_labels(curves["generator"]),
            comparison=_comparison(measured),
            tables={
                "Parameters": _parameters(run),
                **({} if measured else _norms(run, sheets)),
                **_tables(measured),
                "Seconds": seconds,
            },
            config={**_asked(settings), "data path": settings.data},
            versions=run.stages["generator"].versions,
            hashes={name: stage.outputs for name, stage in run.stages.items()},
        ),
    )


def _asked(settings: RunSettings) -> dict[str, Any]:
    """The preset with the run's own seed and device, which decide for both trainings."""
    config = settings.preset.config()
    for name in ("autoencoder_training", "generator_training"):
        options = getattr(settings.preset, name)
        if options is not None:
            config[name] = settings.training(options).config()
    return {**config, "seed": settings.seed}


def _sheets(run: FinishedRun) -> dict[str, Any]:
    """Pictures of the samples stage, if they show this generator."""
    stage = run.stages.get("samples")
    if stage is None or stage.inputs.get("generator") != registry.weights_sha256(run.generator):
        return {}
    folder = run.folder("samples").path
    return {
        caption: figures.decode(content) if name in _SHEETS.values() else content
        for caption, name in {**_SHEETS, **_PLOTS}.items()
        if name in stage.outputs and (folder / name).exists()
        for content in [(folder / name).read_bytes()]
    }


def _parameters(run: FinishedRun) -> dict[str, int]:
    """Count the parameters of each model."""
    models = {"autoencoder": run.autoencoder, "generator": run.generator}
    return {
        name: sum(weight.numel() for weight in model.parameters())
        for name, model in models.items()
        if model is not None
    }


def _norms(run: FinishedRun, sheets: dict[str, Any]) -> dict[str, Any]:
    """Mean and spread of norms of a run that has not been evaluated, from its samples."""
    drawn = run.folder("samples").path / "latents.npy"
    if not sheets or not drawn.exists():
        return {}
    found = norm_statistics(read_array(drawn), run.latents, center=True)
    return {"Latents": {"norms": found}}


def _tables(measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Figures of latents and of shape, and the check for copies, from the newest file."""
    tables: dict[str, Any] = {}
    for found in measured.values():
        tables["Latents"] = found["latents"]
        if "geometry" in found:
            tables["Geometry"] = found["geometry"]
        if "copies" in found:
            tables["Copies of training rows"] = found["copies"]
    return tables


def _comparison(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Figures of all methods; the newest file's where several have one."""
    table: dict[str, dict[str, Any]] = {}
    for found in measured.values():
        for method, row in found.get("comparison", {}).items():
            table.setdefault(method, {}).update(row)
    return table


def _labels(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of the first round, and how many rounds there were."""
    rounds = [line["labels"] for line in history if line.get("labels")]
    if not rounds:
        return {}
    return {**rounds[0], "rounds of pairs": len(rounds)}
