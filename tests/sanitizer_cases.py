"""Small runs of every kernel that a GPU here has, for NVIDIA's compute-sanitizer.

    compute-sanitizer --tool memcheck python tests/sanitizer_cases.py
    compute-sanitizer --tool racecheck python tests/sanitizer_cases.py

A script rather than tests: the sanitizer slows kernels down by orders of magnitude, and what it
finds it counts itself. The pairs are compared all the same, with the CPU's. Exit code 1 if any
differ or no kernel can run, and the sanitizer's own if it found something (--error-exitcode).
"""

from __future__ import annotations

import sys

import numpy as np

import engine
import gtn_label
from datasets import make, make_groups
from gtn_label import _core

# Where kernels and layouts change: few dimensions, one tile, several superpanels, odd tails.
CASES = [
    ("gaussian", 257, 1, {}),
    ("gaussian", 700, 3, {}),
    ("clusters 1e-3", 700, 8, {"cone": 5}),
    ("gaussian", 33, 9, {}),
    ("gaussian", 1100, 33, {"center": True}),
    ("lattice, gaussian sources", 600, 16, {"order": "norm_desc"}),
    ("float64", 600, 100, {"order": "index", "cone": 3}),
    ("repeated 50 times", 600, 64, {}),
    ("heavy tails", 500, 129, {"groups": make_groups("two", 500, 500)}),
    ("gaussian", 300, 768, {}),
]


def main() -> int:
    """Run all cases; return the exit code."""
    kernels = [row["name"] for row in _core.cuda_kernels()]
    usable = {row.name for row in gtn_label.backends() if row.available}
    wrong = ran = 0
    for kernel in kernels:
        name = f"cuda:{kernel}"
        if name not in usable:
            print(f"{name}: not available here")
            continue
        for data, n, dim, options in CASES:
            latents, sources = make(data, n, dim)
            expected = gtn_label.match(latents, sources, backend="cpu", **options)
            # With the least memory, rows and codes stay in the host's.
            for memory in (None, engine.least_memory(latents, sources, backend=name, **options)):
                found = gtn_label.match(latents, sources, backend=name, memory=memory, **options)
                same = np.array_equal(found.assignment, expected.assignment)
                same &= np.array_equal(found.cosine, expected.cosine)
                wrong += not same
                ran += 1
                print(f"{name} {data} {n} x {dim}: {'equal' if same else 'DIFFERENT'}", flush=True)
    print(f"{ran} runs, {wrong} of them wrong")
    return int(wrong > 0 or ran == 0)


if __name__ == "__main__":
    sys.exit(main())
