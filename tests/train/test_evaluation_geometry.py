"""Measures of shape against closed forms and brute force."""

from __future__ import annotations

import copy
import itertools
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from gtn_train.evaluation import bilipschitz, gromov_wasserstein, mmd, orientation
from gtn_train.evaluation import geometry as module
from gtn_train.models.flow import Flow
from gtn_train.models.generator import Generator


def normal(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


def rotation(dim, seed=0):
    return np.linalg.qr(normal(dim, dim, seed))[0]


class Map(nn.Module):
    """A function of tensors as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *given):
        return self.function(*given)


# ---------------------------------------------------------------------------------- bi-Lipschitz


@pytest.mark.parametrize(("scale", "constant"), [(1.0, 1.0), (3.0, 3.0), (0.25, 4.0)])
def test_a_similarity_has_its_scale_as_constant(scale, constant):
    z = normal(200, 3)
    found = bilipschitz(z, scale * z @ rotation(3) + 7)
    assert found["median"] == pytest.approx(constant, rel=1e-9)
    assert found["scale-free median"] == pytest.approx(1, rel=1e-9)


def test_a_linear_map_has_its_singular_values(monkeypatch):
    """The neighbours of a grid point include both axes, which are the singular directions."""
    monkeypatch.setattr(module, "BLOCK_VALUES", 40)
    grid = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2)
    left, right = rotation(2, 1), rotation(2, 2)
    found = bilipschitz(grid @ right, grid * [3.0, 0.5] @ left, k=4)
    assert found["median"] == pytest.approx(3)
    assert found["scale-free median"] == pytest.approx(math.sqrt(6))


def test_the_constant_is_the_loop():
    z, k = normal(30, 2), 5
    x = np.tanh(z) @ rotation(2) + 0.1 * z**2
    constants, free = [], []
    for row in range(30):
        others = [other for other in range(30) if other != row]
        near = sorted(others, key=lambda other: math.dist(z[row], z[other]))[:k]
        ratios = [math.dist(x[row], x[other]) / math.dist(z[row], z[other]) for other in near]
        constants.append(max(max(ratios), 1 / min(ratios)))
        free.append(math.sqrt(max(ratios) / min(ratios)))
    found = bilipschitz(z, x, k=k)
    assert found["median"] == pytest.approx(np.median(constants))
    assert found["scale-free median"] == pytest.approx(np.median(free))


def test_equal_sources_count_once_and_equal_outputs_have_no_constant():
    z = normal(50, 2)
    assert bilipschitz(np.repeat(z, 2, axis=0), np.repeat(5 * z, 2, axis=0)) == bilipschitz(
        z, 5 * z
    )
    assert bilipschitz(z, np.zeros((50, 2))) == {"median": math.inf, "scale-free median": math.inf}


def test_each_class_has_a_map_of_its_own():
    z, classes = normal(100, 2), np.arange(100) % 2
    x = np.where(classes[:, None] == 1, -2 * z, 2 * z)
    assert bilipschitz(z, x, classes=classes)["median"] == pytest.approx(2)
    assert bilipschitz(z, x)["median"] > 3


@pytest.mark.parametrize(
    ("z", "x", "options", "message"),
    [
        (np.eye(2), np.eye(3), {}, "sources and outputs must be as many, got 2 and 3"),
        (np.ones((4, 2)), np.eye(4), {}, "sources must have two distinct rows of one class"),
        (np.eye(2), np.eye(2), {"k": 0}, "k must be >= 1, got 0"),
        (np.eye(2), np.full((2, 2), np.nan), {}, "outputs must be finite"),
    ],
)
def test_bilipschitz_refuses(z, x, options, message):
    with pytest.raises(ValueError, match=message):
        bilipschitz(z, x, **options)


# ----------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize(
    ("function", "share"),
    [
        (lambda z: 1.0 * z, 0.0),
        (lambda z: 3 * z + 1, 0.0),
        (lambda z: z.flip(1), 0.0),  # a reflection keeps its one sign
        (lambda z: torch.sinh(z), 0.0),
        (lambda z: z[:, :1].expand(-1, 2), 1.0),  # singular everywhere
    ],
)
def test_orientation_of_maps_that_keep_it(function, share):
    assert orientation(Map(function), normal(50, 2)) == share


def test_a_fold_changes_the_orientation_of_its_side():
    z = normal(200, 2)
    left = int((z[:, 0] < 0).sum())
    fold = Map(lambda z: torch.stack([z[:, 0].abs(), z[:, 1]], dim=1))
    assert orientation(fold, z) == min(left, 200 - left) / 200
    assert orientation(fold, z) == pytest.approx(0.5, abs=0.05)


def test_a_fold_of_one_class_and_a_reflection_of_another():
    z, classes = normal(40, 2), np.repeat([0, 1], 20)

    def by_class(z, c):
        sign = torch.where(c == 1, -1.0, 1.0).to(z)
        return torch.stack([sign * z[:, 0], z[:, 1]], dim=1)

    assert orientation(Map(by_class), z, classes=classes) == 0
    assert orientation(Map(lambda z: by_class(z, torch.tensor(classes))), z) == 0.5


def test_orientation_of_networks_leaves_them_alone():
    torch.manual_seed(2)  # folds the plane
    generator = Generator(2, layers=3, width=8, classes=2).train()
    z = normal(20, 2)
    classes = np.arange(20) % 2
    share = orientation(generator, z, classes=classes)
    assert generator.training
    alone = copy.deepcopy(generator).double().eval()
    signs = [
        torch.autograd.functional.jacobian(
            lambda y, c=c: alone(y[None], torch.tensor([c]))[0], torch.tensor(row).double()
        ).det()
        > 0
        for row, c in zip(z, classes, strict=True)
    ]
    positive = float(torch.stack(signs).double().mean())
    assert share == pytest.approx(min(positive, 1 - positive))
    assert share > 0.1
    assert {weight.dtype for weight in generator.parameters()} == {torch.float32}
    assert all(weight.grad is None for weight in generator.parameters())
    assert orientation(Flow(2, layers=2, width=4, steps=1), z) <= 0.5


@pytest.mark.parametrize(
    ("generator", "dim", "message"),
    [
        (nn.Linear(2, 3), 2, r"must keep the dimension of its sources, 2, got outputs \(5, 3\)"),
        (nn.Linear(129, 129), 129, "sources must have at most 128 columns, got 129"),
        (Map(lambda z: z.detach()), 2, "generator must be differentiable in float64: "),
    ],
)
def test_orientation_refuses(generator, dim, message):
    with pytest.raises(ValueError, match=message):
        orientation(generator, normal(5, dim))


# ------------------------------------------------------------------------------------------- MMD


def brute_mmd(a, b):
    width = np.median([math.dist(u, v) for u, v in itertools.combinations(b, 2)])

    def mean(pairs):
        return np.mean([math.exp(-(math.dist(u, v) ** 2) / (2 * width**2)) for u, v in pairs])

    within = [mean(itertools.permutations(rows, 2)) for rows in (a.tolist(), b.tolist())]
    return sum(within) - 2 * mean(itertools.product(a.tolist(), b.tolist()))


def test_mmd_is_the_loop(monkeypatch):
    a, b = 1.5 * normal(13, 2), normal(9, 2, seed=1) + 0.3
    assert mmd(a, b) == pytest.approx(brute_mmd(a, b), rel=1e-12)
    whole = mmd(a, b)
    monkeypatch.setattr(module, "BLOCK_VALUES", 20)
    assert mmd(a, b) == pytest.approx(whole, rel=1e-12)
    assert mmd(100 * a, 100 * b) == pytest.approx(whole), "the unit does not count"


def test_mmd_of_equal_sets_is_the_diagonal_that_the_estimate_leaves_out():
    a = normal(300, 2)
    kernel_mean = (brute_mmd(a[:20], a[:20]), mmd(a[:20], a[:20]))
    assert kernel_mean[0] == pytest.approx(kernel_mean[1])
    assert -2 / 300 < mmd(a, a) < 0
    assert mmd(np.ones((5, 2)), np.ones((4, 2))) == 0
    assert mmd(a, normal(300, 2, seed=1)) == pytest.approx(0, abs=0.01)
    assert mmd(a, a + 2) > 0.3


def test_mmd_refuses():
    with pytest.raises(ValueError, match=r"same columns and two rows at least, got shapes \(2, 2"):
        mmd(np.eye(2), np.eye(3))


# ---------------------------------------------------------------------------- Gromov-Wasserstein


def test_isometric_sets_have_no_discrepancy():
    pytest.importorskip("ot")
    a = normal(40, 3)
    moved = 0.1 * a[np.random.default_rng(1).permutation(40)] @ rotation(3) - 5
    assert gromov_wasserstein(a, moved) == pytest.approx(0, abs=1e-12)
    wider = np.pad(moved, ((0, 0), (0, 2)))
    assert gromov_wasserstein(a, wider) == pytest.approx(0, abs=1e-12)


def test_the_least_start_reaches_the_best_permutation():
    """The square loss of Euclidean distances is concave, so that a permutation is optimal."""
    pytest.importorskip("ot")
    a, b = normal(6, 2), normal(6, 2, seed=1)
    ours, theirs = (np.array([[math.dist(u, v) for v in rows] for u in rows]) for rows in (a, b))
    ours, theirs = ours / ours.max(), theirs / theirs.max()
    best = min(
        ((ours - theirs[np.ix_(order, order)]) ** 2).mean()
        for order in map(list, itertools.permutations(range(6)))
    )
    found = gromov_wasserstein(a, b, starts=20)
    assert found == pytest.approx(best)
    assert gromov_wasserstein(a, b, starts=1) >= best - 1e-12
    assert gromov_wasserstein(a, b, starts=20) == found


def test_sets_of_other_sizes_and_shapes():
    pytest.importorskip("ot")
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    line = np.linspace(0, 1, 40)[:, None]
    assert gromov_wasserstein(ring, ring[::2]) < 1e-3
    assert gromov_wasserstein(ring, line) > 0.01


def test_gromov_wasserstein_refuses(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"needs POT: pip install 'gtn-label\[geometry\]'"):
        gromov_wasserstein(np.eye(2), np.eye(2))
    monkeypatch.undo()
    pytest.importorskip("ot")
    with pytest.raises(ValueError, match="b must have two distinct rows, got 3 equal ones"):
        gromov_wasserstein(np.eye(2), np.ones((3, 2)))
