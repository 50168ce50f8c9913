"""Folders of pairs that ranks write, read again: the same pairs whatever the ranks and shards."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import thread_exchange
from gtn_label import Matching, match, open_pairs
from gtn_label.arrays.sources import draw_sources
from gtn_label.cluster import output
from gtn_label.cluster.dealing import rows_of_rank, share_of_rank
from gtn_label.cluster.exchange import Solo
from gtn_label.cluster.fetch import fetch_rows
from gtn_label.cluster.matching import match_sharded
from gtn_label.cluster.output import locked, save_pairs
from gtn_label.io.lock import FileLock
from thread_exchange import ThreadExchange, outcomes_of

N, DIM = 50, 3
LATENTS = np.random.Generator(np.random.Philox(9)).standard_normal((N, DIM)).astype(np.float32)
WHOLE = match(LATENTS, seed=4)


class DirectExchange(ThreadExchange):
    """An exchange that can send each rank bytes of its own."""

    def all_to_all(self, send: memoryview, recv: memoryview) -> None:
        meeting, each = self._meeting, len(send) // self.world
        meeting.sent[self.rank] = bytes(send)
        self._wait()
        place = slice(self.rank * each, (self.rank + 1) * each)
        recv[:] = b"".join(part[place] for part in meeting.sent)
        self._wait()


def on_ranks(world: int, work: Any, kind: type = ThreadExchange) -> list[Any]:
    """Return what each rank returns or raises."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread_exchange, "ThreadExchange", kind)
        return outcomes_of(world, work)


def part(exchange: Any, whole: Matching = WHOLE, latents: Any = LATENTS, **more: Any) -> Any:
    """Return a rank's part of a matching, as `match_sharded` returns it."""
    n, m = len(whole), len(latents)
    index = rows_of_rank(m, exchange.rank, exchange.world, seed=1)
    begin, end = share_of_rank(n, exchange.rank, exchange.world)
    return SimpleNamespace(
        exchange=exchange,
        source_index=np.arange(begin, end),
        assignment=np.asarray(whole.assignment[begin:end]),
        cosine=np.asarray(whole.cosine[begin:end]),
        sources=draw_sources(n, latents.shape[1], 4)[begin:end],
        latents=latents[index],
        latent_index=index,
        **({"n": n, "m": m, "dim": latents.shape[1], "meta": whole.meta, "prices": None} | more),
    )


def saved(folder: Path, world: int, kind: type = ThreadExchange, **options: Any) -> list[Any]:
    return on_ranks(world, lambda each: save_pairs(part(each), folder, **options), kind)


# ------------------------------------------------------------------------------------ rows


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", [ThreadExchange, DirectExchange])
@pytest.mark.parametrize("round_bytes", [1, 300, 1 << 20])
def test_rows_come_from_their_ranks(world: int, kind: type, round_bytes: int) -> None:
    wanted = np.random.default_rng(0).permutation(N)

    def fetch(exchange: Any) -> Any:
        index = rows_of_rank(N, exchange.rank, world)
        begin, end = share_of_rank(len(wanted), exchange.rank, world)
        if exchange.rank == 1:
            end = begin  # a rank that wants nothing
        mine = wanted[begin:end]
        found = fetch_rows(exchange, LATENTS[index], index, mine, round_bytes=round_bytes)
        np.testing.assert_array_equal(found, LATENTS[mine])
        return "done"

    assert on_ranks(world, fetch, kind) == ["done"] * world


def test_all_rows_from_one_rank_within_the_bound() -> None:
    def fetch(exchange: Any) -> int:
        index = np.arange(N) if exchange.rank == 2 else np.empty(0, np.int64)
        wanted = np.arange(N)[exchange.rank :: 3]
        found = fetch_rows(exchange, LATENTS[index], index, wanted, round_bytes=600)
        np.testing.assert_array_equal(found, LATENTS[wanted])
        return exchange.received

    assert all(isinstance(each, int) for each in on_ranks(3, fetch))


@pytest.mark.parametrize("world", [1, 3])
def test_a_row_that_nobody_holds(world: int) -> None:
    def fetch(exchange: Any) -> Any:
        index = np.arange(exchange.rank, 40, world)
        return fetch_rows(exchange, LATENTS[index], index, np.array([1, 45]))

    for error in on_ranks(world, fetch):
        assert isinstance(error, RuntimeError)
        assert "no rank holds some of the latents asked for" in str(error)


