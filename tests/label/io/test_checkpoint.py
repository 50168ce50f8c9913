"""Checkpoint, and match(checkpoint=...): when a file is written, continued and deleted.

How the command continues runs, and what it refuses, is in cli/test_label_checkpoint.py.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import engine
from another_user import with_mount
from command import listing
from datasets import make
from gtn_label import match, match_mixture
from gtn_label.io.checkpoint import Checkpoint
from gtn_label.io.checkpoint_file import FORMAT, digest_of, read_saved
from gtn_label.io.npy import read_npz, write_npz
from gtn_label.io.temporary import lock_path

LATENTS, SOURCES = make("gaussian", 3000, 8)
FEWER = SOURCES[:2000]
ARRAYS = ("latents", "sources", "source_groups", "latent_groups")
FIELDS = {"format": FORMAT, "contract": 1, **dict.fromkeys(ARRAYS)}


class Stop(Exception):
    """Ends a run."""


def stop_at(share: float):
    def progress(done: int, total: int, _: object) -> None:
        if done >= share * total:
            raise Stop

    return progress


def begun(path: Path, n: int, every: float, warn=pytest.fail) -> Checkpoint:
    state = Checkpoint(path, every, warn)
    state.open(FIELDS, np.arange(n), n)
    return state


def test_saves_are_spaced_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path = tmp_path / "c"
    state = begun(path, 10, 30.0)
    saved = []
    for second, done in ((10, 1), (29, 2), (30, 3), (31, 4), (59, 5), (61, 6), (99, 6)):
        now[0] = second
        state.poll(done)
        if path.exists():
            saved.append(len(read_saved(path).arrays["visited"]))
    assert saved == [3, 3, 3, 6, 6]
    state.release()


def test_a_save_that_fails_warns_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    warnings: list[str] = []
    state = begun(tmp_path / "c", 9, 0.0, warnings.append)
    state.poll(3)
    monkeypatch.setattr(os, "fsync", full)
    state.poll(5)
    state.poll(6)
    monkeypatch.undo()
    state.release()
    assert len(warnings) == 1
    assert "could not be written (No space left on device); the run goes on" in warnings[0]
    assert read_saved(tmp_path / "c").arrays["visited"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("as_path", [str, Path])
def test_a_stopped_match_is_continued(tmp_path: Path, share: float, as_path: type) -> None:
    path = as_path(tmp_path / "run.ckpt")
    options = {"cone": 2, "center": True, "checkpoint": path}
    with pytest.raises(Stop):
        match(LATENTS, SOURCES, **options, progress=stop_at(share), threads=1)
    begins = []
    again = match(LATENTS, SOURCES, **options, progress=lambda done, *_: begins.append(done))
    engine.assert_same(again, match(LATENTS, SOURCES, cone=2, center=True))
    assert min(begins) >= share * len(SOURCES)
    assert not (tmp_path / "run.ckpt").exists()


def test_a_whole_match_leaves_no_file(tmp_path: Path) -> None:
    match(LATENTS, checkpoint=tmp_path / "run.ckpt")
    match_mixture(LATENTS[:200], 2, checkpoint=tmp_path / "run.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_messages_name_options_as_python_does(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    with pytest.raises(Stop):
        match(LATENTS, checkpoint=path, progress=stop_at(0.5))
    with pytest.raises(ValueError, match="belongs to another run: ") as caught:
        match(LATENTS, checkpoint=path, cone=2, groups=([0] * 3000, [0] * 3000))
    assert str(caught.value).startswith(f"checkpoint '{path}' belongs")
    assert "run: cone was 1 and is 2; source_groups: SHA-256 was None and" in str(caught.value)


@pytest.mark.parametrize("value", [3, True, b"run.ckpt"])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"^checkpoint must be a path, got "):
        match(LATENTS, checkpoint=value)
    with pytest.raises(ValueError, match=r"^checkpoint must be the path of a file, got ''$"):
        match(LATENTS, checkpoint="")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^checkpoint must be in a folder that exists"):
        match(LATENTS, checkpoint=tmp_path / "no" / "run.ckpt")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The checkpoint of a run that decided half of its sources."""
    path = tmp_path / "run.ckpt"
    with pytest.raises(Stop):
        match(LATENTS, FEWER, checkpoint=path, progress=stop_at(0.5))
    assert listing(tmp_path) == ["run.ckpt"]
    return path


