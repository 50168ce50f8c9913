"""Settings that must not change the answer: threads, layout, dtype, budget, instruction set.

Sizes here may exceed the oracle's: runs are compared with one another, bit for bit.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import engine
import oracle
from datasets import make, make_groups
from gtn_label import match

SETS = [
    ("gaussian", 3000, 16),
    ("lattice", 3000, 3),
    ("repeated 50 times", 2000, 7),
    ("clusters 1e-6 float64", 2000, 33),
    ("heavy rows float64", 2000, 5),
    ("1e3 + noise", 2000, 100),
    ("collinear", 700, 2),
    ("axes", 1000, 64),
]


@pytest.fixture(params=SETS, ids=lambda row: f"{row[0]} {row[1]}x{row[2]}")
def rows(request):
    return make(*request.param)


@pytest.mark.parametrize("threads", [2, 3, 7, 16])
def test_threads(rows, threads):
    latents, sources = rows
    engine.assert_same(match(latents, sources, threads=threads), match(latents, sources, threads=1))


def test_denormals_flushed_by_the_caller():
    """As torch.set_flush_denormal and libraries linked with fast-math do; threads inherit it."""
    torch = pytest.importorskip("torch")
    latents, sources = make("gaussian", 2000, 3)
    latents = latents * np.float32(1e-38)
    expected = match(latents, sources, threads=1)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor always keeps denormals")
    try:
        found = [match(latents, sources, threads=threads) for threads in (1, 3)]
    finally:
        torch.set_flush_denormal(False)
    for one in found:
        engine.assert_same(one, expected)


def test_a_second_call_gives_the_same_and_inputs_stay_as_they_were(rows):
    latents, sources = rows
    before = latents.tobytes(), sources.tobytes()
    groups = make_groups("two", len(sources), len(latents))
    labels = groups[0].tobytes(), groups[1].tobytes()
    first = match(latents, sources, groups=groups, center=True)
    second = match(latents, sources, groups=groups, center=True)
    engine.assert_same(second, first)
    assert (latents.tobytes(), sources.tobytes()) == before
    assert (groups[0].tobytes(), groups[1].tobytes()) == labels


# ------------------------------------------------------------------------------------- layout


def layouts(rows, folder):
    """The same values in every layout that match() takes."""
    n, dim = rows.shape
    wide = np.full((2 * n, 2 * dim + 1), 7, dtype=rows.dtype)
    wide[::2, 1::2] = rows
    shifted = np.empty(rows.nbytes + 1, dtype=np.uint8)[1:].view(rows.dtype).reshape(n, dim)
    shifted[:] = rows
    read_only = rows.copy()
    read_only.flags.writeable = False
    np.save(folder / "rows.npy", rows)
    np.save(folder / "fortran.npy", np.asfortranarray(rows))
    return {
        "fortran": np.asfortranarray(rows),
        "strided": wide[::2, 1::2],
        "backwards": rows[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": shifted,
        "read-only": read_only,
        "big-endian": rows.astype(rows.dtype.newbyteorder(">")),
        "little-endian": rows.astype(rows.dtype.newbyteorder("<")),
        "memory-mapped": np.load(folder / "rows.npy", mmap_mode="r"),
        "memory-mapped fortran": np.load(folder / "fortran.npy", mmap_mode="r"),
        "list": rows.tolist(),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layout(tmp_path, dtype):
    latents, sources = (part.astype(dtype) for part in make("gaussian", 500, 11))
    (tmp_path / "latents").mkdir()
    (tmp_path / "sources").mkdir()
    expected = match(latents, sources, center=True)
    of_latents = layouts(latents, tmp_path / "latents")
    of_sources = layouts(sources, tmp_path / "sources")
    for name, given in of_latents.items():
        engine.assert_same(match(given, of_sources[name], center=True), expected)
        engine.assert_same(match(given, sources, center=True), expected)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (np.float32, np.float64),
        (np.float16, np.float32),
        (np.float16, np.float64),
        (np.int8, np.float32),
        (np.uint8, np.int64),
        (np.int64, np.float64),
        (np.uint32, np.float64),
    ],
)
@pytest.mark.parametrize("backend", engine.BACKENDS)
def test_widening(backend, narrow, wide):
    engine.forced(backend)
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((700, 9)) * 30 + 1
    if np.issubdtype(narrow, np.unsignedinteger):
        rows = np.abs(rows)
    latents = rows.astype(narrow)
    latents[~latents.any(axis=1), 0] = 1
    sources = rng.permutation(latents)
    expected = engine.run(latents, sources, backend=backend, cone=2)
    for other_latents, other_sources in (
        (latents.astype(wide), sources),
        (latents, sources.astype(wide)),
        (latents.astype(wide), sources.astype(wide)),
    ):
        engine.assert_same(
            engine.run(other_latents, other_sources, backend=backend, cone=2), expected
        )


# ------------------------------------------------------------------------- instruction sets


@pytest.mark.parametrize("options", [{}, {"order": "norm_desc", "cone": 8, "center": True}])
def test_instruction_sets(rows, options):
    latents, sources = rows
    results = [engine.run(latents, sources, backend=name, **options) for name in engine.USABLE]
    for other in results[1:]:
        engine.assert_same(other, results[0])


@pytest.mark.parametrize("name", ["gaussian", "clusters 1e-3"])
def test_instruction_sets_on_more_rows(name):
    latents, sources = make(name, 12_000, 24)
    results = [engine.run(latents, sources, backend=backend) for backend in engine.USABLE]
    for other in results[1:]:
        engine.assert_same(other, results[0])
    visited = results[0].assignment[oracle.visiting_order(norms(sources), "norm")]
    oracle.check_choices(latents, sources, visited, range(0, 12_000, 59))


def norms(rows):
    """Contract norms of unpadded rows."""
    return oracle.row_norms(oracle.pad(rows))


@pytest.mark.parametrize("backend", engine.INSTRUCTION_SETS)
def test_forced_by_the_environment(backend):
    engine.forced(backend)
    name = backend.removeprefix("cpu:")
    code = (
        "import numpy as np, gtn_label\n"
        "rows = np.random.default_rng(0).standard_normal((300, 5))\n"
        "print(gtn_label.match(rows, rows).stats['instruction_set'])"
    )
    environment = {**os.environ, "GTN_LABEL_INSTRUCTION_SET": name}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == name, done.stderr


# ----------------------------------------------------------------------------- memory budget


def test_memory_budget(rows):
    latents, sources = rows
    expected = match(latents, sources)
    # No budget is enough for nothing, and 64 MiB are enough for each of these sets.
    with pytest.raises((MemoryError, ValueError), match="bytes"):
        match(latents, sources, memory=1)
    for budget in (*(3 << shift for shift in range(13, 24)), 1 << 26, 1 << 40):
        try:
            matching = match(latents, sources, memory=budget)
        except (MemoryError, ValueError):
            assert budget < 1 << 26
            continue
        assert matching.stats["peak_work_bytes"] <= budget
        engine.assert_same(matching, expected)
