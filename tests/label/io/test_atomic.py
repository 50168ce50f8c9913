"""atomic_file and check_target on files that exist: permissions, mounts, leftovers.

Failures half-way are in test_files.py.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from another_user import NOBODY, ROOT, as_nobody, needs_root, open_folder, with_mount
from command import listing
from gtn_label.io import replacing, temporary
from gtn_label.io.atomic import WrittenInPlace, atomic_file, check_target, resolved, telling
from gtn_label.io.lock import try_lock

__all__ = ["open_folder"]

IMPORTS = "from gtn_label.io.atomic import atomic_file, check_target\nimport sys\n"
WRITE = """
with atomic_file("file") as file:
    file.write(b"new")
"""
ACL = "system.posix_acl_access"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path, content: bytes = b"new") -> None:
    with atomic_file(path) as file:
        file.write(content)


# -------------------------------------------------------------------------------- permissions


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o644, 0o664, 0o606, 0o755, 0o666])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_of_a_replaced_file_is_kept(tmp_path: Path, bits: int, umask: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(bits)
    before = os.umask(umask)
    try:
        write(path)
    finally:
        os.umask(before)
    assert (path.read_bytes(), mode(path)) == (b"new", bits)


def test_nobody_reads_a_temporary_who_could_not_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o644)
    for bits in (0o600, 0o644):
        path.chmod(bits)
        with atomic_file(path) as file:
            file.write(b"new")
            (name,) = set(listing(tmp_path)) - {"file"}
            assert mode(tmp_path / name) == 0o600
    with atomic_file(path) as file:
        file.write(b"new")
        path.chmod(0o600)  # in the course of a long write
    assert mode(path) == 0o600


def test_a_file_that_must_not_be_written_is_not_replaced(open_folder: Path) -> None:
    path = open_folder / "file"
    path.write_bytes(b"old")
    if ROOT:
        os.chown(path, NOBODY, NOBODY)
    path.chmod(0o444)
    done = as_nobody(WRITE, cwd=open_folder, imports=IMPORTS)
    assert done.stderr.endswith("PermissionError: [Errno 13] Permission denied: 'file'\n")
    done = as_nobody("check_target('file', '--out')", cwd=open_folder, imports=IMPORTS)
    assert done.stderr.endswith(
        "PermissionError: --out must be a file that can be written to, and 'file' is not: "
        "Permission denied\n"
    )
    assert (path.read_bytes(), mode(path), listing(open_folder)) == (b"old", 0o444, ["file"])


@needs_root
def test_root_may_write_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o444)
    check_target(path, "--out")
    write(path)
    assert (path.read_bytes(), mode(path)) == (b"new", 0o444)


@needs_root
def test_root_keeps_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 2345, 0o640)


@needs_root
def test_another_group_gets_no_more_than_all_had(open_folder: Path) -> None:
    path = open_folder / "file"
    for bits, left in ((0o662, 0o622), (0o666, 0o666), (0o646, 0o646)):
        path.unlink(missing_ok=True)
        path.write_bytes(b"old")
        path.chmod(bits)
        done = as_nobody(WRITE, cwd=open_folder, imports=IMPORTS)
        assert done.stderr == ""
        assert path.read_bytes() == b"new"
        assert (path.stat().st_uid, mode(path)) == (NOBODY, left)


def acl(user: int, bits: int) -> bytes:
    """An access control list by which one more user may read a file."""
    nobody = 0xFFFFFFFF
    entries = ((1, 6, nobody), (2, bits, user), (4, 0, nobody), (16, bits, nobody), (32, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="needs extended attributes")
def test_access_control_lists_and_attributes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    try:
        os.setxattr(path, ACL, acl(1234, 4))
        os.setxattr(path, "user.origin", b"a text")
    except OSError as error:
        pytest.skip(f"this file system has none: {error.strerror}")
    before = os.getxattr(path, ACL)
    write(path)
    assert os.getxattr(path, ACL) == before
    assert os.getxattr(path, "user.origin") == b"a text"
    assert mode(path) == 0o640


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="needs extended attributes")
def test_the_folders_list_opens_no_private_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o640)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", acl(1234, 6))
    except OSError as error:
        pytest.skip(f"this file system has none: {error.strerror}")
    write(path)
    assert mode(path) == 0o640
    assert ACL not in os.listxattr(path)
    write(tmp_path / "new")
    assert ACL in os.listxattr(tmp_path / "new"), "as for every new file in this folder"


# -------------------------------------------------------------------------- files not replaced


def refusing(code: int):
    def replace(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return replace


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES])
@pytest.mark.parametrize("old", [b"", b"old", b"much longer than the new content"])
def test_a_file_that_cannot_be_renamed_over_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, old: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(old)
    path.chmod(0o640)
    (tmp_path / "other name").hardlink_to(path)
    monkeypatch.setattr(os, "replace", refusing(code))
    with pytest.warns(
        WrittenInPlace, match=r"file' was written in place, as it cannot be replaced"
    ):
        write(path)
    assert (tmp_path / "other name").read_bytes() == b"new"
    assert mode(path) == 0o640
    assert listing(tmp_path) == ["file", "other name"]
    with pytest.raises(OSError, match=f"'{tmp_path}/absent'"):
        write(tmp_path / "absent")
    assert listing(tmp_path) == ["file", "other name"]


def test_a_full_disk_leaves_a_file_that_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, start: int, count: int) -> None:
        os.truncate(descriptor, count)  # as much as there was
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", refusing(errno.EBUSY))
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"No space left on device: '.*file'"):
        write(path, b"something longer")
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["file"]


def test_messages_about_it_can_be_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()
    told: list[str] = []
    monkeypatch.setattr(os, "replace", refusing(errno.EBUSY))
    with telling(told.append):
        write(path)
    assert told == [f"'{path}' was written in place, as it cannot be replaced: {os.strerror(16)}"]


@pytest.mark.parametrize("name", ["file", "a name with spaces", "back\\slash", "line\nbreak", "é"])
def test_mount_points_are_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.touch()
    escaped = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in str(path))
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 2 3:4 / / rw - ext4 x rw\n5 1 3:4 /a {escaped} rw - ext4 x rw\n")
    monkeypatch.setattr(replacing, "_MOUNTS", mounts)
    with pytest.warns(WrittenInPlace, match=r"(?s)^--out '.*' is a mount point: it is written in"):
        check_target(path, "--out")
    path.rename(tmp_path / "other")
    check_target(tmp_path / "other", "--out")
    assert listing(tmp_path) == ["mountinfo", "other"]


def test_a_mounted_file(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "in" / "file name"
    outside.write_bytes(b"old")
    outside.chmod(0o640)
    inside.parent.mkdir()
    inside.touch()
    script = (
        IMPORTS + "check_target('file name', '--out')\n" + WRITE.replace('"file"', '"file name"')
    )
    code, _, err = with_mount(outside, inside, [sys.executable, "-c", script], cwd=inside.parent)
    assert code == 0, err
    assert "WrittenInPlace: --out 'file name' is a mount point: it is written in place" in err
    assert "'file name' was written in place, as it cannot be replaced: Device or resource" in err
    assert (outside.read_bytes(), mode(outside)) == (b"new", 0o640)
    assert listing(inside.parent) == ["file name"]


@needs_root
@pytest.mark.parametrize("flag", ["i", "a"])
def test_an_immutable_file_is_refused_before(tmp_path: Path, flag: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        made = subprocess.run(["chattr", f"+{flag}", path], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs chattr")
    if made.returncode != 0:
        pytest.skip(f"this file system has no such flag: {made.stderr.decode().strip()}")
    try:
        with pytest.raises(PermissionError, match="--out must be a file that can be written to"):
            check_target(path, "--out")
        with pytest.raises(PermissionError, match=f"not permitted: '{path}'"):
            write(path)
    finally:
        subprocess.run(["chattr", f"-{flag}", path], check=True)
    assert (path.read_bytes(), listing(tmp_path)) == (b"old", ["file"])


@needs_root
def test_anothers_file_in_a_sticky_folder(open_folder: Path) -> None:
    open_folder.chmod(0o1777)
    path = open_folder / "file"
    path.touch()
    path.chmod(0o666)
    script = "check_target('file', '--out')\n" + WRITE
    done = as_nobody(script, cwd=open_folder, imports=IMPORTS)
    assert done.returncode == 0, done.stderr
    assert "--out 'file' is another user's, in a folder with the sticky bit: it is" in done.stderr
    assert "'file' was written in place, as it cannot be replaced" in done.stderr
    assert (path.read_bytes(), path.stat().st_uid) == (b"new", 0)
    assert listing(open_folder) == ["file"]


def test_a_file_in_a_read_only_folder_is_refused_before(open_folder: Path) -> None:
    path = open_folder / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    open_folder.chmod(0o555)
    done = as_nobody("check_target('file', '--out')", cwd=open_folder, imports=IMPORTS)
    open_folder.chmod(0o777)
    assert "PermissionError: --out must be in a folder that can be written to" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_devices_and_pipes_are_refused_before(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="--out must be a regular file, and '/dev/full' is none"):
        check_target("/dev/full", "--out")
    (tmp_path / "link").symlink_to("/dev/stdout")
    script = IMPORTS + "check_target(sys.argv[1], '--out')"
    for path in ("/dev/stdout", tmp_path / "link"):
        command = [sys.executable, "-c", script, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"OSError: --out must be a regular file, and '{path}' is none" in done.stderr
        with (tmp_path / "log").open("wb") as log:
            done = subprocess.run(
                command, stdout=log, stderr=subprocess.PIPE, text=True, check=False
            )
        rule = "--out must be a file of its own, and '{}' is where standard output goes"
        assert rule.format(path) in done.stderr
    assert listing(tmp_path) == ["link", "log"]


# ----------------------------------------------------------------------------------- leftovers

KILLED = (
    IMPORTS
    + """
