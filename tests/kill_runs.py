"""Runs killed at random moments, resumed until they end: python -m tests.kill_runs [--kills N].

Runs of gtn-label, of `match(checkpoint=...)` and of `match_optimal(checkpoint=...)` get SIGKILL,
SIGTERM, SIGINT or SIGHUP: after a random time, when a temporary file appears, or before a random
operation on a file. After each death, and at random moments before, the folder must hold no wrong
file: the checkpoint is a prefix of the right visiting order, or an auction, and never shorter than
before, and the pairs are the old or the right ones. In the end the pairs have the bytes of an
uninterrupted run, and nothing else is left. Two runs that share a checkpoint obey the same rules.
test_kill_runs.py runs twenty kills.

Most runs are forks of this process, which has imported everything: that saves most of a second per
kill. One in ten is a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gtn_label import Matching, match, match_optimal
from gtn_label.cli.main import main as gtn_label
from gtn_label.io.checkpoint import Checkpoint
from gtn_label.io.checkpoint_content import rounds_of
from gtn_label.io.checkpoint_file import read_saved

__all__ = ["Campaign", "Wrong"]

SIGNALS = (signal.SIGKILL,) * 6 + (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) * 2
PREVIOUS = b"pairs of an earlier run"  # what --out holds before some of the runs
PATIENCE = 120.0  # seconds for a run that nobody kills
REFUSED = 2
EVENTS = ("open", "os.rename", "os.remove", "os.link", "os.truncate", "os.chmod", "os.chown")


class Wrong(AssertionError):
    """A promise that a killed run broke."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise Wrong(message)


# ---------------------------------------------------------------------------------- the problems


@dataclass(frozen=True)
class Problem:
    """A labeling, its right pairs, and the number of operations on files that a run takes."""

    name: str
    folder: Path
    arguments: tuple[str, ...]  # of the command, without --out and --checkpoint
    options: dict[str, Any]  # the same, of the verb
    suffix: str
    right: bytes
    visited: np.ndarray | None  # None for optimal transport
    seconds: float
    verb: Callable[..., Matching] = match


def rows(n: int, dim: int, seed: int, dtype: str = "float32") -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.standard_normal((n, dim)).astype(dtype)


SHAPES: dict[str, tuple[tuple[int, int], dict[str, Any], str]] = {
    "plain": ((6000, 32), {}, ".npz"),
    "tree": ((40_000, 3), {"seed": 7}, ".safetensors"),
    "cone": ((6000, 24), {"cone": 3, "center": True}, ".npz"),
    "groups": ((12_000, 24), {"groups": 5, "cone": 2}, ".safetensors"),
    "given": ((7000, 24), {"sources": 6000, "order": "index"}, ".npz"),
    "indices": ((6000, 24), {"order": "norm_desc", "indices_only": True}, ".npz"),
    "optimal": ((4000, 16), {"optimal": True, "tolerance": 0.0}, ".npz"),
    "spares": ((4000, 12), {"optimal": True, "sources": 3000, "groups": 3}, ".safetensors"),
}


def make_problem(name: str, folder: Path) -> Problem:
    """Write a problem's files and solve it without interruption."""
    (n, dim), asked, suffix = SHAPES[name]
    folder.mkdir()
    latents = rows(n, dim, 1)
    np.save(folder / "latents.npy", latents)
    arguments = ["latents.npy", "--backend", "cpu:scalar", "--threads", "1"]
    options: dict[str, Any] = {"latents": latents, "backend": "cpu:scalar", "threads": 1}
    for key, value in asked.items():
        if key == "groups":
            labels = np.arange(n) % value
            of_sources = labels[: asked.get("sources", n)]
            np.save(folder / "groups.npy", labels)
            np.save(folder / "source_groups.npy", of_sources)
            arguments += ["--source-groups", "source_groups.npy", "--latent-groups", "groups.npy"]
            options["groups"] = (of_sources, labels)
        elif key == "optimal":
            arguments.append("--optimal")
        elif key == "sources":
            options["sources"] = rows(value, dim, 2, "float64")
            np.save(folder / "sources.npy", options["sources"])
            arguments += ["--sources", "sources.npy"]
        elif key == "indices_only":
            arguments.append("--indices-only")
        elif value is True:
            arguments.append(f"--{key}")
            options[key] = True
        else:
            arguments += [f"--{key}", str(value)]
            options[key] = value
    began = time.monotonic()
    verb = match_optimal if "optimal" in asked else match
    result = verb(**options)
    result.save(folder / f"right{suffix}", indices_only="indices_only" in asked)
    seconds = time.monotonic() - began
    right = (folder / f"right{suffix}").read_bytes()
    (folder / f"right{suffix}").unlink()
    visited = result.visited
    return Problem(name, folder, tuple(arguments), options, suffix, right, visited, seconds, verb)


