"""Densities: against scikit-learn, torch.distributions and closed forms, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors

from gtn_train.geometry import Kernel, Mixture, Pullback, Surface
from gtn_train.models.generator import Generator
from gtn_train.pairs.mixture import Mixture as SourceMixture

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(60, 3)) * [1, 5, 0.1] + [0, 20, 3]
AT = RNG.normal(size=(7, 3)) * [2, 9, 0.2] + [0, 20, 3]


def standard(rows):
    return (rows - ROWS.mean(axis=0)) / ROWS.std(axis=0)


def test_kernel_is_that_of_scikit_learn_on_standardised_rows():
    density = Kernel(ROWS)
    oracle = KernelDensity(bandwidth=density.bandwidth).fit(standard(ROWS))
    found = density.log_density(torch.tensor(AT))
    np.testing.assert_allclose(found, oracle.score_samples(standard(AT)), rtol=1e-5)
    few = Kernel(ROWS, neighbours=20).log_density(torch.tensor(AT))
    assert (few <= found + 1e-9).all(), "rows that are left out add nothing"


def test_bandwidth_is_the_median_distance_to_the_tenth_neighbour():
    scaled = standard(ROWS)
    distances, _ = NearestNeighbors(n_neighbors=10).fit(scaled).kneighbors()
    assert Kernel(ROWS).bandwidth == pytest.approx(np.median(distances[:, -1]), rel=1e-5)
    assert Kernel(ROWS, bandwidth=0.5).bandwidth == 0.5
    repeated = np.repeat(ROWS, 20, axis=0)
    assert Kernel(repeated).bandwidth > 0, "copies are no neighbours"
    assert Kernel(ROWS[:2]).bandwidth > 0


def test_kernel_pulls_to_the_rows_also_from_far_away():
    density = Kernel(ROWS)
    z = torch.tensor(AT + np.array([0, 500, 0]), requires_grad=True)
    (gradient,) = torch.autograd.grad(density.log_density(z).sum(), z)
    assert bool((gradient[:, 1] < 0).all())
    assert bool(torch.isfinite(gradient).all())


def test_near_rows_of_close_places_serve_too():
    density = Kernel(np.repeat(ROWS, 3, axis=0) + 0.01 * RNG.normal(size=(180, 3)))
    z = torch.tensor(AT)
    near = density.neighbours(z + 1e-4)
    assert near.shape == (7, 64)
    torch.testing.assert_close(density.log_density(z, near), density.log_density(z))


def test_a_constant_column_is_no_direction():
    rows = np.column_stack([ROWS[:, 0], np.full(60, 7.0)])
    for density in (Kernel(rows), Mixture(rows, components=2)):
        found = density.log_density(torch.tensor(rows[:5]))
        assert bool(torch.isfinite(found).all())


def test_mixture_is_that_of_scikit_learn():
    from gtn_train.seeds import derive

    density = Mixture(ROWS, components=3, seed=1)
    seed = derive(1, "mixture") % 2**32
    oracle = GaussianMixture(3, reg_covar=1e-3, random_state=seed).fit(standard(ROWS))
    found = density.log_density(torch.tensor(AT))
    np.testing.assert_allclose(found, oracle.score_samples(standard(AT)), rtol=1e-6)
    assert density.neighbours(torch.tensor(AT)) is None


def test_pullback_of_a_linear_map_is_its_normal_distribution():
    matrix = torch.tensor([[2.0, 0.3, 0], [0.1, -1, 0.5], [0, 0, 0.7]], dtype=torch.float64)
    surface = Surface(lambda z: z @ matrix.T, 3)
    z = surface.tensor(RNG.normal(size=(20, 3)))
    normal = torch.distributions.MultivariateNormal(torch.zeros(3).double(), matrix @ matrix.T)
    found = Pullback().surprisal(surface.at(z))
    torch.testing.assert_close(found, -normal.log_prob(z @ matrix.T), rtol=0, atol=1e-6)


def test_pullback_takes_a_runs_mixture():
    sources = SourceMixture([0.25, 0.75], [[0.0, 0], [3, 1]], [[1.0, 2], [0.5, 1]])
    z = torch.tensor(RNG.normal(size=(9, 2)))
    parts = torch.distributions.Normal(
        torch.tensor(sources.means), torch.tensor(sources.stds)
    ).log_prob(z[:, None])
    wanted = torch.logsumexp(parts.sum(2) + torch.tensor(sources.weights).log(), dim=1)
    found = Pullback(sources).surprisal(Surface(None, 2).at(z))
    torch.testing.assert_close(found, -wanted, rtol=0, atol=1e-6)


def test_pullback_is_refused_where_its_volume_has_no_gradient():
    generator = Generator(3, layers=3, width=8).eval()
    smooth = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    Pullback().check(Surface(smooth, 3))
    for linear in (generator, torch.nn.Linear(3, 5), None):
        with pytest.raises(ValueError, match="density 'pullback' needs a smooth surface") as error:
            Pullback().check(Surface(linear, 3))
        assert str(error.value).endswith("; density 'kde' follows the data")


def test_pullback_is_checked_with_classes_too():
    conditional = Generator(2, layers=3, width=8, classes=3).eval()
    with pytest.raises(ValueError, match="needs a smooth surface"):
        Pullback().check(Surface(None, 2, inner=conditional), torch.tensor([0, 2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Kernel(np.ones((5, 2))), "rows must have two distinct ones, got 5 equal rows"),
        (lambda: Kernel([[0.0], [math.nan]]), "rows"),
        (lambda: Kernel(ROWS, bandwidth=0), "bandwidth must be above 0"),
        (lambda: Kernel(ROWS, neighbours=0), "neighbours must be >= 1"),
        (
            lambda: Mixture(ROWS[:9]),
            "density 'mixture' needs as many rows as its 10 components, got 9 rows",
        ),
        (lambda: Mixture(ROWS, components=0), "components must be >= 1"),
        (
            lambda: Kernel(ROWS).log_density(torch.zeros(1, 2)),
            r"latents must have 3 columns, as the density's rows have, got \(1, 2\)",
        ),
    ],
)
def test_what_makes_no_density_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
