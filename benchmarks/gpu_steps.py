"""Steps of gpu_run.sh, each a process of its own: ``python -m benchmarks.gpu_steps STEP ...``.

A step prints a line a case as it goes, and appends the figures to a file as lines of JSON: a step
that is ended by its time limit, or by a fault of the device, leaves what it has found. Answers are
compared with those of the CPU backend, which the step ``answers`` computes once.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gtn_label
from gtn_label import Matching, _core
from gtn_label.backend import cuda

DIMS = (9, 33, 64, 100, 128, 160, 192, 224, 256, 257, 320, 512, 768, 1024, 2048, 4096)
SOURCES = (1, 17, 64, 65, 256, 257, 1000, 4096)
RATED_DIMS = (64, 100, 128, 256, 512, 768, 1024, 2048, 4096)
SIZES = ("200000x100", "1000000x64", "1281167x768", "10000000x64", "200000x4096")
QUICK_DIMS, QUICK_SOURCES, QUICK_SIZES = (9, 64, 257), (1, 65), ("150x20", "60x300")

# Name, rows, dim, options of match; "least" stands for the least memory.
MATCHES: tuple[tuple[str, int, int, dict[str, Any]], ...] = (
    ("5 dimensions", 20_000, 5, {}),
    ("9 dimensions", 20_000, 9, {}),
    ("64 dimensions", 20_000, 64, {}),
    ("100 dimensions", 20_000, 100, {}),
    ("768 dimensions", 20_000, 768, {}),
    ("least memory", 20_000, 64, {"memory": "least"}),
    ("cone 17", 20_000, 64, {"cone": 17}),
    ("groups", 20_000, 64, {"groups": 12}),
)


class Report:
    """Lines for a reader on stdout, and figures as lines of JSON."""

    def __init__(self, figures: Path | None) -> None:
        self._figures = figures
        self.failed = 0

    def add(self, step: str, text: str, good: bool = True, **figures: Any) -> None:
        """Report a case; a bad one makes the process fail."""
        self.failed += not good
        print(f"{step}: {text}{'' if good else '  WRONG'}", flush=True)
        if self._figures is not None:
            with self._figures.open("a") as file:
                file.write(json.dumps({"step": step, "text": text, "good": good, **figures}) + "\n")


def rows(n: int, dim: int, seed: int) -> np.ndarray[Any, Any]:
    """Draw rows of N(0, I)."""
    return np.random.default_rng(seed).standard_normal((n, dim), np.float32)


def cases(quick: bool) -> Iterator[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any], Any]]:
    """Yield name, latents, sources and options of every matching."""
    for name, n, dim, options in MATCHES:
        count = min(n, 60) if quick else n
        given = dict(options)
        if "groups" in given:
            labels = np.arange(count) % given["groups"]
            given["groups"] = (labels, labels)
        yield name, rows(count, dim, 1), rows(count, dim, 2), given


def kernels(report: Report, quick: bool) -> None:
    """Print the kernels that can run here, one a line; without one, why, and fail."""
    del report, quick
    reason = cuda.missing()
    if reason:
        sys.exit(f"the cuda backend cannot run here: {reason}")
    names = [row.name for row in gtn_label.backends() if row.available]
    print("\n".join(name.removeprefix("cuda:") for name in names if name.startswith("cuda:")))


def check(report: Report, quick: bool, kernel: str) -> None:
    """Compare a kernel's bounds with dp4a's, over dimensions and numbers of sources."""
    for dim in QUICK_DIMS if quick else DIMS:
        for sources in QUICK_SOURCES if quick else SOURCES:
            latents = 600 if quick else 8_000_000 // (dim + 300)
            began = time.perf_counter()
            found = _core.cuda_scan_check(kernel, dim, latents, sources)
            text = f"{kernel}, dim {dim}, {sources} sources: {found['bounds']:,} bounds"
            if found["wrong"]:
                text += f", {found['wrong']:,} wrong, the first {found['first']}"
            seconds = time.perf_counter() - began
            report.add("check", text, not found["wrong"], kernel=kernel, dim=dim, seconds=seconds)


def answers(report: Report, quick: bool, file: str) -> None:
    """Write the CPU's answers to all matchings."""
    found: dict[str, Any] = {}
    for name, latents, sources, options in cases(quick):
        options.pop("memory", None)
        began = time.perf_counter()
        matching = gtn_label.match(latents, sources, backend="cpu", **options)
        found[f"{name} assignment"], found[f"{name} cosine"] = matching.assignment, matching.cosine
        report.add("answers", f"{name}: {time.perf_counter() - began:.2f} s on the CPU")
    np.savez(file, **found)


def match(report: Report, quick: bool, kernel: str, file: str) -> None:
    """Compare a kernel's matchings with the CPU's."""
    with np.load(file) as expected:
        for name, latents, sources, options in cases(quick):
            if options.get("memory") == "least":
                options["memory"] = least_memory(latents, sources, kernel)
            began = time.perf_counter()
            found = gtn_label.match(latents, sources, backend=f"cuda:{kernel}", **options)
            seconds = time.perf_counter() - began
            good = np.array_equal(found.assignment, expected[f"{name} assignment"])
            good &= np.array_equal(
                found.cosine.view(np.int64), expected[f"{name} cosine"].view(np.int64)
            )
            text = f"{kernel}, {name}: {seconds:.2f} s"
            if found.stats["kernel_fault"]:
                good, text = False, f"{text}, {found.stats['kernel_fault']}"
            report.add("match", text, good, kernel=kernel, seconds=seconds, **engine_of(found))


