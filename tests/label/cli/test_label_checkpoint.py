"""Runs that stop and go on: killed, interrupted or cut anywhere, they end with the same bytes.

Most tests cut a finished run short by hand (any prefix of `visited` is what an interruption can
leave), so that nothing hangs on timing; a few kill a real process. The class alone is tested in
io/test_checkpoint.py.
"""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from another_user import with_mount
from command import COMMAND, child, gaussian, gtn_label, listing, one_line, start
from gtn_label import match, match_optimal
from gtn_label.arrays.sources import draw_sources
from gtn_label.io import checkpoint
from gtn_label.io.checkpoint_file import read_saved
from gtn_label.io.npy import read_npz, write_npz

LATENTS = gaussian(600, 6)

# A run long enough to be stopped on any machine, and as slow as can be.
SLOW = ("--backend", "cpu:scalar", "--threads", 1, "--checkpoint", "run.ckpt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "latents.npy", LATENTS)
    return tmp_path


def visits(latents: np.ndarray, **options: Any) -> np.ndarray:
    """The whole of `visited` of a run."""
    return match(latents, **options).visited


def cut(path: Path, latents: np.ndarray, visited: np.ndarray, done: int) -> None:
    """Leave the checkpoint that a default run of an earlier version would have left."""
    options = {"seed": 0, "order": "norm", "cone": 1, "center": False}
    sources = draw_sources(*latents.shape, 0)
    leave(path, checkpoint.fingerprint(latents, sources, None, **options), visited, done)


def leave(path: Path, fields: dict[str, Any], visited: np.ndarray, done: int) -> None:
    write_npz(path, {"visited": visited[:done]}, fields)


@pytest.mark.parametrize("done", [0, 1, 63, 64, 65, 300, 599, 600])
def test_any_prefix_continues_to_the_same_bytes(folder: Path, done: int) -> None:
    assert gtn_label("latents.npy", "-o", "whole.npz", cwd=folder).returncode == 0
    cut(folder / "run.ckpt", LATENTS, visits(LATENTS), done)
    ended = gtn_label(
        *("latents.npy", "-o", "pairs.npz", "--checkpoint", "run.ckpt", "--json"), cwd=folder
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    figures = json.loads(ended.stdout)
    assert figures["resumed_at"] == done
    assert figures["checkpoint_removed"] == "run.ckpt"
    assert (folder / "pairs.npz").read_bytes() == (folder / "whole.npz").read_bytes()
    assert listing(folder) == ["latents.npy", "pairs.npz", "whole.npz"]


def test_a_checkpoint_without_a_hash_is_warned_of(folder: Path) -> None:
    rows = gaussian(3000, 8)
    np.save(folder / "latents.npy", rows)
    cut(folder / "run.ckpt", rows, visits(rows), 2000)
    ended = gtn_label("latents.npy", "-o", "p.npz", "--checkpoint", "run.ckpt", cwd=folder)
    assert ended.returncode == 0
    assert ended.stderr == (
        "gtn-label: warning: --checkpoint 'run.ckpt' has no hash, as earlier versions left it: "
        "1,024 of its 2,000 choices were checked, and the others are believed; delete it to start "
        "over if it may have been changed\n"
    )


def test_any_options_continue_to_the_same_bytes(folder: Path) -> None:
    """Groups, a cone, centring and given sources; other threads, backend and memory."""
    rng = np.random.Generator(np.random.Philox(3))
    sources = gaussian(500, 6, seed=9)
    groups = (np.arange(500) % 3, np.arange(600) % 3)
    for name, array in (("s", sources), ("sg", groups[0]), ("lg", groups[1])):
        np.save(folder / f"{name}.npy", array)
    options: dict[str, Any] = {"order": "norm_desc", "cone": 4, "center": True}
    visited = visits(LATENTS, sources=sources, groups=groups, **options)
    arguments = (
        *("latents.npy", "--sources", "s.npy", "--order", "norm_desc", "--cone", 4, "--center"),
        *("--source-groups", "sg.npy", "--latent-groups", "lg.npy"),
    )
    assert gtn_label(*arguments, "-o", "whole.npz", cwd=folder).returncode == 0
    fields = checkpoint.fingerprint(LATENTS, sources, groups, seed=None, **options)
    for done in rng.integers(1, 500, 3).tolist():
        leave(folder / "run.ckpt", fields, visited, done)
        ended = gtn_label(
            *arguments,
            *("-o", "pairs.npz", "--checkpoint", "run.ckpt", "--json"),
            *("--threads", 1, "--backend", "cpu:scalar", "--memory", "500MB"),
            cwd=folder,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert json.loads(ended.stdout)["resumed_at"] == done
        assert (folder / "pairs.npz").read_bytes() == (folder / "whole.npz").read_bytes()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cpu", "faiss:python"),
        ("faiss:python", "cpu"),
        ("cpu", "faiss:linked"),
        ("faiss:linked", "cpu"),
    ],
)
def test_another_backend_continues_to_the_same_bytes(folder: Path, first: str, second: str) -> None:
    for name in {first, second} - {"cpu"}:
        engine.forced(name)
    whole = gtn_label("latents.npy", "-o", "whole.npz", "--backend", second, cwd=folder)
    assert whole.returncode == 0
    visited = visits(LATENTS, backend=first)
    for done in (1, 200, 599):
        cut(folder / "run.ckpt", LATENTS, visited, done)
        ended = gtn_label(
            *("latents.npy", "-o", "pairs.npz", "--checkpoint", "run.ckpt", "--json"),
            *("--backend", second),
            cwd=folder,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        figures = json.loads(ended.stdout)
        assert (figures["resumed_at"], figures["backend"]) == (done, second.partition(":")[0])
        assert (folder / "pairs.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_the_table_says_what_became_of_it(folder: Path) -> None:
    command = ("latents.npy", "-o", "pairs.npz", "--checkpoint", "run.ckpt")
    assert "run.ckpt (was not needed)" in gtn_label(*command, cwd=folder).stdout
    cut(folder / "run.ckpt", LATENTS, visits(LATENTS), 100)
    assert "run.ckpt (continued at 100, removed)" in gtn_label(*command, cwd=folder).stdout


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (["--order", "index"], "--order was norm and is index"),
        (["--cone", 2], "--cone was 1 and is 2"),
        (["--center"], "--center was False and is True"),
        (["--seed", 1], "--seed was 0 and is 1"),
        (["--sources", "latents.npy"], "--seed was 0 and is not given"),
        (
            ["--source-groups", "groups.npy", "--latent-groups", "groups.npy"],
            r"--source-groups: SHA-256 was None and is [0-9a-f]{12}; --latent-groups: ",
        ),
    ],
)
def test_other_options_are_refused(folder: Path, arguments: list[Any], difference: str) -> None:
    np.save(folder / "groups.npy", np.zeros(600, int))
    cut(folder / "run.ckpt", LATENTS, visits(LATENTS), 100)
    before = (folder / "run.ckpt").read_bytes()
    ended = gtn_label(
        *("latents.npy", "-o", "pairs.npz", "--checkpoint", "run.ckpt", *arguments), cwd=folder
    )
    assert ended.returncode == 2
    message = one_line(ended.stderr)
    assert "--checkpoint 'run.ckpt' belongs to another run: " in message
    assert re.search(difference, message), message
    assert "the latents" not in message
    assert (folder / "run.ckpt").read_bytes() == before
    assert listing(folder) == ["groups.npy", "latents.npy", "run.ckpt"]


@pytest.mark.parametrize("other", ["value", "dtype", "shape"])
def test_other_latents_are_refused(folder: Path, other: str) -> None:
    cut(folder / "run.ckpt", LATENTS, visits(LATENTS), 100)
    latents = LATENTS.copy()
    if other == "value":
        latents[-1, -1] = np.nextafter(latents[-1, -1], np.float32(9))
    elif other == "dtype":
        latents = latents.astype(np.float64)
    else:
        latents = latents.reshape(1200, 3)
    np.save(folder / "latents.npy", latents)
    ended = gtn_label("latents.npy", "-o", "p.npz", "--checkpoint", "run.ckpt", cwd=folder)
    assert ended.returncode == 2
    assert re.search(
        r"the latents: SHA-256 was [0-9a-f]{12} and is [0-9a-f]{12}", one_line(ended.stderr)
    )


def test_another_contract_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visited = visits(LATENTS)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "CONTRACT", 0)
        cut(folder / "run.ckpt", LATENTS, visited, 100)
    ended = gtn_label("latents.npy", "-o", "p.npz", "--checkpoint", "run.ckpt", cwd=folder)
    assert ended.returncode == 2
    assert "it follows numeric contract 0, this is 1" in one_line(ended.stderr)


