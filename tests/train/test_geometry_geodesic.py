"""Geodesics: closed forms, the pull of a density, starts, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gtn_train.data import ring
from gtn_train.geometry import DataGraph, Kernel, Pullback, Surface, along, geodesics
from gtn_train.models.generator import Generator

RNG = np.random.default_rng(0)
PLANE = Surface(lambda z: z @ torch.tensor([[2.0, 0, 1], [0, 1, 0]], dtype=torch.float64), 2)
SPHERE = Surface(lambda z: torch.cat([z, (1 - z.square().sum(1, True)).sqrt()], dim=1), 2)
ROLL = Surface(
    lambda z: torch.stack([z[:, 0] * z[:, 0].cos(), z[:, 0] * z[:, 0].sin(), z[:, 1]], 1), 2
)


def test_on_a_plane_a_geodesic_is_the_straight_line_at_once():
    left, right = RNG.normal(size=(2, 4, 2))
    for surface in (PLANE, Surface(None, 2), Surface(None, 2, dtype=torch.float32)):
        found = geodesics(surface, left, right)
        assert found.steps == 2, "one step of either descent finds it at rest"
        share = np.linspace(0, 1, 35)[:, None]
        line = left[:, None] * (1 - share) + right[:, None] * share
        np.testing.assert_allclose(found.positions, line, atol=1e-5)
        assert found.converged.all()
        np.testing.assert_allclose(found.spacing, 1, atol=1e-4)


def test_on_a_sphere_geodesics_are_great_circles():
    left, right = np.array([[-0.6, 0.3], [0.1, -0.7]]), np.array([[0.6, 0.3], [0.5, 0.5]])
    found = geodesics(SPHERE, left, right)
    ends = [SPHERE.points(SPHERE.tensor(end)).numpy() for end in (left, right)]
    wanted = np.arccos((ends[0] * ends[1]).sum(axis=1))
    np.testing.assert_allclose(found.length, wanted, rtol=1e-3)
    np.testing.assert_allclose(found.energy, wanted**2 / 2, rtol=2e-3)
    assert (found.length < along(SPHERE, np.stack([left, right], axis=1)).length).all()
    points = SPHERE.points(SPHERE.tensor(found.positions[0])).numpy()
    normal = np.cross(ends[0][0], ends[1][0])
    assert np.abs(points @ normal / np.linalg.norm(normal)).max() < 0.01, "in its plane"


def test_on_a_swiss_roll_geodesics_are_those_of_the_unrolled_sheet():
    found = geodesics(ROLL, [[5.0, 0.0]], [[14.0, 8.0]])

    def unrolled(theta):
        return (theta * math.sqrt(1 + theta**2) + math.asinh(theta)) / 2

    wanted = math.hypot(unrolled(14) - unrolled(5), 8)
    assert found.length[0] == pytest.approx(wanted, rel=1e-3)


def test_ends_are_exact_and_points_evenly_spaced():
    left, right = np.array([[-0.6, 0.3]]), np.array([[0.6, 0.3]])
    found = geodesics(SPHERE, left, right, points=9)
    np.testing.assert_array_equal(found.positions[:, [0, -1]], np.stack([left, right], axis=1))
    points = SPHERE.points(SPHERE.tensor(found.positions[0])).numpy()
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps.max() / steps.mean() < 1.01
    assert found.surprisals is found.surprisal is found.worst is None


def test_a_density_keeps_curves_out_of_a_hole():
    rows = ring(1000, 0)
    density = Kernel(rows)
    left, right = np.array([[1.0, 0.02], [0, 1]]), np.array([[-1.0, 0.02], [1, 0]])
    surface = Surface(None, 2)
    graph = DataGraph(rows, rows)
    starts = [graph.paths(left, right, left, right)]
    free = geodesics(surface, left, right, density, 0.0, starts=starts)
    kept = geodesics(surface, left, right, density, 0.5, starts=starts)
    radius = np.linalg.norm(kept.positions, axis=2)
    assert np.linalg.norm(free.positions[0], axis=1).min() < 0.1
    assert radius.min() > 0.5
    assert kept.start[0] == 1, "no straight line gets out of the hole"
    assert (free.start == 0).all()
    assert (kept.surprisal < free.surprisal).all()
    assert (kept.worst <= free.worst).all()
    assert (kept.length > free.length).all()
    np.testing.assert_allclose(free.length, [2, math.sqrt(2)], rtol=1e-6)


def test_a_generator_with_classes_is_told_them():
    generator = Generator(2, layers=3, width=8, classes=2).eval()
    surface = Surface(None, 2, inner=generator)
    left, right = RNG.normal(size=(2, 2, 2))
    told = geodesics(surface, left, right, points=9, classes=[0, 1])
    for line in (0, 1):
        alone = geodesics(surface, left[[line]], right[[line]], points=9, classes=line)
        np.testing.assert_allclose(told.length[line], alone.length[0], rtol=1e-3)
    with pytest.raises(ValueError, match="classes"):
        geodesics(surface, left, right, classes=[0, 1, 1])


def test_a_smooth_network_has_geodesics_of_its_own_density():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    surface, left, right = Surface(network, 2), [[-1.0, 0.5]], [[1.5, 0.2]]
    free = geodesics(surface, left, right, Pullback(), 0.0, points=9)
    kept = geodesics(surface, left, right, Pullback(), 0.5, points=9)
    assert kept.positions.dtype == np.float32
    assert kept.surprisal[0] < free.surprisal[0]
    with pytest.raises(ValueError, match="density 'pullback' needs a smooth surface"):
        geodesics(PLANE, left, right, Pullback())


def test_steps_run_out():
    found = geodesics(ROLL, [[5.0, 0.0]], [[14.0, 8.0]], steps=3)
    assert not found.converged.any()
    assert found.steps == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": [[0.0, 0.0]]}, "left and right must be more than 1e-12 apart on each line"),
        ({"right": [[0.0, 1e-13]]}, "got 1e-13 on line 0"),
        ({"right": [[1.0]]}, r"left and right must have shapes \(k, 2\) alike"),
        ({"right": [[math.nan, 0.0]]}, "right"),
        ({"points": 2}, "points must be >= 3, got 2"),
        ({"weight": -0.1}, "weight must be a finite number >= 0, got -0.1"),
        ({"weight": math.nan}, "weight must be a finite number >= 0, got nan"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"starts": [[np.zeros((4, 2))]]}, "starts must begin and end at the ends of each line"),
        ({"starts": [[]]}, "starts must have 1 curves each, got 0"),
        ({"surface": Surface(lambda z: 0 * z, 2)}, "the surface is constant along line 0"),
        ({"surface": Surface(lambda z: z / 0, 2)}, "NaN or infinity"),
        (
            {"surface": Surface(torch.Tensor.detach, 2)},
            "must have a gradient in torch, and has none",
        ),
    ],
)
def test_what_has_no_geodesic_is_refused(change, message):
    given = {"surface": PLANE, "left": [[0.0, 0.0]], "right": [[1.0, 0.0]], **change}
    with pytest.raises(ValueError, match=message):
        geodesics(**given)


def test_curves_to_be_measured_must_be_curves():
    with pytest.raises(ValueError, match=r"curves must have shape \(k, m >= 2, 2\), got shape"):
        along(PLANE, np.zeros((1, 1, 2)))


def test_a_loss_that_is_not_finite_names_line_and_step():
    class Broken:
        def check(self, surface, classes=None):
            pass

        def neighbours(self, latents):
            return None

        def surprisal(self, places, near=None):
            return places.positions[:, 0] * math.nan

    with pytest.raises(ValueError, match="the loss of line 0 is not finite at step 0"):
        geodesics(PLANE, [[0.0, 0.0]], [[1.0, 0.0]], Broken())
