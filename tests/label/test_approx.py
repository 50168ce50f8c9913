"""match_approx: one to one whatever the index finds, and truthful about what it lost.

The loss is compared with the oracle's: for every source, the exact choice among the latents that
the run had left free.
"""

from __future__ import annotations

import numpy as np
import pytest

import gtn_label
import oracle
from datasets import make, make_groups
from gtn_label import _core, approx_quality, match, match_approx
from gtn_label.backend import faiss_package

faiss = pytest.importorskip("faiss", reason="the approximate mode is FAISS's")

# Coarse enough to lose something everywhere.
COARSE = {"index": "IVF32,Flat", "nprobe": 2}


def visited_by(matching, problem: oracle.Problem) -> np.ndarray:
    return np.asarray(matching.assignment)[problem.order]


def true_loss(matching, problem: oracle.Problem, positions) -> tuple[float, float]:
    """Share of sources with another latent than the exact choice, and the mean cosine lost."""
    visited = visited_by(matching, problem)
    best = oracle.exact_choices(problem, visited, positions)
    sources = problem.order[positions]
    lost = problem.cosines(sources, best) - problem.cosines(sources, visited[positions])
    return float((best != visited[positions]).mean()), float(lost.mean())


OPTIONS = [
    {},
    {"order": "norm_desc", "cone": 4},
    {"order": "index", "center": True},
    {"groups": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["gaussian", "clusters", "1e3 + noise", "repeated 50 times"])
def test_loss_is_the_truth(name, options):
    latents, sources = make(name, 3000, 12)
    sources = sources[:2500]
    options = dict(options)
    if options.get("groups"):
        options["groups"] = make_groups("two", len(sources), len(latents))
    m = match_approx(latents, sources, **COARSE, sample=len(sources), **options)
    problem = oracle.Problem(latents, sources, **options)
    positions = np.arange(len(sources))
    other, lost = true_loss(m, problem, positions)
    told = m.stats["approx"]
    assert told["sample"] == len(sources)
    assert told["other_latent"] == other
    assert told["cosine_lost"] == pytest.approx(lost, abs=1e-12)
    assert len(np.unique(m.assignment)) == len(sources)
    right = problem.cosines(positions, np.asarray(m.assignment))
    assert np.array_equal(m.cosine.view(np.int64), right.view(np.int64))
    if name == "gaussian":
        assert other > 0.05
        assert lost > 0 or options.get("cone")


def test_sample_is_of_the_whole_run():
    latents, sources = make("gaussian", 6000, 10)
    m = match_approx(latents, sources, **COARSE, sample=700)
    problem = oracle.Problem(latents, sources)
    told = m.stats["approx"]
    assert told["sample"] == 700
    sampled = approx_quality.positions(6000, 700)
    other, lost = true_loss(m, problem, sampled)
    assert (told["other_latent"], told["cosine_lost"]) == (other, pytest.approx(lost, abs=1e-12))
    everywhere, _ = true_loss(m, problem, np.arange(6000))
    low, high = told["other_latent_95"]
    assert low <= everywhere <= high


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
@pytest.mark.parametrize("sample", [1, 2, 5, 999, 1000, 5000])
def test_positions(n, sample):
    found = approx_quality.positions(n, sample)
    assert len(found) == min(n, sample)
    assert (np.diff(found) > 0).all()
    assert 0 <= found[0] <= found[-1] < n
    if len(found) == n:
        assert found.tolist() == list(range(n))
    gaps = np.diff(np.concatenate([[-1], found, [n]]))
    assert gaps.max() <= n / len(found) + 1


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # Newcombe (1998), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_interval(hits, count, low, high):
    assert approx_quality.wilson(hits, count) == (
        pytest.approx(low, abs=5e-5),
        pytest.approx(high, abs=5e-5),
    )
    assert approx_quality.wilson(count, count)[1] == 1.0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "index", [{"index": "Flat"}, {"index": "IVF16,Flat", "nprobe": 16}], ids=str
)
@pytest.mark.parametrize("name", ["gaussian", "clusters", "lattice", "repeated 50 times"])
def test_an_index_that_misses_nothing_loses_nothing(name, index, threads):
    latents, sources = make(name, 2000, 16)
    m = match_approx(latents, sources, **index, threads=threads, sample=500)
    told = m.stats["approx"]
    assert told["other_latent"] == 0 or name in ("lattice", "repeated 50 times")
    assert told["cosine_lost"] == pytest.approx(0, abs=1e-6)
    if told["other_latent"] == 0 and name == "gaussian":
        assert np.array_equal(m.assignment, match(latents, sources).assignment)


@pytest.mark.parametrize(
    "index",
    [
        {"index": "IVF64,Flat", "nprobe": 1},
        {"index": "HNSW16", "parameters": "efSearch=32"},
        {"index": "IVF32,SQ8", "nprobe": 8, "parameters": "max_codes=3000"},
        {"index": "PCA4,IVF16,Flat"},
        {"index": "SQ4"},
        {"index": "NSG8,Flat"},
        {"index": " IVF16, Flat "},
    ],
    ids=lambda index: index["index"],
)
def test_any_index_gives_one_to_one(index):
    latents, sources = make("gaussian", 4000, 8)
    m = match_approx(latents, sources, **index, sample=50)
    assert sorted(m.assignment.tolist()) == list(range(4000))
    assert m.stats["approx"]["index"] == index["index"]
    assert m.stats["faiss"]["way"] == "python"


