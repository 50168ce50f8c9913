"""The number of CPU threads of a run, and what decided it.

The first of these counts: the argument, GTN_NUM_THREADS, OMP_NUM_THREADS, and the CPUs that the
process may use by its affinity mask and the CPU quota of its control groups (Linux).
"""

from __future__ import annotations

import functools
import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from .checks import as_integer
from .errors import ArgumentError

MOST_THREADS = 64  # or four a CPU, if that is more: others would only be created and joined
OWN_VARIABLE = "GTN_NUM_THREADS"
OPENMP_VARIABLE = "OMP_NUM_THREADS"

_MOUNT = re.compile(
    r"\S+ \S+ \S+ (?P<root>\S+) (?P<point>\S+) .*? - (?P<type>cgroup2?) \S+ (?P<options>\S+)"
)


class Threads(int):
    """A number of threads to start.

    Attributes
    ----------
    decided_by : str
        "argument", "GTN_NUM_THREADS", "OMP_NUM_THREADS", "cgroup quota" or "cpus" (those that the
        affinity mask allows).
    """

    decided_by: str

    def __new__(cls, count: int, decided_by: str) -> Threads:
        """Limit the count to MOST_THREADS, or to four a CPU if that is more."""
        threads = super().__new__(cls, min(count, max(MOST_THREADS, 4 * usable_cpus())))
        threads.decided_by = decided_by
        return threads


def check_threads(threads: Any, name: str = "threads") -> Threads:
    """Return the number of threads to start, by default `default_threads()`."""
    if isinstance(threads, Threads):
        return threads
    if threads is None:
        return default_threads()
    return Threads(as_integer(threads, name, 1), "argument")


def default_threads() -> Threads:
    """Return the number of threads where the caller gave none.

    An unusable value of OMP_NUM_THREADS, which is meant for other libraries too, is ignored.

    Raises
    ------
    ArgumentError
        If GTN_NUM_THREADS is set, and is no integer >= 1.
    """
    own = os.environ.get(OWN_VARIABLE, "").strip()
    if own:
        count = _positive(own)
        if count is None:
            raise ArgumentError(OWN_VARIABLE, "must be an integer >= 1", repr(own))
        return Threads(count, OWN_VARIABLE)
    # A list has a number for each level of nested parallel regions.
    count = _positive(os.environ.get(OPENMP_VARIABLE, "").partition(",")[0].strip())
    if count is not None:
        return Threads(count, OPENMP_VARIABLE)
    return machine_threads()


def machine_threads() -> Threads:
    """Return a thread for each CPU that this process may use, by its affinity and its quota."""
    cpus = usable_cpus()
    quota = _recent_quota(int(time.monotonic()))
    if quota is not None and quota < cpus:
        return Threads(max(1, math.ceil(quota)), "cgroup quota")
    return Threads(cpus, "cpus")


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPUs that control groups allow this process; None without a limit.

    The smallest quota counts, from the process's own group up to the root of its hierarchy.

    Parameters
    ----------
    root : Path
        Folder that holds `proc` and the mount points.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except (OSError, UnicodeDecodeError):  # not Linux, or no /proc
        return None
    quotas = [
        quota
        for membership in memberships
        for folder in _folders(membership, mounts, root)
        if (quota := _quota_of(folder)) is not None
    ]
    return min(quotas, default=None)


@functools.lru_cache(maxsize=1)
def _recent_quota(second: int) -> float | None:
    """Read the quota once a second at most: small matchings take less time than the reading."""
    return cpu_quota()


def _folders(membership: str, mounts: list[str], root: Path) -> Iterator[Path]:
    """Yield the folders of a group, from its own up to the mount point.

    `membership` is a line of /proc/self/cgroup, "0::/path" in version 2 and
    "4:cpu,cpuacct:/path" in version 1.
    """
    _, controllers, path = membership.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return
    for line in mounts:
        mount = _MOUNT.fullmatch(line)
        if mount is None or (mount["type"] == "cgroup2") != (not controllers):
            continue
        if controllers and "cpu" not in mount["options"].split(","):
            continue
        point = root / _unescaped(mount["point"]).lstrip("/")
        try:
            below = PurePosixPath(path).relative_to(_unescaped(mount["root"]))
        except ValueError:  # the mount shows another part of the hierarchy: a container's
            below = PurePosixPath()
        if ".." in below.parts:
            below = PurePosixPath()
        for part in (below, *below.parents):
            yield point / part


def _quota_of(folder: Path) -> float | None:
    """Return the CPUs that one group allows."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        share = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None
    return share if share > 0 else None  # -1 is no limit


def _unescaped(path: str) -> str:
    r"""Decode the octal escapes of mountinfo, such as "\040" for a space."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _positive(text: str) -> int | None:
    """Return an integer >= 1 written in decimal digits, else None."""
    count = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0
    return count or None
