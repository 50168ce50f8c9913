"""The benchmark suite's rows of the FAISS backend: what they run, and what they say if they cannot.

Not here: the harness and the other peers (test_benchmarks.py).
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from benchmark_settings import SETTINGS
from benchmarks import targets
from benchmarks.harness import Case, Contest, Entry
from benchmarks.peers import BY_NAME, OURS
from benchmarks.peers import gtn_label as ours
from gtn_label.backend import faiss_package

ROOT = Path(__file__).resolve().parent.parent
ROWS = ("gtn_label:faiss", "gtn_label:faiss_linked", "gtn_label:faiss_cuda")


def rows(*names: str) -> list[dict]:
    base = Entry(OURS, Case("isotropic", 100, 4), 1)
    entries = [dataclasses.replace(base, peer=BY_NAME[n], against=base) for n in names]
    contest = Contest([base, *entries], SETTINGS)
    contest.run()
    return contest.rows()


def trips_ci(note: str) -> bool:
    """Whether .ci/run would take the row for one that should have run."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = re.search(r"grep -E '([^']+)' \"\$work/benchmark.md\"", script)
    assert found is not None
    return re.search(found[1], note) is not None


def test_rows_run_what_they_say() -> None:
    here = [name for name in ROWS if not BY_NAME[name].missing()]
    if not here:
        pytest.skip("no FAISS here")
    first, *others = rows(*here)
    assert first["stats"]["backend"] == "cpu"
    assert first["int8_ratio"]["median"] > 0
    for name, row in zip(here, others, strict=True):
        library = row["stats"]["faiss"]
        assert library["way"] == ("linked" if name.endswith("linked") else "python")
        assert library["device"] == ("cuda:0" if name.endswith("cuda") else "cpu")
        assert row["note"] == f"FAISS {library['version']}, {library['device']}"
        assert row["environment"] == {}
        assert row["quality"]["identical"] == 1
        assert row["seconds"]["median"] > 0
        assert row["int8_ratio"] is None  # that rate is of the engine's own search


@pytest.mark.parametrize("name", ROWS)
def test_what_only_another_machine_or_build_has_passes_ci(name: str) -> None:
    if faiss_package.missing():
        pytest.skip(faiss_package.missing())
    reason = BY_NAME[name].missing()
    assert not reason or reason.startswith("not available here: ")
    assert not trips_ci(reason)


def test_a_package_that_is_not_installed_fails_ci(monkeypatch) -> None:
    monkeypatch.setattr(faiss_package, "missing", lambda: "the package faiss is not installed: x")
    for name in ("gtn_label:faiss", "gtn_label:faiss_cuda"):
        reason = BY_NAME[name].missing()
        assert reason == "not available here: the package faiss is not installed: x"
        assert trips_ci(reason)


def test_no_gpu_is_told_in_the_words_of_the_library(monkeypatch) -> None:
    if faiss_package.missing():
        pytest.skip(faiss_package.missing())

    def refuse(faiss, device):
        raise ValueError(f"device {device!r} is not there")

    monkeypatch.setattr(ours.faiss_index, "gpu_number", refuse)
    reason = BY_NAME["gtn_label:faiss_cuda"].missing()
    assert reason == "not available here: device 'cuda' is not there"


def test_the_target_is_a_ratio_within_one_run() -> None:
    (entries, line), *more = (
        (entries, line)
        for _, entries, lines in targets.plan(SETTINGS, 1.0)
        for line in lines
        if "faiss:python" in line.work
    )
    assert not more
    assert (line.limit, line.at_least) == (1.2, False)
    assert {"gtn_label:faiss", "faiss_tuned"} <= {entry.peer.name for entry in entries}
    assert {(entry.case.n, entry.case.dim) for entry in entries} == {(100_000, 100)}
    measured = [
        {
            **{"peer": e.peer.name, "kind": e.peer.kind, "data": e.case.data, "n": e.case.n},
            **{"dim": e.case.dim, "threads": e.threads, "note": "", "stats": {}},
            "seconds": {"runs": [11.0 if e.peer.name == "gtn_label:faiss" else 10.0]},
        }
        for e in entries
    ]
    judged = line.judge(measured)
    assert (judged["figure"]["median"], judged["result"]) == (1.1, "pass")
