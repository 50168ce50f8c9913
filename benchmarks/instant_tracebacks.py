"""A pytest plugin for gpu_run.sh: tracebacks as they come, since a time limit may end the run."""

from __future__ import annotations

from typing import Any


def pytest_runtest_logreport(report: Any) -> None:
    """Print the traceback of a test that failed."""
    if report.failed:
        print(f"\n--- {report.nodeid}\n{report.longreprtext}", flush=True)