def test_damaged_checkpoints_are_refused(folder: Path) -> None:
    path = folder / "run.ckpt"
    cut(path, LATENTS, visits(LATENTS), 300)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[1000] ^= 4
    for content, message in (
        (whole[:-1], "truncated or not|not a readable"),
        (whole[: len(whole) // 2], "truncated or not"),
        (whole[200:], "not a readable|truncated or not|is damaged"),
        (bytes(flipped), "is damaged: Bad CRC"),
    ):
        path.write_bytes(content)
        ended = gtn_label("latents.npy", "-o", "p.npz", "--checkpoint", "run.ckpt", cwd=folder)
        assert ended.returncode == 2
        text = one_line(ended.stderr)
        assert re.search(rf"--checkpoint 'run\.ckpt'.*({message}).*delete it to start over", text)
        assert path.read_bytes() == content
        assert listing(folder) == ["latents.npy", "run.ckpt"]


@pytest.mark.parametrize("kind", ["pairs", "part", "npy", "npz", "objects", "text"])
def test_files_that_are_no_checkpoints_are_left_alone(folder: Path, kind: str) -> None:
    path = folder / "other.npz"
    if kind in ("pairs", "part"):
        assert gtn_label("latents.npy", "-o", "other.npz", cwd=folder).returncode == 0
        path.write_bytes(path.read_bytes()[: -300 if kind == "part" else None])
    elif kind == "npy":
        path.write_bytes((folder / "latents.npy").read_bytes())
    elif kind == "npz":
        np.savez(path, z=LATENTS)
    elif kind == "objects":
        np.savez(path, z=np.array([{}], dtype=object))
    else:
        path.write_text("my thesis")
    before = path.read_bytes()
    ended = gtn_label("latents.npy", "-o", "p.npz", "--checkpoint", "other.npz", cwd=folder)
    assert ended.returncode == 2
    assert "is not a checkpoint of gtn-label, and is left alone" in one_line(ended.stderr)
    assert (folder / "other.npz").read_bytes() == before


@pytest.mark.parametrize(
    "prefix",
    [
        np.array([0, 600]),
        np.array([-1, 0]),
        np.zeros((2, 2), np.int64),
        np.zeros(2),
        np.arange(601),
        np.array([5, 5]),
    ],
)
def test_prefixes_that_cannot_be_are_refused(folder: Path, prefix: np.ndarray) -> None:
    visited = visits(LATENTS)
    cut(folder / "run.ckpt", LATENTS, visited, 2)
    contents, fields = read_npz(folder / "run.ckpt")
    write_npz(folder / "run.ckpt", {**contents, "visited": prefix}, fields)
    ended = gtn_label("latents.npy", "-o", "p.npz", "--checkpoint", "run.ckpt", cwd=folder)
    assert ended.returncode == 2
    message = one_line(ended.stderr)
    assert re.search(r"--checkpoint 'run\.ckpt' (is damaged|must hold)", message), message
    assert message.endswith("; delete it to start over")
    assert listing(folder) == ["latents.npy", "run.ckpt"]


def test_bad_input_leaves_no_checkpoint(folder: Path) -> None:
    np.save(folder / "latents.npy", np.zeros((5, 2)))
    ended = gtn_label("latents.npy", "--checkpoint", "run.ckpt", cwd=folder)
    assert ended.returncode == 2
    assert listing(folder) == ["latents.npy"]


def test_a_changed_checkpoint_is_refused(folder: Path) -> None:
    rows = gaussian(3000, 8)
    np.save(folder / "latents.npy", rows)
    cut(folder / "run.ckpt", rows, visits(rows), 300)
    contents, fields = read_npz(folder / "run.ckpt")
    contents["visited"][[3, 70]] = contents["visited"][[70, 3]]
    fields |= {"run": "00", "digest": "00"}
    write_npz(folder / "run.ckpt", contents, fields)
    ended = gtn_label("latents.npy", "-o", "p.npz", "--checkpoint", "run.ckpt", cwd=folder)
    assert ended.returncode == 2
    assert one_line(ended.stderr) == (
        "error: --checkpoint 'run.ckpt' is damaged: its content is not what was saved (SHA-256); "
        "delete it to start over"
    )
    assert listing(folder) == ["latents.npy", "run.ckpt"]


def test_outputs_in_a_deleted_working_folder(folder: Path) -> None:
    script = """
import os, sys
from gtn_label.cli import main as command
os.mkdir("gone")
os.chdir("gone")
os.rmdir("../gone")
command.main(sys.argv[1:])
"""
    latents, out = folder / "latents.npy", folder / "p.npz"
    for arguments, name in (
        ((), "--out 'pairs.npz'"),
        (("-o", "p.npz"), "--out 'p.npz'"),
        (("-o", out, "--checkpoint", "run.ckpt"), "--checkpoint 'run.ckpt'"),
    ):
        ended = child(script, latents, *arguments, cwd=folder)
        assert ended.returncode == 2
        assert f"error: {name} is relative, and the working folder no longer" in ended.stderr
    ended = child(script, "latents.npy", "-o", out, cwd=folder)
    assert "error: LATENTS 'latents.npy' is relative, and the working folder no" in ended.stderr
    assert child(script, latents, "-o", out, cwd=folder).returncode == 0


# ------------------------------------------------------------------------------ real processes


def wait_for(path: Path, process: Any) -> None:
    """Until the run has saved something, or ended."""
    deadline = time.monotonic() + 60
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def killed_at(delays: list[float], folder: Path, *arguments: object) -> int:
    """Kill a run again and again, each time so long after a save; return how many were alive."""
    kills = 0
    for delay in delays:
        process = start(*arguments, "-o", "pairs.npz", *SLOW, "--checkpoint-every", 0, cwd=folder)
        try:
            wait_for(folder / "run.ckpt", process)
            time.sleep(delay)
        finally:
            process.kill()
            process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if (folder / "pairs.npz").exists():
            break
    return kills


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals_stop_an_auction(tmp_path: Path, name: str, code: int) -> None:
    np.save(tmp_path / "latents.npy", gaussian(60_000, 48))
    arguments = ("latents.npy", "--optimal", "--tolerance", 0, "-o", "pairs.npz", *SLOW)
    process = start(*arguments, "--checkpoint-every", 0, cwd=tmp_path)
    try:
        wait_for(tmp_path / "run.ckpt", process)
        sent = time.monotonic()
        process.send_signal(getattr(signal, name))
        stdout, stderr = process.communicate(timeout=30)
        took = time.monotonic() - sent
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, stdout) == (code, "")
    assert re.fullmatch(
        r"interrupted after (0 rounds of bids; 'run\.ckpt' holds no decision yet, and the same "
        r"command begins anew|[\d,]+ rounds of bids; 'run\.ckpt' holds what was decided, and the "
        r"same command continues)",
        one_line(stderr),
    ), stderr
    assert listing(tmp_path) == ["latents.npy", "run.ckpt"]
    assert took < 10  # a second on a free machine; this one may be busy


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_an_auction_is_killed_again_and_again(tmp_path: Path, share: float) -> None:
    np.save(tmp_path / "latents.npy", gaussian(4000, 16))
    np.save(tmp_path / "sources.npy", gaussian(int(4000 * share), 16, seed=5))
    arguments = ("latents.npy", "--sources", "sources.npy", "--optimal", "--tolerance", 0)
    whole = gtn_label(*arguments, "-o", "whole.npz", "--json", cwd=tmp_path)
    rng = np.random.Generator(np.random.Philox(12))
    kills = killed_at(rng.uniform(0.0, 0.3, 4).tolist(), tmp_path, *arguments)
    assert kills > 0
    last = tmp_path / "run.ckpt"
    rounds = int(read_npz(last)[0]["auction"][2]) if last.exists() else 0
    ended = gtn_label(*arguments, "-o", "pairs.npz", *SLOW, "--json", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert found["resumed_at"] == rounds
    assert (found["pairs_a_second"] is None) == (rounds > 0)
    for name in ("rounds", "bids", "phases", "gap", "cost", "lower_bound"):
        assert found["optimal"][name] == json.loads(whole.stdout)["optimal"][name]
    assert (tmp_path / "pairs.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not (tmp_path / "run.ckpt").exists()


def test_the_table_counts_the_rounds_of_an_auction(tmp_path: Path) -> None:
    rows = gaussian(2000, 24)
    np.save(tmp_path / "latents.npy", rows)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    options = {"tolerance": 0.0, "backend": "cpu:scalar", "threads": 1}
    path = tmp_path / "run.ckpt"
    while not path.exists() or not read_npz(path)[0]["auction"][2]:
        with pytest.raises(KeyboardInterrupt):
            match_optimal(rows, checkpoint=path, progress=stop, **options)
    rounds = int(read_npz(path)[0]["auction"][2])
    command = ("latents.npy", "--optimal", "--tolerance", 0, "-o", "p.npz", "--checkpoint", path)
    lines = gtn_label(*command, cwd=tmp_path).stdout
    assert f"run.ckpt (continued after {rounds:,} rounds, removed)" in lines
    assert "pairs a second" not in lines


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_save_and_stop_at_once(tmp_path: Path, name: str, code: int) -> None:
    """Minutes of work, of which little is done when the signal comes."""
    np.save(tmp_path / "latents.npy", gaussian(100_000, 64))
    (tmp_path / "pairs.npz").write_bytes(b"previous")
    process = start("latents.npy", "-o", "pairs.npz", *SLOW, "--checkpoint-every", 0, cwd=tmp_path)
    try:
        wait_for(tmp_path / "run.ckpt", process)
        sent = time.monotonic()
        process.send_signal(getattr(signal, name))
        stdout, stderr = process.communicate(timeout=30)
        took = time.monotonic() - sent
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert stdout == ""
    found = re.fullmatch(
        r"interrupted at ([\d,]+) of 100,000 sources; 'run\.ckpt' holds what was decided, "
        r"and the same command continues",
        one_line(stderr),
    )
    assert found, stderr
    done = int(found[1].replace(",", ""))
    assert 0 < done < 100_000
    assert len(read_saved(tmp_path / "run.ckpt").arrays["visited"]) == done
    assert (tmp_path / "pairs.npz").read_bytes() == b"previous"
    assert listing(tmp_path) == ["latents.npy", "pairs.npz", "run.ckpt"]
    assert took < 10  # a second on a free machine; this one may be busy


def test_killed_again_and_again(tmp_path: Path) -> None:
    """SIGKILL at moments nobody chose; a leftover temporary is all that it may leave."""
    np.save(tmp_path / "latents.npy", gaussian(12_000, 32))
    assert gtn_label("latents.npy", "-q", "-o", "whole.npz", cwd=tmp_path).returncode == 0
    rng = np.random.Generator(np.random.Philox(11))
    kills = killed_at(rng.uniform(0.0, 0.3, 4).tolist(), tmp_path, "latents.npy")
    ended = gtn_label("latents.npy", "-q", "-o", "pairs.npz", *SLOW, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert kills > 0
    assert (tmp_path / "pairs.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not (tmp_path / "run.ckpt").exists()
    left = {entry for entry in listing(tmp_path) if not entry.startswith(".gtn-label-")}
    assert left == {"latents.npy", "pairs.npz", "whole.npz"}


def test_a_second_process_is_refused_at_the_start(tmp_path: Path) -> None:
    np.save(tmp_path / "latents.npy", gaussian(100_000, 64))
    process = start("latents.npy", "-o", "pairs.npz", *SLOW, "--checkpoint-every", 0, cwd=tmp_path)
    try:
        wait_for(tmp_path / "run.ckpt", process)
        began = time.monotonic()
        second = gtn_label("latents.npy", "-o", "other.npz", *SLOW, "--cone", 2, cwd=tmp_path)
        took = time.monotonic() - began
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert second.returncode == 2
    assert one_line(second.stderr) == (
        "error: --checkpoint must be a file that no other run uses, and 'run.ckpt' is in use "
        f"(process {process.pid}); wait for that run to end, or give another file"
    )
    assert took < 5
    np.save(tmp_path / "latents.npy", LATENTS)
    ended = gtn_label("latents.npy", "-o", "pairs.npz", *SLOW, cwd=tmp_path)
    assert "belongs to another run" in one_line(ended.stderr)
    (tmp_path / "run.ckpt").unlink()
    assert gtn_label("latents.npy", "-o", "pairs.npz", *SLOW, cwd=tmp_path).returncode == 0
    assert listing(tmp_path) == ["latents.npy", "pairs.npz"]


def test_an_output_that_is_written_in_place_is_told_of_once(folder: Path) -> None:
    outside = folder / "outside"
    outside.mkdir()
    (outside / "pairs.npz").touch()
    (folder / "pairs.npz").touch()
    command = [*COMMAND, "latents.npy", "-q", "-o", "pairs.npz"]
    code, out, err = with_mount(outside / "pairs.npz", folder / "pairs.npz", command, cwd=folder)
    assert (code, out) == (0, "")
    assert one_line(err) == (
        "warning: --out 'pairs.npz' is a mount point: it is written in place, and a process "
        "killed at that moment leaves it damaged"
    )
    assert gtn_label("latents.npy", "-q", "-o", "whole.npz", cwd=folder).returncode == 0
    assert (outside / "pairs.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_interrupted_while_writing_the_pairs(folder: Path) -> None:
    """Everything is decided by then, and nothing of it is lost."""
    script = """
import os, signal
from gtn_label.cli import main as command
original = os.fsync
def interrupted(descriptor):
    os.kill(os.getpid(), signal.SIGINT)
    return original(descriptor)
os.fsync = interrupted
command.main(["latents.npy", "--out", "pairs.npz", "--checkpoint", "run.ckpt"])
"""
    ended = child(script, cwd=folder)
    assert ended.returncode == 130
    assert "interrupted at 600 of 600 sources" in one_line(ended.stderr)
    assert listing(folder) == ["latents.npy", "run.ckpt"]
    for out in (("-o", "pairs.npz", "--checkpoint", "run.ckpt"), ("-o", "whole.npz")):
        assert gtn_label("latents.npy", *out, cwd=folder).returncode == 0
    assert (folder / "pairs.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_a_full_disk_while_writing_keeps_the_checkpoint(folder: Path) -> None:
    script = """
import errno, os
from gtn_label import result
from gtn_label.cli import main as command
def full(self, *_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
result.Matching._write = full
command.main(["latents.npy", "--out", "pairs.npz", "--checkpoint", "run.ckpt"])
"""
    cut(folder / "run.ckpt", LATENTS, visits(LATENTS), 100)
    ended = child(script, cwd=folder)
    assert ended.returncode == 1
    message = one_line(ended.stderr)
    assert "--out 'pairs.npz' could not be written: No space left on device" in message
    assert len(read_saved(folder / "run.ckpt").arrays["visited"]) == 600
    assert "run.ckpt" in message
