"""gtn-label-cluster: processes of torch's agent, over gloo on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gtn_label import match, open_pairs
from gtn_label.cluster.launcher import agent_arguments
from gtn_label.cluster.options import parse
from gtn_label.io.journal import CHOICES, Journal

pytest.importorskip("torch")

COMMAND = [sys.executable, "-m", "gtn_label.cluster.entry"]
LATENTS = np.random.Generator(np.random.Philox(5)).standard_normal((18_000, 48)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        np.save(tmp_path / f"l{i}.npy", LATENTS[6000 * i : 6000 * (i + 1)])
    return tmp_path


def started(folder: Path, *argv: object) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TORCH")}
    return subprocess.Popen(
        [*COMMAND, *map(str, argv)],
        cwd=folder,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that the agent has started, in the order of their ranks."""
    found: dict[int, int] = {}
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            rank = next((each for each in variables if each.startswith(b"RANK=")), None)
            if rank is not None:
                found[int(rank[5:])] = child
    return [found[rank] for rank in sorted(found)]


def until_decided(process: subprocess.Popen[str], journal: Path) -> None:
    """Wait for the first decisions in the journal: a save of which half is there is none."""
    while not journal.exists() or not any(map(len, Journal.open(journal, CHOICES).blocks())):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def check_pairs(folder: Path) -> None:
    pairs, whole = open_pairs(folder, check=True), match(LATENTS)
    np.testing.assert_array_equal(pairs.read(0, len(pairs), ("assignment",))[0], whole.assignment)
    np.testing.assert_array_equal(pairs.read(0, len(pairs), ("cosine",))[0], whole.cosine)
    np.testing.assert_array_equal(pairs.read(0, len(pairs))[1], whole.pairs()[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_killed_process_is_started_again(folder: Path) -> None:
    argv = ["--nproc-per-node=2", "--", "l*.npy", "-o", "p", "--journal", "j", "--journal-every", 0]
    process = started(folder, *argv)
    until_decided(process, folder / "j")
    os.kill(ranks_of(process)[0], signal.SIGKILL)
    code, out, err = ended(process)
    assert code == 0, err
    warning = "local process 0 has ended with SIGKILL; all start again (3 restarts were left)"
    # A process that dies while it saves leaves half a save, which the next start names.
    said = [line for line in err.splitlines() if "that are no whole save" not in line]
    assert said == [f"gtn-label-cluster: warning: {warning}"]
    assert out.count("mean cosine") == 1
    assert "processes       2, each cpu" in out
    assert "j (continued at " in out
    check_pairs(folder / "p")
    assert not (folder / "j").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_an_interruption_keeps_the_journal(folder: Path) -> None:
    argv = ["--nproc-per-node", 2, "l*.npy", "-o", "p", "--journal", "j", "--journal-every", 0]
    process = started(folder, *argv)
    until_decided(process, folder / "j")
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, "")
    assert "interrupted; 'j' holds what was decided, and the same command continues" in err
    code, out, err = ended(started(folder, "l*.npy", "-o", "p", "--journal", "j"))  # one process
    assert (code, err) == (0, "")
    assert "j (continued at " in out
    check_pairs(folder / "p")


def test_a_refusal_is_said_once_and_not_tried_again(folder: Path) -> None:
    rows = LATENTS[:10].copy()
    rows[3] = 0
    np.save(folder / "l3.npy", rows)
    argv = ["--nproc-per-node", 2, "--max-restarts", 2, "l*.npy", "--out", "p"]
    code, out, err = ended(started(folder, *argv))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "LATENTS 'l*.npy' must have a direction" in err
    assert "row 18003" in err


def test_options_are_checked_before_processes_start(folder: Path) -> None:
    code, out, err = ended(started(folder, "--nproc-per-node", 0, "l*.npy"))
    assert (code, out) == (2, "")
    assert "'--nproc-per-node': must be an integer >= 1, got '0'" in err


def test_a_plan_starts_no_process(folder: Path) -> None:
    argv = ["--nproc-per-node", 64, "--nnodes", 4, "--rdzv-endpoint", "h:1", "l0.npy", "--plan"]
    code, out, err = ended(started(folder, *argv))
    if "does not fit" not in err:  # 64 processes in the memory of this machine
        assert (code, err) == (0, "")
    assert "256 on 4 machines" in out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], ["--nproc-per-node=1", "--nnodes=1", "--max-restarts=0", "--standalone"]),
        (
            ["--nproc-per-node", "8", "--journal", "j"],
            ["--nproc-per-node=8", "--nnodes=1", "--max-restarts=3", "--standalone"],
        ),
        (
            ["--nnodes", "4", "--rdzv-endpoint", "h:29400", "--max-restarts", "1"],
            [
                *("--nproc-per-node=1", "--nnodes=4", "--max-restarts=1", "--rdzv-backend=c10d"),
                *("--rdzv-endpoint=h:29400", "--rdzv-id=gtn-label"),
            ],
        ),
    ],
)
def test_the_agents_options(argv: list[str], expected: list[str]) -> None:
    asked: Any = parse([*argv, "a.npy"])
    assert agent_arguments(asked) == expected
