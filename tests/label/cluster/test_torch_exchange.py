"""TorchExchange over gloo on this machine: bits, kills, Ctrl-C, a time limit, refusals.

Everything that makes a process group runs in a process of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gtn_label import ArgumentError
from gtn_label.cluster import TorchExchange, torch_exchange
from gtn_label.cluster.torch_exchange import check_restarts

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    pytest.importorskip("torch.distributed")
    for name in (*VARIABLES, "TORCHELASTIC_MAX_RESTARTS", torch_exchange.SHARED_STORE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests'}:{ROOT}")


def python(*arguments):
    """Run Python in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_and_interrupted_ranks_lose_nothing():
    printed = python("-m", "tests.kill_sharded", "--kills", "6", "--seed", "3")
    assert re.search(r"^6 kills, 0 lost: \d+ runs ended with the right bits", printed, re.M)


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_collectives_optimal_transport_and_a_time_limit():
    printed = python(
        "-c",
        """
import os, time
import numpy as np
import torch.distributed as dist
from gtn_label import match_optimal
from gtn_label.cluster import TorchExchange, match_optimal_sharded
from gtn_label.cluster.exchange import gather_rows, hand_out
from tests.kill_sharded import free_port

def work(rank):
    with TorchExchange() as exchange:
        assert (exchange.rank, exchange.world) == (rank, 2)
        parts = gather_rows(exchange, np.arange(3 * rank))
        assert [part.tolist() for part in parts] == [[], [0, 1, 2]]
        sent, received = memoryview(bytes([rank, 7])), bytearray(4)
        exchange.all_gather(sent, memoryview(received))
        assert bytes(received) == bytes([0, 7, 1, 7])
        exchange.all_to_all(memoryview(bytes([rank, 7, 9, rank])), memoryview(received))
        assert bytes(received) == (bytes([0, 7, 1, 7]) if rank == 0 else bytes([9, 0, 9, 1]))
        array = np.full(5, rank)
        hand_out(exchange, array, root=1)
        assert (array == 1).all()
        part = match_optimal_sharded(rows[rank::2], index=places[rank::2], exchange=exchange)
        assert (part.assignment == whole.assignment[part.source_index]).all()
        assert (part.prices == whole.prices[rank::2]).all()
        assert (part.gap, part.cost) == (whole.gap, whole.cost)
    assert not dist.is_initialized()
    try:
        exchange.all_gather(sent, memoryview(received))
    except RuntimeError as error:
        assert "the exchange has ended" in str(error)
    os.environ["MASTER_PORT"] = str(second)
    dist.init_process_group("gloo")
    late = TorchExchange(timeout=0.5)
    began = time.monotonic()
    try:
        if rank == 0:
            late.all_gather(sent, memoryview(received))
        else:
            time.sleep(1.5)
    except RuntimeError as error:
        print(f"after {time.monotonic() - began:.0f} s: {error}", flush=True)
    assert dist.is_initialized()
    os._exit(0)

rows, places = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200)
whole = match_optimal(rows)
os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
os.environ["GLOO_SOCKET_IFNAME"] = "lo"
second = free_port()
children = []
for rank in range(2):
    os.environ["RANK"] = str(rank)
    children.append(os.fork())
    if not children[-1]:
        try:
            work(rank)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
""",
    )
    assert re.fullmatch(r"after [12] s: rank 0 has lost the other ranks, .*\n", printed)


def test_restarts_need_a_store_of_their_own():
    check_restarts({})
    check_restarts({"TORCHELASTIC_MAX_RESTARTS": "0"})
    check_restarts({"TORCHELASTIC_MAX_RESTARTS": "5", torch_exchange.SHARED_STORE: "1"})
    with pytest.raises(
        ArgumentError,
        match=r"--max-restarts needs the environment variable "
        r"TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, .*, got 5; export ",
    ):
        check_restarts({"TORCHELASTIC_MAX_RESTARTS": "5"})


def test_a_process_without_a_group_is_told_how_to_start():
    with pytest.raises(
        ArgumentError,
        match=r"exchange must have a process group of torch.distributed, and there is none: RANK "
        "is not set; start with torchrun",
    ):
        TorchExchange()


def test_torch_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"TorchExchange needs torch: pip install 'gtn-label"):
        TorchExchange()


def test_public_names_import_no_torch():
    printed = python(
        "-c",
        "import sys; import gtn_label.cluster as c; c.match_sharded; c.RunJournal; "
        "c.Exchange; c.ShardedMatching; print('torch' in sys.modules, dir(c)[-3:])",
    )
    assert printed.startswith("False")
