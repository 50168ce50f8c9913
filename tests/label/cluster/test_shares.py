"""A rank's share of files: each row group is decoded once, and rows reach their owners."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gtn_label import match
from gtn_label.cluster import (
    arrow_files,
    decoding,
    delivery,
    match_sharded,
    open_rows,
    read_share,
    shares,
)
from gtn_label.cluster.dealing import (
    owners_of_rows,
    owners_of_shares,
    rows_of_rank,
    share_of_rank,
)
from gtn_label.cluster.decoding import rank_of_groups
from sharded_cases import assert_is
from thread_exchange import outcomes_of, run_ranks

ROWS = np.random.Generator(np.random.Philox(3)).standard_normal((230, 3)).astype(np.float32)
ROWS[40] = ROWS[7]


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """Count the reads of each row group over all ranks, which are threads."""
    counts: Counter[tuple[str, int]] = Counter()
    lock = threading.Lock()
    opened = arrow_files._open

    def counting(path: Path, column: str | None) -> Any:
        groups = opened(path, column)
        read = groups.read

        def counted(i: int) -> Any:
            with lock:
                counts[path.name, i] += 1
            return read(i)

        groups.read = counted
        return groups

    monkeypatch.setattr(arrow_files, "_open", counting)
    return counts


def write(folder: Path, kind: str) -> str:
    """Write the rows as files of several row groups; return their pattern."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    suffix = "arrow" if kind == "arrow" else "parquet"
    for number, (begin, end) in enumerate([(0, 110), (110, 117), (117, 230)]):
        part = ROWS[begin:end]
        if kind == "mixed" and number == 1:
            np.save(folder / "1.npy", part)
            continue
        flat = pa.array(part.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, 3)
        if kind == "lists":
            column = pa.array(list(part), pa.list_(pa.float32()))
        table = pa.table({"z": column})
        path = folder / f"{number}.{suffix}"
        if suffix == "parquet":
            parquet.write_table(table, path, row_group_size=20)
            continue
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
            out.write_table(table, max_chunksize=20)
    return str(folder / "[0-9].*")


@pytest.mark.parametrize("kind", ["parquet", "lists", "arrow", "mixed"])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_each_group_is_decoded_once(
    tmp_path: Path, decodes: Counter[tuple[str, int]], kind: str, world: int
) -> None:
    pattern = write(tmp_path, kind)

    def work(exchange: Any) -> None:
        rows, index = read_share(open_rows(pattern), exchange, seed=4)
        np.testing.assert_array_equal(index, rows_of_rank(230, exchange.rank, world, 4))
        np.testing.assert_array_equal(rows, ROWS[index])

    run_ranks(world, work)
    groups = 6 + 6 + (kind != "mixed")
    assert len(decodes) == groups
    assert set(decodes.values()) == {1}


@pytest.mark.parametrize("round_bytes", [1, 3000])
@pytest.mark.parametrize("direct", [False, True])
def test_rounds_of_any_size(
    tmp_path: Path,
    decodes: Counter[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    round_bytes: int,
    direct: bool,
) -> None:
    monkeypatch.setattr(decoding, "ROUND_BYTES", round_bytes)
    monkeypatch.setattr(delivery, "MOST_BYTES", 100)
    most: list[int] = []
    rounds = decoding.decoded_rounds

    def watched(*arguments: Any) -> Any:
        for index, rows in rounds(*arguments):
            most.append(len(index))
            yield index, rows

    monkeypatch.setattr(shares, "decoded_rounds", watched)
    pattern = write(tmp_path, "parquet")
    owner_of = owners_of_shares(230, 3)

    def work(exchange: Any) -> Any:
        if direct:
            exchange.all_to_all = lambda send, recv: all_to_all(exchange, send, recv)
        begin, end = share_of_rank(230, exchange.rank, 3)
        index = np.arange(begin, end)
        rows = shares.read_rows(exchange, open_rows(pattern), index, owner_of)
        np.testing.assert_array_equal(rows, ROWS[index])

    run_ranks(3, work)
    assert set(decodes.values()) == {1}
    assert max(most) <= max(3, round_bytes // 20)  # bytes of a row and its number


def all_to_all(exchange: Any, send: memoryview, recv: memoryview) -> None:
    """Slices for each rank, by all_gather."""
    every = bytearray(exchange.world * len(send))
    exchange.all_gather(send, memoryview(every))
    size = len(send) // exchange.world
    for rank in range(exchange.world):
        at = rank * len(send) + exchange.rank * size
        recv[rank * size : (rank + 1) * size] = every[at : at + size]


def test_mapped_files_are_read_by_their_ranks(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", ROWS)

    def work(exchange: Any) -> int:
        rows, index = read_share(open_rows(tmp_path / "0.npy"), exchange)
        np.testing.assert_array_equal(rows, ROWS[index])
        return exchange.received

    assert max(run_ranks(3, work)) < 100  # nothing but agreement


def test_a_damaged_group_is_an_error_on_all_ranks(tmp_path: Path) -> None:
    pattern = write(tmp_path, "parquet")
    from pyarrow import parquet

    chunk = parquet.ParquetFile(tmp_path / "2.parquet").metadata.row_group(3).column(0)
    with (tmp_path / "2.parquet").open("r+b") as file:
        file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
        file.write(b"\xff" * 20)
    outcomes = outcomes_of(3, lambda exchange: read_share(open_rows(pattern), exchange))
    assert {type(each) for each in outcomes} == {ValueError}
    (message,) = {str(each) for each in outcomes}
    assert message.startswith(f"rank 2: column 'z' of patterns '{tmp_path / '2.parquet'}' is dama")


def test_the_pairs_are_those_of_match(tmp_path: Path) -> None:
    pattern = write(tmp_path, "parquet")

    def work(exchange: Any) -> Any:
        rows, index = read_share(open_rows(pattern), exchange)
        return match_sharded(rows, index=index, exchange=exchange)

    assert_is(run_ranks(3, work), match(ROWS))


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [1, 5, 230, 10_000])
def test_owners_are_those_who_hold(rows: int, world: int) -> None:
    dealt, shared = owners_of_rows(rows, world, 6), owners_of_shares(rows, world)
    for rank in range(world):
        assert (dealt(rows_of_rank(rows, rank, world, 6)) == rank).all()
        assert (shared(np.arange(*share_of_rank(rows, rank, world))) == rank).all()


def test_groups_are_split_by_rows() -> None:
    counts = np.random.default_rng(0).integers(0, 100, 57)
    for world in (1, 2, 5, 80):
        ranks = rank_of_groups(counts, world)
        assert (np.diff(ranks) >= 0).all()
        loads = np.bincount(ranks, counts, world)
        assert loads.max() <= counts.sum() / world + counts.max()
    assert rank_of_groups(np.zeros(3, np.int64), 2).tolist() == [0, 0, 0]
