"""The number of threads: what decides it, in a tree of files that stands for /proc and /sys."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from gtn_label import ArgumentError, match, match_mixture, threads

V2 = "0::/pod/app\n"
V2_MOUNT = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "7:blkio:/\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
V1_MOUNT = (
    "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def gaussian(n: int, dim: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)


def tree(root, **files):
    """Write files below a folder; "__" in a name stands for "/"."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def system(root, membership, mounts):
    tree(root, proc__self__cgroup=membership, proc__self__mountinfo=mounts)
    return root


class TestQuota:
    def test_version_2(self, tmp_path):
        system(tmp_path, V2, V2_MOUNT)
        group = tmp_path / "sys/fs/cgroup/pod/app"
        group.mkdir(parents=True)
        assert threads.cpu_quota(tmp_path) is None
        (group / "cpu.max").write_text("max 100000\n")
        assert threads.cpu_quota(tmp_path) is None
        (group / "cpu.max").write_text("50000 100000\n")
        assert threads.cpu_quota(tmp_path) == 0.5

    @pytest.mark.parametrize("level", ["pod/app", "pod", "."])
    def test_a_limit_of_any_group_above_counts(self, tmp_path, level):
        system(tmp_path, V2, V2_MOUNT)
        group = tmp_path / "sys/fs/cgroup"
        (group / "pod/app").mkdir(parents=True)
        (group / "pod/app/cpu.max").write_text("900000 100000\n")
        (group / level / "cpu.max").write_text("250000 100000\n")
        assert threads.cpu_quota(tmp_path) == 2.5

    def test_version_1(self, tmp_path):
        system(tmp_path, V1, V1_MOUNT)
        group = tmp_path / "sys/fs/cgroup/cpu,cpuacct/docker/abc"
        group.mkdir(parents=True)
        (group / "cpu.cfs_quota_us").write_text("-1\n")
        (group / "cpu.cfs_period_us").write_text("100000\n")
        assert threads.cpu_quota(tmp_path) is None
        (group / "cpu.cfs_quota_us").write_text("150000\n")
        assert threads.cpu_quota(tmp_path) == 1.5

    def test_a_container_that_sees_its_own_part_of_the_hierarchy(self, tmp_path):
        mount = "32 24 0:28 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
        system(tmp_path, V1, mount)
        tree(
            tmp_path / "sys/fs/cgroup/cpu",
            **{"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"},
        )
        assert threads.cpu_quota(tmp_path) == 3

    @pytest.mark.parametrize("membership", ["0::/../other\n", "0::/elsewhere\n"])
    def test_a_group_outside_the_mount_has_the_limit_of_the_mount(self, tmp_path, membership):
        mount = r"30 24 0:26 /pod /my\040groups rw - cgroup2 cgroup2 rw" + "\n"
        system(tmp_path, membership, mount)
        tree(tmp_path / "my groups", **{"cpu.max": "100000 100000"})
        assert threads.cpu_quota(tmp_path) == 1

    @pytest.mark.parametrize("text", ["", "100000", "a b", "1 0", "max max"])
    def test_damaged_limits_are_none(self, tmp_path, text):
        system(tmp_path, V2, V2_MOUNT)
        tree(tmp_path / "sys/fs/cgroup/pod/app", **{"cpu.max": text})
        assert threads.cpu_quota(tmp_path) is None

    def test_no_proc(self, tmp_path):
        assert threads.cpu_quota(tmp_path) is None

    def test_this_machine(self):
        quota = threads.cpu_quota()
        assert quota is None or quota > 0