import time
with atomic_file(sys.argv[1]) as file:
    file.write(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""
)


def writer(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def leftovers(folder: Path) -> list[str]:
    return [name for name in listing(folder) if name.startswith(".gtn-label-")]


@pytest.mark.parametrize("name", ["pairs.npz", "n" * 255, "ünï" * 30, "a-1234abcd", "%*[a]?"])
@pytest.mark.parametrize("again", [write, lambda path: check_target(path, "--out")])
def test_what_a_killed_write_left_is_removed_by_the_next(tmp_path: Path, name: str, again) -> None:
    path = tmp_path / name
    process = writer(path)
    (left,) = leftovers(tmp_path)
    assert left.startswith(f".gtn-label-{name[:20]}")
    write(path, b"meanwhile")
    assert leftovers(tmp_path) == [left], "it is being written"
    process.kill()
    process.communicate()
    write(tmp_path / "other")
    write(tmp_path / (name[:200] + "x"))
    assert leftovers(tmp_path) == [left], "it is another file's"
    again(path)
    assert leftovers(tmp_path) == []


def test_what_other_hosts_left_is_removed_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks of a network file system may be known to their own host only."""
    path = tmp_path / "file"
    with monkeypatch.context() as patch:
        patch.setattr(temporary, "_host", lambda: "0123abcd")
        left, descriptor = temporary.create_temporary(path, 0o600)
    write(path)
    assert left.exists()
    yesterday = time.time() - 90_000
    os.utime(left, (yesterday, yesterday))
    write(path)
    assert left.exists(), "it is locked"
    os.close(descriptor)
    os.utime(left, (yesterday, yesterday))
    write(path)
    assert listing(tmp_path) == ["file"]


def test_without_locks_only_old_ones_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary, "try_lock", lambda descriptor: None)
    left, descriptor = temporary.create_temporary(tmp_path / "file", 0o600)
    write(tmp_path / "file")
    assert left.exists()
    os.close(descriptor)
    os.utime(left, (0, 0))
    write(tmp_path / "file")
    assert listing(tmp_path) == ["file"]


def test_a_temporary_that_was_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process looks between its creation and its lock."""
    calls = []

    def lock(descriptor: int) -> bool | None:
        if not calls:
            calls.append(descriptor)
            temporary.remove_stale(tmp_path / "file")
            assert listing(tmp_path) == []
        return try_lock(descriptor)

    monkeypatch.setattr(temporary, "try_lock", lock)
    write(tmp_path / "file")
    assert listing(tmp_path) == ["file"]


def test_files_of_similar_names_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path_left, descriptor = temporary.create_temporary(path, 0o600)
    os.close(descriptor)
    names = [f"{path_left.name}.bak", path_left.name.replace("file", "file2"), ".gtn-label-00.tmp"]
    for name in names:
        (tmp_path / name).touch()
    os.mkfifo(path_left.with_name(path_left.name[:-12] + "00000000.tmp"))
    write(path)
    assert not path_left.exists()
    assert len(listing(tmp_path)) == 5


# ------------------------------------------------------------------------------------- folders


def test_a_working_folder_that_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for call in (
        lambda: write(Path("file")),
        lambda: check_target("file", "--out"),
        lambda: resolved("file"),
    ):
        with pytest.raises(
            FileNotFoundError, match=r"'file' is relative, and the working folder no"
        ):
            call()
    write(tmp_path / "file")


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(ValueError, match=r"^--out must be a path, and 'a\\x00b' is none$"):
        check_target("a\0b", "--out")
