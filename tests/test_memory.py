"""Peak memory of a matching, in a process of its own.

The peak is read from the kernel's high-water mark: `ru_maxrss` survives exec, so that a child of
a large pytest process would start with its parent's peak. It serves where /proc does not exist.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

N, DIM = 200_000, 100
INPUT_BYTES = 2 * N * DIM * 4

CHILD = """
import json, pathlib, resource, sys
import numpy as np
import gtn_label

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        line = next(l for l in status.read_text().splitlines() if l.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

small = np.random.default_rng(0).standard_normal((500, 100), dtype=np.float32)
gtn_label.match(small, small)
baseline = peak()
latents = np.load(sys.argv[1], mmap_mode="r")
sources = np.load(sys.argv[2], mmap_mode="r") if len(sys.argv) > 2 else None
matching = gtn_label.match(latents, sources)
print(json.dumps({
    "baseline": baseline,
    "peak": peak(),
    "work": matching.stats["peak_work_bytes"],
    "n": len(matching.assignment),
}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Latents and sources as .npy files, written in pieces."""
    folder = tmp_path_factory.mktemp("memory")
    rng = np.random.default_rng(4)
    paths = []
    for name in ("latents", "sources"):
        path = folder / f"{name}.npy"
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(N, DIM))
        for begin in range(0, N, 10_000):
            rows[begin : begin + 10_000] = rng.standard_normal((10_000, DIM), dtype=np.float32)
        rows.flush()
        del rows
        paths.append(str(path))
    return paths


@pytest.mark.parametrize("given", [2, 1], ids=["mapped sources", "drawn sources"])
def test_peak_is_under_three_times_the_inputs(files, given):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *files[:given]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["n"] == N
    used = report["peak"] - report["baseline"]
    assert used < 3 * INPUT_BYTES, f"{used / INPUT_BYTES:.2f} times the inputs: {report}"
