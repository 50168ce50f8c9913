"""Check first, then time: the one harness. A contest is a list of entries that run in turn.

Each entry, a peer on a problem with a number of threads, has a process of its own
(benchmarks/worker.py), and only one of them computes at any time. Its first run warms it up and
is where its answer is checked. Then come rounds: in a round every entry runs once and the floors
are measured, so that a slow spell of the machine hits all of them; ratios are taken within a
round, and their median is reported. An entry whose runs together exceed the limit of seconds sits
out the remaining rounds; one that would need more time or memory than there is never starts, and
its row says so.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import approximation, check, data
from benchmarks.answer import Assignment, Rows
from benchmarks.peer import Peer
from benchmarks.peers import OURS
from benchmarks.process import OutOfTime, Worker, WorkerFailed
from benchmarks.quality import Quality, measure, pair_figures
from gtn_label.quality import format_bytes, format_seconds

# Each shape of block is tried for this part of the time that a floor is measured for.
SEARCH_SHARE = 1 / 12


@dataclass(frozen=True)
class Case:
    """One problem: latents of a data set or a file, and Gaussian sources."""

    data: str
    n: int
    dim: int
    file: Path | None = None

    def __str__(self) -> str:
        """Shape and data, as a title."""
        return f"{self.n:,} × {self.dim}, {self.data}"

    def make(self) -> tuple[Rows, Rows]:
        """Latents and sources."""
        if self.file is not None:
            return data.read(self.file), data.sources(self.n, self.dim)
        return data.latents(self.data, self.n, self.dim), data.sources(self.n, self.dim)


@dataclass(frozen=True)
class Entry:
    """A peer on a problem, and the entry its time is divided by."""

    peer: Peer
    case: Case
    threads: int
    against: Entry | None = None


@dataclass(frozen=True)
class Settings:
    """How long and how often to run."""

    threads: int
    runs: int
    limit: float  # seconds for one run of a peer, and for all its timed runs
    sample: int  # choices of our own answer that the oracle checks
    floor_seconds: float  # for each floor in each round
    core_types: Sequence[str]  # of OpenBLAS, from which the sgemm floor takes the fastest
    # Threads of BLAS and OpenMP spin for a while after their work is done, on cores that the next
    # entry needs: each run waits so long for the one before it.
    settle_seconds: float
    say: Callable[[str], None]


def spread(runs: Sequence[float | None]) -> dict[str, Any] | None:
    """Median, least and largest of the runs there are, with the runs; None where there are none."""
    values = [value for value in runs if value is not None]
    if not values:
        return None
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "runs": list(runs),
    }


Runs = Sequence[float | None]


def ratios(above: Runs, below: Runs) -> list[float | None]:
    """Quotients within rounds; None where either is."""
    return [None if a is None or b is None else a / b for a, b in zip(above, below, strict=False)]


def available_bytes() -> float:
    """Memory that can be had without swapping, as far as the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024.0
    except OSError:
        pass
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def refusal(entry: Entry, settings: Settings) -> str:
    """Why an entry is not even started; empty if it is."""
    reason = entry.peer.missing()
    if reason:
        return reason
    n, dim = entry.case.n, entry.case.dim
    cost = entry.peer.cost(n, dim, settings.limit)
    if cost.seconds > settings.limit:
        about, limit = format_seconds(cost.seconds), format_seconds(settings.limit)
        return f"not run: would take about {about}, the limit is {limit} (--limit)"
    if cost.bytes > available_bytes():
        about, there = format_bytes(int(cost.bytes)), format_bytes(int(available_bytes()))
        return f"not run: would need about {about}, {there} are available"
    return ""


@dataclass
class State:
    """What is known of an entry so far."""

    worker: Worker | None = None  # None: not running, and ``note`` says why
    note: str = ""
    quality: Quality | None = None
    loss: approximation.Loss | None = None  # of approximate search
    inputs_bytes: int = 0
    digests: set[str] = field(default_factory=set)
    replies: list[dict[str, Any] | None] = field(default_factory=list)  # by round
    stats: dict[str, Any] = field(default_factory=dict)

    def runs(self, name: str) -> list[Any]:
        """One figure of every round."""
        return [None if reply is None else reply[name] for reply in self.replies]