def test_what_is_recorded():
    latents, sources = make("gaussian", 1500, 6)
    m = match_approx(latents, sources, index="IVF32,Flat", sample=40)
    assert m.meta["method"] == "match_approx"
    assert m.meta["approx"] == m.stats["approx"]
    told = m.meta["approx"]
    assert (told["index"], told["nprobe"], told["parameters"]) == ("IVF32,Flat", 16, None)
    assert set(told) == {
        *("index", "nprobe", "parameters", "sample"),
        *("other_latent", "other_latent_95", "cosine_lost", "cosine_lost_error"),
    }
    assert m.stats["arithmetic"].startswith("approx")
    exact = match(latents, sources)
    assert "approx" not in exact.meta
    assert "approx" not in exact.stats
    assert match_approx(latents, sources, index="IVF8,Flat").meta["approx"]["nprobe"] == 8
    assert match_approx(latents, sources, index="HNSW8").meta["approx"]["nprobe"] is None


def test_file_tells_it_is_approximate(tmp_path):
    latents, sources = make("gaussian", 300, 6)
    m = match_approx(latents, sources, **COARSE)
    m.save(tmp_path / "pairs.npz")
    loaded = gtn_label.Matching.load(tmp_path / "pairs.npz")
    assert loaded.meta == m.meta
    assert loaded.meta["method"] == "match_approx"


def test_auto_never_chooses_it():
    latents, sources = make("gaussian", 300, 6)
    for backend in ("auto", "faiss"):
        m = match(latents, sources, backend=backend)
        assert m.meta["method"] == "match"
        assert "approx" not in m.stats["arithmetic"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "IVFnonsense"}, r"^index must be a factory string .* 'IVFnonsense': could not"),
        ({"index": "PQ7"}, r"^index must be a factory string|^index 'PQ7' cannot be trained"),
        ({"index": "LSH"}, "^index must be a factory string of FAISS's for 6 dimensions and inner"),
        ({"index": " "}, "^index must not be empty$"),
        (
            {"index": "IVF4096,Flat"},
            "^index 'IVF4096,Flat' has 4096 cells, .* got 300; 'IVF64,Flat' would fit$",
        ),
        ({"index": "HNSW8", "nprobe": 3}, r"^nprobe is for an index with cells \(IVF...\), got 3"),
        (
            {"index": "IVF8,Flat", "nprobe": 9},
            "^nprobe must be at most the 8 cells of index 'IVF8,Flat', got 9$",
        ),
        ({"index": "IVF8,Flat", "nprobe": 0}, "^nprobe must be >= 1, got 0$"),
        (
            {"index": "HNSW8", "parameters": "nonsense=3"},
            "^parameters must be FAISS's for this index, .*'nonsense=3' for index 'HNSW8': ",
        ),
        ({"index": "PQ2x0"}, "^index must be a factory string .* would crash on this number$"),
        ({"index": "HNSW0"}, "^index must be a factory string .* would crash on this number$"),
        ({"index": "HNSW1,Flat"}, "^index must be a factory string .* would crash on this number$"),
        ({"index": "IVF0,Flat"}, "^index must be a factory string .* would crash on this number$"),
        (
            {"index": "IVF8,Flat", "parameters": "max_codes=3,nprobe=2"},
            "^parameters must not set nprobe: it is an argument of its own, got 'max_codes=3,npr",
        ),
        (
            {"index": "IVF8,Flat", "parameters": "verbose=1"},
            "^parameters must not set verbose: it prints, got 'verbose=1'$",
        ),
        ({"index": "Flat", "parameters": ""}, "^parameters must not be empty$"),
        ({"index": "Flat", "sample": 0}, "^sample must be >= 1, got 0$"),
        ({"index": "Flat", "device": "cuda"}, "^device 'cuda' needs a FAISS built for GPUs"),
    ],
    ids=str,
)
def test_refusals(options, message):
    latents, sources = make("gaussian", 300, 6)
    with pytest.raises(ValueError, match=message):
        match_approx(latents, sources, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": None}, "^index must be a str, got NoneType None$"),
        ({"index": b"Flat"}, "^index must be a str, got bytes b'Flat'$"),
        ({"parameters": 3}, "^parameters must be a str, got int 3$"),
        ({"nprobe": 2.5}, "^nprobe must be an int, got float 2.5$"),
        ({"sample": True}, "^sample must be an int, got bool True$"),
    ],
    ids=str,
)
def test_wrong_types(options, message):
    latents, sources = make("gaussian", 30, 6)
    with pytest.raises(TypeError, match=message):
        match_approx(latents, sources, **{"index": "Flat", **options})


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(faiss_package, "missing", lambda: "it is not installed: how to get it")
    with pytest.raises(ValueError, match=r"faiss:python' is not available here: .* how to get it$"):
        match_approx(np.eye(3, dtype=np.float32), index="Flat")