# ---------------------------------------------------------------------------- two runs, one file


def test_a_second_run_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(ValueError, match="in use") as caught:
            match(LATENTS, SOURCES, cone=2, checkpoint=path)
        refused.append(str(caught.value))

    def progress(done: int, *_: object) -> None:
        if not refused:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    match(LATENTS, SOURCES, checkpoint=path, progress=progress)
    assert refused == [
        f"checkpoint must be a file that no other run uses, and '{path}' is in use (this process); "
        "wait for that run to end, or give another file"
    ]
    assert listing(tmp_path) == []


def test_links_to_one_file_are_one_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("run.ckpt")
    state = begun(tmp_path / "link", 9, 30.0)
    with pytest.raises(ValueError, match=r"run.ckpt' is in use"):
        begun(tmp_path / "run.ckpt", 9, 30.0)
    state.release()
    begun(tmp_path / "run.ckpt", 9, 30.0).release()


def test_a_refused_checkpoint_is_not_locked(stopped: Path) -> None:
    with pytest.raises(ValueError, match="belongs to another run"):
        match(LATENTS, FEWER, cone=2, checkpoint=stopped)
    assert listing(stopped.parent) == ["run.ckpt"]
    match(LATENTS, FEWER, checkpoint=stopped)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.warns(RuntimeWarning, match=r"checkpoint '.*' is on a file system without locks"):
        match(LATENTS, checkpoint=tmp_path / "run.ckpt")
    assert listing(tmp_path) == []


