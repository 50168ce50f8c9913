"""The spectral encoder: its outputs, the losses of both methods, and trainings of seconds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_moons

from gtn_train import TrainingOptions, make_model
from gtn_train.data import gaussian_grid, ring
from gtn_train.models import load_model, save_model
from gtn_train.spectral import DiffusionMap, DiffusionMaps, EmbeddingOptions, NeighbourGraph
from gtn_train.spectral.network import (
    SpectralEncoder,
    batch_weights,
    encoder_step,
    orthonormal,
    spectral_step,
)
from gtn_train.spectral.training import (
    explained,
    outputs_of,
    ritz,
    train_encoder,
    train_spectral_net,
)

ROWS = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)


def options(batch_size, epochs):
    return TrainingOptions(
        batch_size=batch_size,
        learning_rate=2e-3,
        max_epochs=epochs,
        schedule="cosine",
        threads=1,
        keep_last=False,
        checkpoint_every_seconds=1e6,
    )


# --------------------------------------------------------------------------------- the encoder


@pytest.mark.parametrize("shape", [[3], [1, 8, 8]])
@pytest.mark.parametrize("components", [1, 4])
def test_an_encoder_is_saved_whole(tmp_path, shape, components):
    config = {"data_shape": shape, "latent_dim": 2, "components": components, "apart": 3.0}
    encoder = make_model("spectral", config, 0)
    encoder.mix.normal_(generator=torch.Generator().manual_seed(0))
    save_model(encoder, tmp_path / "weights.safetensors")
    again = load_model(tmp_path / "weights.safetensors", expected="spectral")
    rows = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(again.encode(rows), encoder.eval().encode(rows))
    assert again.encode(rows).shape == (5, again.latent_dim)
    assert again.latent_dim == (2 if components == 1 else 6)


def test_a_row_has_the_coordinates_of_its_own_component():
    encoder = make_model("spectral", {"data_shape": [3], "latent_dim": 2, "components": 3}, 0)
    encoder.mix[:] = torch.eye(2)
    encoder.shift[:] = torch.arange(3.0)[:, None] * 100
    outputs, logits = encoder(torch.from_numpy(ROWS))
    found = encoder.encode(torch.from_numpy(ROWS))
    chosen = logits.argmax(dim=1)
    assert len(chosen.unique()) > 1
    for row, component in enumerate(chosen):
        torch.testing.assert_close(found[row, 3:], outputs[row, component] + 100 * component)
        assert found[row, :3].nonzero().item() == component


def test_targets_are_standardised_within_components():
    encoder = SpectralEncoder([3], 2, components=2)
    coordinates = np.random.default_rng(1).normal(size=(80, 2)) * [3, 0.1] + [5, 0]
    component = np.repeat([0, 1], 40)
    targets = encoder.normalize(coordinates, component)
    for number in (0, 1):
        rows = component == number
        np.testing.assert_allclose(targets[rows].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(targets[rows].std(axis=0), 1)
        back = targets[rows] @ encoder.mix[number].numpy() + encoder.shift[number].numpy()
        np.testing.assert_allclose(back, coordinates[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([3], 0), ValueError, "latent_dim must be >= 1, got 0"),
        (([3], 2, 0), ValueError, "components must be >= 1, got 0"),
        (([3, 3], 2), ValueError, r"data_shape must be \[m\], got \[3, 3\]"),
        (([1, 2, 8], 2), ValueError, "image_shape's h must be >= 4, got 2"),
    ],
)
def test_what_is_no_encoder_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        SpectralEncoder(*arguments)


# ----------------------------------------------------------------------------------- the losses


def test_the_encoders_loss_is_an_error_and_a_cross_entropy():
    encoder = make_model("spectral", {"data_shape": [3], "latent_dim": 2, "components": 3}, 0)
    rows, targets = torch.from_numpy(ROWS), torch.randn(80, 2)
    component = torch.arange(80) % 3
    loss, n, _ = encoder_step(encoder, (rows, targets, component))
    outputs, logits = encoder(rows)
    errors = [(outputs[i, component[i]] - targets[i]).square().mean() for i in range(80)]
    chances = logits.softmax(dim=1)[torch.arange(80), component]
    torch.testing.assert_close(loss, torch.stack(errors).sum() - chances.log().sum())
    assert n == 80


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_batch_has_the_weights_of_its_own_graph(power):
    weights = NeighbourGraph.build(ROWS, 12).weights.toarray()
    q = weights.sum(axis=1)
    found = batch_weights(torch.from_numpy(ROWS).double(), 12, power)
    np.testing.assert_allclose(found, weights / np.outer(q, q) ** power, atol=1e-8)


def test_copies_in_a_batch_have_finite_weights():
    places = torch.from_numpy(np.repeat(ROWS[:2], 30, axis=0))
    assert bool(torch.isfinite(batch_weights(places, 4, 1.0)).all())
    assert bool(torch.isfinite(batch_weights(places[:20], 4, 1.0)).all()), "all of them equal"


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_outputs_are_orthonormal_at_any_scale(scale):
    outputs = scale * (torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) + 10)
    degrees = torch.rand(200, generator=torch.Generator().manual_seed(1)) + 0.5
    mean, turn = orthonormal(outputs, degrees)
    functions = (outputs.double() - mean) @ turn
    gram = functions.T @ (functions * (degrees / degrees.sum())[:, None].double())
    torch.testing.assert_close(gram, torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_outputs_that_cannot_be_orthonormal_have_no_finite_loss(value):
    mean, turn = orthonormal(torch.full((20, 3), value), torch.ones(20))
    assert not bool(torch.isfinite((torch.zeros(20, 3).double() - mean) @ turn).all())


def test_the_loss_of_eigenvectors_is_what_their_eigenvalues_lack():
    graph = NeighbourGraph.build(ROWS, 12)
    exact = DiffusionMap.fit(graph, 2)

    class Known(torch.nn.Module):
        def forward(self, rows):
            return torch.from_numpy(exact.functions)[:, None], None

    rows = torch.from_numpy(ROWS)
    batch = (rows, rows.double(), rows, rows.double(), 12, 1.0)
    loss, n, _ = spectral_step(Known(), batch)
    assert n == 80
    assert loss.item() / n == pytest.approx((1 - exact.eigenvalues).sum(), abs=1e-6)


# -------------------------------------------------------------------------------- the trainings


def test_an_encoder_learns_the_coordinates_of_a_circle(folder):
    points = ring(600, 0, noise=0)
    maps = DiffusionMaps.fit(points, EmbeddingOptions(dim=2))
    encoder = make_model("spectral", {"data_shape": [2], "latent_dim": 2}, 0)
    held_out = np.arange(0, 600, 10)
    given = (points, maps.coordinates, maps.part, held_out, folder, options(128, 50))
    result = train_encoder(encoder, *given)
    assert result.history[-1]["validation_loss"] < 0.01
    found = encoder.encode(torch.from_numpy(points)).detach().numpy()
    assert explained(found[held_out], maps.coordinates[held_out]).min() >= 0.99
    new = ring(200, 1, noise=0)
    found = encoder.encode(torch.from_numpy(new)).detach().numpy()
    assert explained(found, maps.nystroem(new)[0]).min() >= 0.99


def test_an_encoder_tells_components_apart(folder):
    points = gaussian_grid(1_000, 0)
    maps = DiffusionMaps.fit(points, EmbeddingOptions(dim=2))
    config = {"data_shape": [2], "latent_dim": 2, "components": len(maps.maps)}
    encoder = make_model("spectral", config, 0)
    held_out = np.arange(0, 1_000, 10)
    given = (points, maps.coordinates, maps.part, held_out, folder, options(128, 20))
    train_encoder(encoder, *given)
    _, logits = outputs_of(encoder, points[held_out])
    assert (logits.argmax(axis=1) == maps.part[held_out]).mean() >= 0.98


def test_spectral_net_parts_two_moons(folder):
    points, moon = make_moons(1_000, noise=0.05, random_state=0)
    points = points.astype(np.float32)
    graph = NeighbourGraph.build(points, 16)
    encoder = make_model("spectral", {"data_shape": [2], "latent_dim": 1}, 0)
    train_spectral_net(encoder, points, graph, 1.0, folder, options(250, 25))
    functions, values = ritz(encoder, points, graph)
    cluster = KMeans(2, n_init=3, random_state=0).fit_predict(functions)
    share = (cluster == moon).mean()
    assert max(share, 1 - share) >= 0.98
    # Y = sqrt(n pi) F has YᵀY/n = I.
    weights = graph.weights.toarray()
    q = weights.sum(axis=1)
    degrees = (weights / np.outer(q, q)).sum(axis=1)
    y = functions * np.sqrt(1_000 * degrees / degrees.sum())[:, None]
    np.testing.assert_allclose(y.T @ y / 1_000, 1, atol=1e-4)
    assert values[0] > 0.999
    found = encoder.encode(torch.from_numpy(points)).detach().numpy()
    np.testing.assert_allclose(found, functions * values, rtol=1e-2, atol=1e-3)


def test_outputs_that_are_one_another_span_no_embedding():
    encoder = make_model("spectral", {"data_shape": [3], "latent_dim": 2}, 0)
    encoder.network[-1].weight.data[:] = 1
    with pytest.raises(RuntimeError, match="has 1 independent outputs, and 2 are needed"):
        ritz(encoder, ROWS, NeighbourGraph.build(ROWS, 8))
