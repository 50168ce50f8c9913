"""torch tensors on a GPU, by a double of torch over emulated devices (GTN_CUDA=EMULATED).

The same with torch and a GPU is in test_gpu.py.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import engine
import gtn_label
import torch_double
from cuda_cases import LATENTS, SOURCES
from device_double import EMULATED, DeviceArray
from gtn_label.arrays.sources import draw_sources

pytestmark = pytest.mark.skipif(not EMULATED, reason="needs a build with GTN_CUDA=EMULATED")


@pytest.fixture
def torch(monkeypatch):
    monkeypatch.setenv("GTN_EMULATOR_DEVICES", "2")
    double = torch_double.Torch(devices=2)
    monkeypatch.setitem(sys.modules, "torch", double)
    return double


def tensors(torch, index: int = 0):
    """Latents and sources on a GPU."""
    return [torch.from_numpy(rows.copy()).cuda(index) for rows in (LATENTS, SOURCES)]


@pytest.mark.parametrize("index", [0, 1])
def test_out_for_torch_in(torch, index):
    latents, sources = tensors(torch, index)
    matching = gtn_label.match(latents, sources)
    assert matching.stats["cuda"]["device"] == f"cuda:{index}"
    expected = gtn_label.match(LATENTS, SOURCES)
    for name in ("assignment", "cosine"):
        tensor = getattr(matching, name)
        assert tensor.device == latents.device
        np.testing.assert_array_equal(tensor.cpu().numpy(), getattr(expected, name))
    assert matching.sources is sources
    for tensor, rows in zip(matching.pairs(), expected.pairs(), strict=True):
        assert tensor.device == latents.device
        np.testing.assert_array_equal(tensor.cpu().numpy(), rows)
    assert torch.current == 0


def test_is_read_on_its_current_stream(torch):
    latents = torch.from_numpy(LATENTS.copy()).cuda(1)
    other = DeviceArray(SOURCES, device=1)
    gtn_label.match(latents, other)
    handle = torch.streams[1].handle
    assert [asked["stream"] for asked in latents.asked + other.asked] == [handle, handle]


def test_its_default_stream_is_meant_by_name(torch):
    """0 is torch's name for it, and the protocol's for nothing."""
    torch.default_stream = True
    latents, sources = tensors(torch)
    matching = gtn_label.match(latents, sources)
    assert [asked["stream"] for asked in latents.asked + sources.asked] == [1, 1]
    engine.assert_same(
        gtn_label.match(LATENTS, SOURCES),
        SimpleNamespace(
            assignment=matching.assignment.cpu().numpy(), cosine=matching.cosine.cpu().numpy()
        ),
    )


def test_drawn_and_other_sources_go_to_the_latents_device(torch):
    latents = torch.from_numpy(LATENTS.copy()).cuda()
    for sources in (None, SOURCES, torch.from_numpy(SOURCES.copy()), DeviceArray(SOURCES)):
        matching = gtn_label.match(latents, sources)
        assert matching.sources.device == latents.device
        assert matching.pairs()[0].device == latents.device
    rows = gtn_label.match(latents).sources.cpu().numpy()
    np.testing.assert_array_equal(rows, draw_sources(120, 6, 0))


def test_results_are_of_the_latents_kind(torch):
    sources = torch.from_numpy(SOURCES.copy()).cuda(1)
    matching = gtn_label.match(LATENTS, sources)
    assert matching.stats["cuda"]["device"] == "cuda:1"
    for array in (matching.assignment, matching.cosine, matching.sources, *matching.pairs()):
        assert type(array) is np.ndarray
    matching = gtn_label.match(torch.from_numpy(LATENTS.copy()), sources)
    for tensor in (matching.assignment, matching.sources, *matching.pairs()):
        assert tensor.device.type == "cpu"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_saves_as_the_same_file_as_numpy(torch, suffix, tmp_path):
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    gtn_label.match(LATENTS, SOURCES, backend="cuda").save(one)
    gtn_label.match(*tensors(torch)).save(two)
    assert one.read_bytes() == two.read_bytes()


def test_groups_as_tensors(torch):
    parts = torch.from_numpy(np.arange(120) % 2)
    latents = torch.from_numpy(LATENTS.copy()).cuda()
    matching = gtn_label.match(latents, groups=(parts.cuda(), parts))
    assert matching.groups[0].device == latents.device
    engine.assert_same(
        gtn_label.match(LATENTS, groups=(parts.numpy(), parts.numpy())),
        gtn_label.match(LATENTS, groups=(parts.cuda(1), parts.cuda())),
    )


def test_mixture(torch):
    pytest.importorskip("sklearn")
    latents, _ = tensors(torch, 1)
    matching = gtn_label.match_mixture(latents, 3, seed=2)
    assert matching.stats["cuda"]["device"] == "cuda:1"
    expected = gtn_label.match_mixture(LATENTS, 3, seed=2)
    for ours, theirs in zip(matching.pairs(), expected.pairs(), strict=True):
        assert ours.device == latents.device
        np.testing.assert_array_equal(ours.cpu().numpy(), theirs)


def test_on_two_devices(torch):
    latents, sources = torch.from_numpy(LATENTS.copy()), torch.from_numpy(SOURCES.copy())
    message = "^sources must be on the GPU of latents, cuda:0, got a tensor on cuda:1$"
    with pytest.raises(ValueError, match=message):
        gtn_label.match(latents.cuda(), sources.cuda(1))


def test_for_the_cpu(torch):
    latents = torch.from_numpy(LATENTS.copy()).cuda(1)
    message = (
        r"^latents must be in CPU memory, got a tensor on cuda:1; pass latents\.cpu\(\) or "
        "backend='cuda'$"
    )
    with pytest.raises(ValueError, match=message):
        gtn_label.match(latents, backend="cpu")
    with pytest.raises(ValueError, match=message):  # before it looks for clusters
        gtn_label.match_mixture(latents, len(LATENTS) + 1, backend="cpu")
    with pytest.raises(ValueError, match=r"^latents must be in CPU memory, .*latents\.cpu\(\)$"):
        gtn_label.match_quantile(latents)


def test_sparse(torch):
    latents = torch.from_numpy(LATENTS.copy()).cuda()
    latents.layout = "torch.sparse_coo"
    message = "^latents must be a dense tensor, got layout torch.sparse_coo; pass latents.to_d"
    with pytest.raises(TypeError, match=message):
        gtn_label.match(latents)
