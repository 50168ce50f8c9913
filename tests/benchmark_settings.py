"""Settings under which the benchmark suite runs in a moment. Shared by its tests."""

from __future__ import annotations

from benchmarks.harness import Settings

SETTINGS = Settings(
    threads=1,
    runs=2,
    limit=20,
    sample=40,
    floor_seconds=0.002,
    core_types=("",),
    settle_seconds=0,
    say=lambda line: None,
)