def test_a_lock_file_that_a_killed_run_left(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    lock_path(path).write_text("1 elsewhere\n")
    match(LATENTS, checkpoint=path)
    assert listing(tmp_path) == []


def test_a_lock_that_cannot_be_had(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    lock_path(path).symlink_to("elsewhere")
    with pytest.raises(
        OSError, match=r"^checkpoint '.*run.ckpt' cannot be locked: .* for '.*lock'$"
    ):
        match(LATENTS, checkpoint=path)


def another(path: Path, visited: list[int]) -> bytes:
    """Put another run's checkpoint in the place of the file."""
    state = begun(path.with_name("another"), 9, 0.0)
    state.poll(3)
    state.release()
    path.with_name("another").replace(path)
    return path.read_bytes()


def test_another_runs_file_is_neither_replaced_nor_deleted(tmp_path: Path) -> None:
    for saves in (0, 1):
        path = tmp_path / f"{saves}.ckpt"
        warnings: list[str] = []
        state = begun(path, 9, 0.0, warnings.append)
        for done in range(saves):
            state.poll(done + 1)
        theirs = another(path, [1, 2, 3])
        state.poll(5)
        state.poll(6)
        assert (
            "could not be written (another run's file has appeared there, and is left"
            in warnings[0]
        )
        with pytest.raises(FileExistsError, match="is left alone"):
            state.save()
        assert not state.remove()
        assert warnings[1:] == [f"checkpoint '{path}' is another run's file now, and is left alone"]
        assert path.read_bytes() == theirs
    assert listing(tmp_path) == ["0.ckpt", "1.ckpt"]


def test_other_files_are_neither_replaced_nor_deleted(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    warnings: list[str] = []
    state = begun(path, 9, 0.0, warnings.append)
    state.poll(3)
    path.write_bytes(b"my thesis")
    state.poll(4)
    assert not state.remove()
    assert len(warnings) == 2
    assert path.read_bytes() == b"my thesis"


@pytest.mark.parametrize("change", ["touched", "copied", "deleted", "emptied"])
def test_a_runs_own_file_is_known_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "run.ckpt"
    state = begun(path, 9, 0.0)
    state.poll(3)
    if change == "touched":
        os.utime(path, (1, 1))
    elif change == "copied":
        shutil.copy(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)
    elif change == "deleted":
        path.unlink()
    else:
        os.truncate(path, 0)
    state.poll(5)
    assert read_saved(path).arrays["visited"].tolist() == [0, 1, 2, 3, 4]
    os.utime(path, (1, 1))
    assert state.remove()
    assert listing(tmp_path) == []


def test_a_resumed_file_is_the_runs_own(stopped: Path) -> None:
    os.utime(stopped, (1, 1))

    def progress(*_: object) -> None:
        os.utime(stopped, (2, 2))

    match(LATENTS, FEWER, checkpoint=stopped, progress=progress)
    assert listing(stopped.parent) == []


# ------------------------------------------------------------------------------- kinds of files


def test_an_empty_file_counts_as_none(tmp_path: Path) -> None:
    """As mktemp makes one, or a mount needs one."""
    path = tmp_path / "run.ckpt"
    path.touch(0o600)
    with pytest.raises(Stop):
        match(LATENTS, SOURCES, checkpoint=path, progress=stop_at(0.5))
    assert path.stat().st_mode & 0o777 == 0o600
    match(LATENTS, SOURCES, checkpoint=path)
    assert not path.exists()


def test_a_symbolic_link_stays(tmp_path: Path) -> None:
    """As for every other output."""
    (tmp_path / "disk").mkdir()
    link, file = tmp_path / "run.ckpt", tmp_path / "disk" / "file"
    link.symlink_to(file)
    for left in (["file"], []):
        if left:
            with pytest.raises(Stop):
                match(LATENTS, SOURCES, checkpoint=link, progress=stop_at(0.5))
        else:
            match(LATENTS, SOURCES, checkpoint=link)
        assert listing(file.parent) == left
        assert listing(tmp_path) == ["disk", "run.ckpt"]
        assert link.is_symlink()


RUN = """
import numpy as np
from gtn_label import match
class Stop(Exception): pass
def stop(*_): raise Stop
x = np.random.Generator(np.random.Philox(0)).standard_normal((3000, 8))
try:
    match(x, checkpoint="run.ckpt", progress=stop)
except Stop:
    print(open("run.ckpt", "rb").read(2))
match(x, checkpoint="run.ckpt", progress=lambda done, *_: print(done > 0))
"""


def test_a_mounted_file(tmp_path: Path) -> None:
    """It cannot be removed, and is emptied: an empty file counts as none."""
    outside, inside = tmp_path / "outside", tmp_path / "in" / "run.ckpt"
    outside.touch()
    inside.parent.mkdir()
    inside.touch()
    code, out, err = with_mount(outside, inside, [sys.executable, "-c", RUN], cwd=inside.parent)
    assert code == 0, err
    assert out.splitlines()[:2] == ["b'gt'", "True"]
    assert "checkpoint 'run.ckpt' is a mount point: it is written in place" in err
    assert "was written in place, as" not in err
    assert outside.read_bytes() == b""
    assert listing(inside.parent) == ["run.ckpt"]


def test_a_file_that_cannot_be_removed_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    path = tmp_path / "run.ckpt"
    with pytest.raises(Stop):
        match(LATENTS, SOURCES, checkpoint=path, progress=stop_at(0.5))
    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(os, "truncate", refuse)
    with pytest.warns(RuntimeWarning, match="could not be removed .*; delete it"):
        match(LATENTS, SOURCES, checkpoint=path)


def test_a_working_folder_that_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError, match=r"^checkpoint 'run.ckpt' is relative, and the w"):
        match(LATENTS, checkpoint="run.ckpt")


# --------------------------------------------------------------------------- content that changed


@pytest.fixture
def archived(stopped: Path) -> Path:
    """The same, as versions left it that rewrote the whole file: an archive with a hash."""
    saved = read_saved(stopped)
    digest = digest_of(saved.fields, saved.arrays)
    write_npz(stopped, saved.arrays, saved.fields | {"run": "00", "digest": digest})
    return stopped


def test_an_archive_is_continued_as_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "c"
    arrays = {"visited": np.arange(4)}
    write_npz(path, arrays, FIELDS | {"run": "00", "digest": digest_of(FIELDS, arrays)})
    state = begun(path, 9, 0.0)
    assert state.resumed_at == 4
    for done in (6, 7):
        state.poll(done)
        assert read_saved(path).journal is not None
        assert saved(path) == done
    assert state.remove()


def test_a_changed_prefix_is_refused(archived: Path) -> None:
    stopped = archived
    arrays, fields = read_npz(stopped)
    visited, before = arrays["visited"], stopped.read_bytes()
    rng = np.random.Generator(np.random.Philox(1))
    free = np.setdiff1d(np.arange(len(LATENTS)), visited)
    for i, j in rng.integers(0, len(visited), (20, 2)).tolist():
        if i == j:
            continue
        swapped, replaced = visited.copy(), visited.copy()
        swapped[[i, j]] = swapped[[j, i]]
        replaced[i] = free[0]
        for changed in (swapped, replaced, visited[:-1], np.append(visited, free[0])):
            write_npz(stopped, {"visited": changed}, fields)
            with pytest.raises(ValueError, match="is damaged: its content is not what was saved"):
                match(LATENTS, FEWER, checkpoint=stopped)
    for name in ("digest", "run"):
        write_npz(
            stopped, {"visited": visited[::-1]}, {k: v for k, v in fields.items() if k != name}
        )
        with pytest.raises(ValueError, match="is damaged: its content is not what was saved"):
            match(LATENTS, FEWER, checkpoint=stopped)
    stopped.write_bytes(before)
    match(LATENTS, FEWER, checkpoint=stopped)


def test_a_changed_option_is_refused(archived: Path) -> None:
    """As if the checkpoint were that of another cone."""
    arrays, fields = read_npz(archived)
    write_npz(archived, arrays, fields | {"--cone": 2})
    with pytest.raises(ValueError, match=r"is damaged: .* \(SHA-256\); delete it to start over$"):
        match(LATENTS, FEWER, checkpoint=archived, cone=2)


def test_a_changed_option_of_a_journal_is_refused(stopped: Path) -> None:
    stopped.write_bytes(stopped.read_bytes().replace(b'"--cone": 1', b'"--cone": 2'))
    message = (
        rf"^checkpoint '{stopped}' is damaged: its header is not what was saved \(SHA-256\); "
        "delete it to start over$"
    )
    with pytest.raises(ValueError, match=message):
        match(LATENTS, FEWER, checkpoint=stopped, cone=2)


@pytest.mark.parametrize("spoil", ["cut", "more", "changed"])
def test_a_spoilt_end_is_cut_off(tmp_path: Path, spoil: str) -> None:
    """As a killed machine leaves it; nothing behind a wrong hash is believed."""
    path = tmp_path / "c"
    state = begun(path, 9, 0.0)
    state.poll(3)
    first = path.read_bytes()
    state.poll(5)
    state.release()
    content = path.read_bytes()
    changed = content[:-40] + b"x" + content[-39:]
    path.write_bytes({"cut": content[:-1], "more": content + bytes(9), "changed": changed}[spoil])
    warnings: list[str] = []
    state = begun(path, 9, 0.0, warnings.append)
    done = 5 if spoil == "more" else 3
    size = path.stat().st_size - len(content if spoil == "more" else first)
    assert warnings == [
        f"checkpoint '{path}' ends in {size} bytes that are no whole save, as a run that is "
        f"killed leaves them; it continues at {done} of 9 sources"
    ]
    assert state.resumed_at == done
    state.poll(6)
    assert read_saved(path).arrays["visited"].tolist() == list(range(6))
    assert path.read_bytes().startswith(first)
    assert state.remove()


def test_a_save_appends(tmp_path: Path) -> None:
    """Of a long run, only what is new is written."""
    path = tmp_path / "c"
    state = begun(path, 10_000, 0.0)
    state.poll(9_000)
    before, inode = path.read_bytes(), path.stat().st_ino
    state.poll(9_001)
    state.release()
    assert len(path.read_bytes()) == len(before) + 8 + 8 + 32
    state = begun(path, 10_000, 0.0)
    state.poll(9_002)
    state.release()
    assert path.read_bytes()[: len(before)] == before
    assert path.stat().st_ino == inode
    assert saved(path) == 9_002


# ------------------------------------------------------------------- what is saved never shrinks


def saved(path: Path) -> int:
    return len(read_saved(path).arrays["visited"])


def test_a_count_from_the_start_is_no_progress(tmp_path: Path) -> None:
    """Saved progress only grows, whatever is reported."""
    path = tmp_path / "run.ckpt"
    begun(path, 9, 0.0).poll(5)
    state = begun(path, 9, 0.0)
    assert state.resumed_at == 5
    for done in (0, 3, 5):
        state.poll(done)
        assert (state.done, saved(path)) == (5, 5)
    state.poll(7)
    state.poll(2)
    state.stopped()
    assert saved(path) == 7


def test_a_continued_run_reports_no_less_than_it_began_with(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    groups = (np.arange(2000) % 4, np.arange(3000) % 4)
    with pytest.raises(Stop):
        match(LATENTS, FEWER, groups=groups, checkpoint=path, progress=stop_at(0.6))
    least, reports = saved(path), []
    match(
        LATENTS,
        FEWER,
        groups=groups,
        checkpoint=path,
        progress=lambda done, *_: reports.append(done),
    )
    assert min(reports) >= least > 0


def test_a_longer_prefix_of_the_same_run_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    first = begun(path, 9, 0.0)
    first.poll(3)
    shorter = path.read_bytes()
    first.poll(6)
    longer = path.read_bytes()
    first.release()
    path.write_bytes(shorter)
    second = begun(path, 9, 1e9)
    path.write_bytes(longer)
    second.done = 4
    with pytest.raises(FileExistsError, match="is left alone"):
        second.save()
    assert path.read_bytes() == longer


def test_a_restart_begins_where_the_run_began(tmp_path: Path) -> None:
    """What a run saved of itself goes, what an earlier run had decided stays."""
    path = tmp_path / "c"
    state = begun(path, 10, 0.0)
    state.poll(6)
    assert path.exists()
    state.restart()
    assert not path.exists()
    state.poll(2)
    assert len(read_saved(path).arrays["visited"]) == 2
    assert not state.removed
    state.release()
    again = begun(path, 10, 0.0)
    again.poll(7)
    again.restart()
    assert again.done == len(read_saved(path).arrays["visited"]) == 2
    again.poll(4)
    assert len(read_saved(path).arrays["visited"]) == 4
    again.ended()
    assert not path.exists()


def test_nothing_is_saved_without_the_lock(tmp_path: Path) -> None:
    """Ctrl-C after the file was removed, or left to another run."""
    path = tmp_path / "run.ckpt"
    state = begun(path, 9, 0.0)
    state.poll(9)
    assert state.remove()
    assert state.removed
    state.save()
    assert listing(tmp_path) == []


# -------------------------------------------------------------------------------------- messages


def test_names_and_values_in_messages_steer_no_terminal(stopped: Path) -> None:
    arrays, fields, *_ = read_saved(stopped)
    path = stopped.rename(stopped.with_name("a\x1b[2Jb"))
    write_npz(path, arrays, fields | {"--order": "\x1b" * 5000, "--cone": "x" * 5000})
    with pytest.raises(ValueError, match=r"a\\x1b\[2Jb' belongs to another run: ") as caught:
        match(LATENTS, FEWER, checkpoint=path)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 700
    path.write_bytes(b"PK\3\4" + bytes(26) + b"visited.npy")
    with pytest.raises(ValueError, match=r"a\\x1b\[2Jb' is truncated .*; delete it to start over$"):
        match(LATENTS, FEWER, checkpoint=path)
