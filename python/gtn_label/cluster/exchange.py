"""Exchanges: how the ranks of a sharded run talk, and what is built on their one collective.

An exchange has `rank`, `world` and `all_gather`. Everything else here is made of these: arrays of
unequal length, agreement on a record, and errors that all ranks raise alike. Three further methods
are used where an exchange has them: `broadcast(buffer, root)`, `all_to_all(send, recv)` (fetch.py),
and `abort(error)`, which ends the other ranks when this one leaves.
"""

from __future__ import annotations

import builtins
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from ..arrays.row_blocks import RowsLike
from ..errors import ArgumentError, ArgumentTypeError
from ..text import brief, visible

__all__ = [
    "Exchange",
    "Solo",
    "agree",
    "check_exchange",
    "check_order",
    "departure",
    "gather",
    "gather_json",
    "gather_parts",
    "gather_rows",
    "gather_texts",
    "hand_out",
    "leave",
    "left",
    "on_all_ranks",
    "ranks_named",
    "settle",
    "together",
]

MOST_BYTES = 16 << 20  # received in one collective of the functions below; more is not faster


class Exchange(Protocol):
    """The members that a sharded run needs of its ranks.

    Any object with these members will do. All ranks make the same calls in the same order.

    Attributes
    ----------
    rank : int
        Number of this rank, from 0.
    world : int
        Number of ranks.

    Examples
    --------
    >>> from gtn_label.cluster import Solo
    >>> exchange: Exchange = Solo()
    >>> exchange.rank, exchange.world
    (0, 1)
    """

    @property
    def rank(self) -> int:
        """Number of this rank, from 0."""

    @property
    def world(self) -> int:
        """Number of ranks."""

    def all_gather(self, send: memoryview, recv: memoryview) -> None:
        """Give `send` to all ranks, and fill `recv` with theirs, in the order of ranks.

        Parameters
        ----------
        send : memoryview of bytes
            As long on every rank.
        recv : memoryview of bytes, writable
            `world` times as long.
        """


class Solo:
    """The exchange of a single rank.

    Examples
    --------
    >>> received = bytearray(2)
    >>> Solo().all_gather(memoryview(b"ab"), memoryview(received))
    >>> received
    bytearray(b'ab')
    """

    rank = 0
    world = 1

    def all_gather(self, send: memoryview, recv: memoryview) -> None:
        """Copy `send` to `recv`."""
        recv[:] = send


# --------------------------------------------------------------------------------------- arrays


