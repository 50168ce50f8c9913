"""The generator: its layers against Table 2, the scale of labels, classes, what it refuses."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from gtn_train.models.generator import GENERATORS, Generator


def test_presets_are_table_2() -> None:
    rows = {name: dataclasses.astuple(preset) for name, preset in GENERATORS.items()}
    assert rows == {
        "swiss-roll": (4, 6, 0, 1e-3, 250),
        "uniform": (6, 6, 0, 1e-3, 250),
        "mnist": (7, 50, 6, 1e-3, 128),
        "celeba": (26, 1200, 20, 5e-5, 200),
        "hap": (26, 3000, 20, 5e-5, 200),
        "cifar10": (26, 1500, 20, 5e-5, 200),
    }


@pytest.mark.parametrize("name", GENERATORS)
def test_presets_have_their_layers_in_order(name) -> None:
    preset = GENERATORS[name]
    with torch.device("meta"):  # HaP's has 225 million weights
        generator = Generator(
            10,
            layers=preset.layers,
            width=preset.width,
            batch_norm_layers=preset.batch_norm_layers,
        )
    wanted: list[type] = []
    for hidden in range(preset.layers - 1):
        normed = [nn.BatchNorm1d] if hidden < preset.batch_norm_layers else []
        wanted += [nn.Linear, nn.LeakyReLU, *normed]
    assert [type(module) for module in generator.net] == [*wanted, nn.Linear]
    linear = [module for module in generator.net if isinstance(module, nn.Linear)]
    assert len(linear) == preset.layers
    widths = [10, *[preset.width] * (preset.layers - 1), 10]
    shapes = [(module.in_features, module.out_features) for module in linear]
    assert shapes == list(itertools.pairwise(widths))
    slopes = {module.negative_slope for module in generator.net if isinstance(module, nn.LeakyReLU)}
    assert slopes == {0.5}


def test_the_formula() -> None:
    generator = Generator(2, layers=2, width=3, slope=0.25, out_dim=1).eval()
    sources = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    state = {name: value.double().numpy() for name, value in generator.state_dict().items()}
    hidden = sources.double().numpy() @ state["net.0.weight"].T + state["net.0.bias"]
    hidden = np.where(hidden > 0, hidden, 0.25 * hidden) / np.sqrt(1 + 1e-5)
    wanted = hidden @ state["net.3.weight"].T + state["net.3.bias"]
    np.testing.assert_allclose(generator.normalized(sources).detach(), wanted, atol=1e-6)
    assert torch.equal(generator(sources), generator.normalized(sources))
    generator.set_scale(np.array([[1.0], [5.0]]))
    np.testing.assert_allclose(generator(sources).detach(), 3 + 2 * wanted, atol=1e-5)
    assert generator(sources).dtype == torch.float32


def test_one_layer_is_linear() -> None:
    generator = Generator(3, layers=1, width=7)
    assert [type(module) for module in generator.net] == [nn.Linear]
    assert generator(torch.zeros(2, 3)).shape == (2, 3)


def test_set_scale() -> None:
    labels = np.random.default_rng(0).standard_normal((50, 3)) * [1, 20, 0] + [5, -3, 1e7 + 0.1]
    labels[:, 2] = labels[0, 2]
    generator = Generator(3, layers=1, width=1)
    assert generator.label_mean.tolist() == [0, 0, 0]
    assert generator.label_scale.tolist() == [1, 1, 1]
    generator.set_scale(labels)
    np.testing.assert_allclose(generator.label_mean, labels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(generator.label_scale, [*labels.std(axis=0)[:2], 1], rtol=1e-6)
    assert generator.label_mean.dtype == generator.label_scale.dtype == torch.float32
    before = generator.label_mean.clone()
    for bad, message in [
        (np.zeros((4, 2)), r"labels must have shape \(n, 3\) with n >= 1, got \(4, 2\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        (np.zeros(3), r"got \(3,\)"),
        (np.array([[0, 0, 0], [0, np.inf, 0]]), "labels must be finite, .* in row 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            generator.set_scale(bad)
    assert torch.equal(generator.label_mean, before)
    generator.set_scale(torch.from_numpy(labels).float().requires_grad_())
    np.testing.assert_allclose(generator.label_scale[:2], labels.std(axis=0)[:2], rtol=1e-5)


def test_classes_go_behind_the_source() -> None:
    generator = Generator(2, layers=1, width=1, classes=3)
    sources = torch.randn(4, 2)
    classes = torch.tensor([0, 2, 1, 2])
    (linear,) = generator.net
    assert linear.in_features == 5
    wanted = sources @ linear.weight[:, :2].T + linear.weight[:, 2:].T[classes] + linear.bias
    torch.testing.assert_close(generator(sources, classes), wanted)


@pytest.mark.parametrize(
    ("made_with", "classes", "error", "message"),
    [
        (0, torch.zeros(4, dtype=torch.int64), ValueError, "made without classes"),
        (3, None, ValueError, "classes are needed: the generator was made with 3"),
        (3, torch.zeros(4), TypeError, r"classes must be int64, got torch\.float32"),
        (3, torch.zeros(5, dtype=torch.int64), ValueError, r"shape \(4,\), .* got \(5,\)"),
        (3, torch.tensor([0, 1, 2, 3]), ValueError, r"classes must be in \[0, 3\), got 0 to 3"),
        (3, torch.tensor([0, -1, 2, 1]), ValueError, r"classes must be in \[0, 3\), got -1 to 2"),
    ],
)
def test_bad_classes(made_with, classes, error, message) -> None:
    with pytest.raises(error, match=message):
        Generator(2, layers=1, width=1, classes=made_with)(torch.zeros(4, 2), classes)


def test_bad_sources() -> None:
    for shape in ((4, 3), (2,)):
        with pytest.raises(ValueError, match=r"sources must have shape \(n, 2\), got"):
            Generator(2, layers=1, width=1)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim must be >= 1, got 0"),
        ({"layers": 0}, ValueError, "layers must be >= 1, got 0"),
        ({"layers": 2.0}, TypeError, r"layers must be an int, got float 2\.0"),
        ({"width": 0}, ValueError, "width must be >= 1, got 0"),
        ({"out_dim": 0}, ValueError, "out_dim must be >= 1, got 0"),
        ({"classes": -1}, ValueError, "classes must be >= 0, got -1"),
        ({"batch_norm_layers": 3}, ValueError, "batch_norm_layers must be at most 2, .* got 3"),
        ({"batch_norm_layers": -1}, ValueError, "batch_norm_layers must be >= 0, got -1"),
        ({"slope": 1.5}, ValueError, r"slope must be between 0 and 1, got 1\.5"),
        ({"slope": float("nan")}, ValueError, "slope must be between 0 and 1, got nan"),
        ({"slope": "0.5"}, TypeError, r"slope must be a float, got str '0\.5'"),
    ],
)
def test_bad_options(options, error, message) -> None:
    with pytest.raises(error, match=message):
        Generator(**{"dim": 2, "layers": 3, "width": 4, **options})
