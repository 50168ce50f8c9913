"""Plans: counts against the engine's, the fit of rates, what does not fit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gtn_label.cluster import plan
from gtn_label.cluster.dealing import rows_of_rank
from gtn_label.cluster.matching import match_sharded
from gtn_label.cluster.plan import Rate, available_memory, make_plan, measure, shortage, windows
from thread_exchange import run_ranks

RATE = Rate(source=1e-5, pair=1e-9, threads=2, sample=1000)


def made(n: int, m: int, ranks: int = 8, **changes: Any) -> plan.Plan:
    options: dict[str, Any] = {
        "ranks": ranks,
        "machines": 1,
        "cone": 1,
        "indices_only": False,
        "memory": None,
        "rate": RATE,
    }
    return make_plan(n, m, 64, np.dtype(np.float32), **(options | changes))


@pytest.mark.parametrize(("n", "m"), [(3000, 3000), (500, 3000)])
@pytest.mark.parametrize("world", [1, 2])
def test_windows_are_those_of_a_run(n: int, m: int, world: int) -> None:
    rows = np.random.default_rng(0).normal(size=(m, 16)).astype(np.float32)
    sources = np.random.default_rng(1).normal(size=(n, 16)).astype(np.float32)

    def run(exchange: Any) -> Any:
        index = rows_of_rank(m, exchange.rank, world)
        mine = np.arange(n * exchange.rank // world, n * (exchange.rank + 1) // world)
        return match_sharded(
            rows[index],
            sources[mine],
            index=index,
            source_index=mine,
            exchange=exchange,
            threads=1,
        ).stats

    stats = run_ranks(world, run)[0]
    assert abs(windows(n, m, world, 1) - stats["windows"]) <= 2  # conflicts can cut some short


def test_large_runs_are_counted_fast() -> None:
    began = time.perf_counter()
    assert 15_000 < windows(10**9, 10**9, 8, 1) < 16_500  # a window at a time would take seconds
    assert windows(10**9, 10**9, 512, 1) > windows(10**9, 10**9, 64, 1)
    assert time.perf_counter() - began < 2


def test_figures_scale_with_the_ranks() -> None:
    few, many = made(10**8, 10**8, 8), made(10**8, 10**8, 64)
    assert few.search_seconds == pytest.approx(1e3 + 0.5 * 1e16 / 8 * 1e-9)
    assert many.search_seconds < few.search_seconds
    assert many.memory < few.memory
    assert many.exchanged > few.exchanged
    assert few.out_bytes == 10**8 * (16 + 2 * 256)
    assert made(10**8, 10**8, indices_only=True).out_bytes == 16 * 10**8
    assert made(10**6, 10**6, 1).exchanged == 0
    assert few.memory > 10**8 * 64 * 4 / 8
    assert made(10**8, 10**8, memory=10**9).work_memory < few.work_memory
    text = dict(few.rows())
    assert text["processes"] == "8 on 1 machine, 2 threads each"
    assert few.figures()["seconds"] == few.seconds


def test_rates_are_those_of_the_timed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(plan.time, "perf_counter", lambda: clock[0])

    def run(rows: Any) -> int:
        s = len(rows)
        clock[0] += s * 1e-5 + s * s / 2 * 1e-9
        return 3

    rate = measure(lambda count: np.empty((count, 1)), 10**6, run)
    assert rate.source == pytest.approx(1e-5)
    assert rate.pair == pytest.approx(1e-9)
    assert (rate.threads, rate.sample) == (3, 32_768)
    tiny = measure(lambda count: np.empty((count, 1)), 1, run)
    assert tiny.seconds(1, 1, 1) == pytest.approx(1e-5, rel=1e-3)


def test_noise_gives_no_negative_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(plan.time, "perf_counter", lambda: clock[0])

    def run(rows: Any) -> int:
        clock[0] += 1.0  # however many
        return 1

    rate = measure(lambda count: np.empty((count, 1)), 5000, run)
    assert rate.pair == 0
    assert rate.source == pytest.approx(1.0 / rate.sample)


def test_what_does_not_fit(tmp_path: Path) -> None:
    large = made(10**8, 10**8)
    assert shortage(made(1000, 1000), 8, tmp_path, 10**10) == ""
    text = shortage(large, 8, tmp_path, 10**10)
    assert "8 processes on this machine would need" in text
    assert "machines like this could hold the run" in text
    text = shortage(made(10**14, 10**14, 10**6), 1, tmp_path / "no" / "pairs", None)
    assert "the pairs take 5.28e+04 TB" in text
    assert "--indices-only leaves out the rows" in text


def test_memory_is_that_of_the_container(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   4000 kB\n")
    assert available_memory(tmp_path) == 4_096_000
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    assert available_memory(tmp_path) == 4_096_000
    (group / "memory.max").write_text("3000\n")
    assert available_memory(tmp_path) == 2000
