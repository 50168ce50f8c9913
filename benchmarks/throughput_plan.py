"""What ``python -m benchmarks throughput`` runs by default, and what the project set out to reach.

The grid is every backend over n and dim. Where a CUDA device is, the problems that a target is
about come first, with the rows that their ratios need; what the grid has in common with them is
not run twice. Not here: running (throughput.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Case, Entry, spread
from benchmarks.peer import Peer
from benchmarks.peers import BY_NAME, OURS, PEERS
from benchmarks.targets import Line, judged, pick, quotient
from benchmarks.throughput import Job

Row = dict[str, Any]

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
DIMS = (5, 64, 100, 768)
SIZES_QUICK = (1_000, 4_000)
DIMS_QUICK = (5, 64)
SMALLEST = 64
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


AIMS = (
    Aim(200_000, 100, 0.5, ((None, 20),)),
    Aim(1_000_000, 64, 3, ((FAISS_GPU, 10), (TORCH_GPU, 0))),
    Aim(1_281_167, 768, 30),
    Aim(10_000_000, 64, 60),
)
RATED_DIMS = (64, 100, 128, 256, 512, 768, 1024)
RATE_AIM = 0.4  # of the int8 matrix rate
PATIENCE = 1.5  # times the seconds that a row of an aim should take, before it is ended


def everybody() -> list[Peer]:
    """Every backend by its name, and greedy over flat search on a GPU, which needs an answer."""
    backends = [peer for peer in PEERS if peer.kind == "contract" and peer is not OURS]
    return [*backends, FAISS_GPU, TORCH_GPU]


def best_cpu() -> Peer:
    """Return the CPU backend by its best instruction set."""
    cpu = (peer for peer in everybody() if peer.title.startswith("gtn_label, cpu:"))
    return next((peer for peer in cpu if not peer.missing()), OURS)


def aimed_case(aim: Aim, scale: float) -> Case:
    """Return the problem of an aim."""
    return Case("isotropic", max(SMALLEST, round(aim.n * scale)), aim.dim)


def jobs(
    cases: Sequence[Case], peers: Sequence[Peer], limit: float, scale: float | None
) -> list[Job]:
    """Plan the problems of the aims, then the grid, small problems first.

    Where a device is, the whole grid is run on it and by the best CPU backend before others get
    their turn: a budget should end with those. ``scale`` shrinks the aims; None leaves them out.
    """
    planned: list[Job] = []
    turns = [list(peers)]
    if not CUDA.missing():
        kernels = (peer for peer in peers if peer.title.startswith("gtn_label, cuda:"))
        first = (best_cpu(), CUDA, ON_DEVICE, *kernels)
        turns = [[peer for peer in first if peer in peers]]
        turns.append([peer for peer in peers if peer not in first])
    if scale is not None and not CUDA.missing():
        for aim in AIMS:
            cpu = [best_cpu()] if any(peer is None for peer, _ in aim.over) else []
            greedy = [peer for peer, _ in aim.over if peer]
            rows = tuple(peer for peer in [*cpu, CUDA, ON_DEVICE, *greedy] if peer in peers)
            slowest = aim.seconds * max([1, *(times for _, times in aim.over)])
            planned.append(Job(aimed_case(aim, scale), rows, max(limit, PATIENCE * slowest)))
    for turn in turns:
        for case in sorted(cases, key=lambda case: case.n * case.n * case.dim):
            done = {peer.name for job in planned if job.case == case for peer in job.peers}
            left = tuple(peer for peer in turn if peer.name not in done)
            if left:
                planned.append(Job(case, left, limit))
    return planned


def rated_shape(quick: bool, seconds: float) -> dict[str, Any]:
    """Return what a device's rates are measured on: what its caches cannot hold, if not quick."""
    latents, sources, copied = (1 << 9, 64, 1 << 20) if quick else (1 << 20, 4096, 1 << 30)
    rows = {"latents": latents, "sources": sources, "copied": copied}
    return {"dims": list(RATED_DIMS), **rows, "seconds": seconds}


