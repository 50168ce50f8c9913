"""TorchExchange: an exchange over torch.distributed, between the CPUs of any number of hosts.

torchrun starts the ranks, and so do Slurm, Kubeflow, Ray Train and Spark's TorchDistributor. Waits
serve Python's signals. A rank that leaves says why in the store of the process group, so that the
others neither wait for the time limit nor guess.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np

from ..errors import ArgumentError
from .exchange import departure, gather, left

__all__ = ["TorchExchange", "check_restarts"]

TIMEOUT = 1800.0  # seconds, torch's own
SHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
_LOOK = 0.25  # seconds of a wait between two looks for a rank that has left
_GRACE = 2.0  # seconds that a rank which leaves waits for those that wait for it
_SHORTEST, _LONGEST = 2e-5, 1e-3  # seconds of sleep in a wait


class TorchExchange:
    """An exchange over a gloo group of torch.distributed.

    Under torchrun no argument is needed: the default process group is made if there is none. A
    group of another backend, such as NCCL, stays as it is: the exchange makes a gloo group of its
    own beside. Use it as a context manager, or call `close`.

    Parameters
    ----------
    timeout : float
        Seconds after which a rank that waits for others gives up.

    Attributes
    ----------
    rank, world : int

    Raises
    ------
    ImportError
        If torch, or its distributed package, is missing.
    ArgumentError
        If no process group can be made, or torchrun restarts ranks without the environment variable
        that lets them find each other again.

    Examples
    --------
    >>> from gtn_label.cluster import TorchExchange, match_sharded
    >>> with TorchExchange() as exchange:  # doctest: +SKIP
    ...     result = match_sharded(my_rows, exchange=exchange)
    """

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self._torch = _import_torch()
        check_restarts(os.environ)
        dist = self._dist = self._torch.distributed
        limit = timedelta(seconds=timeout)
        self._made = not dist.is_initialized()
        if self._made:
            missing = [
                name
                for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
                if not os.environ.get(name)
            ]
            if missing:
                raise ArgumentError(
                    "exchange",
                    "must have a process group of torch.distributed, and there is none: "
                    f"{missing[0]} is not set",
                    advice="start with torchrun, or call torch.distributed.init_process_group",
                )
            dist.init_process_group("gloo", timeout=limit)
        self._group: Any = dist.new_group(backend="gloo", timeout=limit)
        self.rank: int = dist.get_rank(self._group)
        self.world: int = dist.get_world_size(self._group)
        self._into = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
        self._broken = self._lost = False
        self._watch: _Watch | None = None
        token = gather(self, np.frombuffer(os.urandom(8), np.uint8))[0]
        store = dist.distributed_c10d._get_default_store()
        self._watch = _Watch(store, f"gtn_label/left/{token.tobytes().hex()}")

    def __enter__(self) -> TorchExchange:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.close()

    def all_gather(self, send: memoryview, recv: memoryview) -> None:
        """Give bytes to all ranks, and take theirs."""
        # Tensors of our own: a wait that a signal ends must not leave gloo writing to `recv`.
        mine = self._tensor(len(send))
        mine.numpy()[:] = np.frombuffer(send, np.uint8)
        all_of_them = self._tensor(len(recv))
        self._wait(lambda: self._into(all_of_them, mine, group=self._group, async_op=True))
        np.frombuffer(recv, np.uint8)[:] = all_of_them.numpy()

    def all_to_all(self, send: memoryview, recv: memoryview) -> None:
        """Give slice r of `send` to rank r, and take its slice for this rank; all equally long."""
        mine = self._tensor(len(send))
        mine.numpy()[:] = np.frombuffer(send, np.uint8)
        theirs = self._tensor(len(recv))
        self._wait(
            lambda: self._dist.all_to_all_single(theirs, mine, group=self._group, async_op=True)
        )
        np.frombuffer(recv, np.uint8)[:] = theirs.numpy()

    def broadcast(self, buffer: memoryview, root: int) -> None:
        """Fill the bytes with those of rank `root`."""
        whole = self._tensor(len(buffer))
        if self.rank == root:
            whole.numpy()[:] = np.frombuffer(buffer, np.uint8)
        source = self._dist.get_global_rank(self._group, root)
        self._wait(lambda: self._dist.broadcast(whole, source, group=self._group, async_op=True))
        if self.rank != root:
            np.frombuffer(buffer, np.uint8)[:] = whole.numpy()

    def abort(self, error: BaseException) -> None:
        """Tell the other ranks that this one leaves, and why."""
        self._broken = True
        if self._watch is not None and not self._lost:  # else all others have lost ranks too
            self._watch.tell(departure(self.rank, error), self.world - 1)

    def close(self) -> None:
        """Free the group, and the default group if the exchange made it.

        A group with an unfinished collective is left to the end of the process.
        """
        if self._group is None or self._broken:
            return
        group, self._group = self._group, None
        if self._watch is not None:
            self._watch.end()
        self._dist.destroy_process_group(group)
        if self._made:
            self._dist.destroy_process_group()

    def _tensor(self, length: int) -> Any:
        return self._torch.empty(length, dtype=self._torch.uint8)

    def _wait(self, start: Any) -> None:
        """Start a collective and wait for its end, in sleeps between which signals are served."""
        if self._broken or self._group is None:
            raise RuntimeError("the exchange has ended: a rank has left, or it was closed")
        broken, self._broken = self._broken, True  # until the collective has come to its end
        gone: BaseException | None = None
        try:
            work = start()
            pause, look = _SHORTEST, time.monotonic() + _LOOK
            while not work.is_completed():
                time.sleep(pause)
                pause = min(1.5 * pause, _LONGEST)
                if self._watch is not None and time.monotonic() >= look:
                    gone = self._watch.reason()
                    if gone is not None:
                        break
            else:
                work.wait()
        except RuntimeError as error:
            text = str(error).strip().splitlines()[0]
            self._lost = True
            gone = (self._watch and self._watch.reason(2 * _LOOK)) or RuntimeError(
                f"rank {self.rank} has lost the other ranks, one of which may have been killed: "
                f"{text}"
            )
        if self._watch is not None:
            self._watch.rest()
        if gone is not None:
            raise gone
        self._broken = broken


class _Watch:
    """Looks in the group's store if a rank has left, on a thread.

    A call of the store can block for as long as its host cannot be reached, and serves no signals.
    Ranks that wait must do neither.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._store, self._key = store, key
        self._reason: BaseException | None = None
        self._wanted = threading.Event()
        self._ended = False
        threading.Thread(target=self._run, name="gtn-label-watch", daemon=True).start()

    def reason(self, seconds: float = 0.0) -> BaseException | None:
        """Return the error of a rank that has left, as soon as it is known; look from now on."""
        self._wanted.set()
        ends = time.monotonic() + seconds
        while self._reason is None and time.monotonic() < ends:
            time.sleep(_LONGEST)
        return self._reason

    def rest(self) -> None:
        """Look no more until the next `reason`."""
        self._wanted.clear()

    def end(self) -> None:
        """End the thread."""
        self._ended = True
        self._wanted.set()

    def tell(self, reason: str, others: int) -> None:
        """Put a reason into the store, and wait a little until all others have read it.

        The store can go with this process.
        """

        def put() -> None:
            with contextlib.suppress(Exception):  # the store has gone
                if not self._store.check([self._key]):
                    self._store.set(self._key, reason)
                while self._store.add(f"{self._key}/read", 0) < others and not self._ended:
                    time.sleep(0.02)

        thread = threading.Thread(target=put, daemon=True)
        thread.start()
        thread.join(_GRACE)
        self.end()

    def _run(self) -> None:
        while self._wanted.wait() and not self._ended and self._reason is None:
            with contextlib.suppress(Exception):
                if self._store.check([self._key]):
                    reason = left(self._store.get(self._key).decode())
                    self._store.add(f"{self._key}/read", 1)
                    self._reason = reason
            time.sleep(_LOOK)


def check_restarts(environment: Mapping[str, str]) -> None:
    """Refuse restarts by torchrun that cannot succeed.

    Restarted ranks find the addresses of the dead attempt in the agent's store, unless torchrun
    gives each attempt a store of its own (torch 2.13 with gloo).

    Raises
    ------
    ArgumentError
    """
    restarts = environment.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts.isdigit() and int(restarts) > 0 and environment.get(SHARED_STORE) != "1":
        raise ArgumentError(
            "--max-restarts",
            f"needs the environment variable {SHARED_STORE}=1, without which restarted ranks do "
            "not find each other",
            restarts,
            f"export {SHARED_STORE}=1 before torchrun, or start with gtn-label-cluster",
        )


def _import_torch() -> Any:
    try:
        import torch
        import torch.distributed
    except ImportError as error:
        raise ImportError("TorchExchange needs torch: pip install 'gtn-label[torch]'") from error
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        raise ImportError("TorchExchange needs a torch that is built with distributed and gloo")
    return torch
