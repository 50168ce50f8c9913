"""The commands that made the old files, the places of these files, and ways to run a command.

make_data.py ran the commands once, with the version from before the packages were restructured. The
tests run the commands again and compare. Only the two commands, their files and the public names of
`gtn_label` appear in this folder, so that no later move of a module touches the tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
PAIRS = DATA / "pairs"  # of gtn-label, with the latents that they were made from
CHECKPOINTS = DATA / "checkpoints"  # of gtn-label, interrupted
RUNS = DATA / "runs.tar.xz"  # of gtn-train, with their data; folders of many small files
EXPECTED = DATA / "expected.json"  # printed output, and hashes of larger files

GROUPS = ("--source-groups", "groups.npy", "--latent-groups", "groups.npy")

# By output file: the latents, and the options beside --backend cpu. Every machine writes the same.
LABELED: dict[str, tuple[str, ...]] = {
    "default.npz": ("rows.npy",),
    "default.safetensors": ("rows.npy",),
    "seed.npz": ("rows.npy", "--seed", "7", "--indices-only"),
    "seed.safetensors": ("rows.npy", "--seed", "7", "--indices-only"),
    "cone.npz": ("rows.npy", "--center", "--cone", "4"),
    "descending.safetensors": ("rows.npy", "--order", "norm_desc"),
    "given.npz": ("rows.npy", "--sources", "sources.npy", "--order", "index"),
    "groups.npz": ("rows.npy", *GROUPS),
    "double.npz": ("named.npz", "--key", "z"),
    "double.safetensors": ("named.npz", "--key", "z", "--center"),
    "line.npz": ("line.npy", "--seed", "3"),
}

# --json and the table are kept for the portable kernels, which count the same on every machine.
SAME_COUNTS = ("--backend", "cpu:scalar", "--threads", "1")
SUMMARIZED = ("default.npz", "cone.npz", "given.npz", "groups.npz", "line.npz")

# Interrupted runs need more rows than the repository should keep: the tests draw them by seed.
LARGE_ROWS = (12_000, 24)
LARGE_SEED = 41
INTERRUPTED: dict[str, tuple[str, ...]] = {
    "default": ("large.npy", "--indices-only"),
    "options": (
        *("large.npy", "--indices-only", "--seed", "5", "--order", "norm_desc", "--cone", "3"),
        *("--center", "--source-groups", "large_groups.npy", "--latent-groups"),
        "large_groups.npy",
    ),
}

SMALL_GENERATOR = ("--layers", "3", "--width", "8", "--accelerator", "cpu", "--threads", "1")
# By folder in RUNS: options of `gtn-train fit`. The data lie beside the folders.
FITTED: dict[str, tuple[str, ...]] = {
    "vectors": ("--preset", "vectors", "--data", "v.npy", "--generator-epochs", "3"),
    "squares": ("--preset", "two-squares", "--n", "150", "--generator-epochs", "2", "--seed", "4"),
    "images": (
        *("--preset", "mnist", "--data", "mnist", "--by-class", "--latent-dim", "2"),
        *("--autoencoder-epochs", "3", "--generator-epochs", "2"),
    ),
    # The generator's training was killed.
    "rounds": (
        *("--preset", "vectors", "--data", "v.npy", "--every", "2", "--generator-epochs", "25"),
        *("--seed", "2", "--batch-size", "16", "--learning-rate", "0.003"),
    ),
}
BEGUN = "images-begun"  # "images" as a kill of the autoencoder's training left the run
# Commands that resume the two killed runs.
RESUMED: dict[str, tuple[str, ...]] = {
    "rounds": ("generator", "--out", "rounds", "--data", "v.npy", "--resume"),
    BEGUN: ("autoencoder", "--out", BEGUN, "--data", "mnist", "--resume"),
}
FRESH = "images-fresh-metrics.jsonl"  # of the autoencoder of "images" without the edit
FORMER_PLACE = "/data"  # folder of the data, by each run.json in RUNS

# Commands that read the finished runs. Their arrays lie in RUNS, beside the runs.
SAMPLED: dict[str, tuple[str, ...]] = {
    "vectors-samples.npy": ("sample", "vectors", "--n", "20", "--seed", "3"),
    "vectors-lines.npy": ("interpolate", "vectors", "--lines", "2", "--steps", "5"),
    "squares-samples.npy": ("sample", "squares", "--n", "20", "--class", "1"),
    "images-samples.npy": ("sample", "images", "--n", "12"),
    "images-lines.npy": ("interpolate", "images", "--between", "3", "13", "--steps", "4"),
}
EVALUATED: dict[str, tuple[str, ...]] = {
    "images": ("evaluate", "images", "--extractor", "none", "--n", "30", "--json"),
    "squares": ("evaluate", "squares", "--n", "100", "--seed", "1", "--json"),
}


def large_latents() -> np.ndarray:
    rows = np.random.Generator(np.random.Philox(LARGE_SEED)).standard_normal(LARGE_ROWS)
    return rows.astype(np.float32)


def large_groups() -> np.ndarray:
    return np.arange(LARGE_ROWS[0]) // 5_000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder: path to bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def expected() -> dict[str, Any]:
    return json.loads(EXPECTED.read_text())


def unpack_runs(folder: Path) -> None:
    # The first releases of Python 3.10 and 3.11 know no filter; later ones warn without.
    known = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(RUNS) as archive:
        archive.extractall(folder, **known)


def this_machine() -> dict[str, Any]:
    """Describe the machine as far as the last bits of torch's results depend on it."""
    import torch

    known = ("vendor_id", "cpu family", "model", "model name")
    cpuinfo = Path("/proc/cpuinfo")
    first = cpuinfo.read_text().partition("\n\n")[0] if cpuinfo.exists() else ""
    pairs = [map(str.strip, line.split(":", 1)) for line in first.splitlines() if ":" in line]
    processor = {name: value for name, value in pairs if name in known}
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": processor or platform.processor(),
    }


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GTN_LABEL")}
    return {**kept, "OMP_NUM_THREADS": "1"}


def interruptible() -> None:
    # A background job of a shell has Ctrl-C ignored, and so would every process it starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(package: str, *args: str, cwd: Path) -> subprocess.Popen[str]:
    """Start `python -m package` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", package, *args],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        preexec_fn=interruptible,
    )


def run(package: str, *args: str, cwd: Path) -> str:
    """Run `python -m package`, which must succeed, and return its output."""
    process = start(package, *args, cwd=cwd)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out
