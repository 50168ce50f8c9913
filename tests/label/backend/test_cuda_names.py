"""The cuda backend's names, kernels and devices, with made-up GPUs: nothing here needs one.

What it computes, and from which arrays, is in test_cuda.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import engine
import gtn_label
from gtn_label import _core
from gtn_label.arrays.on_gpu import Location
from gtn_label.backend import engines, names
from made_up_engines import cuda_is, gpu

OLD = "it is too old"
TEXT = "on a GPU, by its best kernel"
LATENTS = np.random.default_rng(0).normal(size=(20, 3))


@pytest.fixture
def two(monkeypatch):
    """Two GPUs: one runs both kernels, the other the plain one."""
    devices = [gpu(0, "Small", fast=OLD, plain=""), gpu(1, "Large", fast="", plain="")]
    cuda_is(monkeypatch, "", kernels=["fast", "plain"], devices=devices)


class OnGpu:
    """An array that is not to be read."""

    def __init__(self, device: int = 0, kind: int = 2) -> None:
        self.place = kind, device

    def __dlpack_device__(self):
        return self.place

    def __dlpack__(self, **options):
        raise AssertionError("must not be asked")


def cuda_rows():
    return [tuple(row) for row in gtn_label.backends() if row.name.startswith("cuda")]


class TestList:
    @pytest.mark.usefixtures("two")
    def test_kernels_by_name(self):
        assert cuda_rows() == [
            ("cuda", True, "", f"{TEXT}: cuda:0 (Small), cuda:1 (Large)"),
            ("cuda:fast", True, "", "about fast"),
            ("cuda:plain", True, "", "about plain"),
        ]

    def test_kernel_that_no_gpu_runs(self, monkeypatch):
        devices = [gpu(0, "Small", fast=OLD, plain="")]
        cuda_is(monkeypatch, "", kernels=["fast", "plain"], devices=devices)
        assert [row[1:3] for row in cuda_rows()] == [(True, ""), (False, OLD), (True, "")]

    def test_gpu_that_runs_no_kernel(self, monkeypatch):
        devices = [gpu(0, "Ancient", fast=OLD, plain="so too for plain")]
        cuda_is(monkeypatch, "", kernels=["fast", "plain"], devices=devices)
        reasons = OLD, OLD, "so too for plain"
        assert [row[1:3] for row in cuda_rows()] == [(False, reason) for reason in reasons]
        with pytest.raises(ValueError, match=f"^backend 'cuda' is not available here: {OLD}$"):
            names.resolve("cuda")

    def test_no_gpu(self, monkeypatch):
        cuda_is(monkeypatch, "no driver", kernels=["fast"])
        assert cuda_rows() == [
            ("cuda", False, "no driver", TEXT),
            ("cuda:fast", False, "no driver", "about fast"),
        ]


class TestResolve:
    @pytest.mark.usefixtures("two")
    @pytest.mark.parametrize(
        ("name", "kernel"), [("cuda", ""), ("cuda:fast", "fast"), ("cuda:plain", "plain")]
    )
    def test_forces_a_kernel(self, name, kernel, monkeypatch):
        monkeypatch.setenv("GTN_LABEL_INSTRUCTION_SET", "nonsense")  # which is the CPU's
        assert names.resolve(name) == ("cuda", "auto", kernel)

    @pytest.mark.usefixtures("two")
    @pytest.mark.parametrize("name", ["cuda:", "cuda:best", "CUDA"])
    def test_unknown(self, name):
        known = "auto, cpu, .*cuda, cuda:fast, cuda:plain, fa.*"
        message = f"^backend must be one of {known}, got '{name}'$"
        with pytest.raises(ValueError, match=message):
            names.resolve(name)

    @pytest.mark.usefixtures("two")
    def test_auto_goes_where_the_inputs_are(self):
        assert names.resolve("auto", on_gpu=True) == ("cuda", "auto", "")
        assert names.resolve("auto").name == "cpu"
        assert names.resolve("cpu", on_gpu=True).name == "cpu"

    def test_auto_without_cuda_is_the_cpu(self, monkeypatch):
        cuda_is(monkeypatch, "no driver")
        assert names.resolve("auto", on_gpu=True).name == "cpu"

    def test_no_driver_is_asked_unless_a_gpu_is_meant(self, monkeypatch):
        """Else a process that is forked later could not use the GPU."""
        for name in ("cuda_missing", "cuda_devices"):
            monkeypatch.setattr(_core, name, lambda: pytest.fail("asked"))
        for name in ("auto", "cpu", "cpu:scalar"):
            gtn_label.match(LATENTS, backend=name)
            gtn_label.match(LATENTS, LATENTS[:5].tolist(), backend=name, device="cpu")


class TestDevice:
    def choose(self, device, *, kernel="", located=None):
        at = None if located is None else Location(located, "latents", "x", True)
        return engines.check_device(device, names.Chosen("cuda", "auto", kernel), at)

    @pytest.mark.usefixtures("two")
    def test_is_the_first_or_that_of_the_inputs(self):
        assert [self.choose(device) for device in (None, "cuda", "cuda:0", "cuda:1")] == [
            "cuda:0",
            "cuda:0",
            "cuda:0",
            "cuda:1",
        ]
        assert [self.choose(device, located=1) for device in (None, "cuda", "cuda:1")] == [
            "cuda:1"
        ] * 3

    @pytest.mark.usefixtures("two")
    def test_must_be_that_of_the_inputs(self):
        message = "^device must be that of latents, 'cuda:1', got 'cuda:0'$"
        with pytest.raises(ValueError, match=message):
            self.choose("cuda:0", located=1)

    @pytest.mark.usefixtures("two")
    def test_must_be_there(self):
        message = r"^device 'cuda:2' is not there: CUDA finds cuda:0 \(Small\), cuda:1 \(Large\)$"
        with pytest.raises(ValueError, match=message):
            self.choose("cuda:2")

    @pytest.mark.usefixtures("two")
    def test_must_run_the_kernel(self):
        message = f"^backend 'cuda:fast' is not available on 'cuda:0': {OLD}$"
        with pytest.raises(ValueError, match=message):
            self.choose(None, kernel="fast")
        assert self.choose("cuda:1", kernel="fast") == "cuda:1"
        assert self.choose(None, kernel="plain") == "cuda:0"

    @pytest.mark.usefixtures("two")
    def test_is_not_the_cpu(self):
        message = "^device must be 'cuda' or 'cuda:N' for backend 'cuda', got 'cpu'$"
        with pytest.raises(ValueError, match=message):
            gtn_label.match(LATENTS, backend="cuda", device="cpu")

    @pytest.mark.usefixtures("two")
    def test_is_checked_as_for_others(self):
        with pytest.raises(ValueError, match=r"^device must be 'cpu', 'cuda' or 'cuda:N', got '1'"):
            gtn_label.match(LATENTS, backend="cuda", device="1")
        with pytest.raises(TypeError, match=r"^device must be a str, got int 1"):
            gtn_label.match(LATENTS, backend="cuda", device=1)

    def test_another_backend_says_what_is_needed_and_missing(self, monkeypatch):
        cuda_is(monkeypatch, "no driver")
        message = (
            "^device 'cuda:1' needs backend 'cuda' or 'faiss:python', and 'cpu' runs on the "
            "CPU; 'cuda' is not available here: no driver"
        )
        with pytest.raises(ValueError, match=message):
            gtn_label.match(LATENTS, device="cuda:1")


@pytest.mark.parametrize("kind", [2, 13])
@pytest.mark.parametrize("which", ["latents", "sources"])
class TestPlace:
    """Arrays on a GPU for a backend that does not read them there."""

    def refused(self, which, array, message, **options):
        with pytest.raises(ValueError, match=message):
            gtn_label.match(**{"latents": LATENTS, which: array}, **options)

    @pytest.mark.usefixtures("two")
    @pytest.mark.parametrize("name", ["cpu", "cpu:scalar"])
    def test_the_backend_is_named_that_does(self, which, kind, name):
        message = (
            f"^{which} must be in CPU memory, got OnGpu on cuda:1; copy it to the CPU first or "
            "backend='cuda'$"
        )
        self.refused(which, OnGpu(1, kind), message, backend=name)

    @pytest.mark.parametrize("name", ["auto", "cpu"])
    def test_and_why_it_is_missing(self, which, kind, name, monkeypatch):
        cuda_is(monkeypatch, "no driver")
        message = (
            f"^{which} must be in CPU memory, got OnGpu on cuda:0; copy it to the CPU first or "
            "backend='cuda', which is not available here: no driver$"
        )
        self.refused(which, OnGpu(0, kind), message, backend=name)

    @pytest.mark.usefixtures("two")
    def test_the_approximate_mode_has_no_choice(self, which, kind):
        engine.forced("faiss:python")
        message = f"^{which} must be in CPU memory, got OnGpu on cuda:0; copy it to the CPU first$"
        with pytest.raises(ValueError, match=message):
            gtn_label.match_approx(**{"latents": LATENTS, which: OnGpu(0, kind)})

    @pytest.mark.usefixtures("two")
    def test_inputs_on_two_gpus(self, which, kind):
        message = "^sources must be on the GPU of latents, cuda:0, got OnGpu on cuda:1$"
        for name in ("auto", "cuda", "cpu"):
            with pytest.raises(ValueError, match=message):
                gtn_label.match(OnGpu(0), OnGpu(1, kind), backend=name)


def test_tensor_says_how_to_copy_it(monkeypatch):
    location = Location(1, "sources", "a tensor on cuda:1", True)
    cuda_is(monkeypatch, "", devices=[gpu(0, "Small", plain="")])
    message = (
        r"^sources must be in CPU memory, got a tensor on cuda:1; pass sources\.cpu\(\) or "
        "backend='cuda'$"
    )
    with pytest.raises(ValueError, match=message):
        engines.check_place(location, names.Chosen("cpu", "auto"), choice=True)


def test_build_without_says_which_option():
    if "GTN_CUDA" not in _core.cuda_missing():
        pytest.skip("this build has the cuda backend")
    message = r"^backend 'cuda(:mma)?' is not available here: .*\(GTN_CUDA"
    for name in ("cuda", "cuda:mma"):
        with pytest.raises(ValueError, match=message):
            gtn_label.match(LATENTS, backend=name)


def test_kernels_are_known_in_every_build():
    assert [row["name"] for row in _core.cuda_kernels()] == ["mma", "dp4a", "wgmma"]


def test_device_in_the_place_of_a_kernel():
    with pytest.raises(ValueError, match=r"^backend must be 'cuda', with device 'cuda:1', got"):
        gtn_label.match(LATENTS, backend="cuda:1")
