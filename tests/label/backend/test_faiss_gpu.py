"""The faiss backend's GPU path, on the CPU: a double of FAISS stands for the GPU (faiss_double.py).

It must not change one pair. Errors of devices are here too; those that need no GPU, and all else of
the backend, are in test_faiss.py.
"""

from __future__ import annotations

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
import faiss_double
import gtn_label
import oracle
from cases import inputs, label
from datasets import NAMES, make, make_groups
from gtn_label.backend import faiss_exact
from pair_cover import complete, pairs_of

DIMS = (2, 3, 8, 33, 100)
FACTORS = {
    "order": ("norm", "norm_desc", "index"),
    "cone": (1, 4, 64),
    "groups": ("none", "two"),
    "center": (False, True),
    "threads": (1, 2),
    "share": (1.0, 0.6),
    "most_k": ("FAISS's", "17", "the cone"),
}
# Each data set in two dimensions with more sources than three windows, and once with few. Many
# groups need more rows: small ones are scored exactly, without any index.
CASES = complete(
    [
        {"data": name, "dim": dim, "n": n}
        for i, name in enumerate(NAMES)
        for dim, n in [(DIMS[i % 5], 1400), (DIMS[(i + 2) % 5], 1400), (DIMS[(i + 4) % 5], 450)]
    ],
    FACTORS,
)


def run_on_gpu(latents, sources, **options):
    return gtn_label.match(latents, sources, backend="faiss:python", device="cuda", **options)


@pytest.fixture
def gpu(monkeypatch):
    """Install a double with such habits."""
    return functools.partial(faiss_double.install, monkeypatch)


# ------------------------------------------------------------------------------------- the double


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class TestDouble:
    def search(self, faiss, latents, sources, k):
        resources = faiss.StandardGpuResources()
        config = faiss.GpuIndexFlatConfig(useFloat16=False, use_cuvs=False)
        index = faiss.GpuIndexFlatIP(resources, latents.shape[1], config)
        index.add(unit(latents))
        return index.search(unit(sources), k)

    def test_scores_are_off_by_all_that_float32_allows_and_no_more(self):
        latents, sources = make("gaussian", 300, 33)
        faiss = faiss_double.FaissForGpus()
        scores, positions = self.search(faiss, latents, sources, 300)
        rows, queries = unit(latents).astype(np.float64), unit(sources).astype(np.float64)
        exact = np.take_along_axis(queries @ rows.T, positions, axis=1)
        bound = faiss_double.error_bound(unit(sources), unit(latents))
        off = np.abs(scores - exact) / np.take_along_axis(bound, positions, axis=1)
        assert off.max() <= 1 + 1e-9
        assert np.mean(off > 0.9) > 0.3
        again, at = self.search(faiss, latents, sources, 300)
        assert (np.sort(scores, axis=1) != np.sort(again, axis=1)).mean() > 0.5
        assert (positions != at).any()

    def test_ties_are_broken_at_random(self):
        latents, sources = make("all equal", 300, 3)
        _, positions = self.search(faiss_double.FaissForGpus(error=0), latents, sources, 5)
        assert len(np.unique(positions)) > 290

    @pytest.mark.parametrize("error", [0.0, 1.0])
    @pytest.mark.parametrize("name", ["lattice", "clusters 1e-6", "near duplicates float64"])
    def test_whoever_trusts_it_gets_other_pairs(self, name, error):
        latents, sources = make(name, 300, 8)
        faiss = faiss_double.FaissForGpus(error=error)
        scores, positions = self.search(faiss, latents, sources, 300)
        best_first = np.take_along_axis(positions, np.argsort(-scores, axis=1), axis=1)
        free = np.ones(300, bool)
        assignment = np.empty(300, np.int64)
        for source in range(300):
            choice = next(at for at in best_first[source] if free[at])
            assignment[source], free[choice] = choice, False
        expected = oracle.solve(latents, sources, order="index").assignment
        assert (assignment != expected).mean() > 0.02


# -------------------------------------------------------------------------------------- the pairs


def most_k_of(case) -> int:
    return {"FAISS's": faiss_double.MOST_K, "17": max(17, case["cone"])}.get(
        case["most_k"], case["cone"]
    )


def test_cases_cover_every_pair_of_options():
    met = set().union(*(pairs_of(case) for case in CASES))
    for a, b in itertools.combinations(sorted(FACTORS), 2):
        for one, other in itertools.product(FACTORS[a], FACTORS[b]):
            assert ((a, one), (b, other)) in met
    assert {case["data"] for case in CASES} == set(NAMES)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_pairs_are_the_oracles(case, gpu, monkeypatch):
    latents, sources, options = inputs(case)
    most_k = most_k_of(case)
    monkeypatch.setattr(faiss_exact.GpuFlatIndex, "most_k", most_k)
    faiss = gpu(most_k=most_k)
    try:
        expected = oracle.solve(latents, sources, **options)
    except oracle.Refused:
        with pytest.raises(ValueError, match=r"latents|sources"):
            run_on_gpu(latents, sources, threads=case["threads"], **options)
        return
    matching = run_on_gpu(latents, sources, threads=case["threads"], **options)
    engine.assert_same(matching, expected)
    assert matching.stats["backend"] == "faiss"
    assert matching.stats["faiss"] == {
        "way": "python",
        "version": faiss.__version__,
        "device": "cuda:0",
    }
    assert max(k for _, k in faiss.asked) <= most_k
    if matching.stats["distinct_latents"] > 300:
        assert len(faiss.asked) > 1  # the first tries the products


