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

N, DIM = 80_000, 100
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

class Enough(Exception):
    pass

def progress(done, total, seconds_left):
    if done > total // SHARE:
        raise Enough

small = np.random.default_rng(0).standard_normal((500, 100), dtype=np.float32)
gtn_label.match(small, small)
baseline = peak()
latents = np.load(sys.argv[1], mmap_mode="r")
if sys.argv[2] == "drawn":
    SHARE = 10
    try:
        gtn_label.match(latents, progress=progress)
    except Enough:
        pass
    print(json.dumps({"used": peak() - baseline}))
elif sys.argv[2] == "start":
    SHARE = 100
    try:
        gtn_label.match(latents, np.load(sys.argv[3], mmap_mode="r"), progress=progress)
    except Enough:
        pass
    print(json.dumps({"used": peak() - baseline}))
else:
    sources = np.load(sys.argv[2], mmap_mode="r")
    float(latents.max()), float(sources.max())  # every page is in memory now
    loaded = peak()
    stats = gtn_label.match(latents, sources).stats
    print(json.dumps({
        "used": peak() - baseline,
        "added": peak() - loaded,
        "reported": stats["peak_work_bytes"],
    }))
"""


def write_files(folder, n, dim):
    """Latents and sources as .npy files, written in pieces."""
    rng = np.random.default_rng(4)
    paths = []
    for name in ("latents", "sources"):
        path = folder / f"{name}.npy"
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, dim))
        for begin in range(0, n, 10_000):
            rows[begin : begin + 10_000] = rng.standard_normal((10_000, dim), dtype=np.float32)
        rows.flush()
        del rows
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("memory"), N, DIM)


def report(*arguments):
    """Memory of the child process, in bytes, as it says itself."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_peak_is_under_two_and_a_half_times_the_inputs(files):
    latents, sources = files
    memory = report(latents, sources)
    assert memory["used"] < 2.5 * INPUT_BYTES, memory
    # What the engine says it took is what it took: beside the visited latents, the assignment
    # and the cosine (24 bytes a source), a few thread stacks and the allocator's slack.
    assert memory["added"] < memory["reported"] + 24 * N + (16 << 20), memory


def test_peak_with_drawn_sources(files):
    """All is allocated by the time the first tenth is decided; the rest would only take time."""
    memory = report(files[0], "drawn")
    assert memory["used"] < 2.5 * INPUT_BYTES, memory


def test_many_short_rows(tmp_path):
    """10,000,000 x 16 is to run in 6 GB: 600 bytes a row, of which the inputs take 128."""
    n = 250_000
    latents, sources = write_files(tmp_path, n, 16)
    memory = report(latents, "start", sources)
    assert memory["used"] < 400 * n, memory["used"] / n


OPTIMAL = """
import hashlib, json, pathlib, resource, sys
import numpy as np
from gtn_label import match_optimal

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        line = next(l for l in status.read_text().splitlines() if l.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

rng = np.random.default_rng(5)
latents, sources = (rng.standard_normal((20_000, 24), dtype=np.float32) for _ in range(2))
match_optimal(latents[:500], sources[:500])
loaded = peak()
m = match_optimal(latents, sources, tolerance=0.5, memory=int(sys.argv[1]))
print(json.dumps({
    "added": peak() - loaded,
    "depth": m.stats["depth"],
    "prices": hashlib.sha256(m.prices.tobytes()).hexdigest(),
}))
"""


def test_optimal_transport_keeps_to_its_budget():
    """Beside the result (24 bytes a row) and the allocator's slack; no bit of it changes."""
    found = []
    for budget in (60_000_000, 16_000_000):
        done = subprocess.run(
            [sys.executable, "-c", OPTIMAL, str(budget)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
        assert found[-1]["added"] < budget + 24 * 20_000 + (4 << 20), found
    assert found[0]["depth"] > 2 * found[1]["depth"]
    assert found[0]["prices"] == found[1]["prices"]
    assert found[0]["added"] > 1.5 * found[1]["added"]
