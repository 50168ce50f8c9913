"""Settings, peers and processes with which the tests run the benchmarks in a moment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import gtn_label
from benchmarks.harness import Case, Contest, Entry, Settings
from benchmarks.peer import Answer, Budget, Peer
from benchmarks.peers import BY_NAME, OURS
from benchmarks.process import OutOfTime, WorkerFailed
from benchmarks.session import Session
from benchmarks.worker import Server

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(
    threads=1,
    runs=2,
    limit=20,
    sample=40,
    floor_seconds=0.002,
    core_types=("",),
    settle_seconds=0,
    say=lambda line: None,
)
SCALAR = BY_NAME["gtn_label:scalar"]
CASE = Case("isotropic", 100, 4)


def entries(*peers: Peer, case: Case = CASE) -> list[Entry]:
    """This project, and peers whose time it divides."""
    ours = Entry(OURS, case, 1)
    return [ours, *(Entry(peer, case, 1, ours) for peer in peers)]


def rows(found: list[Entry], settings: Settings = SETTINGS, session=None) -> list[dict]:
    contest = Contest(found, settings, session)
    contest.run()
    return contest.rows()


def exact(latents, sources, budget: Budget) -> Answer:
    result = gtn_label.match(latents, sources, threads=budget.threads)
    return Answer(np.array(result.assignment), stats=dict(result.stats))


def swapped(latents, sources, budget: Budget) -> Answer:
    found = exact(latents, sources, budget)
    found.assignment[[3, 4]] = found.assignment[[4, 3]]
    return found


def made_up(name: str, match=exact, **more) -> Peer:
    return Peer(name, f"the {name}", "contract", match, "", **more)


class Inside(Session):
    """Every process is this one."""

    def take(self, key, threads, environment):
        server = Server()

        class Worker:
            def ask(self, what, seconds=None, /, **arguments):
                request = {"do": what, "arguments": arguments}
                reply = server.answer(json.loads(json.dumps(request)))
                if "error" in reply:
                    raise WorkerFailed(reply["error"])
                return reply

            def close(self):
                pass

        return Worker()


class Canned(Session):
    """Runs take as long as the test says, by n, on its own clock; answers are exact."""

    def __init__(self, seconds, budget: float = 1e4) -> None:
        super().__init__(budget)
        self.seconds, self.ran = seconds, []

    def take(self, key, threads, environment):
        return CannedWorker(self)


class CannedWorker:
    def __init__(self, session: Canned) -> None:
        self.session = session

    def ask(self, what, patience=None, /, **arguments):
        if what == "load":
            self.rows = [np.load(arguments[name]) for name in ("latents", "sources")]
        if what != "run":
            return {"inputs_bytes": 1}
        self.session.ran.append(len(self.rows[0]))
        takes = self.session.seconds(len(self.rows[0]))
        if patience is not None and takes > patience:
            raise OutOfTime(f"not finished within {patience:.0f} s")
        self.session._deadline -= takes
        if arguments["save"]:
            np.save(arguments["save"], exact(*self.rows, Budget(1, 9)).assignment)
        times = dict.fromkeys(("seconds", "wall_seconds", "cpu_seconds"), takes)
        figures = {"peak_bytes": 1, "digest": str(len(self.rows[0])), "note": "", "stats": {}}
        return {**times, **figures, "estimated": False}

    def close(self):
        pass
