"""Kill ranks of sharded runs over gloo, at collectives chosen by a seed, and check what is left.

    python -m tests.kill_sharded --kills 200
    python -m tests.kill_sharded --kills 200 --optimal

Each story is one run. A rank kills itself before one of its collectives, or gets Ctrl-C there. The
others must end by themselves. The next attempt has another number of ranks and continues from the
journal. The last attempt must end with the bits of `match`, or of `match_optimal`. Every other
story has groups. Ranks are forks of this process, which imports torch once.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gtn_label import Matching, match, match_optimal
from gtn_label.cluster import (
    RunJournal,
    TorchExchange,
    apart,
    batches,
    match_optimal_sharded,
    match_sharded,
    matching,
)
from gtn_label.io.checkpoint import Checkpoint
from gtn_label.io.checkpoint_content import progress_of
from gtn_label.io.checkpoint_file import read_saved
from gtn_label.io.journal import CHOICES, GROUPED, Journal
from sharded_cases import DEALINGS, deal

N, DIM = 400, 4
SECONDS = 30.0  # in which ranks end when one of them is gone
KILLED, INTERRUPTED, LEFT = -signal.SIGKILL, 130, 3


class Wrong(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True)
class Attempt:
    """One start of a run.

    Attributes
    ----------
    world : int
        Number of ranks.
    dealing : str
        Which rank has which latents.
    victim : int
        Rank that is ended, -1 for none.
    at : int
        Its collective.
    signal : int
    groups : bool
        True for a run with groups.
    optimal : bool
        Optimal transport in place of Algorithm 1.
    """

    world: int
    dealing: str = "rows"
    victim: int = -1
    at: int = 0
    signal: int = signal.SIGKILL
    groups: bool = False
    optimal: bool = False


class Mortal(TorchExchange):
    """An exchange that sends its process a signal before a collective."""

    def __init__(self, attempt: Attempt) -> None:
        self.left = -1
        super().__init__(timeout=SECONDS)
        self.left = attempt.at if self.rank == attempt.victim else -1
        self.signal = attempt.signal

    def all_gather(self, send: memoryview, recv: memoryview) -> None:
        if self.left == 0:
            os.kill(os.getpid(), self.signal)
        self.left -= 1
        super().all_gather(send, recv)


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Latents and sources; some latents are equal."""
    rng = np.random.default_rng(8)
    latents = rng.normal(size=(N, DIM)).astype(np.float32)
    latents[::9] = latents[0]
    return latents, rng.normal(size=(N, DIM)).astype(np.float32)


def labels() -> np.ndarray:
    """Labels of sources and of latents: one large group, and many small ones."""
    rng = np.random.default_rng(3)
    return np.where(rng.random(N) < 0.5, 40, rng.integers(0, 40, N))


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run(attempt: Attempt, folder: Path) -> list[int]:
    """Start the ranks of an attempt; return how each ended."""
    port = free_port()
    children = [_fork(attempt, rank, port, folder) for rank in range(attempt.world)]
    ends = time.monotonic() + SECONDS
    codes: dict[int, int] = {}
    while len(codes) < len(children):
        for child in set(children) - codes.keys():
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                codes[child] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > ends:
            for child in set(children) - codes.keys():
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            raise Wrong(f"{attempt}: ranks hang, {codes}")
        time.sleep(0.01)
    return [codes[child] for child in children]


