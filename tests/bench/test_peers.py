"""Peers: each keeps its promise, and one that cannot run here says why."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_cases import ROOT, entries, rows

import gtn_label
from benchmarks import data, device, internals, peers, worker
from benchmarks.judge import Judge
from benchmarks.peer import Budget, needs
from benchmarks.peers import BY_NAME, PEERS, faiss_greedy, gpu_greedy
from benchmarks.throughput import everybody
from gtn_label.backend import faiss_package

FAISS = ("gtn_label:faiss", "gtn_label:faiss_linked", "gtn_label:faiss_cuda")


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, Judge]:
    """Latents, sources, and their judge, who compares exact solvers with each other."""
    latents, sources = data.latents("isotropic", 400, 6), data.sources(400, 6)
    judge = Judge(latents, sources, 40, True)
    judge.verdict("contract", np.array(gtn_label.match(latents, sources).assignment), {})
    return latents, sources, judge


@pytest.mark.filterwarnings("ignore:JAXopt is no longer maintained:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # of HiRef
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_keeps_its_promise(problem, peer, monkeypatch) -> None:
    if peer.missing():
        pytest.skip(peer.missing())
    for name, value in peer.environment().items():
        monkeypatch.setenv(name, value)
    latents, sources, judge = problem
    answer = peer.match(peer.place(latents), peer.place(sources), Budget(1, 100))
    found = judge.verdict(peer.kind, answer.assignment, answer.stats, answer.prices)
    if peer.kind == "map":
        assert found.map.never < 0.5
        return
    if peer.kind != "approximate":  # which may find every exact choice, and need not
        assert (found.quality.identical > 0.99) == (peer.kind in ("contract", "greedy"))


def test_authors_loop_stands_for_the_whole_by_a_part(problem, monkeypatch) -> None:
    monkeypatch.setattr(peers.authors_loop, "PART", 50)
    latents, sources, judge = problem
    answer = BY_NAME["authors_loop"].match(latents, sources, Budget(1, 0))
    assert (answer.assignment >= 0).sum() == 50
    assert "estimated from 50 of 400" in answer.note
    assert answer.loop_seconds > 0
    assert judge.verdict("greedy", answer.assignment, {}).quality.identical > 0.99


def test_names_are_unique_and_every_backend_has_a_row() -> None:
    assert len(BY_NAME) == len(PEERS)
    backends = {row.name for row in gtn_label.backends()} - {"cpu", "faiss"}  # synonyms
    names = {name.removeprefix("cpu:").replace(":", "_") for name in backends}
    names = names - {"faiss_python"} | {"faiss", "faiss_cuda", "cuda", "cuda_on_device"}
    names |= {"ranks_1", "ranks_2"}
    assert {"gtn_label"} | {f"gtn_label:{name}" for name in names} == {
        peer.name for peer in PEERS if peer.kind == "contract"
    }


def test_missing_package_says_what_to_install() -> None:
    assert "pip install '.[bench]'" in needs("no_such_module_here", "nothing")()
    assert "pip install '.[bench]'" in needs("no_such_module.inside", "nothing")()
    assert needs("numpy", "numpy")() == ""
    absent = needs("no_such_module_here", "nothing", "transport")()
    assert absent == "not available here: nothing is missing: pip install '.[transport]'"


class TestFaiss:
    def trips_ci(self, note: str) -> bool:
        """Return True if .ci/run would take the row for one that should have run."""
        script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        found = re.search(r"grep -E '([^']+)' \"\$work/benchmark.md\"", script)
        assert found is not None
        return re.search(found[1], note) is not None

    def test_rows_run_what_they_say(self) -> None:
        here = [name for name in FAISS if not BY_NAME[name].missing()]
        if not here:
            pytest.skip("no FAISS here")
        first, *others = rows(entries(*(BY_NAME[name] for name in here)))
        assert first["int8_ratio"]["median"] > 0
        for name, row in zip(here, others, strict=True):
            library = row["stats"]["faiss"]
            assert library["way"] == ("linked" if name.endswith("linked") else "python")
            assert library["device"] == ("cuda:0" if name.endswith("cuda") else "cpu")
            assert row["note"] == f"FAISS {library['version']}, {library['device']}"
            assert row["seconds"]["median"] > 0
            assert row["int8_ratio"] is None  # that rate is of the engine's own search

    @pytest.mark.parametrize("name", FAISS)
    def test_what_only_another_machine_or_build_has_passes_ci(self, name: str) -> None:
        if faiss_package.missing():
            pytest.skip(faiss_package.missing())
        reason = BY_NAME[name].missing()
        assert not reason or reason.startswith("not available here: ")
        assert not self.trips_ci(reason)

    def test_a_package_that_is_not_installed_fails_ci(self, monkeypatch) -> None:
        monkeypatch.setattr(
            faiss_package, "missing", lambda: "the package faiss is not installed: x"
        )
        for name in ("gtn_label:faiss", "gtn_label:faiss_cuda"):
            reason = BY_NAME[name].missing()
            assert reason == "not available here: the package faiss is not installed: x"
            assert self.trips_ci(reason)

    def test_no_gpu_is_told_in_the_words_of_the_library(self, monkeypatch) -> None:
        if faiss_package.missing():
            pytest.skip(faiss_package.missing())

        def refuse(faiss, device):
            raise ValueError(f"device {device!r} is not there")

        monkeypatch.setattr(internals, "gpu_number", refuse)
        reason = BY_NAME["gtn_label:faiss_cuda"].missing()
        assert reason == "not available here: device 'cuda' is not there"


class TestGreedyOnADevice:
    """The greedy over flat search on a device, with PyTorch on the CPU."""

    @pytest.fixture(autouse=True)
    def on_the_cpu(self, monkeypatch):
        pytest.importorskip("torch")
        monkeypatch.setattr(device, "NAME", "cpu")

    def problem(self):
        latents, sources = data.latents("isotropic", 3000, 6), data.sources(3000, 6)
        return latents, sources, np.array(gtn_label.match(latents, sources).assignment)

    def test_by_pytorch(self, monkeypatch) -> None:
        monkeypatch.setattr(gpu_greedy, "MOST_SCORES", 1 << 18)  # several parts a block
        latents, sources, right = self.problem()
        found = gpu_greedy.match_torch(latents, sources, Budget(1, 9))
        assert np.mean(found.assignment == right) > 0.99
        assert found.stats["searches"] >= 3

    def test_by_faiss(self, monkeypatch) -> None:
        faiss = pytest.importorskip("faiss")
        import torch

        def knn_gpu(resources, queries, rows, k, metric):
            assert isinstance(queries, torch.Tensor)
            found = faiss.knn(queries.numpy(), rows.numpy(), k, metric=metric)
            return tuple(torch.from_numpy(part) for part in found)

        monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
        monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
        imported = gpu_greedy.importlib.import_module
        monkeypatch.setattr(
            gpu_greedy,
            "importlib",
            SimpleNamespace(import_module=lambda name: name.startswith("faiss") or imported(name)),
        )
        latents, sources, right = self.problem()
        found = gpu_greedy.match_faiss(latents, sources, Budget(1, 9))
        assert np.mean(found.assignment == right) > 0.99

    def test_a_block_takes_in_order(self) -> None:
        random = np.random.default_rng(0)
        for free, k in ((40, 3), (40, 16), (20, 16), (5, 5)):
            candidates = np.array([random.permutation(free)[:k] for _ in range(min(free, 25))])
            taken: list[int] = []
            for row in candidates.tolist():
                column = next((c for c in row if c not in taken), None)
                if column is None:
                    break
                taken.append(column)
            assert faiss_greedy.take_in_order(candidates).tolist() == taken


@pytest.mark.gpu
def test_every_peer_on_a_device_agrees(tmp_path) -> None:
    latents, sources = data.latents("isotropic", 3000, 20), data.sources(3000, 20)
    judge = Judge(latents, sources, 40, False)
    right = np.array(gtn_label.match(latents, sources, backend="cpu").assignment)
    judge.verdict("contract", right, {})
    for peer in everybody():
        if ("GPU" in peer.title or "cuda" in peer.name) and not peer.missing():
            loaded = worker.Loaded(peer, latents, sources, Budget(1, 60))
            loaded.run(str(tmp_path / "assignment.npy"))
            judge.verdict(peer.kind, np.load(tmp_path / "assignment.npy"), {})
