"""The studies of walks and their baselines: what they define is right, and they run in small form.

Nothing is asked of quality here: docs/vdae.md has the full studies' numbers.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from studies import loading, run

from gtn_train.evaluation.latents import energy_distance


@pytest.fixture
def load(monkeypatch):
    """Import a script of the folder."""
    yield from loading(monkeypatch)


def test_the_study_of_walks_counts_modes_and_samples_in_the_gaps(load):
    study = load("vdae")
    found = study.on_grid(np.array([[0.0, 0.1], [2.0, -2.0], [0.5, 0.5], [9.0, 0.0]]))
    assert (found["within 4 sd"], found["modes"]) == (0.5, 2)
    assert study.on_grid(study.gaussian_grid(2_000, 0))["sd"] == pytest.approx(0.1, rel=0.05)


def test_pictures_of_walks_measure_bursts(tmp_path):
    run("vdae_pictures.py", tmp_path / "out", "--case", "grid")
    found = json.loads((tmp_path / "out" / "vdae_pictures.json").read_text())["cases"]["grid"]
    assert found["bursts, length of a step, mean over rows"] > 0
    assert (tmp_path / "out" / "vdae_grid.png").stat().st_size > 1_000


def test_a_beta_vae_learns_and_leaves_torchs_generator(load):
    baselines = load("baselines")
    rows = np.random.default_rng(0).normal(3, 1, (200, 2)).astype(np.float32)
    state = torch.get_rng_state()
    models = [baselines.train_beta_vae(rows, 2, steps, 0) for steps in (1, 60)]
    assert torch.equal(state, torch.get_rng_state())
    losses = [float(model.loss(torch.from_numpy(rows), 1.0).detach()) for model in models]
    assert losses[1] < losses[0]
    assert models[1].sample(np.zeros((5, 2), np.float32)).shape == (5, 2)


def test_the_power_spherical_law_is_that_of_its_density(load):
    module = load("spherical_vae")
    kappa, d = 3.0, 3
    mean = torch.nn.functional.normalize(torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64))
    law = module.PowerSpherical(mean, torch.full((1,), kappa, dtype=torch.float64))
    # On the sphere of R³ the height along the mean has the density (1 + t)^κ over its integral.
    t = np.linspace(-1, 1, 200_001)
    density = (1 + t) ** kappa / (2 ** (kappa + 1) / (kappa + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(density > 0, density * np.log(2 * density), 0)  # uniform: 1/2
    assert float(law.divergence()) == pytest.approx(np.trapezoid(terms, t), abs=1e-6)
    many = module.PowerSpherical(mean.expand(20_000, d), law.concentration.expand(20_000))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = many.rsample()
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(20_000, dtype=torch.float64))
    expected = mean[0] * np.trapezoid(density * t, t)
    torch.testing.assert_close(drawn.mean(dim=0), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("dim", [2, 5])
def test_a_power_spherical_law_without_concentration_is_uniform(load, dim):
    module = load("spherical_vae")
    mean = torch.nn.functional.one_hot(torch.arange(dim), dim).to(torch.float64)
    law = module.PowerSpherical(mean, torch.zeros(dim, dtype=torch.float64, requires_grad=True))
    torch.testing.assert_close(law.divergence(), torch.zeros(dim, dtype=torch.float64))
    law.rsample().sum().backward()
    assert law.concentration.grad.isfinite().all()


def test_the_penalty_of_a_wgan_is_that_of_its_critics_slope(load):
    module = load("wgan")
    rows = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    model = module.WGAN(rows, 2)
    model.critic = torch.nn.Linear(2, 1)
    slope = float(model.critic.weight.detach().norm())
    given = torch.from_numpy(rows)
    found = float(model.slope(given.flip(0), given).detach())
    assert found == pytest.approx((slope - 1) ** 2, rel=1e-4)
    loss = model.critic_loss(given, 3.0)
    loss.backward()
    assert model.critic.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.decoder.parameters())
    model.loss(7).backward()
    assert all(weight.grad is not None for weight in model.decoder.parameters())


@pytest.mark.parametrize(
    ("script", "train"), [("wgan", "train_wgan"), ("spherical_vae", "train_spherical_vae")]
)
def test_baselines_come_nearer_to_their_rows_and_leave_torchs_generator(load, script, train):
    module, numbers = load(script), np.random.default_rng(0)
    angle = numbers.uniform(0, 2 * np.pi, 200)
    rows = (5 + np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)
    state, found = torch.get_rng_state(), []
    for steps in (1, 100):
        model = getattr(module, train)(rows, 2, steps, 0)
        found.append(energy_distance(model.sample(model.latents(200, 0)), rows))
    assert torch.equal(state, torch.get_rng_state())
    assert found[1] < found[0] / 2


def test_the_study_of_methods_keeps_what_its_file_has(tmp_path):
    out, of_one = tmp_path / "out", ("--case", "grid", "--method")
    run("vdae_methods.py", out, *of_one, "SVAE")
    file = out / "vdae_methods.json"
    first = json.loads(file.read_text())["cases"]["grid"]["0"]
    assert [*first] == ["SVAE"]
    run("vdae_methods.py", out, *of_one, "SVAE", "--method", "GTN, 25 clusters")
    second = json.loads(file.read_text())["cases"]["grid"]["0"]
    assert [*second] == ["SVAE", "GTN, 25 clusters"]
    assert second["SVAE"] == first["SVAE"]


def test_walks_on_digits_need_no_files(tmp_path):
    run("vdae_images.py", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "vdae_images.json").read_text())["cases"]
    assert [*found] == ["digits"]
    assert 0 <= found["digits"]["0"]["class of the start, 1 steps"] <= 1
    assert (tmp_path / "out" / "vdae_digits.png").stat().st_size > 1_000


def test_a_turntable_shows_the_nearer_surface(load):
    module = load("turntable")
    front = np.array([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    behind = front * [1, 1, -1] + [[0, 0, 0], [0, 0, 0], [0, 0, 0.5], [0, 0, 0.5]]  # leans
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    both = module.Mesh(np.concatenate([front, behind]), np.concatenate([faces, faces + 4]))
    images = module.turntable(both, 2, 8, 40_000)
    assert images.shape == (2, 8, 8)
    normals = np.array([[0, 0, 1.0], [0, 0.5, -2]])
    turned = [normals[0], normals[1] * [-1, 1, -1]]  # the second frame is from behind
    for image, normal in zip(images, turned, strict=True):
        cosine = abs(normal @ module.LIGHT) / np.linalg.norm(normal) / np.linalg.norm(module.LIGHT)
        shade = 255 * (module.AMBIENT + (1 - module.AMBIENT) * cosine)
        np.testing.assert_allclose(image[3:5, 3:5], shade, atol=1)
    assert images[:, 0, 0].max() == 0  # a corner of the picture shows nothing


def test_a_turntable_goes_round_once(load):
    module = load("turntable")
    images = module.turntable(module.TETRAHEDRON, 24, 16, 20_000).reshape(24, -1).astype(float)
    apart = np.linalg.norm(images[:, None] - images, axis=2)
    next_frame = apart[np.arange(24), np.arange(1, 25) % 24]
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0
    assert next_frame.max() < np.median(apart[np.isfinite(apart)])


def test_the_study_of_turns_measures_distances_to_the_curve_and_frames_found(load):
    study = load("vdae_turntable")
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    points = np.array([[0.5, 0.5], [0.5, -0.25], [2.0, 0.0], [0.0, 0.5]])
    np.testing.assert_allclose(study.to_curve(points, square), [0.5, 0.25, 1.0, 0.0])
    figures, nearest = study.near(np.array([[0.1, 0.0], [9.0, 0.9]]), square)
    assert figures == {"near a frame": 0.5, "frames found": 0.5}
    assert nearest.tolist() == [0, 2]


def test_the_study_of_turns_keeps_distances(load):
    study = load("vdae_turntable")
    rows = np.random.default_rng(0).normal(3, 1, (20, 300))
    short = study.isometric(rows)
    assert short.shape == (20, 19)
    np.testing.assert_allclose(study.cdist(short, short), study.cdist(rows, rows), atol=1e-5)


def test_the_study_of_turns_runs_without_files(tmp_path):
    run("vdae_turntable.py", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "vdae_turntable.json").read_text())["cases"]
    assert [*found] == ["tetrahedron"]
    assert 0 <= found["tetrahedron"]["0"]["VDAE"]["on the circle, drawn"] <= 1
    assert (tmp_path / "out" / "vdae_turntable_tetrahedron.png").stat().st_size > 1_000