def optimal(report: Report, quick: bool) -> None:
    """Compare optimal transport whose searches are on the GPU with that of the CPU alone."""
    for n, m, dim in ((10_000, 10_000, 3), (10_000, 10_000, 100), (5_000, 10_000, 100)):
        if quick:
            n, m = n // 100, m // 100
        latents, sources = rows(m, dim, 0), rows(n, dim, 1)
        found, seconds = {}, {}
        for backend in ("cpu", "cuda"):
            began = time.perf_counter()
            found[backend] = gtn_label.match_optimal(latents, sources, backend=backend)
            seconds[backend] = time.perf_counter() - began
        good = all(
            getattr(found["cuda"], name).tobytes() == getattr(found["cpu"], name).tobytes()
            for name in ("assignment", "cosine", "prices")
        )
        text = f"{n} x {m}, {dim} dimensions: {seconds['cuda']:.2f} s, CPU {seconds['cpu']:.2f} s"
        report.add("optimal", text, good, seconds=seconds, **engine_of(found["cuda"]))


def least_memory(latents: Any, sources: Any, kernel: str) -> int:
    """Return the bytes of GPU memory that a matching needs at least."""
    try:
        gtn_label.match(latents, sources, backend=f"cuda:{kernel}", memory=1)
    except gtn_label.ArgumentError as error:
        found = re.search(r"\d+", error.rule)
        assert found is not None
        return int(found[0])
    raise AssertionError("one byte was enough")


def rates(report: Report, quick: bool, kernel: str) -> None:
    """Measure a kernel alone; "device": the matrix units and a copy."""
    seconds = 0.002 if quick else 0.1
    if kernel == "device":
        found = _core.cuda_rates(0, 1 << (16 if quick else 30), seconds)
        text = f"int8 {found['int8_operations'] / 1e12:.4g} TOP/s, copy "
        report.add("rates", f"{text}{found['copied_bytes'] / 1e9:.4g} GB/s", **found)
        return
    latents, sources = (1 << 9, 64) if quick else (1 << 20, 4096)
    for dim in QUICK_DIMS if quick else RATED_DIMS:
        few = latents if quick else min(latents, (1 << 30) // dim)
        rate = _core.cuda_kernel_rate(0, kernel, dim, few, sources, seconds)
        text = f"{kernel}, dim {dim}: {rate['operations'] / 1e12:.4g} TOP/s, "
        text += f"{rate['bytes'] / 1e9:.4g} GB/s"
        report.add("rates", text, kernel=kernel, dim=dim, **rate)


def size(report: Report, quick: bool, shape: str, kernel: str = "") -> None:
    """Match rows that are made on the GPU, and print the phases."""
    del quick
    n, dim = map(int, shape.split("x"))
    latents, sources, where = resident(n, dim)
    began = time.perf_counter()
    found = gtn_label.match(latents, sources, backend=f"cuda:{kernel}" if kernel else "cuda")
    seconds = time.perf_counter() - began
    assignment = np.asarray(found.assignment.cpu() if where == "GPU" else found.assignment)
    good = len(np.unique(assignment)) == n and not found.stats["kernel_fault"]
    phases = ", ".join(
        f"{name} {spent:.3g}" for name, spent in found.stats["seconds"].items() if spent >= 1e-3
    )
    text = f"{n:,} x {dim} from the {where}: {seconds:.3f} s ({phases})"
    report.add("sizes", text, good, n=n, dim=dim, seconds=seconds, **engine_of(found))


def resident(n: int, dim: int) -> tuple[Any, Any, str]:
    """Draw latents and sources on the GPU by torch; without torch on the host."""
    try:
        import torch
    except ImportError:
        return rows(n, dim, 1), rows(n, dim, 2), "host"
    if not torch.cuda.is_available():
        return rows(n, dim, 1), rows(n, dim, 2), "host"
    torch.manual_seed(1)
    drawn = [torch.randn(n, dim, device="cuda") for _ in range(2)]
    torch.cuda.synchronize()
    return drawn[0], drawn[1], "GPU"


def engine_of(matching: Matching) -> dict[str, Any]:
    """Return the statistics that say what a run did."""
    return {"stats": {name: matching.stats[name] for name in matching.stats if name != "cuda"}}


STEPS: dict[str, Callable[..., None]] = {
    step.__name__: step for step in (kernels, check, answers, match, optimal, rates, size)
}


def main() -> int:
    """Run a step; return the exit code: 0, or 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_steps", description=__doc__)
    parser.add_argument("step", choices=sorted(STEPS))
    parser.add_argument("arguments", nargs="*", help="such as a kernel, or a size 1000000x64")
    parser.add_argument("--figures", type=Path, help="file that lines of JSON are appended to")
    parser.add_argument("--quick", action="store_true", help="tiny cases, for a rehearsal")
    given = parser.parse_args()
    report = Report(given.figures)
    STEPS[given.step](report, given.quick, *given.arguments)
    return int(report.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
