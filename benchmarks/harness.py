"""The harness of every mode: checks each answer first, then times the rows in turn.

A contest is a list of entries: a peer on a problem with a number of threads. Each entry has a
process of its own (benchmarks/worker.py), and only one of them computes at any time. The first run
of an entry warms it up, and its answer is checked. Then come rounds. In a round every entry runs
once and the floors are measured, so that a slow spell of the machine hits all of them. Ratios are
taken within a round, and their median is reported. An entry whose next run would exceed the limit
of seconds sits out the remaining rounds. An entry that would need more time or memory than there
is never starts. Its row says so.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.check import WrongAnswer
from benchmarks.figures import ratios, spread
from benchmarks.internals import format_seconds
from benchmarks.judge import FalseCertificate, Judge, Verdict
from benchmarks.peer import OWN_PROMISES, Peer
from benchmarks.peers import OURS
from benchmarks.process import OutOfTime, Worker, WorkerFailed
from benchmarks.session import Case, Session

__all__ = ["Case", "Contest", "Entry", "Settings"]

# Each shape of block is tried for this part of the time that a floor is measured for.
SEARCH_SHARE = 1 / 12
PATIENCE = 3  # times the limit, until a timed run is ended


@dataclass(frozen=True)
class Entry:
    """A peer on a problem, and the entry that divides its time."""

    peer: Peer
    case: Case
    threads: int
    against: Entry | None = None


@dataclass(frozen=True)
class Settings:
    """Number of runs, and their limits."""

    threads: int
    runs: int
    limit: float  # seconds for one run of a peer, and for all its timed runs
    sample: int  # choices of an exact answer that the oracle checks
    floor_seconds: float  # for each floor in each round
    core_types: Sequence[str]  # of OpenBLAS, the fastest is the sgemm floor's; none: no such floor
    # Threads of BLAS and OpenMP spin for a while after their work is done, on cores that the next
    # entry needs: each run waits so long for the one before it.
    settle_seconds: float
    say: Callable[[str], None]
    whole: bool = True  # measure all figures of the pairs
    warm_rows: int = 0  # rows that are matched before the first run
    once: float = math.inf  # a checked run of more seconds is the only run of an entry


@dataclass
class State:
    """The results of an entry so far."""

    worker: Worker | None = None  # None: not running, and ``note`` says why
    missing: str = ""
    note: str = ""
    wrong: bool = False
    verdict: Verdict | None = None
    inputs_bytes: int = 0
    first: dict[str, Any] = field(default_factory=dict)  # reply of the checked run
    digests: set[str] = field(default_factory=set)
    replies: list[dict[str, Any] | None] = field(default_factory=list)  # by round

    def runs(self, name: str) -> list[Any]:
        """Return one figure of every round."""
        return [None if reply is None else reply[name] for reply in self.replies]

    def stats(self) -> dict[str, Any]:
        """Return the stats of the last run."""
        replies = [reply for reply in [self.first, *self.replies] if reply]
        return replies[-1]["stats"] if replies else {}


class Contest:
    """Entries that run in turn. ``rows`` and ``floors`` hold all results, also after a break."""

    def __init__(
        self, entries: Sequence[Entry], settings: Settings, session: Session | None = None
    ) -> None:
        self.settings = settings
        self.session = session or Session()
        self.states: dict[Entry, State] = {entry: State() for entry in entries}
        self.cases = list(dict.fromkeys(entry.case for entry in entries))
        self._floors: dict[str, Worker] = {}  # by core type
        # By (n, dim), and by (n, dim, instruction set): rates of each round.
        self._sgemm: dict[tuple[int, int], dict[str, Any]] = {}
        self._int8: dict[tuple[int, int, str], list[float]] = {}

    def run(self) -> None:
        """Check every entry, then time the rounds.

        Raises
        ------
        WrongAnswer
            An answer of this project failed its check, or there was none; the other rows were
            timed all the same. A failed check of another peer is in its row alone.
        """
        idle = False  # a break leaves processes that still compute
        try:
            with tempfile.TemporaryDirectory(prefix="benchmarks.") as folder:
                for number, case in enumerate(self.cases):
                    self._check(case, Path(folder) / str(number))
                self._time()
            idle = True
        finally:
            found: list[tuple[Any, Worker | None]] = list(self._floors.items())
            found += [((e.peer.name, e.threads), s.worker) for e, s in self.states.items()]
            for key, worker in found:
                if worker is not None:
                    self.session.give_back(key, worker, idle)
        wrong = [(entry, state) for entry, state in self.states.items() if state.wrong]
        if wrong:
            raise WrongAnswer(
                "; ".join(f"{e.peer.name}, {e.case}: {state.note}" for e, state in wrong)
            )

    # --- Checks ------------------------------------------------------------------------------

    def _check(self, case: Case, folder: Path) -> None:
        judge: Judge | None = None
        for entry, state in self.states.items():
            if entry.case != case:
                continue
            state.missing = entry.peer.missing()
            state.note = state.missing or self.session.refusal(
                entry.peer, case, self.settings.limit
            )
            if (
                not state.note
                and entry.peer.kind not in ("contract", "map")
                and (judge is None or judge.exact is None)
            ):
                state.note = "not run: there is no exact answer to compare it with"
            if state.note:
                self._say(entry, state.note)
                continue
            if judge is None:
                latents, sources = case.make()
                folder.mkdir()
                np.save(folder / "latents.npy", latents)
                np.save(folder / "sources.npy", sources)
                judge = Judge(latents, sources, self.settings.sample, self.settings.whole)
            self._check_entry(entry, judge, folder)

    def _check_entry(self, entry: Entry, judge: Judge, folder: Path) -> None:
        state, kind, limit = self.states[entry], entry.peer.kind, self._limit(entry)
        patience = None if limit is None else min(limit, max(1.0, self.session.left()))
        try:
            assignment, prices = self._first_run(entry, folder, patience)
            verdict = judge.verdict(kind, assignment, state.first["stats"], prices)
            digest = state.first["digest"]
            if kind == "contract" and self.session.digests.setdefault(entry.case, digest) != digest:
                raise WrongAnswer("another answer than that of the backends before")
        except OutOfTime as error:
            if patience == limit:
                self.session.learn(entry.peer, entry.case, float("inf"))
            self._drop(entry, f"not timed: {error}")
        except WorkerFailed as error:
            self._drop(entry, f"failed, not timed: {error}", kind in OWN_PROMISES)
        except FalseCertificate as error:  # whoever gave this answer, ours was wrong
            self._drop(entry, f"wrong, not timed: {error}", True)
        except (WrongAnswer, ValueError) as error:
            self._drop(entry, f"wrong, not timed: {error}", kind in OWN_PROMISES)
        else:
            state.verdict = verdict
            self.session.learn(entry.peer, entry.case, state.first["wall_seconds"])
            took = format_seconds(state.first["seconds"])
            self._say(entry, f"checked run {took}, {verdict.checked}")

    def _first_run(self, entry: Entry, folder: Path, patience: float | None) -> tuple[Any, Any]:
        """Return assignment and prices, if the peer has any."""
        state, peer = self.states[entry], entry.peer
        key = (peer.name, entry.threads)
        worker = state.worker = self.session.take(key, entry.threads, peer.environment())
        state.inputs_bytes = worker.ask(
            "load",
            patience,
            peer=peer.name,
            latents=str(folder / "latents.npy"),
            sources=str(folder / "sources.npy"),
            threads=entry.threads,
            limit=self.settings.limit,
            warm_rows=self.settings.warm_rows,
        )["inputs_bytes"]
        save = folder / "assignment.npy"
        time.sleep(self.settings.settle_seconds)
        state.first = worker.ask("run", patience, save=str(save))
        state.digests.add(state.first["digest"])
        state.note = state.first["note"]
        prices = state.first.get("prices")
        return np.load(save), np.load(prices) if prices else None

    def _limit(self, entry: Entry) -> float | None:
        """Return the limit of a row; this project's own has none where there is no budget."""
        free = entry.peer is OURS and self.session.budget == float("inf")
        return None if free else self.settings.limit

    def _drop(self, entry: Entry, note: str, wrong: bool = False) -> None:
        state = self.states[entry]
        if state.worker is not None:
            state.worker.close()
        state.worker, state.note, state.wrong = None, note, wrong
        self._say(entry, note)

    # --- Rounds ------------------------------------------------------------------------------

    def _time(self) -> None:
        if not any(state.worker for state in self.states.values()):
            return
        self._prepare_floors()
        for round_ in range(self.settings.runs):
            self._measure_floors()
            for entry, state in self.states.items():
                state.replies.append(None)
                if state.worker is None or not self._affords(entry):
                    continue
                time.sleep(self.settings.settle_seconds)
                limit = self._limit(entry)
                try:
                    patience = limit and min(PATIENCE * limit, max(limit, self.session.left()))
                    reply = state.worker.ask("run", patience, save="")
                except WorkerFailed as error:
                    ours = entry.peer.kind in OWN_PROMISES and not isinstance(error, OutOfTime)
                    self._drop(entry, f"run {round_ + 1} failed: {error}", ours)
                    continue
                state.digests.add(reply["digest"])
                if len(state.digests) > 1 and entry.peer.kind in OWN_PROMISES:
                    self._drop(entry, "wrong: another answer than in its checked run", True)
                    state.replies = [None] * len(state.replies)
                    continue
                state.replies[-1] = reply
                took = format_seconds(reply["seconds"])
                self._say(entry, f"run {round_ + 1} of {self.settings.runs}: {took}")
        for entry, state in self.states.items():
            if state.worker is not None and not any(state.replies):
                state.replies[0] = state.first
                state.note = "one run, the one that was checked"
            walls = [wall for wall in state.runs("wall_seconds") if wall is not None]
            if walls:
                self.session.learn(entry.peer, entry.case, sorted(walls)[len(walls) // 2])

    def _affords(self, entry: Entry) -> bool:
        """Decide that another run fits into the limit and the budget."""
        state, limit = self.states[entry], self._limit(entry)
        spent = [wall for wall in state.runs("wall_seconds") if wall is not None]
        slowest = max([state.first["wall_seconds"], *spent])
        if slowest > self.settings.once:
            return False
        return limit is None or (sum(spent) + slowest <= limit and slowest < self.session.left())

    def _prepare_floors(self) -> None:
        """Find the best blocks and core type of the sgemm floor for each shape."""
        threads, core_types = self.settings.threads, self.settings.core_types
        for core_type in core_types or ("",):
            environment = {"OPENBLAS_CORETYPE": core_type} if core_type else {}
            self._floors[core_type] = self.session.take(core_type, threads, environment)
        for n, dim in dict.fromkeys((case.n, case.dim) for case in self.cases):
            if not core_types:
                break
            self.settings.say(f"{n:,} × {dim}: best blocks for sgemm")
            brief = self.settings.floor_seconds * SEARCH_SHARE
            found = {
                core_type: worker.ask("sgemm", n=n, dim=dim, block=None, seconds=brief)
                for core_type, worker in self._floors.items()
            }
            best = max(found, key=lambda core_type: float(found[core_type]["rate"]))
            self._sgemm[n, dim] = {"core_type": best, "block": found[best]["block"], "rates": []}
        for entry, state in self.states.items():
            stats = state.stats()
            scans = entry.peer.kind == "contract" and stats.get("backend") == "cpu"
            if scans and entry.threads == threads:
                self._int8[entry.case.n, entry.case.dim, stats["instruction_set"]] = []

    def _measure_floors(self) -> None:
        """Measure the rates of one round."""
        seconds, threads = self.settings.floor_seconds, self.settings.threads
        time.sleep(self.settings.settle_seconds)
        for (n, dim), floor in self._sgemm.items():
            worker = self._floors[floor["core_type"]]
            asked = {"n": n, "dim": dim, "block": floor["block"], "seconds": seconds}
            floor["rates"].append(worker.ask("sgemm", **asked)["rate"])
        measured: dict[tuple[int, str], float] = {}
        for (_, dim, name), rates in self._int8.items():
            if (dim, name) not in measured:
                asked = {"instruction_set": name, "dim": dim, "threads": threads}
                reply = self._floors[""].ask("int8", **asked, seconds=seconds / 2)
                measured[dim, name] = reply["rate"]
            rates.append(measured[dim, name])

    # --- Results -----------------------------------------------------------------------------

    def _say(self, entry: Entry, line: str) -> None:
        threads = "" if entry.threads == self.settings.threads else f", {entry.threads} threads"
        self.settings.say(f"{entry.case}{threads}: {entry.peer.name}: {line}")

    def floors(self) -> list[dict[str, Any]]:
        """Return the floors as plain values: rates of each round and the seconds they stand for."""
        lines = []
        for (n, dim), floor in self._sgemm.items():
            seconds = spread([n * n * dim / rate for rate in floor["rates"]])
            line = {"n": n, "dim": dim, "threads": self.settings.threads, **floor}
            lines.append({**line, "seconds": seconds})
        return lines

    def rows(self) -> list[dict[str, Any]]:
        """Return one row an entry, as plain values."""
        return [self._row(entry, state) for entry, state in self.states.items()]

    def _row(self, entry: Entry, state: State) -> dict[str, Any]:
        peer, case, verdict, against = entry.peer, entry.case, state.verdict, entry.against
        seconds = state.runs("seconds")
        timed = [reply for reply in state.replies if reply is not None]
        quality, loss = (verdict.quality, verdict.loss) if verdict else (None, None)
        stats = state.stats()
        work = case.n * case.n * case.dim
        sgemm = self._sgemm.get((case.n, case.dim), {}).get("rates", [])
        # Backends other than the CPU's search with other arithmetic, and transport scans often.
        own = peer.kind == "contract" and stats.get("backend") == "cpu"
        int8 = self._int8.get((case.n, case.dim, stats["instruction_set"]), []) if own else []
        comparable = entry.threads == self.settings.threads
        return {
            "peer": peer.name,
            "title": peer.title,
            "kind": peer.kind,
            "advice": peer.advice,
            "data": case.data,
            "n": case.n,
            "dim": case.dim,
            "threads": entry.threads,
            "missing": state.missing,
            "limit": self.settings.limit,
            "checked": verdict.checked if verdict else "",
            "wrong": state.wrong,
            "seconds": spread(seconds),
            "pairs_a_second": spread([s and case.n / s for s in seconds]),
            "cpu_seconds": spread(state.runs("cpu_seconds")),
            "peak_bytes": max((reply["peak_bytes"] for reply in timed), default=None),
            "inputs_bytes": state.inputs_bytes or None,
            "estimated": any(reply["estimated"] for reply in timed),
            "against": against
            and [against.peer.name, against.case.data, against.case.n, against.threads],
            "ratio": against and spread(ratios(seconds, self.states[against].runs("seconds"))),
            "sgemm_ratio": spread(ratios([work / rate for rate in sgemm], seconds))
            if comparable
            else None,
            "int8_ratio": spread(ratios([work / 2 / rate for rate in int8], seconds))
            if comparable
            else None,
            "quality": quality and asdict(quality),
            "loss": loss and asdict(loss),
            "certificate": verdict and verdict.certificate and asdict(verdict.certificate),
            "map": verdict and verdict.map and asdict(verdict.map),
            "same_twice": len(state.digests) == 1 if timed else None,
            "note": state.note or ("" if timed else "not timed: the run ended before it was"),
            "environment": peer.environment(),
            "stats": stats,
        }
