"""The targets of the CUDA backend: lines that are judged by rows of the throughput."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import quotient, spread
from benchmarks.harness import Case, Entry
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME, OURS, PEERS
from benchmarks.targets.line import SMALLEST, Line, Row, judged, took

CUDA = BY_NAME["gtn_label:cuda"]
ON_DEVICE = BY_NAME["gtn_label:cuda_on_device"]
FAISS_GPU, TORCH_GPU = BY_NAME["faiss_gpu"], BY_NAME["torch_gpu"]


@dataclass(frozen=True)
class Aim:
    """Most seconds for a problem, and how many times faster than others."""

    n: int
    dim: int
    seconds: float
    over: tuple[tuple[Peer | None, float], ...] = ()  # None: the best CPU backend; 0: reported

    def case(self, scale: float) -> Case:
        """Return the problem."""
        return Case("isotropic", max(SMALLEST, round(self.n * scale)), self.dim)


AIMS = (
    Aim(200_000, 100, 0.5, ((None, 20),)),
    Aim(1_000_000, 64, 3, ((FAISS_GPU, 10), (TORCH_GPU, 0))),
    Aim(1_281_167, 768, 30),
    Aim(10_000_000, 64, 60),
)
RATED_DIMS = (64, 100, 128, 256, 512, 768, 1024)
RATE_AIM = 0.4  # of the int8 matrix rate


def best_cpu() -> Peer:
    """Return the CPU backend by its best instruction set."""
    cpu = (peer for peer in PEERS if peer.title.startswith("gtn_label, cpu:"))
    return next((peer for peer in cpu if not peer.missing()), OURS)


def rated_shape(quick: bool, seconds: float) -> dict[str, Any]:
    """Return the shape on which a device is rated: larger than its caches, if not quick."""
    latents, sources, copied = (1 << 9, 64, 1 << 20) if quick else (1 << 20, 4096, 1 << 30)
    rows = {"latents": latents, "sources": sources, "copied": copied}
    return {"dims": list(RATED_DIMS), **rows, "seconds": seconds}


def lines(
    rows: Sequence[Row], device: dict[str, Any], threads: int, scale: float
) -> list[dict[str, Any]]:
    """Judge every aim by the rows and by the device's rates."""
    found = [equality(rows)]
    for aim in AIMS:
        case = aim.case(scale)
        ours, work = Entry(CUDA, case, threads), f"{case.n:,} × {case.dim}"
        resident = Entry(ON_DEVICE, case, threads)
        timed = [
            Line(work, "seconds, from the host", aim.seconds, False, [ours], took),
            Line(work, "seconds, rows on the device", 0, True, [resident], took),
        ]
        for peer, times in aim.over:
            name = peer.title if peer else f"the CPU backend with {threads} threads"
            both = [ours, Entry(peer or best_cpu(), case, threads)]
            timed.append(Line(work, f"times faster than {name}", times, True, both, quotient))
        found += [line.judge(rows) for line in timed]
    found += [scan(device), memory(rows, [aim.case(scale) for aim in AIMS])]
    why = CUDA.missing() or "not run"
    return [{**line, "note": line["note"] or ("" if line["figure"] else why)} for line in found]


def on_device(row: Row) -> bool:
    """Return true if a row is of this project on a CUDA device, and ran."""
    return bool(row["stats"].get("backend") == "cuda")


def equality(rows: Sequence[Row]) -> dict[str, Any]:
    """Judge the share of the rows on a device that had the right answer."""
    right = [float(not row["wrong"]) for row in rows if on_device(row)]
    figure = spread([sum(right) / len(right)]) if right else None
    measures = "share of the rows on a device whose answer is the oracle's and everybody's"
    return judged("all", measures, 1, True, figure, f"{len(right)} rows" if right else "")


def scan(device: dict[str, Any]) -> dict[str, Any]:
    """Judge the least share of the int8 matrix rate of the kernel that "cuda" chooses."""
    scans = device.get("scans", ())
    chosen = [one for one in scans if one["kernel"] == scans[0]["kernel"]]
    figure = spread([one["operations"] / device["int8_operations"] for one in chosen])
    if figure is not None:
        figure["median"] = figure["min"]
    measures = "share of the int8 matrix rate that the scan kernel alone reaches, the least"
    note = f"with {chosen[0]['kernel']}" if chosen else device.get("failed", "")
    dims = f"dim {min(RATED_DIMS)} to {max(RATED_DIMS):,}"
    return judged(dims, measures, RATE_AIM, True, figure, note)


def memory(rows: Sequence[Row], cases: Sequence[Case]) -> dict[str, Any]:
    """Judge device memory beyond the inputs over their bytes, the most of these problems."""
    shapes = {(case.n, case.dim) for case in cases}
    ran = [row for row in rows if on_device(row) and (row["n"], row["dim"]) in shapes]
    shares = [beyond(row) / row["inputs_bytes"] for row in ran if row["seconds"]]
    figure = spread([max(shares)]) if shares else None
    measures = "device memory beyond the inputs over their bytes, the most of these problems"
    return judged("all of these", measures, 1, False, figure, "")


def beyond(row: Row) -> float:
    """Return the device memory of a row, without copies of inputs that came from the host."""
    stats, half = row["stats"], row["inputs_bytes"] / 2
    copied = 0.0
    if row["peer"] != ON_DEVICE.name:
        copied = half * ((not stats["latents_mapped"]) + (not stats["sources_mapped"]))
    return float(stats["peak_work_bytes"] - copied)