@pytest.fixture
def four_cpus(monkeypatch):
    """A machine of four CPUs without quota and variables."""
    monkeypatch.setattr(threads, "usable_cpus", lambda: 4)
    monkeypatch.setattr(threads, "_recent_quota", lambda second: None)
    monkeypatch.delenv("GTN_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.usefixtures("four_cpus")
class TestWhatDecides:
    def default(self):
        found = threads.default_threads()
        return int(found), found.decided_by

    def test_cpus(self):
        assert self.default() == (4, "cpus")

    @pytest.mark.parametrize(
        ("quota", "expected"),
        [
            (0.5, (1, "cgroup quota")),
            (1.0, (1, "cgroup quota")),
            (2.1, (3, "cgroup quota")),
            (4.0, (4, "cpus")),
            (64.0, (4, "cpus")),
        ],
    )
    def test_a_quota_is_rounded_up(self, monkeypatch, quota, expected):
        monkeypatch.setattr(threads, "_recent_quota", lambda second: quota)
        assert self.default() == expected

    @pytest.mark.parametrize(
        ("value", "expected"),
        [("3", 3), (" 3 ", 3), ("3,2,1", 3), ("", 4), ("0", 4), ("-1", 4), ("two", 4), ("2.5", 4)],
    )
    def test_openmp_variable(self, monkeypatch, value, expected):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert self.default() == (expected, "OMP_NUM_THREADS" if expected == 3 else "cpus")

    def test_own_variable_comes_first(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        monkeypatch.setenv("GTN_NUM_THREADS", "2")
        assert self.default() == (2, "GTN_NUM_THREADS")
        monkeypatch.setenv("GTN_NUM_THREADS", "")
        assert self.default() == (3, "OMP_NUM_THREADS")

    @pytest.mark.parametrize("value", ["0", "-1", "two", "2,1", "1e3", "²"])
    def test_an_unusable_own_variable_is_an_error(self, monkeypatch, value):
        monkeypatch.setenv("GTN_NUM_THREADS", value)
        with pytest.raises(ArgumentError) as error:
            match(gaussian(9, 2))
        assert str(error.value) == f"GTN_NUM_THREADS must be an integer >= 1, got {value!r}"

    def test_the_argument_wins(self, monkeypatch):
        monkeypatch.setenv("GTN_NUM_THREADS", "none of yours")
        stats = match(gaussian(30, 3), threads=2).stats
        assert (stats["threads"], stats["threads_from"]) == (2, "argument")

    def test_more_than_could_help_are_not_started(self, monkeypatch):
        monkeypatch.setattr(threads, "MOST_THREADS", 3)
        monkeypatch.setattr(threads, "usable_cpus", lambda: 0)
        assert match(gaussian(300, 6), threads=10**25).stats["threads"] == 3

    @pytest.mark.parametrize("verb", [match, match_mixture])
    def test_stats_say_the_number_and_what_decided(self, monkeypatch, verb):
        assert verb(gaussian(30, 3)).stats["threads_from"] == "cpus"
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        stats = verb(gaussian(30, 3)).stats
        assert (stats["threads"], stats["threads_from"]) == (3, "OMP_NUM_THREADS")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_affinity_is_respected(monkeypatch):
    monkeypatch.delenv("GTN_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert threads.usable_cpus() == 1
        stats = match(gaussian(30, 3)).stats
    finally:
        os.sched_setaffinity(0, before)
    assert (stats["threads"], stats["threads_from"]) == (1, "cpus")


REFUSED = """
import resource
import numpy as np
from gtn_label import match

latents = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
expected = match(latents, threads=1).assignment
with open("/proc/self/statm") as file:
    pages = int(file.read().split()[0])
room = pages * resource.getpagesize() + (64 << 20)  # a few stacks of 8 MiB
resource.setrlimit(resource.RLIMIT_AS, (room, room))
m = match(latents, threads=60)
print(1 <= m.stats["threads"] < 60, m.stats["threads_from"], (m.assignment == expected).all())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_a_system_that_refuses_threads_gives_fewer():
    child = subprocess.run(
        [sys.executable, "-c", REFUSED], capture_output=True, text=True, check=False
    )
    assert child.stdout == "True system limit True\n", child.stderr