# ---------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("form", ["npz", "parquet"])
@pytest.mark.parametrize("shard_rows", [None, 7])
def test_a_folder_holds_the_pairs(
    tmp_path: Path, world: int, form: str, shard_rows: int | None
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    written = saved(tmp_path / "pairs", world, format=form, shard_rows=shard_rows)
    assert {type(each) for each in written} == {output.Written}
    pairs = open_pairs(tmp_path / "pairs", check=True)
    sources, labels = WHOLE.pairs()
    assert (len(pairs), pairs.dim) == (N, DIM)
    np.testing.assert_array_equal(pairs.read(0, N)[0], sources)
    np.testing.assert_array_equal(pairs.read(0, N)[1], labels)
    rows = np.array([49, 0, 17, 25, 24])
    found = pairs.take(rows, ("labels", "cosine", "assignment"))
    np.testing.assert_array_equal(found[0], labels[rows])
    np.testing.assert_array_equal(found[1], WHOLE.cosine[rows])
    np.testing.assert_array_equal(found[2], WHOLE.assignment[rows])
    assert pairs.meta == {**WHOLE.meta, "format": "gtn-label pairs"}
    count = sum(-(-(b - a) // (shard_rows or N)) for a, b in shares(world))
    assert written[0].shards == len(pairs.manifest["shards"]) == count
    assert pairs.manifest["latents"] == N
    files = {each.name for each in (tmp_path / "pairs").iterdir()}
    assert files == {"manifest.json"} | {each["file"] for each in pairs.manifest["shards"]}


def shares(world: int) -> list[tuple[int, int]]:
    return [share_of_rank(N, rank, world) for rank in range(world)]


def test_a_shard_is_a_file_of_pairs(tmp_path: Path) -> None:
    saved(tmp_path / "pairs", 2, shard_rows=20)
    shard = Matching.load(sorted((tmp_path / "pairs").glob("*.npz"))[1])
    np.testing.assert_array_equal(shard.assignment, WHOLE.assignment[20:25])
    np.testing.assert_array_equal(shard.pairs()[1], WHOLE.pairs()[1][20:25])


def test_indices_only(tmp_path: Path) -> None:
    saved(tmp_path / "pairs", 2, indices_only=True)
    pairs = open_pairs(tmp_path / "pairs")
    assert pairs.names == ("assignment", "cosine")
    assert pairs.dim is None
    np.testing.assert_array_equal(pairs.read(0, N, ("assignment",))[0], WHOLE.assignment)
    with pytest.raises(ValueError, match="names must be some of 'assignment', 'cosine', got"):
        pairs.read(0, 1)


def test_more_ranks_than_pairs(tmp_path: Path) -> None:
    few = match(LATENTS[:2], seed=4)
    on_ranks(5, lambda each: save_pairs(part(each, few, LATENTS[:2]), tmp_path / "pairs"))
    np.testing.assert_array_equal(
        open_pairs(tmp_path / "pairs").read(0, 2, ("assignment",))[0], few.assignment
    )


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "bfloat16"])
def test_a_rank_without_rows_has_any_dtype(tmp_path: Path, dtype: str) -> None:
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    latents = LATENTS.astype(dtype)

    def save(exchange: Any) -> Any:
        mine = latents if exchange.rank == 1 else np.empty((0, DIM))
        with match_sharded(mine, exchange=exchange, threads=1, seed=4) as result:
            return save_pairs(result, tmp_path / "pairs")

    assert {type(each) for each in on_ranks(3, save)} == {output.Written}
    expected = match(latents, seed=4)
    found = open_pairs(tmp_path / "pairs").read(0, N, ("labels", "assignment"))
    np.testing.assert_array_equal(found[1], expected.assignment)
    np.testing.assert_array_equal(found[0], np.asarray(latents, "f8")[found[1]])


def test_the_same_run_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        saved(tmp_path / name, 2, shard_rows=9)
    contents = [
        {each.name: each.read_bytes() for each in (tmp_path / name).iterdir()} for name in "ab"
    ]
    assert contents[0] == contents[1]


def test_files_of_the_latents_are_listed(tmp_path: Path) -> None:
    saved(tmp_path / "pairs", 1, latent_files=[("a.npy", 20), ("b.npy", 30)])
    files = open_pairs(tmp_path / "pairs").manifest["latent_files"]
    assert files == [{"file": "a.npy", "rows": 20}, {"file": "b.npy", "rows": 30}]


def test_an_earlier_folder_is_replaced_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    saved(folder, 3, shard_rows=5)
    old = json.loads((folder / "manifest.json").read_text())["shards"]
    seen: list[bool] = []

    def interrupted(path: Path, *_: Any) -> None:
        seen.append(all((folder / each["file"]).exists() for each in old))
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_finish", interrupted)
        errors = saved(folder, 2)
    assert seen == [True]
    assert all(isinstance(each, OSError) for each in errors)
    assert len(open_pairs(folder, check=True).manifest["shards"]) == len(old)
    saved(folder, 2)  # and now to the end
    assert len(open_pairs(folder, check=True).manifest["shards"]) == 2
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_an_error_of_one_rank_is_everybodys(
    tmp_path: Path, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = output._Job._write

    def full(self: Any, *args: Any) -> Any:
        if self._exchange.rank == rank:
            raise OSError(28, "No space left on device")
        return write(self, *args)

    monkeypatch.setattr(output._Job, "_write", full)
    for error in saved(tmp_path / "pairs", 3):
        assert isinstance(error, OSError)
        assert error.errno == 28
        assert f"rank {rank}" in str(error)
    (tmp_path / "pairs" / f"pairs-{'0' * 8}-r00000-00000.npz").touch()
    with pytest.raises(FileNotFoundError, match=r"is not finished: it has no manifest\.json"):
        open_pairs(tmp_path / "pairs")


class TestRefusals:
    def refused(self, what: str, kind: type, folder: Path, **options: Any) -> None:
        for error in saved(folder, 2, name="--out", **options):
            assert isinstance(error, kind)
            assert what in str(error)

    def test_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        self.refused("must be a new folder or one of pairs, and holds", OSError, tmp_path)
        self.refused("must be a folder, and is a file", OSError, tmp_path / "notes.txt")
        self.refused("must be in a folder that exists", OSError, tmp_path / "no" / "pairs")
        assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]

    def test_formats(self, tmp_path: Path) -> None:
        self.refused("'npz' or 'parquet'", ValueError, tmp_path / "pairs", format="pt")

    @pytest.mark.parametrize("rows", [0, -3, 2.5, "7"])
    def test_rows_of_a_shard(self, tmp_path: Path, rows: Any) -> None:
        saved(tmp_path / "pairs", 2)
        kind = ValueError if isinstance(rows, int) else TypeError
        self.refused("shard_rows must be ", kind, tmp_path / "pairs", shard_rows=rows)
        assert len(open_pairs(tmp_path / "pairs", check=True)) == N  # the earlier pairs

    @pytest.mark.parametrize(
        "option",
        [{"shard_rows": (7, 9)}, {"format": ("npz", "parquet")}, {"indices_only": (True, False)}],
    )
    def test_options_that_differ(self, tmp_path: Path, option: dict[str, Any]) -> None:
        ((name, values),) = option.items()

        def save(exchange: Any) -> Any:
            return save_pairs(part(exchange), tmp_path / "p", **{name: values[exchange.rank]})

        for error in on_ranks(2, save):
            assert isinstance(error, ValueError)
            assert f"{name} must be the same on all ranks" in str(error)
        assert not (tmp_path / "p").exists()

    def test_ranks_that_do_not_share_the_folder(self, tmp_path: Path) -> None:
        def save(exchange: Any) -> Any:
            (tmp_path / str(exchange.rank)).mkdir()
            return save_pairs(part(exchange), tmp_path / str(exchange.rank) / "pairs")

        for error in on_ranks(2, save):
            assert isinstance(error, FileNotFoundError)
            assert "must be on a file system that all ranks share, and rank 1 does not" in str(
                error
            )

    def test_sources_that_are_not_consecutive(self, tmp_path: Path) -> None:
        mine = part(Solo())
        mine.source_index = mine.source_index + 1
        with pytest.raises(ValueError, match="source_index must give the ranks consecutive rows"):
            save_pairs(mine, tmp_path / "pairs")


# ------------------------------------------------------------------------------------- the lock


def test_a_folder_that_another_run_writes_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    with locked(Solo(), folder):
        assert len(list(folder.iterdir())) == 1
        outcomes = saved(folder, 3)
    assert {type(each) for each in outcomes} == {ValueError}
    assert {str(each) for each in outcomes} == {
        f"rank 0: path must be a folder that no other run writes to, and '{folder}' is in use "
        "(this process); wait for that run to end, or name another folder"
    }
    assert list(folder.iterdir()) == []
    saved(folder, 3)
    assert open_pairs(folder, check=True).read(0, N, ("assignment",))[0].tolist() == (
        WHOLE.assignment.tolist()
    )
    assert not [each for each in folder.iterdir() if each.suffix == ".lock"]


def test_the_lock_ends_with_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(OSError, match="disk"), locked(Solo(), tmp_path):
            raise OSError("disk full")
        assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_run_is_no_obstacle(tmp_path: Path) -> None:
    """A killed process leaves the file, unlocked."""
    with locked(Solo(), tmp_path):
        (left,) = tmp_path.iterdir()
    left.write_text("4242 elsewhere\n")
    saved(tmp_path, 2)
    assert not left.exists()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileLock, "acquire", lambda self: False)
    with (
        pytest.warns(RuntimeWarning, match="path '.*' is on a file system without locks"),
        locked(Solo(), tmp_path),
    ):
        pass
