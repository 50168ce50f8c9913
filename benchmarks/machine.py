"""Describes the circumstances of a benchmark: commit, machine, versions, command."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import gtn_label

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    *("numpy", "scipy", "faiss-cpu", "faiss-gpu", "lapx", "POT", "torch"),
    *("ortools", "ott-jax", "jax"),
)
GPU = "name,driver_version,memory.total"
COMMIT_VARIABLE = "GTN_COMMIT"  # names the commit of a copy that has no .git


def output(*command: str) -> str:
    """Return the first line that a command prints, empty if the command fails or is missing."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().split("\n")[0]


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version(package: str) -> str:
    """Return the version of a package, empty if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def circumstances() -> dict[str, Any]:
    """Return commit, machine, versions, command, and the load of the machine at the start."""
    versions = {name: version(name) for name in PACKAGES}
    return {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": output("git", "rev-parse", "HEAD") or os.environ.get(COMMIT_VARIABLE, ""),
        "changed_since_commit": bool(
            output("git", "status", "--porcelain", "--untracked-files=no")
        ),
        "processor": processor(),
        "gpu": output("nvidia-smi", f"--query-gpu={GPU}", "--format=csv,noheader"),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"gtn-label": gtn_label.__version__, **versions},
        "backends": {
            row.name: "available" if row.available else row.reason for row in gtn_label.backends()
        },
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
