"""Exported programs compute what the run does, for any number of sources, or are not written."""

from __future__ import annotations

import importlib.util
import json
import os
import sys

import numpy as np
import pytest
import torch
from torch import nn

from gtn_train.models.registry import make_model
from gtn_train.run.finished_run import load_run
from gtn_train.sampling import export as exporting
from gtn_train.sampling.export import ABOUT, export

SIZE = {"dim": 3, "layers": 3, "width": 8}


@pytest.fixture
def onnxruntime():
    """ONNX Runtime. Without it tests are skipped, unless GTN_REQUIRE_ONNX is set, as in CI."""
    packages = ("onnx", "onnxruntime", "onnxscript")
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("GTN_REQUIRE_ONNX"):
        pytest.fail(f"GTN_REQUIRE_ONNX is set, and there is no {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs the extra onnx: no {', '.join(missing)}")
    import onnxruntime

    return onnxruntime


def vae():
    return make_model("vae", {"image_shape": [1, 32, 32], "latent_dim": 3}, 1)


def classed(n):
    return torch.randn(n, 3), torch.arange(n) % 2


def test_a_torch_program(tmp_path):
    generator, autoencoder = make_model("flow", {**SIZE, "classes": 2}, 1), vae()
    generator.train()
    made = export(generator, autoencoder, tmp_path / "m.pt2", about={"sources": "N(0, I)"})
    assert generator.training
    assert made.inputs == {"sources": ("n", 3), "classes": ("n",)}
    assert (made.output, made.shape) == ("images", ("n", 1, 32, 32))
    extra = {ABOUT: ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=extra).module()
    about = json.loads(extra[ABOUT])
    assert (about["dim"], about["classes"], about["sources"]) == (3, 2, "N(0, I)")
    generator.eval()
    autoencoder.eval()
    for n in (1, 5, 80):
        given = classed(n)
        with torch.no_grad():
            wanted = autoencoder.decode(generator(*given))
        torch.testing.assert_close(program(*given), wanted, rtol=1e-4, atol=1e-5)


def test_an_onnx_program(tmp_path, onnxruntime):
    generator = make_model("generator", {**SIZE, "classes": 2, "dropout": 0.5}, 1)
    generator.set_scale(np.random.default_rng(0).normal(size=(9, 3)) * 5 + 1)
    autoencoder = make_model("vanilla", {"image_shape": [1, 9, 8], "latent_dim": 3}, 1)
    made = export(generator, autoencoder, tmp_path / "m.onnx")
    assert made.difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert ABOUT in session.get_modelmeta().custom_metadata_map
    generator.eval()
    for n in (1, 40):
        sources, classes = classed(n)
        fed = {"sources": sources.numpy(), "classes": classes.numpy()}
        (found,) = session.run(["images"], fed)
        with torch.no_grad():
            wanted = autoencoder.decode(generator(sources, classes)).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_onnx_without_its_packages(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"ONNX needs pip install 'gtn-label\[onnx\]'"):
        export(make_model("generator", SIZE, 1), None, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


class Undecided(nn.Module):
    """Its way depends on its values."""

    def __init__(self):
        super().__init__()
        self.dim, self.classes = 3, 0

    def forward(self, sources, classes=None):
        return sources if sources.sum() > 0 else -sources


class Random(Undecided):
    """Never the same twice."""

    def forward(self, sources, classes=None):
        return sources + torch.rand_like(sources)


@pytest.mark.parametrize(
    ("generator", "error", "message"),
    [
        (Undecided(), ValueError, "torch cannot export the model: "),
        (Random(), RuntimeError, "the exported program differs from the original by"),
    ],
)
def test_what_cannot_be_exported(tmp_path, generator, error, message):
    with pytest.raises(error, match=message):
        export(generator, None, tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


def test_a_program_of_another_shape_is_refused():
    whole = exporting._Whole(make_model("generator", SIZE, 1), None).eval()
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"gives \(1, 2\) for 1 sources"):
        exporting._difference(whole, whole.generator, lambda given: given[0][:, :2].numpy())


def test_other_endings(tmp_path):
    with pytest.raises(ValueError, match=r"m\.pt' must end in \.pt2 or \.onnx"):
        export(make_model("generator", SIZE, 1), None, tmp_path / "m.pt")


def test_the_command(gtn_train, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = gtn_train.ok("export", finished / "images")
    assert "sources [n, 3] to images [n, 1, 8, 8] in model.pt2" in done.out
    run = load_run(finished / "images", accelerator="cpu")
    program = torch.export.load("model.pt2").module()
    sources = torch.randn(6, 3)
    found = program(sources)
    with torch.no_grad():
        torch.testing.assert_close(found, run.autoencoder.decode(run.generator(sources)))
    done = gtn_train.ok("export", finished / "vectors", "--out", "v.pt2")
    assert "sources [n, 3] to latents [n, 3] in v.pt2" in done.out
    refusal = gtn_train.refused("export", finished / "vectors", "--out", "v.txt")
    assert "--out must end in .pt2 or .onnx" in refusal
    refusal = gtn_train.refused("export", finished / "vectors", "--steps", 3)
    assert "--steps needs a run made with --generator flow" in refusal
