"""Replacing an existing file: permission to write, what the new file keeps of it, ways to do it.

A rename is whole or nothing. Where the system refuses one (a mount point such as a file that a
container was given, another user's file in a folder with the sticky bit), the finished bytes are
copied over the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from pathlib import Path

__all__ = ["inherit", "replace", "status_if_writable", "why_in_place"]

_NOT_RENAMED = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MOUNTS = Path("/proc/self/mountinfo")
_ACL = "system.posix_acl_access"


def status_if_writable(target: Path) -> os.stat_result | None:
    """Return the status of a file that may be written in place, or None if there is no file.

    Opening is the only sure test: it knows of permissions, ACLs, the rights of root, immutable
    files and read-only media. A rename would ask for the permissions of the folder only.

    Raises
    ------
    OSError
        If the file must not be written.
    """
    try:
        descriptor = os.open(target, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def inherit(descriptor: int, target: Path, before: os.stat_result) -> None:
    """Give a temporary the mode of the file that it replaces, and as much else as is permitted.

    That is: owner and group, the POSIX access control list, and extended attributes of users.
    Where the group or the list cannot be kept, the group gets no more than all others had.

    Parameters
    ----------
    descriptor
        The temporary, which only its owner can read so far.
    target, before
        The file, and its status when writing began.
    """
    if not hasattr(os, "fchown"):  # Windows
        return
    with contextlib.suppress(FileNotFoundError):
        before = target.stat()  # somebody may have changed the mode meanwhile
    mode = stat.S_IMODE(before.st_mode) & 0o777
    kept = _keep_owner(descriptor, before)
    if hasattr(os, "listxattr"):
        kept = _keep_acl(descriptor, target if kept else None) and kept
        _keep_attributes(descriptor, target)
    if not kept:
        mode = mode & 0o707 | mode & (mode & 0o007) << 3
    with contextlib.suppress(OSError):  # a file system without modes
        os.fchmod(descriptor, mode)  # last: from here on others can read the file


def _keep_owner(descriptor: int, before: os.stat_result) -> bool:
    """Keep owner and group; return False if the group is another one."""
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(descriptor, before.st_uid, before.st_gid)
        except OSError:
            with contextlib.suppress(OSError):
                os.fchown(descriptor, -1, before.st_gid)
    return os.fstat(descriptor).st_gid == before.st_gid


def _keep_acl(descriptor: int, target: Path | None) -> bool:
    """Keep the access control list, and none that the folder gives; return False if that fails."""
    try:
        wanted = None if target is None else os.getxattr(target, _ACL)
    except OSError:  # it has none
        wanted = None
    try:
        if wanted is not None:
            os.setxattr(descriptor, _ACL, wanted)
            return True
        os.removexattr(descriptor, _ACL)
    except OSError:
        return wanted is None
    return True


def _keep_attributes(descriptor: int, target: Path) -> None:
    with contextlib.suppress(OSError):
        for name in os.listxattr(target):
            if name.startswith("user."):
                os.setxattr(descriptor, name, os.getxattr(target, name))


def why_in_place(target: Path, before: os.stat_result) -> str | None:
    """Say why an existing file cannot be renamed over, as far as can be known before."""
    if _is_mount_point(target, before):
        return "is a mount point"
    folder = target.parent.stat()
    if hasattr(os, "geteuid") and folder.st_mode & stat.S_ISVTX:
        user = os.geteuid()
        if user not in (0, before.st_uid, folder.st_uid):
            return "is another user's, in a folder with the sticky bit"
    return None


def _is_mount_point(target: Path, status: os.stat_result) -> bool:
    try:
        mounts = _MOUNTS.read_bytes().splitlines()
    except OSError:  # not Linux
        return status.st_dev != target.parent.stat().st_dev
    # Devices say too little here: a mount may be of the same one, and overlayfs has several.
    wanted = os.fsencode(target)
    return any(
        re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), line.split(b" ")[4])
        == wanted
        for line in mounts
    )


def replace(temporary: Path, target: Path, before: os.stat_result | None) -> str | None:
    """Move a finished temporary to its target, which existed if `before` is given.

    Returns
    -------
    str or None
        None if the target was replaced as a whole; else the system's reason why the bytes had to be
        copied over the old ones. The temporary is then still there.
    """
    try:
        os.replace(temporary, target)
    except OSError as error:
        if before is None or error.errno not in _NOT_RENAMED:
            raise
        _copy_over(temporary, target)
        return error.strerror
    return None


def _copy_over(source: Path, target: Path) -> None:
    """Write the bytes of one file into another; a full disk is noticed before the old ones go."""
    with source.open("rb") as new, os.fdopen(os.open(target, os.O_WRONLY), "wb") as old:
        had, size = os.fstat(old.fileno()).st_size, os.fstat(new.fileno()).st_size
        try:
            if size > had and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(old.fileno(), 0, size)
        except OSError as error:
            if error.errno in _FULL:
                os.ftruncate(old.fileno(), had)
                raise
        shutil.copyfileobj(new, old, 1 << 20)
        old.flush()
        os.ftruncate(old.fileno(), size)
        os.fsync(old.fileno())