# ------------------------------------------------------------------------------------- the runs


class Run:
    """One process at work in a folder."""

    def __init__(self, pid: int, printed: Path) -> None:
        self.pid = pid
        self.printed = printed
        self.code: int | None = None
        self.found = 0  # sources that were saved when the run began

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float = PATIENCE) -> int:
        ends = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > ends:
                self.send(signal.SIGKILL)
                raise Wrong(f"did not end within {seconds:g} s")
            time.sleep(0.001)
        return code

    def send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def text(self) -> str:
        return self.printed.read_text(errors="replace")


def start(folder: Path, work: Callable[[], Any], kill_at: int | None = None) -> Run:
    """Fork a process that does the work in a folder.

    With `kill_at` it kills itself before its operation of that number on files of the folder.
    """
    printed = folder.parent / f"{folder.name}.{time.monotonic_ns()}.log"
    pid = os.fork()
    if pid:
        return Run(pid, printed)
    code = 70
    try:
        for number in {*SIGNALS} - {signal.SIGKILL}:
            signal.signal(number, signal.SIG_DFL)
        os.chdir(folder)
        descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        if kill_at is not None:
            _kill_at(kill_at, folder)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 71
    except KeyboardInterrupt:  # of match; the command reports its own
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def _kill_at(operation: int, folder: Path) -> None:
    """Kill this process before its operation of that number; flushing to the disk counts."""
    left = [operation]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and _within(arguments[0], folder):
            count()

    flush = os.fsync

    def counted(descriptor: int) -> None:
        count()
        flush(descriptor)

    os.fsync = counted
    sys.addaudithook(hook)


def _within(path: Any, folder: Path) -> bool:
    try:
        return os.path.abspath(os.fsdecode(path)).startswith(str(folder))  # noqa: PTH100
    except TypeError:  # a descriptor
        return False


def shell(folder: Path, arguments: list[str]) -> Run:
    """Start the command in a process of its own."""
    printed = folder.parent / f"{folder.name}.{time.monotonic_ns()}.log"
    default = {*SIGNALS} - {signal.SIGKILL}
    before = Path.cwd()
    os.chdir(folder)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "gtn_label", *arguments],
            os.environ,
            setsigdef=default,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, str(printed), os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
    finally:
        os.chdir(before)
    return Run(pid, printed)


# --------------------------------------------------------------------------------- the campaign


