"""Embeddings of whole sets: components by themselves, principal components, and the file."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from gtn_train.data import gaussian_grid, ring
from gtn_train.spectral import DiffusionMap, DiffusionMaps, EmbeddingOptions, NeighbourGraph
from gtn_train.spectral.embedding import Embedding, Projection

TWO = np.concatenate([ring(120, 0), ring(80, 1) + 50])


def embedding(maps, **meta):
    return Embedding(
        maps.coordinates.astype(np.float32),
        maps.eigenvalues,
        maps.graph.component,
        maps.graph.bandwidths.astype(np.float32),
        meta,
    )


def test_each_component_has_the_map_of_its_rows_alone():
    maps = DiffusionMaps.fit(TWO, EmbeddingOptions(dim=3, neighbours=8))
    assert maps.graph.sizes.tolist() == [120, 80]
    for number, rows in enumerate((TWO[:120], TWO[120:])):
        alone = DiffusionMap.fit(NeighbourGraph.build(rows, 8), 3)
        found = maps.coordinates[maps.part == number]
        np.testing.assert_allclose(np.abs(found), np.abs(alone.coordinates), atol=1e-6)
        np.testing.assert_allclose(maps.eigenvalues[number], alone.eigenvalues)


def test_a_joint_map_only_tells_components_apart_at_first():
    maps = DiffusionMaps.fit(TWO, EmbeddingOptions(dim=3, neighbours=8, components="joint"))
    assert len(maps.maps) == 1
    first = maps.coordinates[:, 0]
    for rows in (slice(0, 120), slice(120, None)):
        assert np.ptp(first[rows]) < 1e-6
    assert abs(first[0] - first[-1]) > 0.1
    assert maps.eigenvalues[0, 0] == pytest.approx(1)


def test_new_rows_belong_to_the_nearest_component():
    maps = DiffusionMaps.fit(TWO, EmbeddingOptions(dim=2, neighbours=8))
    found, part = maps.nystroem(TWO)
    np.testing.assert_allclose(found, maps.coordinates, atol=1e-6)
    assert (part == maps.part).all()


def test_components_without_room_for_a_map_are_merged():
    rows = np.concatenate([TWO, [[200.0, 0], [200, 1], [201, 0], [201, 1], [200.5, 0.5]]])
    maps = DiffusionMaps.fit(rows, EmbeddingOptions(dim=4, neighbours=4))
    assert maps.graph.merged == (5,)
    assert len(maps.maps) == 2


def test_latents_of_components_are_clusters():
    maps = DiffusionMaps.fit(gaussian_grid(800, 0), EmbeddingOptions(dim=2, neighbours=8))
    count = len(maps.maps)
    latents = embedding(maps, separate=True).latents
    assert latents.shape == (800, count + 2)
    found = KMeans(count, n_init=10, random_state=0).fit_predict(latents)
    assert len({*zip(found.tolist(), maps.part.tolist(), strict=True)}) == count
    assert embedding(maps, separate=False).latents.shape == (800, 2)


def test_an_embedding_comes_back_from_its_file(tmp_path):
    found = embedding(DiffusionMaps.fit(TWO, EmbeddingOptions(dim=2)), separate=True, r2=[0.5])
    found.save(tmp_path / "embedding.npz")
    again = Embedding.load(tmp_path / "embedding.npz")
    for name in ("coordinates", "eigenvalues", "component", "bandwidths"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.meta == found.meta
    first = (tmp_path / "embedding.npz").read_bytes()
    found.save(tmp_path / "embedding.npz")
    assert (tmp_path / "embedding.npz").read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"component": np.zeros(3, np.int64)}, r"component of each row, and holds \(200, 2\)"),
        ({"coordinates": np.full((200, 2), np.nan, np.float32)}, "NaN"),
    ],
)
def test_a_damaged_embedding_is_refused(tmp_path, changes, message):
    found = embedding(DiffusionMaps.fit(TWO, EmbeddingOptions(dim=2)))
    damaged = {name: getattr(found, name) for name in ("coordinates", "component")} | changes
    Embedding(
        damaged["coordinates"], found.eigenvalues, damaged["component"], found.bandwidths
    ).save(tmp_path / "e.npz")
    with pytest.raises(ValueError, match=message):
        Embedding.load(tmp_path / "e.npz")


@pytest.mark.parametrize("columns", [5, 60])
def test_a_projection_is_the_principal_components(columns, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(100, columns)) * np.arange(1, columns + 1) + 3
    oracle = PCA(min(columns, 50)).fit_transform(rows)
    for most in (2_000, 4):
        monkeypatch.setattr("gtn_train.spectral.embedding.MOST_COLUMNS", most)
        found = Projection.fit(rows)(rows)
        assert found.shape == oracle.shape
        np.testing.assert_allclose(np.abs(found[:, :3]), np.abs(oracle[:, :3]), rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "embedding_dim must be >= 1, got 0"),
        ({"neighbours": 0}, "neighbours must be >= 1, got 0"),
        ({"density_power": -1.0}, "density_power must be a finite number >= 0"),
        ({"time": float("inf")}, "diffusion_time must be a finite number >= 0"),
        ({"method": "tsne"}, "embedding_method must be 'exact' or 'spectral-net', got 'tsne'"),
        ({"components": "some"}, "components must be 'separate' or 'joint', got 'some'"),
        ({"epochs": 0}, "embedding_epochs must be >= 1, got 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingOptions(**{"dim": 2, **options})


def test_epochs_make_as_many_steps_as_are_needed():
    assert EmbeddingOptions(dim=2).epochs_for(2_560) == 250
    assert EmbeddingOptions(dim=2).epochs_for(2_560, images=True) == 60
    assert EmbeddingOptions(dim=2, epochs=3).epochs_for(10) == 3
    net = EmbeddingOptions(dim=2, method="spectral-net")
    assert net.epochs_for(10) == net.epochs_for(2_000) == 2_000
    assert net.epochs_for(2_048) == 1_000
