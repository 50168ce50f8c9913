"""Sources in visiting order, and fingerprints: the same for every dealing of rows."""

from __future__ import annotations

import numpy as np
import pytest

from gtn_label.cluster import checks, feed, record
from gtn_label.cluster.center import column_mean
from gtn_label.cluster.feed import Feed
from oracle import centered
from sharded_cases import DEALINGS, deal
from thread_exchange import run_ranks

NORMS = {
    "different": lambda rng, n: rng.uniform(1e-150, 1e150, n) ** rng.choice([1, -1], n),
    "few": lambda rng, n: rng.choice([0.5, 1.0, np.nextafter(1.0, 2)], n),
    "equal": lambda rng, n: np.full(n, 3.0),
}


def order_of(norms, order):
    key = {"norm": norms, "norm_desc": -norms, "index": np.zeros(len(norms))}[order]
    return np.lexsort((np.arange(len(norms)), key))


@pytest.mark.parametrize("few", [1, 1024])
@pytest.mark.parametrize("order", ["norm", "norm_desc", "index"])
@pytest.mark.parametrize("kind", NORMS)
def test_parts_are_the_visiting_order(monkeypatch, kind, order, few):
    monkeypatch.setattr(feed, "_FEW", few)
    rng = np.random.default_rng(2)
    n = 400
    norms = NORMS[kind](rng, n)
    rows = rng.normal(size=(n, 2))
    expected = order_of(norms, order)
    for world, dealing in ((1, "rows"), (3, "blocks"), (5, "last rank empty")):
        index = deal(dealing, n, world)

        def work(exchange, index=index):
            mine = index[exchange.rank]
            source = Feed(exchange, rows[mine], mine, norms[mine], order)
            assert (source.own, source.total) == (len(mine), n)
            found = []
            for begin in range(0, n, 90):
                end = min(n, begin + 90)
                part = source.part(begin, end)
                np.testing.assert_array_equal(part.rows, rows[expected[begin:end]])
                np.testing.assert_array_equal(mine[part.mine], expected[begin:end][part.places])
                found += part.mine.tolist()
            assert sorted(found) == list(range(len(mine)))
            again = source.part(17, 101, with_rows=False)
            assert again.rows is None
            np.testing.assert_array_equal(mine[again.mine], expected[17:101][again.places])

        run_ranks(world, work)


def test_a_cut_takes_few_small_collectives():
    n = 1 << 16
    norms = np.random.default_rng(0).chisquare(64, n) ** 0.5
    index = deal("contiguous", n, 2)

    def work(exchange):
        mine = index[exchange.rank]
        source = Feed(exchange, np.empty((len(mine), 1)), mine, norms[mine], "norm")
        before = exchange.collectives, exchange.received
        source._cut(n // 3)
        return exchange.collectives - before[0], exchange.received - before[1]

    for collectives, received in run_ranks(2, work):
        assert collectives <= 8
        assert received <= 2 * (8 * 8 * 257 + 16 * 1024)


@pytest.mark.parametrize("dealing", DEALINGS)
def test_fingerprints_do_not_depend_on_the_dealing(dealing):
    rng = np.random.default_rng(1)
    for rows in (rng.normal(size=(300, 3)).astype("f4"), rng.normal(size=(300, 2))):
        expected = record.fingerprint_of(run_ranks(1, lambda e: e)[0], rows, np.arange(300), 300)
        assert len(expected) == 32
        for world in (2, 4):
            index = deal(dealing, 300, world)
            found = run_ranks(
                world,
                lambda e, i=index, r=rows: record.fingerprint_of(e, r[i[e.rank]], i[e.rank], 300),
            )
            assert set(found) == {expected}


def test_fingerprints_tell_rows_apart():
    rng = np.random.default_rng(1)
    rows, index = rng.integers(0, 3, (200, 5)).astype("f4"), np.arange(200)
    exchange = run_ranks(1, lambda e: e)[0]

    def made(rows, index=index):
        return record.fingerprint_of(exchange, np.ascontiguousarray(rows), index, len(rows))

    found = [made(rows), made(rows[::-1]), made(rows[:199], index[:199]), made(rows[:, :4])]
    found += [made(rows.astype("f8")), made(rows.reshape(-1, 4)[:200]), made(rows[:, ::-1])]
    for at in range(0, 200, 9):
        changed = rows.copy()
        changed[at, at % 5] = -changed[at, at % 5] - 1
        found.append(made(changed))
        swapped = rows.copy()
        swapped[[at, at + 1]] = swapped[[at + 1, at]]
        if not np.array_equal(swapped, rows):
            found.append(made(swapped))
    assert len(set(found)) == len(found)
    for lane in (slice(16), slice(16, None)):  # each is a hash by itself
        assert len({each[lane] for each in found}) == len(found)


def test_fingerprints_of_blocks(monkeypatch):
    rows, index = np.random.default_rng(1).normal(size=(50, 3)), np.arange(50)
    exchange = run_ranks(1, lambda e: e)[0]
    expected = record.fingerprint_of(exchange, rows, index, 50)
    monkeypatch.setattr(record, "_BLOCK_BYTES", 100)
    assert record.fingerprint_of(exchange, rows, index, 50) == expected


@pytest.mark.parametrize("dealing", DEALINGS)
def test_the_mean_is_the_contract_s(monkeypatch, dealing):
    monkeypatch.setattr("gtn_label.cluster.center._BATCH_BYTES", 100_000)
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(5000, 3)) * 10.0 ** rng.integers(-9, 9, (5000, 1))
    expected = centered(rows)
    for world in (1, 3):
        index = deal(dealing, 5000, world)
        found = run_ranks(
            world, lambda e, i=index: column_mean(e, rows[i[e.rank]], i[e.rank], 5000)
        )
        for mean in found:
            np.testing.assert_array_equal(rows - mean, expected)


def test_missing_rows_are_named_in_later_blocks(monkeypatch):
    monkeypatch.setattr(checks, "_BLOCK", 64)
    index = deal("rows", 500, 3)
    index[1][100] -= 1

    def work(exchange):
        checks.check_partition(exchange, index[exchange.rank], "index", 500)

    with pytest.raises(ValueError, match="got row 300 on ranks 0 and 1"):
        run_ranks(3, work)