def gather(exchange: Exchange, array: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return the arrays of all ranks, [world, ...]; shape and dtype are the same on every rank."""
    send = np.asarray(array, order="C")
    recv = np.empty((exchange.world, *send.shape), send.dtype)
    if send.nbytes:
        exchange.all_gather(_bytes(send), _bytes(recv))
    return recv


def gather_parts(
    exchange: Exchange, rows: RowsLike, counts: npt.NDArray[np.int64]
) -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
    """Yield the rows of all ranks in pieces: the rank, the piece's first row there, the piece.

    A piece is good until the next one.

    Parameters
    ----------
    rows : [counts[rank], ...]
        This rank's rows; dtype and lengths behind the first are the same on every rank.
    counts : int64 [world]
        Number of rows of each rank.
    """
    size = max(1, rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64)))
    step = max(1, MOST_BYTES // (size * exchange.world))
    most = int(counts.max(initial=0))
    sent = np.zeros((min(step, most), *rows.shape[1:]), rows.dtype)
    received = np.empty((exchange.world * len(sent), *rows.shape[1:]), rows.dtype)
    for begin in range(0, most, step):
        send = sent[: most - begin]
        mine = rows[begin : begin + len(send)]
        send[: len(mine)] = mine
        parts = received[: exchange.world * len(send)]
        if send.nbytes:
            exchange.all_gather(_bytes(send), _bytes(parts))
        for rank, count in enumerate(counts):
            part = parts[rank * len(send) : (rank + 1) * len(send)][: max(0, int(count) - begin)]
            if len(part):
                yield rank, begin, part


def gather_rows(exchange: Exchange, rows: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Return the rows of each rank, however many; dtype and dim are the same on every rank."""
    counts = gather(exchange, np.int64(len(rows)))
    found = [np.empty((int(count), *rows.shape[1:]), rows.dtype) for count in counts]
    for rank, begin, part in gather_parts(exchange, rows, counts):
        found[rank][begin : begin + len(part)] = part
    return found


def gather_texts(exchange: Exchange, text: str) -> list[str]:
    """Return the texts of all ranks."""
    own = np.frombuffer(text.encode(), np.uint8)
    return [part.tobytes().decode() for part in gather_rows(exchange, own)]


def gather_json(exchange: Exchange, value: Any) -> list[Any]:
    """Return the values of all ranks, of JSON types."""
    return [json.loads(text) for text in gather_texts(exchange, json.dumps(value))]


def hand_out(exchange: Exchange, array: npt.NDArray[Any], root: int = 0) -> None:
    """Fill `array` with that of rank `root`; shape and dtype are the same on every rank."""
    whole = array.reshape(-1)
    step = max(1, MOST_BYTES // (whole.itemsize * exchange.world))
    broadcast = getattr(exchange, "broadcast", None)
    if exchange.world == 1 or not array.nbytes:
        return
    if broadcast is not None:
        broadcast(_bytes(array), root)
        return
    for begin in range(0, len(whole), step):
        part = whole[begin : begin + step]
        part[:] = gather(exchange, part)[root]


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return memoryview(cast(Any, array.reshape(-1).view(np.uint8)))


# ------------------------------------------------------------------------------------ agreement


def check_exchange(exchange: Any) -> Exchange:
    """Return an exchange whose members are those of `Exchange`.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If a member is missing, or of no use.
    """
    if exchange is None:
        return Solo()
    rank, world = getattr(exchange, "rank", None), getattr(exchange, "world", None)
    if not isinstance(rank, int) or not isinstance(world, int):
        rule = "must have the integers rank and world and the method all_gather(send, recv)"
        raise ArgumentTypeError("exchange", rule, type(exchange).__name__)
    if not 0 <= rank < world:
        rule = "must have a rank of 0 to world - 1"
        raise ArgumentError("exchange", rule, f"rank {rank} of world {world}")
    if not callable(getattr(exchange, "all_gather", None)):
        rule = "must have the method all_gather(send, recv)"
        raise ArgumentTypeError("exchange", rule, type(exchange).__name__)
    return exchange  # type: ignore[no-any-return]


def check_order(exchange: Exchange) -> None:
    """Raise ArgumentError if all_gather does not fill its buffer in the order of ranks."""
    found = gather(exchange, np.array([exchange.rank, exchange.world]))
    right = [[rank, exchange.world] for rank in range(exchange.world)]
    if found.tolist() != right:
        got = "; ".join(f"rank {rank} of {world}" for rank, world in found.tolist())
        rule = "must receive from all ranks, in their order"
        raise _on_all(ArgumentError("exchange", rule, got))


def agree(exchange: Exchange, record: Mapping[str, Any]) -> None:
    """Raise one error on all ranks if they hold different records.

    Parameters
    ----------
    record : mapping
        Values of JSON types, by the names that a message calls them.

    Raises
    ------
    ArgumentError
        With the first name whose values differ, and the ranks that have each value.
    """
    records = gather_json(exchange, record)
    names = list(dict.fromkeys(name for each in records for name in each))
    for name in names:
        holders: dict[str, list[int]] = {}
        for rank, each in enumerate(records):
            shown = _shown(each[name]) if name in each else "nothing"
            holders.setdefault(shown, []).append(rank)
        if len(holders) > 1:
            got = ", ".join(f"{value} on {ranks_named(ranks)}" for value, ranks in holders.items())
            raise _on_all(ArgumentError(name, "must be the same on all ranks", got))


def _shown(value: Any) -> str:
    return "none" if value is None else brief(visible(str(value)), 60)


def ranks_named(ranks: Sequence[int]) -> str:
    """Name ranks in a message.

    Examples
    --------
    >>> ranks_named([3]), ranks_named([0, 1, 2, 5, 7])
    ('rank 3', 'ranks 0 to 2, 5 and 7')
    """
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    texts = []
    for first, last in runs:
        texts += [f"{first} to {last}"] if last > first + 1 else [str(first), str(last)]
        if last == first:
            texts.pop()
    if len(texts) > 8:
        texts = [*texts[:8], f"{len(ranks)} in all"]
    joined = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"rank{'s' if len(ranks) > 1 else ''} {joined}"


# --------------------------------------------------------------------------------------- errors


@contextlib.contextmanager
def together(exchange: Exchange) -> Iterator[None]:
    """Raise on all ranks what any rank raises in the block, in which nothing is exchanged."""
    error: Exception | None = None
    try:
        yield
    except Exception as found:
        error = found
    settle(exchange, error)


def settle(exchange: Exchange, error: Exception | None) -> None:
    """Raise the same error on all ranks if any rank has one: that of the lowest such rank."""
    texts = gather_texts(exchange, "" if error is None else json.dumps(_packed(error)))
    first = next((text for text in texts if text), "")
    if not first:
        return
    if exchange.world == 1:
        assert error is not None
        raise _on_all(error)
    ranks = [rank for rank, text in enumerate(texts) if text == first]
    where = "" if len(ranks) == exchange.world else ranks_named(ranks)
    raise _on_all(_unpacked(json.loads(first), where)) from error


def on_all_ranks(error: BaseException) -> bool:
    """Return True if all ranks raise this error, so that none waits for this one."""
    return getattr(error, "_on_all_ranks", False)


def _on_all(error: Exception) -> Exception:
    error._on_all_ranks = True  # type: ignore[attr-defined]
    return error


def _packed(error: Exception) -> dict[str, Any]:
    """Return an error in JSON types."""
    if isinstance(error, (ArgumentError, ArgumentTypeError)):
        return {"kind": type(error).__name__, "args": list(error.args)}
    kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == "builtins")
    record: dict[str, Any] = {"kind": kind, "text": brief(str(error), 4000)}
    if isinstance(error, OSError):
        record["errno"] = error.errno
        record["text"] = record["text"].removeprefix(f"[Errno {error.errno}] ")
    return record


def _unpacked(record: Mapping[str, Any], where: str) -> Exception:
    """Make an error again, and say on which ranks the reason is."""
    kind = record["kind"]
    if "args" in record:
        name, rule, got, advice = record["args"]
        if where and got:
            got += f" on {where}"
        elif where:
            rule += f" (on {where})"
        argument = ArgumentError if kind == "ArgumentError" else ArgumentTypeError
        return argument(tuple(name) if isinstance(name, list) else name, rule, got, advice)
    text = f"{where}: {record['text']}" if where else record["text"]
    made = getattr(builtins, kind, RuntimeError)
    try:
        error: Exception = made(text)
    except TypeError:  # such as UnicodeDecodeError, which is made of five arguments
        error = RuntimeError(f"{kind}: {text}")
    if isinstance(error, OSError):
        error.errno = record.get("errno")
    return error


def leave(exchange: Exchange, error: BaseException) -> None:
    """End the other ranks, which would wait for this one, unless they raise the same error."""
    abort = getattr(exchange, "abort", None)
    if abort is not None and not on_all_ranks(error):
        abort(error)


def departure(rank: int, error: BaseException) -> str:
    """Describe why a rank leaves, for the others."""
    return json.dumps(
        {
            "rank": rank,
            "interrupted": isinstance(error, KeyboardInterrupt),
            "text": brief(f"{type(error).__name__}: {error}", 2000),
        }
    )


def left(reason: str) -> BaseException:
    """Return what a rank raises when another has left: KeyboardInterrupt if that was stopped."""
    record = json.loads(reason)
    if record["interrupted"]:
        return KeyboardInterrupt(f"rank {record['rank']} was interrupted")
    return RuntimeError(f"rank {record['rank']} has left the run: {record['text']}")
