"""Runs the throughput: pairs a second of every backend over n and dim, within a budget.

A problem is a contest of the harness, in one session (session.py): a backend keeps its process from
problem to problem, so that a device is set up once. The grid is every backend over n and dim. Where
a CUDA device is, the problems of its targets come first, with the rows that their ratios need; the
grid does not run those again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.check import WrongAnswer
from benchmarks.harness import Case, Contest, Entry, Settings
from benchmarks.modes import Section
from benchmarks.peer import Peer
from benchmarks.peers import OURS, gtn_label
from benchmarks.process import WorkerFailed
from benchmarks.session import Session
from benchmarks.targets import cuda

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
DIMS = (5, 64, 100, 768)
SIZES_QUICK = (1_000, 4_000)
DIMS_QUICK = (5, 64)
PATIENCE = 1.5  # times the seconds that a row of a target should take, before it is ended


@dataclass(frozen=True)
class Job:
    """A problem, its rows, and the limit of seconds of each."""

    case: Case
    peers: tuple[Peer, ...]
    limit: float


def everybody() -> list[Peer]:
    """Return every backend by its name, and greedy over flat search on a GPU."""
    backends = [peer for peer in gtn_label.PEERS if peer is not OURS]
    return [*backends, cuda.FAISS_GPU, cuda.TORCH_GPU]


def grid(quick: bool) -> list[Case]:
    """Return the problems that run where none is named."""
    sizes, dims = (SIZES_QUICK, DIMS_QUICK) if quick else (SIZES, DIMS)
    return [Case("isotropic", n, dim) for n in sizes for dim in dims]


def jobs(
    cases: Sequence[Case], peers: Sequence[Peer], limit: float, scale: float | None
) -> list[Job]:
    """Plan the problems of the targets, then the grid, small problems first.

    Where a device is, the device and the best CPU backend run the whole grid before others get
    their turn: a budget should end with those. ``scale`` shrinks the targets; None leaves them out.
    """
    turns, aims = [list(peers)], list(cuda.AIMS if scale is not None else ())
    if cuda.CUDA.missing():
        aims = []
    else:
        kernels = (peer for peer in peers if peer.title.startswith("gtn_label, cuda:"))
        first = (cuda.best_cpu(), cuda.CUDA, cuda.ON_DEVICE, *kernels)
        turns = [[p for p in first if p in peers], [p for p in peers if p not in first]]
    planned: list[Job] = []
    for aim in aims:
        best = [cuda.best_cpu()] if any(peer is None for peer, _ in aim.over) else []
        greedy = [peer for peer, _ in aim.over if peer]
        rows = tuple(p for p in [*best, cuda.CUDA, cuda.ON_DEVICE, *greedy] if p in peers)
        slowest = aim.seconds * max([1, *(times for _, times in aim.over)])
        planned.append(Job(aim.case(scale or 1), rows, max(limit, PATIENCE * slowest)))
    for turn in turns:
        for case in sorted(cases, key=lambda case: case.n * case.n * case.dim):
            done = {peer.name for job in planned if job.case == case for peer in job.peers}
            left = tuple(peer for peer in turn if peer.name not in done)
            if left:
                planned.append(Job(case, left, limit))
    return planned


def throughput(
    planned: Sequence[Job],
    settings: Settings,
    budget: float,
    rated: dict[str, Any] | None,
    section: Section,
) -> None:
    """Run all jobs, after the rates of the device on the shape ``rated``, if any.

    ``section`` fills as it goes.

    Raises
    ------
    WrongAnswer
        A row of this project had a wrong answer; the others were timed all the same.
    """
    section |= {"kind": "throughput", "title": "isotropic", "rows": [], "floors": []}
    section |= {"limit": settings.limit, "budget": budget}
    wrong = []
    with Session(budget) as session:
        if rated is not None:
            section["device"] = device_rates(session, rated)
        for job in planned:
            entries = [Entry(peer, job.case, settings.threads) for peer in job.peers]
            contest = Contest(entries, replace(settings, limit=job.limit), session)
            try:
                contest.run()
            except WrongAnswer as error:
                wrong.append(str(error))
            finally:
                section["rows"] += contest.rows()
    if wrong:
        raise WrongAnswer("; ".join(wrong))


def device_rates(session: Session, rated: dict[str, Any]) -> dict[str, Any]:
    """Measure the rates of the device; ``rated`` holds the arguments of floors.cuda."""
    with session.take("cuda", 1, {}) as worker:
        try:
            return worker.ask("cuda", session.budget / 2, **rated)
        except WorkerFailed as error:
            return {"failed": str(error)}