def _fork(attempt: Attempt, rank: int, port: int, folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = LEFT
    try:
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(attempt.world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        log = os.open(folder / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _work(attempt, folder)
        code = 0
    except KeyboardInterrupt as error:
        print("interrupted:", error)
        code = INTERRUPTED
    except BaseException as error:
        print(f"{type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        os._exit(code)


def _work(attempt: Attempt, folder: Path) -> None:
    """Run one rank, and write its part."""
    matching.CHUNK = 48  # several parts of the visiting order
    apart.EVERY, batches.BATCH_WORK = 0.0, 60  # many exchanges, and batches of few groups
    latents, sources = problem()
    groups = labels()
    with Mortal(attempt) as exchange:
        mine = deal(attempt.dealing, N, exchange.world)[exchange.rank]
        own = deal("contiguous", N, exchange.world)[exchange.rank]
        path = folder / "run.journal"
        journal: Any = RunJournal(path, 0.0)
        if attempt.optimal:
            journal = Checkpoint(path, 0.0, remove_at_end=False)
        found = (match_optimal_sharded if attempt.optimal else match_sharded)(
            latents[mine],
            sources[own],
            index=mine,
            source_index=own,
            groups=(groups[own], groups[mine]) if attempt.groups else None,
            center=True,
            threads=1,
            exchange=exchange,
            journal=journal,
        )
        found.close()
        np.savez(
            folder / f"part{exchange.rank}.npz",
            index=found.source_index,
            assignment=found.assignment,
            cosine=found.cosine,
            latent_index=found.latent_index,
            prices=np.empty(0) if found.prices is None else found.prices,
            start=found.stats["resumed_at"],
        )


def require(right: bool, message: str) -> None:
    """Raise Wrong unless a promise was kept."""
    if not right:
        raise Wrong(message)


@dataclass
class Campaign:
    """Kills runs and counts."""

    seed: int
    root: Path
    optimal: bool = False
    kills: int = 0
    finished: int = 0
    by: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        import torch.distributed  # noqa: F401  here, once, and not in each fork

        self._rng = random.Random(self.seed)
        verb = match_optimal if self.optimal else match
        both = (labels(), labels())
        self._right: dict[bool, Matching] = {
            groups: verb(*problem(), groups=both if groups else None, center=True)
            for groups in (False, True)
        }

    def run(self, kills: int) -> None:
        """Start runs until so many ranks were ended."""
        while self.kills < kills:
            folder = self.root / f"run{self.finished}"
            folder.mkdir()
            self._story(folder, kills)
            shutil.rmtree(folder)
            self.finished += 1

    def _story(self, folder: Path, most: int) -> None:
        rng, saved, groups = self._rng, 0, self.finished % 2 == 1
        for _ in range(rng.randint(1, 4)):
            if self.kills >= most:
                break
            world = rng.choice((1, 2, 2, 3, 3))
            number = rng.choice((signal.SIGKILL,) * 3 + (signal.SIGINT,))
            most_at = 3000 if self.optimal else 150
            at = rng.choice((rng.randrange(40), rng.randrange(most_at)))
            victim = rng.randrange(world)
            dealing = rng.choice(DEALINGS)
            attempt = Attempt(world, dealing, victim, at, number, groups, self.optimal)
            codes = run(attempt, folder)
            if set(codes) == {0}:
                break  # it had ended before
            self._look_at_codes(attempt, codes)
            self.kills += 1
            self.by[signal.Signals(number).name + (" with groups" if groups else "")] += 1
            saved = self._look_at_journal(folder, saved, groups)
        world, dealing = rng.choice((1, 2, 3)), rng.choice(DEALINGS)
        codes = run(Attempt(world, dealing, groups=groups, optimal=self.optimal), folder)
        require(set(codes) == {0}, f"the last attempt ended with {codes}: {logs(folder)}")
        self.check(folder, len(codes), saved, groups)

    def _look_at_codes(self, attempt: Attempt, codes: list[int]) -> None:
        victim = KILLED if attempt.signal == signal.SIGKILL else INTERRUPTED
        require(codes[attempt.victim] == victim, f"{attempt}: {codes}")
        others = {code for rank, code in enumerate(codes) if rank != attempt.victim}
        allowed = {LEFT} if victim == KILLED else {INTERRUPTED}
        require(others <= allowed, f"{attempt}: {codes}")

    def _look_at_journal(self, folder: Path, saved: int, groups: bool = False) -> int:
        path = folder / "run.journal"
        if not path.exists():
            require(saved == 0, "the journal is gone")
            return 0
        if self.optimal:
            state = read_saved(path)
            require(state.sound, "the journal is damaged")
            steps = progress_of(state.arrays)
            require(steps >= saved, f"the journal fell from {saved} to {steps}")
            return steps
        journal, records = Journal.read(path, GROUPED if groups else CHOICES)
        require(journal.count >= saved, f"the journal fell from {saved} to {journal.count}")
        result = self._right[groups]
        assert result.visited is not None
        found, right = records["latent"], result.visited[: journal.count]
        if groups:
            alone = records["source"] >= 0  # others count latents within their group
            found, right = found[alone], result.assignment[records["source"][alone]]
        require(np.array_equal(found, right), "the journal holds wrong latents")
        return journal.count

    def check(self, folder: Path, world: int, saved: int = 0, groups: bool = False) -> None:
        """Compare the parts of the last attempt with `match`, bit for bit."""
        parts: list[Any] = [np.load(folder / f"part{rank}.npz") for rank in range(world)]
        index = np.concatenate([part["index"] for part in parts])
        for name in ("assignment", "cosine"):
            found = np.concatenate([part[name] for part in parts])
            right = getattr(self._right[groups], name)[index].tobytes()
            require(found.tobytes() == right, f"other {name}")
        require(len(index) == N, "sources are missing")
        if self.optimal:
            prices = np.concatenate([part["prices"] for part in parts])
            order = np.concatenate([part["latent_index"] for part in parts])
            right = self._right[groups].prices[order].tobytes()
            require(prices.tobytes() == right, "other prices")
            return
        require({int(part["start"]) for part in parts} <= set(range(saved, N + 1)), "work was lost")


def logs(folder: Path) -> str:
    """Return what the ranks printed."""
    return "; ".join(path.read_text() for path in sorted(folder.glob("*.log")))


def main() -> int:
    """Kill as often as asked for, and print a summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill_sharded", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many [200]")
    parser.add_argument("--seed", type=int, default=1, help="seed of all choices [1]")
    parser.add_argument("--optimal", action="store_true", help="optimal transport")
    options = parser.parse_args()
    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="gtn-kills-")).resolve()
    work = Campaign(options.seed, root, options.optimal)
    try:
        work.run(options.kills)
    except Wrong as error:
        print(f"after {work.kills} kills, {root}: {error}")
        return 1
    shutil.rmtree(root)
    print(", ".join(f"{count} {name}" for name, count in sorted(work.by.items())))
    print(
        f"{work.kills:,} kills, 0 lost: {work.finished} runs ended with the right bits "
        f"in {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