@dataclass
class Campaign:
    """Kills runs and counts.

    Attributes
    ----------
    seed
        Seed of all choices; moments in time differ all the same.
    root
        Folder for the runs.
    """

    seed: int
    root: Path
    kills: int = 0
    finished: int = 0
    by: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._problems = [make_problem(name, self.root / name) for name in SHAPES]
        self._count = 0

    def run(self, kills: int) -> None:
        """Start runs and kill them until there were so many kills.

        Raises
        ------
        Wrong
            At the first broken promise; the folder is left as it is.
        """
        while self.kills < kills:
            problem = self._rng.choice(self._problems)
            kind = self._rng.choice(("command",) * 6 + ("python",) * 2 + ("race",) * 2)
            try:
                self._story(problem, kind, kills)
            except Wrong as error:
                raise Wrong(f"{problem.name}, {kind}, {self._trace}: {error}") from None

    def _story(self, problem: Problem, kind: str, most: int) -> None:
        """Kill one run again and again, then let it end."""
        self._count += 1
        folder = self.root / f"run{self._count}"
        shutil.copytree(problem.folder, folder)
        out = folder / f"pairs{problem.suffix}"
        if previous := self._rng.random() < 0.5:
            out.write_bytes(PREVIOUS)
        watch = Watch(problem, folder, out, previous, in_memory=kind == "python")
        self._trace = f"{folder}"
        last = None
        for _ in range(self._rng.randint(1, 6)):
            if last is None and self.kills < most:
                last = self._killed(watch, kind)
                watch.look()
        last = last or self._start(watch, "command" if kind == "race" else kind, None)
        code, text = last.wait(), last.text()
        require(code == 0, f"the last run ended with {code}: {text}")
        watch.look()
        require(out.read_bytes() == problem.right, "other pairs than an uninterrupted run's")
        if kind != "python":
            resumed = json.loads(text.splitlines()[-1])["resumed_at"]
            require(resumed >= last.found, f"resumed at {resumed} of {last.found} saved")
        left = {entry.name for entry in folder.iterdir()}
        left -= {entry.name for entry in problem.folder.iterdir()} | {out.name}
        require(not left, f"left behind: {', '.join(sorted(left))}")
        shutil.rmtree(folder)
        for log in self.root.glob(f"{folder.name}.*.log"):
            log.unlink()
        self.finished += 1

    def _killed(self, watch: Watch, kind: str) -> Run | None:
        """Start a run and kill it; return the run if it had ended before."""
        rng = self._rng
        number = rng.choice(SIGNALS)
        how = rng.choice(("time", "temporary", "operation", "operation"))
        operation = rng.randrange(40) if how == "operation" else None
        run = self._start(watch, kind, operation)
        other = self._start(watch, kind, None) if kind == "race" else None
        if operation is not None:
            number = signal.SIGKILL
        elif how == "time":
            self._pause(watch, run, rng.uniform(0, 1.3 * watch.problem.seconds))
        else:
            self._await_temporary(watch, run, rng.randrange(12))
        if operation is None:
            run.send(number)
        code = run.wait()
        self._trace += f" {signal.Signals(number).name}/{how}={code}"
        if other is not None:
            self._check_other(watch, other)
        documented = number != signal.SIGKILL and code == 128 + number
        if code == -number or documented or (code == 1 and _before_ours(run.text())):
            self.kills += 1
            self.by[f"{signal.Signals(number).name} {how}"] += 1
            return None
        allowed = (0, REFUSED) if kind == "race" else (0,)
        require(code in allowed, f"ended with {code} after {number}: {run.text()[-300:]}")
        return None if code else run

    def _check_other(self, watch: Watch, other: Run) -> None:
        """The run that was not killed ends well, or says that the checkpoint is in use."""
        code = other.wait()
        text = other.text()
        self._trace += f" other={code}"
        require(code in (0, REFUSED), f"the other run ended with {code}: {text[-300:]}")
        require(code == 0 or "--checkpoint" in text, f"the other run says: {text}")
        if code == 0:
            # The checkpoint has done its duty. The killed run may have begun anew after that.
            watch.saved = 0
            watch.look(ended=True)
            watch.saved = 0

    def _start(self, watch: Watch, kind: str, operation: int | None) -> Run:
        run = self._started(watch, kind, operation)
        run.found = watch.saved
        return run

    def _started(self, watch: Watch, kind: str, operation: int | None) -> Run:
        problem, folder = watch.problem, watch.folder
        if kind == "python":

            def work() -> None:
                result = problem.verb(**problem.options, checkpoint=Checkpoint("run.ckpt", 0.0))
                result.save(watch.out.name, indices_only="--indices-only" in problem.arguments)

            return start(folder, work, operation)
        arguments = [
            *(*problem.arguments, "--out", watch.out.name, "--json"),
            *("--checkpoint", "run.ckpt", "--checkpoint-every", "0"),
        ]
        if operation is None and self._rng.random() < 0.1:
            return shell(folder, arguments)
        return start(folder, lambda: gtn_label(arguments), operation)

    def _pause(self, watch: Watch, run: Run, seconds: float) -> None:
        """Wait, and look at the files once in a while."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and run.poll() is None:
            time.sleep(min(0.02, seconds))
            if self._rng.random() < 0.2:
                watch.look(during=True)

    def _await_temporary(self, watch: Watch, run: Run, skipped: int) -> None:
        """Wait until files of `skipped` unknown names were seen, and one more appears."""
        known = {entry.name for entry in watch.folder.iterdir()} | {"run.ckpt", watch.out.name}
        seen: set[str] = set()
        while run.poll() is None and len(seen) <= skipped:
            with contextlib.suppress(FileNotFoundError):
                seen |= set(os.listdir(watch.folder)) - known  # noqa: PTH208


@dataclass
class Watch:
    """The folder of one run, and what must hold there at any moment."""

    problem: Problem
    folder: Path
    out: Path
    previous: bool
    in_memory: bool = False  # match removes its checkpoint before the caller has saved the pairs
    saved: int = 0

    @property
    def _unit(self) -> str:
        return "rounds" if self.problem.visited is None else "sources"

    def look(self, during: bool = False, ended: bool = False) -> None:
        """Check checkpoint and pairs; raise Wrong.

        `during`: the run is at work, and may end and remove its checkpoint meanwhile.
        """
        checkpoint = self.folder / "run.ckpt"
        try:
            arrays = read_saved(checkpoint).arrays
        except FileNotFoundError:
            done = self.out.exists() and self.out.read_bytes() == self.problem.right
            require(
                during or ended or done or self.in_memory or not self.saved,
                f"the checkpoint is gone, of {self.saved} {self._unit}",
            )
            if not during and (done or self.in_memory):  # the next run begins anew
                self.saved = 0
        except ValueError as error:
            raise Wrong(f"the checkpoint cannot be read: {error}") from None
        else:
            if self.problem.visited is None:
                done = rounds_of(arrays)
            else:
                prefix = arrays["visited"]
                done = len(prefix)
                right = self.problem.visited[:done]
                require(np.array_equal(prefix, right), "the checkpoint holds a wrong prefix")
            require(
                done >= self.saved,
                f"the checkpoint fell from {self.saved} to {done} {self._unit}",
            )
            self.saved = done
        with contextlib.suppress(FileNotFoundError):
            pairs = self.out.read_bytes()
            allowed = (PREVIOUS, self.problem.right) if self.previous else (self.problem.right,)
            require(pairs in allowed, f"wrong pairs of {len(pairs)} bytes")


@contextlib.contextmanager
def campaign(seed: int) -> Iterator[Campaign]:
    """Make a campaign in a temporary folder, which stays if a promise was broken."""
    root = Path(tempfile.mkdtemp(prefix="gtn-kills-")).resolve()
    yield Campaign(seed, root)
    shutil.rmtree(root)


def _before_ours(text: str) -> bool:
    """Tell a Ctrl-C while Python itself starts, before a line of the command has run."""
    return text.rstrip().endswith("KeyboardInterrupt") and "gtn_label" not in text


def main() -> int:
    """Kill as often as asked for, and print a summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill_runs", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="how many [1000]")
    parser.add_argument("--seed", type=int, default=1, help="seed of all choices [1]")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        with campaign(options.seed) as work:
            work.run(options.kills)
    except Wrong as error:
        print(f"after {work.kills} kills: {error}")
        return 1
    print(", ".join(f"{count} {how}" for how, count in sorted(work.by.items())))
    print(
        f"{work.kills:,} kills, 0 lost: {work.finished} runs ended with the right bytes "
        f"in {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
