"""Twenty kills at random moments, and the checks of kill_runs.py, each with what it must reject."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gtn_label.io.npy import write_npz

from . import kill_runs
from .kill_runs import PREVIOUS, Problem, Watch, Wrong

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_twenty_kills_lose_nothing() -> None:
    # A process of its own, with one thread, since it forks.
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_runs", "--kills", "20", "--seed", "3"],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^20 kills, 0 lost: \d+ runs ended with the right bytes", done.stdout, re.M)


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    problem = Problem("made up", tmp_path, (), {}, ".npz", b"right", np.arange(9)[::-1].copy(), 1.0)
    return Watch(problem, tmp_path, tmp_path / "pairs.npz", previous=True)


def save(watch: Watch, visited: list[int]) -> None:
    write_npz(watch.folder / "run.ckpt", {"visited": np.array(visited)}, {})


def test_sound_files_pass(watch: Watch) -> None:
    watch.look()
    save(watch, [8, 7])
    watch.look()
    assert watch.saved == 2
    watch.out.write_bytes(PREVIOUS)
    watch.look()
    watch.out.write_bytes(b"right")
    (watch.folder / "run.ckpt").unlink()
    watch.look()
    save(watch, [8])  # of a run that began after the pairs were written
    watch.look()


@pytest.mark.parametrize(
    ("visited", "message"), [([8, 6, 7], "a wrong prefix"), ([8], "fell from 2 to 1 sources")]
)
def test_wrong_checkpoints_are_found(watch: Watch, visited: list[int], message: str) -> None:
    save(watch, [8, 7])
    watch.look()
    save(watch, visited)
    with pytest.raises(Wrong, match=message):
        watch.look()


def test_a_lost_or_broken_checkpoint_is_found(watch: Watch) -> None:
    save(watch, [8, 7])
    watch.look()
    path = watch.folder / "run.ckpt"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(Wrong, match="cannot be read"):
        watch.look()
    path.unlink()
    with pytest.raises(Wrong, match="is gone, of 2 sources"):
        watch.look()


def test_wrong_pairs_are_found(watch: Watch) -> None:
    for content in (b"", b"rig", b"other"):
        watch.out.write_bytes(content)
        with pytest.raises(Wrong, match="wrong pairs"):
            watch.look()


def test_a_run_kills_itself_before_an_operation(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from tests.kill_runs import start
def work():
    for name in "abc":
        Path(name).write_bytes(b"")
print(start(Path(sys.argv[1]), work, 2).wait())
"""
    folder = tmp_path / "run"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "-9\n"
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


def test_problems_are_those_of_the_command(tmp_path: Path) -> None:
    problem = kill_runs.make_problem("groups", tmp_path / "p")
    run = kill_runs.shell(problem.folder, [*problem.arguments, "--out", "pairs.safetensors"])
    assert run.wait() == 0, run.text()
    assert (problem.folder / "pairs.safetensors").read_bytes() == problem.right
