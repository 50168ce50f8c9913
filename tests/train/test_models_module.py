"""A user's own network: trained, saved, loaded, resumed; and what is no network."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from networks import Even, Narrow, Residual
from torch import nn
from training_cases import options, pairs, same

from gtn_train.models.module import ModuleGenerator
from gtn_train.models.registry import load_model, make_model, save_model
from gtn_train.run.store import RunFolder
from gtn_train.training import Metric, train_generator

ARGUMENTS = {"dim": 3, "width": 8, "norm": True}


def network(seed=1):
    config = {"network": "networks:Residual", "arguments": ARGUMENTS, "dim": 3}
    return make_model("module", config, seed)


def test_class_and_place_make_the_same_model(tmp_path):
    model = ModuleGenerator(Residual, ARGUMENTS, dim=3)
    assert model.config() == network().config()
    assert model.batch_norm_layers == 1
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    sources = torch.randn(4, 3)
    assert torch.equal(loaded(sources), model.eval()(sources))


def test_it_is_trained_resumed_and_recorded(folder, tmp_path):
    def interrupted(model):
        raise KeyboardInterrupt

    stop = Metric("one", interrupted, larger_is_better=True, every=3)
    go_on = Metric("one", lambda model: 1.0, larger_is_better=True, every=3)
    with pytest.raises(KeyboardInterrupt):
        train_generator(network(), pairs(), folder, options(), metric=stop)
    ours, theirs = network(), network()
    train_generator(ours, pairs(), folder, options(), metric=go_on, resume=True)
    whole = RunFolder(tmp_path / "whole")
    found = train_generator(theirs, pairs(), whole, options(), metric=go_on)
    assert same(ours, theirs)
    assert found.history[-1]["train_loss"] < found.history[0]["train_loss"]
    assert folder.read_config()["model"]["arguments"] == ARGUMENTS
    assert same(load_model(folder.weights), ours)


@pytest.mark.parametrize(
    ("network", "arguments", "error", "message"),
    [
        (Residual(3), {}, TypeError, "network must be a class .*, got Residual object"),
        (int, {}, TypeError, "network must be a class derived from torch.nn.Module, got int"),
        ("networks", {}, ValueError, "network must be the place of a class that can be"),
        ("os.path:../join", {}, ValueError, "network must be the place of a class that can be"),
        ("no_such_module:Net", {}, ValueError, "got 'no_such_module:Net'; No module named"),
        ("networks:NoSuch", {}, ValueError, "got 'networks:NoSuch'; module 'networks' has no"),
        ("subprocess:Popen", {"args": "ls"}, ValueError, "must be derived from torch.nn.Module"),
        ("networks:function", {}, ValueError, "must be derived from torch.nn.Module"),
        (Residual, {"width": 3}, ValueError, "arguments must be those of networks:Residual, got"),
        (Even, {"dim": 3}, ValueError, "arguments must be those of networks:Even, .*; dim must be"),
        (Residual, {"dim": nn.ReLU}, TypeError, "arguments must be in JSON types"),
        (Residual, [3], TypeError, "arguments must be a mapping, got list"),
        (Narrow, {"dim": 3}, ValueError, r"networks:Narrow must give \(2, 3\), and gave \(2, 2\)"),
        (nn.Identity, {}, ValueError, "network must have weights to train, got 'torch.nn.modules"),
        (
            *(Residual, {"dim": 5}, ValueError),
            r"network must map \(2, 3\) to \(2, 3\), got networks:Residual .*; mat1 and mat2",
        ),
    ],
)
def test_what_is_no_network(network, arguments, error, message):
    with pytest.raises(error, match=message):
        ModuleGenerator(network, arguments, dim=3)


def test_a_network_by_class_is_told_what_it_must_take():
    message = (
        r"network must map \(2, 5\) \(source 3, class one-hot 2\) to \(2, 3\), "
        r"got networks:Residual with arguments {'dim': 3}"
    )
    with pytest.raises(ValueError, match=message):
        ModuleGenerator(Residual, {"dim": 3}, dim=3, classes=2)
    fits = ModuleGenerator(Residual, {"dim": 3, "classes": 2}, dim=3, classes=2)
    assert fits(torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])).shape == (4, 3)


def test_a_class_within_a_function_has_no_place():
    class Inner(nn.Linear):
        pass

    with pytest.raises(ValueError, match="network must be a class at the top of its module"):
        ModuleGenerator(Inner, {"in_features": 3, "out_features": 3}, dim=3)


def test_a_file_whose_class_is_missing(tmp_path):
    about = {"kind": "module", "config": {"network": "no_nets:Two", "arguments": {}, "dim": 3}}
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, {"gtn_train": json.dumps(about)})
    message = (
        r"^class 'no_nets:Two' cannot be imported, and '.*m\.safetensors' needs it: "
        "No module named 'no_nets': PYTHONPATH must lead to its module$"
    )
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_a_file_that_names_no_network(tmp_path):
    about = {"kind": "module", "config": {"network": "os:system", "arguments": {}, "dim": 3}}
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, {"gtn_train": json.dumps(about)})
    with pytest.raises(ValueError, match="has metadata of no model: network must be derived from"):
        load_model(path)
