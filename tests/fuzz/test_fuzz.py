"""The fuzzers: the property rejects what it must, mutations repeat, and readers hold for a moment.

CI fuzzes for minutes (.ci/run fuzz). Here each target gets its first inputs and a few hundred
mutations of them, the same ones on every run.
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import mutations
from .__main__ import Session
from .harness import Harness, harness, minimised, missing
from .targets import TARGETS, Target, seeds

ROOT = Path(__file__).resolve().parents[2]
MUTATIONS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_readers_hold(name: str) -> None:
    if why := missing(name):
        pytest.skip(why)
    first = list(seeds(name).values())
    rng = random.Random(17)
    found: dict[str, str] = {}
    with harness(name) as reader:
        for data in first:  # once unseen: what is imported late is no fault of the bytes
            reader.check(data)
        for data in (*first, *(mutated(name, rng.choice(first), rng) for _ in range(MUTATIONS))):
            if (finding := reader.check(data)) is not None:
                found.setdefault(finding.key, finding.detail)
        assert not found
        assert reader.refused > MUTATIONS // 4
        assert reader.values > MUTATIONS // 50


def mutated(name: str, data: bytes, rng: random.Random) -> bytes:
    return TARGETS[name].mutate(data, rng)


# ------------------------------------------------------------------ what the property must reject


def reads(path: Path) -> bytes:
    return path.read_bytes()


def leaks(path: Path) -> list[Any]:
    kept.append(path.open("rb"))
    return []


def raises(error: Exception) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        raise error

    return read


def changes(path: Path) -> bytes:
    path.write_bytes(b"")
    return b""


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.putenv, ("GTN_FUZZ_TEST", "1")


kept: list[Any] = []

FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another exception": (raises(KeyError("x")), "KeyError in test_fuzz.py:read"),
    "no memory": (raises(MemoryError()), "MemoryError in test_fuzz.py:read"),
    "file not named": (raises(ValueError("broken")), "file not named: ValueError in"),
    "unpickles": (lambda path: pickle.loads(pickle.dumps(Evil())), "executed pickle.find_class"),
    "evaluates": (lambda path: eval("1 + 1"), "executed exec"),
    "starts a process": (lambda path: os.system("true"), "executed os.system"),
    "warns": (lambda path: warnings.warn("odd", stacklevel=1), "UserWarning shown"),
    "prints": (lambda path: print("odd"), "printed"),
    "leaves it open": (leaks, "left open"),
    "changes it": (changes, "file changed"),
    "wrong value": (reads, "wrong value: not empty"),
}


@pytest.fixture
def closing() -> Iterator[None]:
    yield
    while kept:
        kept.pop().close()


def inspect(data: bytes, value: Any) -> None:
    assert value != data, "not empty"


def made_up(read: Callable[[Path], Any], folder: Path) -> Harness:
    target = Target("input", read, inspect, dict, mutations.any_bytes)
    return Harness(target, folder)


@pytest.mark.usefixtures("closing")
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(tmp_path: Path, fault: str) -> None:
    read, key = FAULTS[fault]
    if fault == "leaves it open" and not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not list open files")
    finding = made_up(read, tmp_path).check(b"abc")
    assert finding is not None
    assert finding.key.startswith(key)
    assert finding.data == b"abc"


def test_a_long_message_is_a_fault(tmp_path: Path) -> None:
    reader = made_up(raises(ValueError(f"'{tmp_path}' {'x' * 2000}")), tmp_path)
    finding = reader.check(b"abc")
    assert finding is not None
    assert finding.key.startswith("message too long")


def test_a_refusal_and_a_value_are_none(tmp_path: Path) -> None:
    for error in (ValueError, TypeError, OSError, ImportError):
        assert made_up(raises(error(f"'{tmp_path}/input' is bad")), tmp_path).check(b"a") is None
    assert made_up(lambda path: b"", tmp_path).check(b"abc") is None


def test_a_fault_is_minimised(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        if b"X" in path.read_bytes():
            raise KeyError

    reader = made_up(read, tmp_path)
    finding = reader.check(b"a" * 500 + b"X" + b"b" * 300)
    assert finding is not None
    assert minimised(reader, finding).data == b"X"


# -------------------------------------------------------------------------- mutations and runner


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_repeat_and_stay_small(name: str) -> None:
    if why := missing(name):
        pytest.skip(why)
    first = list(seeds(name).values())
    made = []
    for _ in range(2):
        rng = random.Random(5)
        made.append([mutated(name, rng.choice(first), rng) for _ in range(200)])
    assert made[0] == made[1]
    assert len({*made[0]} - {*first}) > 150
    assert max(map(len, made[0])) <= 2 * mutations.LARGEST


def run(*arguments: object, cwd: Path = ROOT, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **extra},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_runner_reports_executions(tmp_path: Path) -> None:
    out = tmp_path / "faults"
    options = ("--seconds", 1, "--target", "npz", "--seed", 3, "--engine", "own", "--out", out)
    done = run(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "engine own, seed 3" in done.stdout
    assert "npz: " in done.stdout
    assert done.stdout.endswith("0 faults\n")
    assert not out.exists()


@pytest.mark.parametrize(
    ("ending", "says"),
    [("kill -ABRT $$", "ends: SIGABRT"), ("echo Timeout >&2; exit 1", "ends: no answer within")],
)
def test_the_runner_keeps_the_input_of_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, says: str
) -> None:
    worker = tmp_path / "worker"
    worker.write_text(f'#!/bin/sh\nmkdir "$6/work"; printf bad > "$6/work/rows.npy"; {ending}\n')
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    session = Session("npy", "own", tmp_path, None)
    session.run(60, 1)
    (key,) = session.faults
    assert key.startswith(says)
    assert (tmp_path / session.faults[key]).read_bytes() == b"bad"


HANGS = """
import dataclasses, sys, time
from pathlib import Path
from tests.fuzz import targets, worker
worker.HANG_SECONDS = 0.5
slow = dataclasses.replace(targets.TARGETS["npy"], read=lambda path: time.sleep(60))
one = worker.Worker("npy", 60, 1, Path(sys.argv[1]))
one.harness.target = slow
one.execute(b"slow")
"""


def test_a_hang_ends_the_worker(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert (tmp_path / "work/rows.npy").read_bytes() == b"slow"