@settings(max_examples=40)
@given(st.data())
def test_random_problems(data):
    """Hypothesis cannot use a fixture of a function: the double is installed here."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    m, dim = data.draw(st.integers(193, 700)), data.draw(st.integers(2, 40))
    n = data.draw(st.integers(1, m))
    options = {
        "order": data.draw(st.sampled_from(["norm", "norm_desc", "index"])),
        "cone": data.draw(st.integers(1, 12)),
        "center": data.draw(st.booleans()),
    }
    coarse = data.draw(st.sampled_from([0.02, 0.5, 2.0]))  # ties beside near ties
    latents = np.round(rng.standard_normal((m, dim)) / coarse) * coarse + 1e-3
    sources = rng.standard_normal((n, dim))
    expected = gtn_label.match(latents, sources, **options)
    with pytest.MonkeyPatch.context() as patch:
        most_k = data.draw(st.sampled_from([12, 40, 2048]))
        patch.setattr(faiss_exact.GpuFlatIndex, "most_k", most_k)
        faiss_double.install(patch, most_k=most_k)
        engine.assert_same(run_on_gpu(latents, sources, **options), expected)


@pytest.mark.parametrize("name", ["gaussian", "lattice, gaussian sources", "clusters 1e-6"])
def test_many_groups_share_one_index(name, gpu):
    latents, sources = make(name, 5000, 8)
    groups = make_groups("many", 5000, 5000)
    faiss = gpu()
    matching = run_on_gpu(latents, sources, groups=groups, cone=2)
    engine.assert_same(matching, oracle.solve(latents, sources, groups=groups, cone=2))
    assert len(faiss.indexes) == 1
    assert len(faiss.loaded) > 17


def test_the_copy_on_the_gpu_is_renewed_as_latents_are_taken(gpu):
    latents, sources = make("gaussian", 3000, 16)
    faiss = gpu()
    engine.assert_same(run_on_gpu(latents, sources), gtn_label.match(latents, sources))
    tried, *loaded = faiss.loaded
    assert tried == 256  # of the products
    assert loaded[0] == 3000
    assert loaded == sorted(loaded, reverse=True)
    # A quarter gone makes it worth while: fewer copies were too stale, many more too dear.
    assert 5 <= len(loaded) <= 60
    assert loaded[-1] < 600
    assert all(smaller < larger for larger, smaller in itertools.pairwise(loaded))


def test_several_matches_at_once_have_resources_of_their_own(gpu):
    faiss = gpu()
    latents, sources = make("gaussian", 1500, 12)
    expected = gtn_label.match(latents, sources)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(run_on_gpu, latents, sources, threads=2) for _ in range(3)]
        for future in futures:
            engine.assert_same(future.result(), expected)
    assert len({id(index.resources) for index in faiss.indexes}) == 3


# ------------------------------------------------------------------------------------- the device


LATENTS = make("gaussian", 400, 8)[0]


@pytest.mark.parametrize(
    ("device", "number"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:2", 2)]
)
def test_device_names_the_gpu(device, number, gpu):
    faiss = gpu(gpus=3)
    matching = gtn_label.match(LATENTS, backend="faiss", device=device)
    assert matching.stats["faiss"]["device"] == f"cuda:{number}"
    assert [index.device for index in faiss.indexes] == [number]


def test_mixture_takes_a_device_too(gpu):
    gpu()
    options = {"n_clusters": 2, "seed": 3}
    on_gpu = gtn_label.match_mixture(LATENTS, **options, backend="faiss", device="cuda")
    assert on_gpu.stats["faiss"]["device"] == "cuda:0"
    engine.assert_same(on_gpu, gtn_label.match_mixture(LATENTS, **options))


@pytest.mark.parametrize("device", [0, True, b"cuda", ["cuda"]])
def test_device_must_be_a_str(device):
    with pytest.raises(TypeError, match=r"^device must be a str, got \w+ "):
        gtn_label.match(LATENTS, device=device)


@pytest.mark.parametrize(
    "device", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:0 ", "cuda:12345", "cpu:0"]
)
@pytest.mark.parametrize("name", ["auto", "faiss:python"])
def test_unknown_device(device, name, gpu):
    gpu()
    message = f"^device must be 'cpu', 'cuda' or 'cuda:N', got '{device}'$"
    with pytest.raises(ValueError, match=message):
        gtn_label.match(LATENTS, backend=name, device=device)


@pytest.mark.parametrize(
    ("name", "runs"),
    [("auto", "cpu"), ("cpu", "cpu"), ("cpu:scalar", "cpu"), ("faiss:linked", "faiss:linked")],
)
def test_device_of_a_backend_that_has_none(name, runs, gpu):
    if name.startswith("faiss"):
        engine.forced(name)
    gpu()
    message = (
        "^device 'cuda' needs backend 'cuda' or 'faiss:python', "
        f"and '{runs}' runs on the CPU(; 'cuda' is not available here: [^;]+)?$"
    )
    with pytest.raises(ValueError, match=message):
        gtn_label.match(LATENTS, backend=name, device="cuda")
    engine.assert_same(
        gtn_label.match(LATENTS, backend=name, device="cpu"), gtn_label.match(LATENTS)
    )


@pytest.mark.parametrize(
    ("gpus", "device", "seen"),
    [
        (0, "cuda", "none"),
        (0, "cuda:0", "none"),
        (1, "cuda:1", "cuda:0"),
        (1, "cuda:7", "cuda:0"),
        (4, "cuda:4", "cuda:0 to cuda:3"),
    ],
)
def test_gpu_that_is_not_there(gpus, device, seen, gpu):
    gpu(gpus)
    message = f"^device '{device}' is not there: faiss-gpu 9.8.7 finds GPUs: {seen}$"
    with pytest.raises(ValueError, match=message):
        gtn_label.match(LATENTS, backend="faiss:python", device=device)


def test_package_without_gpus_says_which_has_them(gpu):
    del gpu().StandardGpuResources
    message = (
        "^device 'cuda' needs a FAISS built for GPUs, and faiss-gpu 9.8.7 is not: "
        r"pip install 'gtn-label\[faiss-gpu\]' \(Linux on x86-64\)$"
    )
    with pytest.raises(ValueError, match=message):
        gtn_label.match(LATENTS, backend="faiss:python", device="cuda")


def test_the_installed_package_says_what_it_lacks():
    engine.forced("faiss:python")
    faiss = pytest.importorskip("faiss")
    if faiss.get_num_gpus() > 0:
        pytest.skip("a GPU is here")
    message = "^device 'cuda' (needs a FAISS built for GPUs|is not there)"
    with pytest.raises(ValueError, match=message):
        gtn_label.match(LATENTS, backend="faiss:python", device="cuda")


def test_cone_beyond_what_a_gpu_selects(gpu):
    latents, _ = make("gaussian", 2100, 2)
    faiss = gpu()
    run_on_gpu(latents, latents[:3], cone=2048)
    assert (3, 2048) in faiss.asked
    message = (
        "^cone must be at most 2048 for FAISS on cuda:0, which finds no more latents at a time, "
        "got 2049$"
    )
    with pytest.raises(ValueError, match=message):
        run_on_gpu(latents, latents[:3], cone=2049)
    # A cone is no larger than the number of latents.
    run_on_gpu(latents[:2000], latents[:3], cone=9999)


def test_products_of_too_few_bits_are_refused(gpu, monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    gpu(tf32=True)
    message = (
        "^device 'cuda:0' must multiply in float32, but rounds to fewer bits; the environment "
        "variable NVIDIA_TF32_OVERRIDE is 1$"
    )
    for dim in (2, 8, 300):
        with pytest.raises(ValueError, match=message):
            run_on_gpu(make("gaussian", 300, dim)[0], None)


# ------------------------------------------------------------------------------- the GPU's memory


def test_memory_runs_out_for_the_latents(gpu):
    faiss = gpu(memory=256 * 8 * 4)  # enough to try the products
    message = (
        r"^device 'cuda:0' has too little free memory for 400 x 8 latents in float32 "
        r"\(12800 bytes\): .*cudaMalloc"
    )
    with pytest.raises(MemoryError, match=message):
        run_on_gpu(LATENTS, None)
    faiss.memory = 400 * 8 * 4
    run_on_gpu(LATENTS, None)


def test_memory_runs_out_in_a_search(gpu):
    gpu(searches=2)  # the trial and the first window
    message = (
        r"^device 'cuda:0' has too little free memory for a search of \d+ sources for \d+ latents "
        "each: .*cudaMalloc"
    )
    with pytest.raises(MemoryError, match=message):
        run_on_gpu(LATENTS, None)


def test_memory_runs_out_for_buffers(gpu):
    gpu(memory=0)
    message = "^device 'cuda:0' has too little free memory for FAISS's buffers: "
    with pytest.raises(MemoryError, match=message):
        run_on_gpu(LATENTS, None)


def test_other_errors_of_faiss_stay_what_they_are(gpu):
    gpu(most_k=3)  # less than is asked for
    with pytest.raises(RuntimeError, match="only supports min/max-K selection up to 3"):
        run_on_gpu(LATENTS, None)


def test_a_match_after_one_that_failed_is_right(gpu):
    faiss = gpu(searches=2)
    with pytest.raises(MemoryError):
        run_on_gpu(LATENTS, None)
    faiss.searches = 2**40
    engine.assert_same(run_on_gpu(LATENTS, None), gtn_label.match(LATENTS))
