"""A whole run, from data to samples: presets, settings, pipeline, and the folder that keeps it.

- preset_fields.py, presets.py, settings.py: what a run is asked for.
- pipeline.py, stages.py, context.py: the stages in their order, each one, and what they share.
- store.py, manifest.py: the folder of a stage; the manifest of a complete one.
- verdict.py, builder.py: the decision to reuse, resume, rebuild or refuse a stage, and its work.
- lock.py, barrier.py: one run at a time in a folder; several processes in one run.
- finished_run.py: a finished run, to sample from and to use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_label.lazy import lazy_names

if TYPE_CHECKING:
    from .finished_run import FinishedRun, load_run
    from .pipeline import run_pipeline
    from .presets import PRESETS, preset
    from .settings import RunSettings
    from .store import RunFolder

__all__ = [
    "PRESETS",
    "FinishedRun",
    "RunFolder",
    "RunSettings",
    "load_run",
    "preset",
    "run_pipeline",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FinishedRun": "finished_run",
        "load_run": "finished_run",
        "PRESETS": "presets",
        "RunFolder": "store",
        "RunSettings": "settings",
        "preset": "presets",
        "run_pipeline": "pipeline",
    },
)
