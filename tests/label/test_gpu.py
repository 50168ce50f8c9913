"""The cuda backend on a GPU, with torch where tensors are needed: `-m gpu`.

Its pairs over all data and options are test_differential.py's, whose cases of this backend have the
same marker. What needs no GPU is in test_cuda.py and its neighbours, over emulated devices.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import command
import engine
import gtn_label
import oracle
from datasets import make, make_groups
from gtn_label import _core
from gtn_label.arrays.sources import draw_sources
from memory_checkpoint import Prefix

pytestmark = pytest.mark.gpu

KERNELS = [f"cuda:{kernel['name']}" for kernel in _core.cuda_kernels()]
LATENTS, SOURCES = make("gaussian", 3000, 24)


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return torch


@pytest.fixture
def devices():
    """Numbers of all devices that the backend can use."""
    usable = [row["index"] for row in _core.cuda_devices() if "" in row["missing"].values()]
    if len(usable) < 2:
        pytest.skip("needs two GPUs")
    return usable


# The driver keeps some of what it once had, for code and for small allocations.
KEPT = 16 << 20


def numpy_of(array):
    """A result in CPU memory."""
    return array.cpu().numpy() if hasattr(array, "cpu") else np.asarray(array)


def assert_same(actual, expected):
    """As engine.assert_same, wherever the results are."""
    for name in ("assignment", "cosine"):
        a, e = numpy_of(getattr(actual, name)), numpy_of(getattr(expected, name))
        np.testing.assert_array_equal(a.view(np.int64), e.view(np.int64), err_msg=name)


# -------------------------------------------------------------------------------------- the pairs


@pytest.mark.parametrize("name", KERNELS)
class TestPairs:
    @pytest.mark.parametrize("dim", [1, 2, 8, 9, 64, 100, 768])
    @pytest.mark.parametrize("data", ["gaussian", "clusters 1e-3", "lattice, gaussian sources"])
    def test_are_the_cpus(self, name, data, dim):
        latents, sources = make(data, 20_000 if dim < 100 else 6000, dim)
        matching = engine.run(latents, sources, backend=engine.forced(name))
        assert_same(matching, gtn_label.match(latents, sources, backend="cpu"))

    @pytest.mark.parametrize(
        "options",
        [
            {"cone": 17},
            {"center": True},
            {"order": "norm_desc"},
            {"order": "index", "cone": 3},
            {"groups": make_groups("many", 2500, 3000)},
        ],
        ids=str,
    )
    def test_under_options_are_the_oracles(self, name, options):
        latents, sources = make("clusters", 3000, 24)
        sources = sources[:2500]
        matching = engine.run(latents, sources, backend=engine.forced(name), **options)
        assert_same(matching, oracle.solve(latents, sources, **options))

    def test_of_repeated_runs_are_equal(self, name):
        latents, sources = make("repeated 50 times", 20_000, 32)
        first = engine.run(latents, sources, backend=engine.forced(name))
        for _ in range(4):
            assert_same(engine.run(latents, sources, backend=name), first)

    def test_are_found_where_rows_stay_in_the_hosts_memory(self, name):
        latents, sources = make("gaussian", 40_000, 100)
        needed = engine.least_memory(latents, sources, backend=engine.forced(name))
        expected = gtn_label.match(latents, sources, backend="cpu")
        for memory in (needed, 2 * needed, 2**33):
            matching = engine.run(latents, sources, backend=name, memory=memory)
            assert_same(matching, expected)
            assert matching.stats["peak_work_bytes"] <= memory
        assert not matching.stats["latents_mapped"]


@pytest.mark.slow
def test_a_million_rows_are_the_cpus():
    latents = draw_sources(1_000_000, 64, 1)
    expected = gtn_label.match(latents, backend="cpu")
    assert_same(gtn_label.match(latents, backend="cuda"), expected)


# ---------------------------------------------------------------------------------------- tensors


class TestTensors:
    def test_out_for_tensors_in(self, torch):
        latents, sources = (torch.from_numpy(rows).cuda() for rows in (LATENTS, SOURCES))
        matching = gtn_label.match(latents, sources)
        assert matching.stats["backend"] == "cuda"
        expected = gtn_label.match(LATENTS, SOURCES)
        assert_same(matching, expected)
        assert matching.assignment.dtype == torch.int64
        assert matching.cosine.dtype == torch.float64
        for tensor in (matching.assignment, matching.cosine, matching.sources, *matching.pairs()):
            assert tensor.device == latents.device
        for tensor, rows in zip(matching.pairs(), expected.pairs(), strict=True):
            np.testing.assert_array_equal(tensor.cpu().numpy(), rows)
        assert matching.meta == expected.meta | {"backend": "cuda"}

    def test_drawn_sources_are_the_cpus_on_the_latents_device(self, torch):
        matching = gtn_label.match(torch.from_numpy(LATENTS).cuda(), seed=5)
        assert matching.sources.is_cuda
        np.testing.assert_array_equal(
            matching.sources.cpu().numpy(), gtn_label.match(LATENTS, seed=5).sources
        )

    def test_inputs_may_lie_apart(self, torch):
        expected = gtn_label.match(LATENTS, SOURCES)
        latents, sources = torch.from_numpy(LATENTS), torch.from_numpy(SOURCES)
        for pair in (
            (latents.cuda(), SOURCES),
            (latents.cuda(), sources),
            (latents, sources.cuda()),
            (LATENTS, sources.cuda()),
        ):
            matching = gtn_label.match(*pair)
            assert matching.stats["backend"] == "cuda"
            assert_same(matching, expected)
            for array in matching.pairs():
                assert isinstance(array, type(pair[0]))
                assert getattr(array, "device", None) == getattr(pair[0], "device", None)

    @pytest.mark.parametrize(
        "dtype",
        ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"],
    )
    @pytest.mark.parametrize(
        "layout",
        [
            lambda rows: rows,
            lambda rows: rows.T.contiguous().T,
            lambda rows: rows.repeat(2, 3)[::2, ::3],
            lambda rows: rows[:, :1].expand(-1, 5),
            lambda rows: rows[5:],
        ],
        ids=["rows", "columns", "strides", "expanded", "offset"],
    )
    def test_every_dtype_and_layout(self, torch, dtype, layout):
        rows = torch.from_numpy(LATENTS[:700] * 30 + 60).clamp(1, 120)
        latents = layout(rows.to(getattr(torch, dtype)).cuda())
        sources = SOURCES[:300, : latents.shape[1]]
        matching = gtn_label.match(latents, sources)
        expected = gtn_label.match(latents.cpu(), sources)
        assert_same(matching, expected)
        assert torch.equal(matching.pairs()[1].cpu(), expected.pairs()[1])
        assert matching.meta["latents_sha256"] == expected.meta["latents_sha256"]

    def test_gradients_are_not_wanted(self, torch):
        latents = torch.from_numpy(LATENTS).cuda().requires_grad_()
        assert not gtn_label.match(latents).pairs()[1].requires_grad

    @pytest.mark.parametrize("own_stream", [False, True])
    def test_is_read_on_the_current_stream(self, torch, own_stream):
        """What that stream still has to do to the latents comes first."""
        expected = gtn_label.match(LATENTS, SOURCES)
        ready = torch.from_numpy(LATENTS).cuda()
        sources = torch.from_numpy(SOURCES).cuda()
        latents = torch.ones_like(ready)
        torch.cuda.synchronize()
        stream = torch.cuda.Stream() if own_stream else torch.cuda.current_stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(400_000_000)  # clock ticks: a fifth of a second
            latents.copy_(ready)
            assert_same(gtn_label.match(latents, sources), expected)

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_other_libraries_arrays(self, torch, dtype):
        class Other:
            """An array of which nothing but the protocol is known."""

            def __init__(self, tensor):
                self._tensor = tensor

            def __dlpack__(self, **options):
                return self._tensor.__dlpack__(**options)

            def __dlpack_device__(self):
                return self._tensor.__dlpack_device__()

        latents = torch.from_numpy(LATENTS).to(getattr(torch, dtype))
        torch.cuda._sleep(100_000_000)
        matching = gtn_label.match(Other(latents.cuda()), SOURCES)
        expected = gtn_label.match(latents.numpy(), SOURCES)
        assert type(matching.assignment) is np.ndarray
        assert_same(matching, expected)
        assert matching.meta == expected.meta | {"backend": "cuda"}

    def test_groups_as_tensors(self, torch):
        parts = torch.arange(3000).cuda() % 3
        matching = gtn_label.match(torch.from_numpy(LATENTS).cuda(), groups=(parts, parts))
        assert torch.equal(matching.groups[1][matching.assignment], matching.groups[0])

    def test_undefined_rows_are_refused(self, torch):
        latents = torch.from_numpy(LATENTS).cuda()
        latents[17, 3] = float("nan")
        with pytest.raises(ValueError, match=r"^latents must be finite.*\b17\b"):
            gtn_label.match(latents)

    def test_pairs_are_saved_as_the_cpus(self, torch, tmp_path):
        gtn_label.match(torch.from_numpy(LATENTS).cuda()).save(tmp_path / "one.npz")
        gtn_label.match(LATENTS, backend="cuda").save(tmp_path / "two.npz")
        assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


# ---------------------------------------------------------------------------------------- devices


class TestDevices:
    def test_each_by_name(self, devices):
        expected = gtn_label.match(LATENTS, SOURCES)
        for index in devices:
            matching = gtn_label.match(LATENTS, SOURCES, backend="cuda", device=f"cuda:{index}")
            assert matching.stats["cuda"]["device"] == f"cuda:{index}"
            assert_same(matching, expected)

    def test_tensors_stay_on_theirs(self, torch, devices):
        before = torch.cuda.current_device()
        for index in devices:
            latents = torch.from_numpy(LATENTS).to(f"cuda:{index}")
            matching = gtn_label.match(latents)
            assert matching.assignment.device == latents.device
            assert matching.sources.device == latents.device
            assert torch.cuda.current_device() == before
        with pytest.raises(ValueError, match=r"^sources must be on the GPU of latents"):
            gtn_label.match(latents, torch.from_numpy(SOURCES).to(f"cuda:{devices[0]}"))

    def test_several_threads_on_several_at_once(self, devices):
        expected = gtn_label.match(LATENTS, SOURCES)

        def run(index):
            return gtn_label.match(LATENTS, SOURCES, backend="cuda", device=f"cuda:{index}")

        with ThreadPoolExecutor(2 * len(devices)) as pool:
            for matching in pool.map(run, devices * 4):
                assert_same(matching, expected)


def test_several_threads_on_one_device():
    expected = gtn_label.match(LATENTS, SOURCES)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(gtn_label.match, LATENTS, SOURCES, backend="cuda") for _ in range(8)]
        for run in runs:
            assert_same(run.result(), expected)


def test_device_that_is_not_there():
    with pytest.raises(ValueError, match=r"^device 'cuda:99' is not there: CUDA finds cuda:0 \("):
        gtn_label.match(LATENTS, backend="cuda", device="cuda:99")


# ----------------------------------------------------------------------- memory, and interruptions


class TestMemory:
    def test_runs_out_and_is_whole_again(self, torch):
        """Everything that is free goes to torch, but for less than any run needs."""
        latents = torch.from_numpy(LATENTS).cuda()
        torch.cuda.empty_cache()
        hoard, size = [], torch.cuda.mem_get_info()[0]
        while size >= 2 << 20:
            try:
                hoard.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
            except torch.cuda.OutOfMemoryError:
                size //= 2
        with pytest.raises(MemoryError, match=r"^cuda:0 .*\d+ bytes"):
            gtn_label.match(latents)
        assert torch.cuda.memory_allocated() >= sum(map(len, hoard))  # those in use stay in use
        del hoard
        torch.cuda.empty_cache()
        assert_same(gtn_label.match(latents), gtn_label.match(LATENTS))

    def test_all_is_given_back(self, torch):
        latents = torch.from_numpy(LATENTS).cuda().half()
        for _ in range(2):  # the runtime keeps some for itself the first time
            gtn_label.match(latents)
        before = torch.cuda.mem_get_info()[0]
        for _ in range(3):
            gtn_label.match(latents)
        with pytest.raises(ValueError, match=r"^memory must be at least"):
            gtn_label.match(latents, memory=1)
        assert torch.cuda.mem_get_info()[0] >= before - KEPT


class TestInterrupt:
    def test_ctrl_c_gives_the_memory_back(self, torch):
        latents = torch.randn(3_000_000, 256, device="cuda")  # seconds on any GPU
        gtn_label.match(latents, latents[:5000])  # the runtime keeps some for rows of this width
        torch.cuda.synchronize()
        before = torch.cuda.mem_get_info()[0]
        timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                gtn_label.match(latents, latents)
        finally:
            timer.cancel()
        assert torch.cuda.mem_get_info()[0] >= before - KEPT
        assert_same(gtn_label.match(LATENTS, backend="cuda"), gtn_label.match(LATENTS))

    def test_is_continued_by_the_cpu(self):
        latents = draw_sources(200_000, 64, 1)
        sources = draw_sources(200_000, 64, 2)
        reached = []

        def stop(done: int) -> None:
            reached.append(done)
            if done > 0:
                raise InterruptedError

        begun = Prefix(listen=stop)
        with pytest.raises(InterruptedError):
            gtn_label.match(latents, sources, backend="cuda", checkpoint=begun)
        rest = Prefix(begun.visited[: reached[-1]])
        continued = gtn_label.match(latents, sources, backend="cpu", checkpoint=rest)
        assert_same(continued, gtn_label.match(latents, sources, backend="cuda"))


def test_importing_and_the_cpu_touch_no_gpu(tmp_path):
    """A process that is forked afterwards can still use one."""
    code = (
        "import os, numpy, gtn_label\n"
        "rows = numpy.ones((3, 2))\n"
        "gtn_label.match(rows)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    gtn_label.match(rows, backend='cuda')\n"
        "    os._exit(0)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = command.child(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
