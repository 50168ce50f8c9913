"""FileLock: who holds it, who gets it next, and what is left."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gtn_label.io.lock import FileLock, Locked

HOLD = """
import os, sys, time
from pathlib import Path
from gtn_label.io.lock import FileLock
lock = FileLock(Path("file.lock"))
assert lock.acquire()
{then}
print("held", flush=True)
time.sleep(60)
"""


def holder(folder: Path, then: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(then=then)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.lock"


def test_one_at_a_time_and_nothing_is_left(path: Path) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.acquire()
    with pytest.raises(Locked, match=r"^this process$"):
        second.acquire()
    first.release()
    assert not path.exists()
    assert second.acquire()
    second.release()
    second.release()
    assert not path.exists()


def test_threads_exclude_each_other(path: Path) -> None:
    got = []

    def work() -> None:
        try:
            got.append(FileLock(path).acquire())
        except Locked as error:
            got.append(str(error))

    lock = FileLock(path)
    lock.acquire()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert got == ["this process"]
    lock.release()


def test_a_killed_process_frees_it(path: Path) -> None:
    process = holder(path.parent)
    lock = FileLock(path)
    with pytest.raises(Locked, match=rf"^process {process.pid}$"):
        lock.acquire()
    process.kill()
    process.communicate()
    assert path.exists()
    assert lock.acquire()
    lock.release()
    assert not path.exists()


def test_a_child_that_outlives_a_killed_process_does_not_hold_it(path: Path) -> None:
    # The child says itself that it is past the fork.
    then = "if os.fork() == 0:\n    Path('new').write_text(str(os.getpid()))"
    then += "\n    os.rename('new', 'child')\n    time.sleep(60)"
    then += "\nwhile not Path('child').exists(): time.sleep(0.01)"
    process = holder(path.parent, then)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    child = int((path.parent / "child").read_text())
    try:
        os.kill(child, 0)
        lock = FileLock(path)
        assert lock.acquire()
        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_that_exits_leaves_the_parents_lock(path: Path) -> None:
    then = "child = os.fork()\nif child == 0: sys.exit()\nos.waitpid(child, 0)"
    process = holder(path.parent, then)
    with pytest.raises(Locked):
        FileLock(path).acquire()
    process.kill()
    process.communicate()


def test_the_end_of_the_object_and_of_the_process_free_it(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire()
    del lock
    gc.collect()
    assert not path.exists()
    script = HOLD.format(then="").replace("time.sleep(60)", "raise ValueError")
    subprocess.run(
        [sys.executable, "-c", script], cwd=path.parent, capture_output=True, check=False
    )
    assert not path.exists()


def test_a_lock_on_a_file_that_was_removed_counts_for_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder before ends between our opening of its file and our lock."""
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    real: Callable[[int, int], None] = fcntl.flock
    calls = []

    def flock(descriptor: int, how: int) -> None:
        if not calls:
            first.release()
        calls.append(descriptor)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert second.acquire()
    assert len(calls) == 2
    with pytest.raises(Locked):
        FileLock(path).acquire()
    second.release()
    assert not path.exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def none(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", none)
    assert not FileLock(path).acquire()
    assert not path.exists()


def test_a_link_in_its_place_is_not_followed(path: Path) -> None:
    """Names are predictable, and folders such as /tmp are everybody's."""
    victim = path.with_name("victim")
    victim.write_bytes(b"content")
    path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        FileLock(path).acquire()
    path.unlink()
    path.hardlink_to(victim)
    lock = FileLock(path)
    assert lock.acquire()
    assert victim.read_bytes() == b"content"
    lock.release()


def test_a_lock_file_can_be_kept(path: Path) -> None:
    lock = FileLock(path, remove=False)
    lock.acquire()
    assert path.read_bytes() != b""
    lock.release()
    assert path.read_bytes() == b"", "folders of refused runs stay as they were"
    assert FileLock(path).acquire()


def test_content_of_others_is_no_holder(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire()
    for content, said in (
        (b"\xff\xfe", ""),
        (b"x y", ""),
        (b"7 elsewhere\n", "process 7 on elsewhere"),
    ):
        path.write_bytes(content)
        with pytest.raises(Locked) as caught:
            FileLock(path).acquire()
        assert str(caught.value) == said
    lock.release()


def test_signals_free_it(path: Path) -> None:
    process = holder(path.parent)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    lock = FileLock(path)
    assert lock.acquire()
    lock.release()
