"""Pairs a second of every backend over n and dim, within a budget.

Where harness.py gives every peer a process of its own, here all of them run in one, in turn, on the
same arrays: backends of one library need no other environment, a device is set up once, and ratios
are of one process. The first run of a row warms it up and is where its answer is checked: the first
row's against the oracle, every other one's against the first's, bit for bit. Rounds follow, in
which every row runs once. What would exceed the limit of a row, judged by its own times at smaller
n, is not started and gets no figure. Not here: what is run by default (throughput_plan.py), tables
(throughput_report.py).
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.check import WrongAnswer
from benchmarks.harness import Case, Settings, available_bytes, ratios, spread
from benchmarks.peer import Peer
from benchmarks.process import OutOfTime, RequestFailed, Worker, WorkerFailed
from gtn_label.quality import format_bytes, format_seconds

Row = dict[str, Any]
Section = dict[str, Any]

WARM_ROWS = 256
ROWS_A_SECOND = 1e8  # coordinates that data.py draws in a second, at least
COPIES = 3  # of the inputs, that a peer and the check of its answer may need on the host


@dataclass(frozen=True)
class Job:
    """A problem, who runs on it, and the most that all runs of one of them may take together."""

    case: Case
    peers: tuple[Peer, ...]
    limit: float


class Forecast:
    """Whether a run is worth starting, from the runs of smaller n. Never a figure of a table."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int], dict[int, float]] = {}

    def learn(self, peer: Peer, case: Case, seconds: float) -> None:
        """Remember a run; infinity for one that was ended."""
        self._runs.setdefault((peer.name, case.dim), {})[case.n] = seconds

    def seconds(self, peer: Peer, case: Case) -> float:
        """Expect so much: with the growth of the last two sizes, or n² after one; 0 after none."""
        known = self._runs.get((peer.name, case.dim), {})
        sizes = sorted(n for n in known if n < case.n)[-2:]
        if not sizes:
            return 0.0
        last, growth = known[sizes[-1]], 2.0
        if len(sizes) == 2 and last < math.inf:
            grown = math.log(last / known[sizes[0]]) / math.log(sizes[1] / sizes[0])
            growth = min(max(grown, 1.0), 2.0)
        return float(last * (case.n / sizes[-1]) ** growth)


