"""Two hosts, made of network namespaces, of which one is cut off in the middle of a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gtn_label import match
from gtn_label.cluster import match_sharded
from gtn_label.io.journal import CHOICES, Journal

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 4.0  # limit of a collective

RANK = """
import sys, time
import numpy as np
from gtn_label.cluster import RunJournal, TorchExchange, match_sharded, matching

class Slow(TorchExchange):
    count = 0

    def all_gather(self, send, recv):
        super().all_gather(send, recv)
        self.count += 1
        if self.count > 60:
            time.sleep(0.05)
        if self.count == 90:
            print("searching", flush=True)

matching.CHUNK = 20
rows = np.load(sys.argv[1])
began = None
try:
    with Slow(timeout=float(sys.argv[3])) as exchange:
        index = np.arange(exchange.rank, len(rows), 2)
        match_sharded(rows[index], index=index, seed=3, exchange=exchange,
                      journal=RunJournal(sys.argv[2], 0.0))
except RuntimeError as error:
    print(error, flush=True)
    sys.exit(7)
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts():
    """Names of two namespaces that reach each other at 10.77.0.1 and 10.77.0.2."""
    names = [f"gtn{side}{os.getpid()}" for side in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "name", "veth0",
           "netns", names[1])  # fmt: skip
        for number, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "veth0")
            ip("-n", name, "link", "set", "veth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        _remove(names)
        pytest.skip(f"network namespaces cannot be made here: {error}")
    yield names
    _remove(names)


def _remove(names):
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.slow
def test_a_host_that_is_cut_off(tmp_path, hosts):
    pytest.importorskip("torch.distributed")
    rows = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    journal = tmp_path / "run.journal"
    ranks = []
    for rank, name in enumerate(hosts):
        variables = {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "10.77.0.1",
            "MASTER_PORT": "29500",
            "GLOO_SOCKET_IFNAME": "veth0",
            "TP_SOCKET_IFNAME": "veth0",
            "OMP_NUM_THREADS": "1",
        }
        arguments = [str(tmp_path / "rows.npy"), str(journal), str(SECONDS)]
        ranks.append(
            subprocess.Popen(
                ["ip", "netns", "exec", name, sys.executable, "-c", RANK, *arguments],
                env={**os.environ, **variables},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    assert ranks[0].stdout.readline() == "searching\n"
    ip("-n", hosts[1], "link", "set", "veth0", "down")
    began = time.monotonic()
    printed = [rank.communicate(timeout=120)[0] for rank in ranks]
    took = time.monotonic() - began
    assert [rank.returncode for rank in ranks] == [7, 7], printed
    assert all("has lost the other ranks" in text for text in printed), printed
    assert took < 6 * SECONDS
    expected = match(rows, seed=3)
    found, saved = Journal.read(journal, CHOICES)
    assert 0 < found.count < 600
    np.testing.assert_array_equal(saved["latent"], expected.visited[: found.count])
    again = match_sharded(rows, seed=3, journal=journal)
    assert again.stats["resumed_at"] == found.count
    np.testing.assert_array_equal(again.assignment, expected.assignment)
    np.testing.assert_array_equal(again.cosine, expected.cosine)