def lines(
    rows: Sequence[Row], device: dict[str, Any], threads: int, scale: float
) -> list[dict[str, Any]]:
    """Every aim, judged by the rows and by the device's rates."""
    found = [equality(rows)]
    for aim in AIMS:
        case = aimed_case(aim, scale)
        ours, work = Entry(CUDA, case, threads), f"{case.n:,} × {case.dim}"
        timed = [
            Line(work, "seconds, from the host", aim.seconds, False, pick(ours), took),
            Line(work, "seconds, rows on the device", 0, True,
                 pick(Entry(ON_DEVICE, case, threads)), took),
        ]  # fmt: skip
        for peer, times in aim.over:
            other = peer or best_cpu()
            name = peer.title if peer else f"the CPU backend with {threads} threads"
            both = pick(ours, Entry(other, case, threads))
            timed.append(Line(work, f"times faster than {name}", times, True, both, quotient))
        found += [line.judge(rows) for line in timed]
    found.append(scan(device))
    found.append(memory(rows, [aimed_case(aim, scale) for aim in AIMS]))
    why = CUDA.missing() or "not run"
    return [{**line, "note": line["note"] or ("" if line["figure"] else why)} for line in found]


def on_device(row: Row) -> bool:
    """Whether a row is of this project's on a CUDA device, and ran."""
    return bool(row["stats"].get("backend") == "cuda")


def equality(rows: Sequence[Row]) -> dict[str, Any]:
    """Share of the rows on a device that gave the oracle's or the other backends' answer."""
    ran = [row for row in rows if on_device(row)]
    share = spread([float(not row["wrong"]) for row in ran])
    figure = None if share is None else spread([sum(share["runs"]) / len(ran)])
    measures = "share of the rows on a device whose answer is the oracle's and everybody's"
    note = f"{len(ran)} rows" if ran else ""
    return judged("all", measures, 1, True, figure, note)


def scan(device: dict[str, Any]) -> dict[str, Any]:
    """Least share of the int8 matrix rate, of the kernel that "cuda" chooses, over the dims."""
    scans = device.get("scans", ())
    chosen = [one for one in scans if one["kernel"] == scans[0]["kernel"]]
    shares = [one["operations"] / device["int8_operations"] for one in chosen]
    figure = spread(shares)
    if figure is not None:
        figure["median"] = figure["min"]
    measures = "share of the int8 matrix rate that the scan kernel alone reaches, the least"
    note = f"with {chosen[0]['kernel']}" if chosen else device.get("failed", "")
    dims = f"dim {min(RATED_DIMS)} to {max(RATED_DIMS):,}"
    return judged(dims, measures, RATE_AIM, True, figure, note)


def memory(rows: Sequence[Row], cases: Sequence[Case]) -> dict[str, Any]:
    """Device memory beyond the inputs over their bytes, the most of these problems."""
    shapes = {(case.n, case.dim) for case in cases}
    ran = [row for row in rows if on_device(row) and (row["n"], row["dim"]) in shapes]
    shares = [beyond(row) / row["inputs_bytes"] for row in ran if row["seconds"]]
    figure = spread([max(shares)]) if shares else None
    measures = "device memory beyond the inputs over their bytes, the most of these problems"
    return judged("all of these", measures, 1, False, figure, "")


def beyond(row: Row) -> float:
    """Bytes of device memory that a row took, without copies of inputs that came from the host."""
    stats, half = row["stats"], row["inputs_bytes"] / 2
    copied = 0.0
    if row["peer"] != ON_DEVICE.name:
        copied = half * ((not stats["latents_mapped"]) + (not stats["sources_mapped"]))
    return float(stats["peak_work_bytes"] - copied)


def took(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Seconds."""
    figure: dict[str, Any] | None = rows[0]["seconds"]
    return figure