class Process:
    """The one process. Ended with a run that failed, it starts again with what it held."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: Worker | None = None
        self._held: Case | None = None
        self._loaded: set[str] = set()
        self.starts = 0

    def ask(
        self, what: str, arguments: dict[str, Any], seconds: float | None = None
    ) -> dict[str, Any]:
        """Ask the process, which is started if there is none."""
        if self._worker is None:
            self._worker = self._start()
            self.starts += 1
        try:
            return self._worker.ask({"do": what, "arguments": arguments}, seconds)
        except RequestFailed:
            raise
        except WorkerFailed:
            self.end()
            raise

    def _start(self) -> Worker:
        return Worker(self._settings.threads, {})

    def load(self, peer: Peer, case: Case, seconds: float) -> int:
        """Have a peer ready on a problem; return the bytes of its inputs."""
        if self._held != case:
            self._loaded.clear()
            made = {"name": case.data, "n": case.n, "dim": case.dim}
            self._bytes = self.ask("make", made)["inputs_bytes"]
            self._held = case
        if peer.name not in self._loaded:
            threads = self._settings.threads
            budget = {"threads": threads, "seconds": seconds, "warm_rows": WARM_ROWS}
            self.ask("load", {"peer": peer.name, **budget}, seconds)
            self._loaded.add(peer.name)
        return int(self._bytes)

    def run(self, peer: Peer, case: Case, save: str, seconds: float) -> dict[str, Any]:
        """Run a peer once; a device may be left unusable by what failed, so the process ends."""
        try:
            self.load(peer, case, seconds)
            time.sleep(self._settings.settle_seconds)
            return self.ask("run", {"peer": peer.name, "save": save}, seconds)
        except RequestFailed:
            self.end()
            raise

    def end(self) -> None:
        """End the process, whatever it is doing."""
        if self._worker is not None:
            self._worker.close()
        self._worker, self._held = None, None
        self._loaded.clear()


@dataclass
class State:
    """A row on its way."""

    peer: Peer
    row: Row
    first: float = 0.0  # seconds of the checked run
    runs: list[float | None] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)

    def spent(self) -> float:
        """Seconds of all runs."""
        return self.first + sum(run for run in self.runs if run is not None)


class Throughput:
    """Runs jobs, one after another; the section fills as it goes."""

    def __init__(
        self, settings: Settings, budget: float, section: Section, process: Process | None = None
    ) -> None:
        self._settings = settings
        self._budget = budget
        self._deadline = time.monotonic() + budget
        self._section = section
        self._process = process or Process(settings)
        self._forecast = Forecast()
        self._digests: dict[Case, str] = {}  # of the first answer that was right
        self._missing: dict[str, str] = {}  # by name of the peer
        section.update({"rows": [], "floors": [], "limit": settings.limit, "budget": budget})

    def rate_device(self, shape: dict[str, Any]) -> None:
        """Measure what the device can do; ``shape`` is floors.cuda's arguments."""
        try:
            self._section["device"] = self._process.ask("cuda", shape, self._budget / 2)
        except WorkerFailed as error:
            self._section["device"] = {"failed": str(error)}
            self._process.end()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all.

        Raises
        ------
        WrongAnswer
            Some row of this project's differed; the others were timed all the same.
        """
        try:
            for job in jobs:
                self._job(job)
        finally:
            self._process.end()
        wrong = [row for row in self._section["rows"] if row["wrong"]]
        if wrong:
            raise WrongAnswer("; ".join(f"{row['title']}: {row['note']}" for row in wrong))

    def _job(self, job: Job) -> None:
        states = []
        for peer in job.peers:
            if peer.name not in self._missing:
                self._missing[peer.name] = peer.missing()
            row = self._row(job, peer)
            self._section["rows"].append(row)
            states.append(State(peer, row))
        with tempfile.TemporaryDirectory() as folder:
            reference = Path(folder) / "reference.npy"
            live = [state for state in states if self._check(job, state, reference)]
        self._time(job, live)
        for state in live:
            self._finish(job, state)

    def _row(self, job: Job, peer: Peer) -> Row:
        case = job.case
        return {
            "peer": peer.name,
            "title": peer.title,
            "kind": peer.kind,
            "data": case.data,
            "n": case.n,
            "dim": case.dim,
            "threads": self._settings.threads,
            "missing": self._missing[peer.name],
            "limit": job.limit,
            "checked": "",
            "wrong": False,
            "seconds": None,
            "pairs_a_second": None,
            "int8_ratio": None,
            "inputs_bytes": 2 * 4 * case.n * case.dim,
            "process": 0,
            "note": "",
            "stats": {},
        }

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _refusal(self, job: Job, state: State) -> str:
        """Why a row is not even started; empty if it is."""
        if state.row["missing"]:
            return str(state.row["missing"])
        needed, there = COPIES * state.row["inputs_bytes"], available_bytes()
        if needed > there:
            about, here = format_bytes(needed), format_bytes(int(there))
            return f"not run: would need about {about}, {here} are available"
        expected = self._forecast.seconds(state.peer, job.case)
        if expected == math.inf:
            return "not run: a smaller n exceeded the limit"
        if expected > job.limit:
            return (
                "not run: judged by smaller n, would exceed the limit of "
                f"{format_seconds(job.limit)} a row"
            )
        making = 2 * job.case.n * job.case.dim / ROWS_A_SECOND
        if making + expected > self._left():
            budget = format_seconds(self._budget)
            return f"not run: would exceed what is left of the budget of {budget}"
        return ""

    def _check(self, job: Job, state: State, reference: Path) -> bool:
        """Run a row for the first time and hold its answer to the oracle's or the first row's."""
        row, peer = state.row, state.peer
        row["note"] = self._refusal(job, state)
        if not row["note"] and peer.kind != "contract" and not reference.exists():
            row["note"] = "not run: there is no exact answer to hold it to"
        if row["note"]:
            return False
        row["note"] = "not timed: the run ended before it was"
        save = "" if reference.exists() else str(reference)
        patience = min(job.limit, max(1.0, self._left()))
        try:
            reply = self._process.run(peer, job.case, save, patience)
            state.first, row["stats"] = reply["seconds"], reply["stats"]
            row["process"] = self._process.starts
            against = "" if save else str(reference)
            arguments = {"peer": peer.name, "reference": against, "sample": self._settings.sample}
            row["checked"] = self._process.ask("check", arguments)["passed"]
            if self._digests.setdefault(job.case, reply["digest"]) != reply["digest"] and save:
                row["checked"] = ""
                raise RequestFailed("", "another answer than that of the backends before")
        except RequestFailed as error:
            row["wrong"] = bool(error.wrong) and peer.kind == "contract"
            row["note"] = f"wrong, not timed: {error.wrong}" if error.wrong else f"failed: {error}"
        except WorkerFailed as error:
            row["note"] = f"not timed: {error}"
            if isinstance(error, OutOfTime) and patience == job.limit:
                self._forecast.learn(peer, job.case, math.inf)
        if row["checked"]:
            row["note"] = ""
            self._forecast.learn(peer, job.case, state.first)
            state.replies.append(reply)
            self._say(job, peer, f"{format_seconds(state.first)}, {row['checked']}")
            return True
        if save:  # no answer to hold others to
            reference.unlink(missing_ok=True)
        self._say(job, peer, row["note"])
        return False

    def _time(self, job: Job, live: Sequence[State]) -> None:
        for _ in range(self._settings.runs):
            for state in live:
                if state.row["note"] or not self._affords(job, state):
                    state.runs.append(None)
                    continue
                try:
                    reply = self._process.run(state.peer, job.case, "", job.limit)
                except WorkerFailed as error:
                    state.runs.append(None)
                    state.row["note"] = f"failed after its checked run: {error}"
                    self._say(job, state.peer, state.row["note"])
                    continue
                same = reply["digest"] == state.replies[0]["digest"]
                state.runs.append(reply["seconds"] if same else None)
                state.replies.append(reply)
                if not same:
                    state.row["wrong"] = state.peer.kind == "contract"
                    state.row["note"] = "another answer than in its checked run"

    def _affords(self, job: Job, state: State) -> bool:
        slowest = max([state.first, *(run for run in state.runs if run is not None)])
        return slowest < self._left() and state.spent() + slowest <= job.limit

    def _finish(self, job: Job, state: State) -> None:
        row, case = state.row, job.case
        timed = [run for run in state.runs if run is not None]
        if row["note"]:
            return
        if not timed:
            state.runs[0] = state.first
            row["note"] = "one run, the one that was checked"
        row["seconds"] = spread(state.runs)
        row["pairs_a_second"] = spread(
            [None if run is None else case.n / run for run in state.runs]
        )
        row["stats"] = state.replies[-1]["stats"]
        self._forecast.learn(state.peer, case, row["seconds"]["median"])
        row["int8_ratio"] = self._int8_ratio(job, state)
        self._say(job, state.peer, f"{row['pairs_a_second']['median']:,.0f} pairs a second")

    def _int8_ratio(self, job: Job, state: State) -> dict[str, Any] | None:
        """Time of n² · dim / 2 products at the bare kernel's rate, over the time taken.

        A tree, where few dimensions describe the latents, multiplies no codes.
        """
        stats, case = state.row["stats"], job.case
        coded = stats.get("backend") == "cpu" and "int8" in stats["arithmetic"]
        if not coded or self._left() < 0:
            return None
        asked = {"instruction_set": stats["instruction_set"], "dim": case.dim}
        asked |= {"threads": self._settings.threads, "seconds": self._settings.floor_seconds}
        try:
            rate = self._process.ask("int8", asked)["rate"]
        except WorkerFailed:
            return None
        least = case.n * case.n * case.dim / 2 / rate
        return spread(ratios([least] * len(state.runs), state.runs))

    def _say(self, job: Job, peer: Peer, line: str) -> None:
        self._settings.say(f"{job.case}: {peer.name}: {line}")