def test_an_error_in_the_search_names_the_index(monkeypatch):
    latents, sources = make("gaussian", 400, 6)

    def fail(self, queries, k):
        raise RuntimeError("Error in virtual void f(int) at /a/b.cpp:12: Error: 'x > 0' failed")

    monkeypatch.setattr(faiss.IndexFlat, "search", fail)
    with pytest.raises(ValueError, match=r"^index 'Flat' cannot be searched: 'x > 0' failed$"):
        match_approx(latents, sources, index="Flat")


def test_nothing_is_left_to_chance_if_all_are_looked_at():
    latents, sources = make("gaussian", 600, 6)
    told = match_approx(latents, sources, **COARSE, sample=600).stats["approx"]
    assert told["other_latent_95"] == [told["other_latent"]] * 2
    assert told["cosine_lost_error"] == 0
    told = match_approx(latents, sources, **COARSE, sample=599).stats["approx"]
    assert told["other_latent_95"][0] < told["other_latent"] < told["other_latent_95"][1]
    assert told["cosine_lost_error"] > 0


class GpuIndex:
    """An index on a GPU, as far as this project uses it: of another type, and with a limit."""

    def __init__(self, index):
        self._index = index
        self.asked = []

    def reset(self):
        self._index.reset()

    def add(self, rows):
        self._index.add(rows)

    def search(self, queries, k):
        if k > 2048:
            raise RuntimeError("k is too large")
        self.asked.append(k)
        return self._index.search(queries, k)


def test_an_index_on_a_gpu(monkeypatch):
    """The real FAISS, and in the place of its GPUs one that is none."""
    made = []

    class ParameterSpace:
        def set_index_parameter(self, index, name, value):
            faiss.ParameterSpace().set_index_parameter(index._index, name, value)

    def to_gpu(resources, number, index):
        assert (resources, number) == ("resources", 1)
        assert index.is_trained
        made.append(GpuIndex(index))
        return made[-1]

    for name, value in {
        "StandardGpuResources": lambda: "resources",
        "get_num_gpus": lambda: 2,
        "index_cpu_to_gpu": to_gpu,
        "GpuParameterSpace": ParameterSpace,
    }.items():
        monkeypatch.setattr(faiss, name, value, raising=False)
    latents, sources = make("gaussian", 3000, 8)
    on_gpu = match_approx(
        latents, sources, index="IVF32,Flat", nprobe=5, device="cuda:1", cone=1500
    )
    assert on_gpu.stats["faiss"]["device"] == "cuda:1"
    assert len(made) == 1
    assert max(made[0].asked) == 2048
    assert sorted(on_gpu.assignment.tolist()) == list(range(3000))
    on_gpu = match_approx(latents, sources, index="IVF32,Flat", nprobe=5, device="cuda:1")
    on_cpu = match_approx(latents, sources, index="IVF32,Flat", nprobe=5)
    assert np.array_equal(on_gpu.assignment, on_cpu.assignment)
    assert on_gpu.meta["approx"] == on_cpu.meta["approx"]
    assert faiss.extract_index_ivf(made[-1]._index).nprobe == 5


def test_settings_of_faiss_are_put_back():
    threads, threshold = faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold
    latents, sources = make("gaussian", 2000, 6)
    match_approx(latents, sources, **COARSE, threads=1)
    with pytest.raises(ValueError, match="has 4096 cells"):
        match_approx(latents, sources, index="IVF4096,Flat", threads=1)
    assert faiss.omp_get_max_threads() == threads
    assert faiss.cvar.distance_compute_blas_threshold == threshold


def test_progress_reaches_the_end():
    latents, sources = make("gaussian", 3000, 6)
    heard = []
    match_approx(latents, sources, **COARSE, progress=lambda done, total, left: heard.append(done))
    assert heard[-1] == 3000


def test_audit_refuses_pairs_that_cannot_be():
    rows = np.eye(4, dtype=np.float32)
    given = {
        "latents": rows,
        "sources": rows,
        "order": "index",
        "cone": 1,
        "center": False,
        "source_groups": None,
        "latent_groups": None,
        "instruction_set": "auto",
        "threads": 1,
        "memory": 0,
        "poll": None,
    }
    every = np.arange(4)
    source, latent, cosine = _core.audit_rows(visited=every, positions=every, **given)
    assert source.tolist() == latent.tolist() == [0, 1, 2, 3]
    assert cosine.tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="visited must hold the latents that the first sources"):
        _core.audit_rows(visited=np.array([0, 1, 1, 2]), positions=every, **given)
    for positions in ([1, 1], [2, 1], [-1], [4]):
        with pytest.raises(ValueError, match="positions must ascend and name sources"):
            _core.audit_rows(visited=every, positions=np.array(positions), **given)
    with pytest.raises(ValueError, match="visited must have one entry a source"):
        _core.audit_rows(visited=every[:3], positions=every, **given)