class Contest:
    """Entries that run in turn. ``rows`` and ``floors`` hold what is known, also after a break."""

    def __init__(self, entries: Sequence[Entry], settings: Settings) -> None:
        """Take the entries; the first of every case is this project's own (``OURS``)."""
        self.settings = settings
        self.states: dict[Entry, State] = {entry: State() for entry in entries}
        self.cases = list(dict.fromkeys(entry.case for entry in entries))
        for case in self.cases:
            if self._of(case)[0].peer is not OURS:
                raise ValueError(f"the first entry of {case} must be {OURS.name}")
        # By (n, dim), and by (n, dim, instruction set): rates of each round.
        self._sgemm: dict[tuple[int, int], dict[str, Any]] = {}
        self._int8: dict[tuple[int, int, str], list[float]] = {}

    def _of(self, case: Case) -> list[Entry]:
        return [entry for entry in self.states if entry.case == case]

    def run(self) -> None:
        """Check every entry, then time the rounds.

        Raises
        ------
        check.WrongAnswer
            This project's own answer failed its check. A peer's failed check is in its row.
        """
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks.")))
            for number, case in enumerate(self.cases):
                self._check(case, folder / str(number), stack)
            self._time(stack)

    # --- Checks ------------------------------------------------------------------------------

    def _check(self, case: Case, folder: Path, stack: ExitStack) -> None:
        latents, sources = case.make()
        folder.mkdir()
        np.save(folder / "latents.npy", latents)
        np.save(folder / "sources.npy", sources)
        random_distance, least, optimum = check.chance(latents, sources), np.inf, None
        exact: tuple[Assignment, Quality] | None = None  # ours, which is the first entry
        for entry in self._of(case):
            state = self.states[entry]
            state.note = refusal(entry, self.settings)
            if state.note:
                self._say(entry, state.note)
                continue
            try:
                assignment = self._first_run(entry, folder, stack)
                if exact is None:
                    passed = check.check_exact(latents, sources, assignment, self.settings.sample)
                    self._say(entry, passed)
                    exact = assignment, measure(latents, sources, assignment, assignment)
                quality = exact[1]
                if not np.array_equal(assignment, exact[0]):
                    quality = measure(latents, sources, assignment, exact[0])
                visited = np.flatnonzero(assignment >= 0)
                cosine = pair_figures(latents, sources, exact[0], visited)[0].mean()
                check.judge(entry.peer.kind, quality, cosine, random_distance, least, optimum)
                if entry.peer.kind == "approximate":
                    account = state.stats["approx"]
                    loss = approximation.measure(latents, sources, assignment, account)
                    approximation.judge(loss)
                    state.loss = loss
            except (WorkerFailed, check.WrongAnswer, ValueError) as error:
                if entry.peer.kind == "contract" and not isinstance(error, OutOfTime):
                    raise check.WrongAnswer(f"{entry.peer.name}, {case}: {error}") from None
                word = "not timed" if isinstance(error, WorkerFailed) else "wrong, not timed"
                self._drop(entry, f"{word}: {error}")
                continue
            state.quality = quality
            distance = quality.mean_squared_distance
            if distance is not None:
                least = min(least, distance)
                optimum = distance if entry.peer.kind == "optimal" else optimum

    def _first_run(self, entry: Entry, folder: Path, stack: ExitStack) -> Assignment:
        state, limit = self.states[entry], self.settings.limit
        worker = stack.enter_context(Worker(entry.threads, entry.peer.environment()))
        state.worker = worker
        files = {name: str(folder / f"{name}.npy") for name in ("latents", "sources")}
        state.inputs_bytes = worker.ask({"do": "read", "arguments": files})["inputs_bytes"]
        budget = {"threads": entry.threads, "seconds": limit, "warm_rows": 0}
        worker.ask({"do": "load", "arguments": {"peer": entry.peer.name, **budget}})
        save = folder / "assignment.npy"
        time.sleep(self.settings.settle_seconds)
        request = {"do": "run", "arguments": {"peer": entry.peer.name, "save": str(save)}}
        reply = worker.ask(request, None if entry.peer is OURS else limit)
        state.digests.add(reply["digest"])
        state.stats, state.note = reply["stats"], reply["note"]
        self._say(entry, f"checked run {format_seconds(reply['seconds'])}")
        assignment: Assignment = np.load(save)
        return assignment

    def _drop(self, entry: Entry, note: str) -> None:
        state = self.states[entry]
        if state.worker is not None:
            state.worker.close()
        state.worker, state.note = None, note
        self._say(entry, note)

    # --- Rounds ------------------------------------------------------------------------------

    def _time(self, stack: ExitStack) -> None:
        measure_floors = self._prepare_floors(stack)
        for round_ in range(self.settings.runs):
            measure_floors()
            for entry, state in self.states.items():
                state.replies.append(None)
                if state.worker is None or self._sits_out(entry):
                    continue
                time.sleep(self.settings.settle_seconds)
                try:
                    request = {"do": "run", "arguments": {"peer": entry.peer.name, "save": ""}}
                    reply = state.worker.ask(request, self._run_limit(entry))
                except WorkerFailed as error:
                    self._drop(entry, f"run {round_ + 1} failed: {error}")
                    continue
                state.replies[-1] = reply
                state.digests.add(reply["digest"])
                took = format_seconds(reply["seconds"])
                self._say(entry, f"run {round_ + 1} of {self.settings.runs}: {took}")

    def _run_limit(self, entry: Entry) -> float | None:
        return None if entry.peer is OURS else 3 * self.settings.limit

    def _sits_out(self, entry: Entry) -> bool:
        spent = [run for run in self.states[entry].runs("seconds") if run is not None]
        return entry.peer is not OURS and sum(spent) > self.settings.limit

    def _prepare_floors(self, stack: ExitStack) -> Callable[[], None]:
        """Find the best blocks and core type for each shape; return what measures a round."""
        threads, seconds = self.settings.threads, self.settings.floor_seconds
        workers = {
            core_type: stack.enter_context(
                Worker(threads, {"OPENBLAS_CORETYPE": core_type} if core_type else {})
            )
            for core_type in self.settings.core_types
        }
        for n, dim in dict.fromkeys((case.n, case.dim) for case in self.cases):
            self.settings.say(f"{n:,} × {dim}: best blocks for sgemm")
            arguments = {"n": n, "dim": dim, "block": None, "seconds": seconds * SEARCH_SHARE}
            found = {
                core_type: worker.ask({"do": "sgemm", "arguments": arguments})
                for core_type, worker in workers.items()
            }
            best = max(found, key=lambda core_type: float(found[core_type]["rate"]))
            self._sgemm[n, dim] = {"core_type": best, "block": found[best]["block"], "rates": []}
        for entry, state in self.states.items():
            if state.stats.get("backend") == "cpu" and entry.threads == threads:
                key = entry.case.n, entry.case.dim, state.stats["instruction_set"]
                self._int8[key] = []

        def measure_round() -> None:
            time.sleep(self.settings.settle_seconds)
            for (n, dim), floor in self._sgemm.items():
                arguments = {"n": n, "dim": dim, "block": floor["block"], "seconds": seconds}
                worker = workers[floor["core_type"]]
                floor["rates"].append(worker.ask({"do": "sgemm", "arguments": arguments})["rate"])
            measured: dict[tuple[int, str], float] = {}
            for (_, dim, name), rates in self._int8.items():
                if (dim, name) not in measured:
                    asked = {"instruction_set": name, "dim": dim, "threads": threads}
                    request = {"do": "int8", "arguments": {**asked, "seconds": seconds / 2}}
                    measured[dim, name] = workers[""].ask(request)["rate"]
                rates.append(measured[dim, name])

        return measure_round

    # --- Results -----------------------------------------------------------------------------

    def _say(self, entry: Entry, line: str) -> None:
        threads = "" if entry.threads == self.settings.threads else f", {entry.threads} threads"
        self.settings.say(f"{entry.case}{threads}: {entry.peer.name}: {line}")

    def floors(self) -> list[dict[str, Any]]:
        """The floors as plain values: rates of each round and the seconds they stand for."""
        lines = []
        for (n, dim), floor in self._sgemm.items():
            seconds = spread([n * n * dim / rate for rate in floor["rates"]])
            line = {"n": n, "dim": dim, "threads": self.settings.threads, **floor}
            lines.append({**line, "seconds": seconds})
        return lines

    def rows(self) -> list[dict[str, Any]]:
        """One row an entry, as plain values."""
        return [self._row(entry, state) for entry, state in self.states.items()]

    def _row(self, entry: Entry, state: State) -> dict[str, Any]:
        peer, case = entry.peer, entry.case
        seconds = state.runs("seconds")
        timed = [reply for reply in state.replies if reply is not None]
        row: dict[str, Any] = {
            "peer": peer.name,
            "title": peer.title,
            "kind": peer.kind,
            "advice": peer.advice,
            "data": case.data,
            "n": case.n,
            "dim": case.dim,
            "threads": entry.threads,
            "seconds": spread(seconds),
            "cpu_seconds": spread(state.runs("cpu_seconds")),
            "peak_bytes": max((reply["peak_bytes"] for reply in timed), default=None),
            "inputs_bytes": state.inputs_bytes or None,
            "estimated": any(reply["estimated"] for reply in timed),
            "against": None,
            "ratio": None,
            "sgemm_ratio": None,
            "int8_ratio": None,
            "quality": None if state.quality is None else asdict(state.quality),
            "loss": None if state.loss is None else asdict(state.loss),
            "same_twice": len(state.digests) == 1 if timed else None,
            "note": state.note,
            "environment": peer.environment(),
            "stats": (timed[-1] if timed else {"stats": state.stats})["stats"],
        }
        if entry.against is not None:
            other = entry.against
            row["against"] = [other.peer.name, other.case.data, other.case.n, other.threads]
            row["ratio"] = spread(ratios(seconds, self.states[other].runs("seconds")))
        if entry.threads == self.settings.threads and (case.n, case.dim) in self._sgemm:
            work = case.n * case.n * case.dim
            rates = self._sgemm[case.n, case.dim]["rates"]
            row["sgemm_ratio"] = spread(ratios([work / rate for rate in rates], seconds))
            if row["stats"].get("backend") == "cpu":  # others search with other arithmetic
                key = (case.n, case.dim, row["stats"]["instruction_set"])
                least = [work / 2 / rate for rate in self._int8.get(key, [])]
                row["int8_ratio"] = spread(ratios(least, seconds))
        return row
