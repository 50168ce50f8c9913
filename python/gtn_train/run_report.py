"""The report of one finished run: what its folder holds, gathered for report.py's page.

Not here: how the page looks (report.py, report.html.j2), and measuring (evaluation/runs.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .evaluation.runs import kept
from .finished import FinishedRun
from .report import Contents, write_report

__all__ = ["report_run"]

_SHEETS = {
    "Samples": "samples/samples.png",
    "Real images (odd places) and their reconstructions": "samples/reconstructions.png",
    "Lines between random sources": "samples/interpolation.png",
    "Generated and real": "samples/scatter.png",
    "Distances of latents from the real mean": "samples/norms.png",
    "Samples nearest to a training image, above it": "evaluation/copies.png",
}


def report_run(run: FinishedRun, path: Path) -> None:
    """Write the page of a run.

    Parameters
    ----------
    run : FinishedRun
    path : path
        The .html file.

    Raises
    ------
    ImportError, OSError
        As `report.write_report`.
    """
    measured = kept(run.out)
    current = run.stages["generator"].outputs
    stale = [name for name, found in measured.items() if found["generator"] != current]
    metrics = [
        {key: value for key, value in found["images"].items() if not isinstance(value, dict)}
        for name, found in measured.items()
        if name not in stale and "images" in found
    ]
    tables: dict[str, Any] = {}
    for name, found in measured.items():
        if name in stale:
            continue
        tables["Latents"] = found["latents"]
        if "copies" in found:
            tables["Copies of training images"] = found["copies"]
    seconds = {name: f"{stage.seconds:.1f} s" for name, stage in run.stages.items()}
    curves: dict[str, Any] = {
        name: run.folder(name).read_metrics()
        for name in ("autoencoder", "generator")
        if name in run.stages
    }
    settings = run.settings
    write_report(
        path,
        Contents(
            title=f"{settings.preset_name}: {run.out.name}",
            summary=f"{settings.preset.summary}. Seed {settings.seed}."
            + ("" if measured else " Not evaluated yet: gtn-train evaluate."),
            metrics=metrics,
            curves=curves,
            pictures={
                caption: (run.out / name).read_bytes()
                for caption, name in _SHEETS.items()
                if (run.out / name).exists()
            },
            labels=_labels(curves["generator"]),
            tables={**tables, "Seconds": seconds},
            config={**settings.preset.config(), "data path": settings.data},
            versions=run.stages["generator"].versions,
            hashes={name: stage.outputs for name, stage in run.stages.items()},
        ),
    )


def _labels(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of the first round, and how many rounds there were."""
    rounds = [line["labels"] for line in history if line.get("labels")]
    if not rounds:
        return {}
    return {**rounds[0], "rounds of pairs": len(rounds)}
