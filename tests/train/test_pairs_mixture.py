"""The mixture of Fig. 9: what match_mixture drew from, drawn from again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gtn_label import match, match_mixture
from gtn_label.arrays.sources import draw_sources
from gtn_train.pairs.mixture import Mixture


@pytest.fixture
def clumps():
    rng = np.random.default_rng(0)
    left = rng.normal(-10, 1, (60, 2))
    right = rng.normal([10, 5], [2, 0.5], (20, 2))
    return np.concatenate([left, right])[rng.permutation(80)].astype(np.float32)


def test_a_matching_gives_back_what_its_sources_were_drawn_from(clumps):
    matching = match_mixture(clumps, 2, seed=3)
    mixture = Mixture.from_matching(matching)
    clusters = matching.groups[0]
    means, stds = mixture.means[clusters], mixture.stds[clusters]
    drawn = (means + stds * draw_sources(80, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(drawn, matching.sources)  # bit for bit
    assert sorted(mixture.weights.tolist()) == [0.25, 0.75]
    assert mixture.dim == 2


def test_clusters_are_measured_by_definition():
    mixture = Mixture.of_clusters([[0.0], [2.0], [10.0]], [0, 0, 1])
    assert mixture.weights.tolist() == [2 / 3, 1 / 3]
    assert mixture.means.tolist() == [[1.0], [10.0]]
    assert mixture.stds.tolist() == [[1.0], [0.0]]  # divided by the count


def test_draws_have_the_clusters_shares_means_and_spreads():
    mixture = Mixture([0.25, 0.75], [[-5.0, 0.0], [5.0, 1.0]], [[1.0, 2.0], [0.5, 0.0]])
    sources, clusters = mixture.draw(20_000, 1)
    assert sources.dtype == np.float32
    assert clusters.dtype == np.int64
    assert abs(clusters.mean() - 0.75) < 0.02
    for cluster in (0, 1):
        inside = sources[clusters == cluster]
        np.testing.assert_allclose(inside.mean(axis=0), mixture.means[cluster], atol=0.1)
        np.testing.assert_allclose(inside.std(axis=0), mixture.stds[cluster], atol=0.1)


def test_sources_of_given_clusters():
    mixture = Mixture([0.25, 0.75], [[-5.0], [5.0]], [[1.0], [0.5]])
    sources, clusters = mixture.draw(4, 1, [1, 0, 0, 1])
    assert clusters.tolist() == [1, 0, 0, 1]
    z = draw_sources(4, 1, 1).astype(float)
    wanted = [[5.0], [-5], [-5], [5]] + z * [[0.5], [1], [1], [0.5]]
    np.testing.assert_array_equal(sources, wanted.astype(np.float32))
    for wrong, message in (
        ([0, 2, 0, 0], "clusters must be in 0 to 1, got 0 to 2"),
        ([-1, 0, 0, 0], "clusters must be in 0 to 1, got -1 to 0"),
        ([0, 1], "one label for each of the 4 sources"),
    ):
        with pytest.raises(ValueError, match=message):
            mixture.draw(4, 1, wrong)


def test_frames_undo_around():
    mixture = Mixture([0.5, 0.5], [[-5.0, 1.0], [5.0, 0.0]], [[1.0, 4.0], [0.5, 0.0]])
    clusters = np.array([0, 1, 1, 0])
    z = np.float32([[1, 2], [3, 4], [-1, 0], [0, -2]])
    placed = [[-4, 9], [6.5, 0], [4.5, 0], [-5, -7]]
    np.testing.assert_array_equal(mixture.around(clusters, z), placed)
    seen = mixture.frames(clusters, np.array(placed))
    np.testing.assert_array_equal(seen, z * [[1, 1], [1, 0], [1, 0], [1, 1]])


def test_draws_depend_on_the_seed_alone():
    mixture = Mixture([0.5, 0.5], [[0.0], [1.0]], [[1.0], [1.0]])
    again, other = mixture.draw(50, 7), mixture.draw(50, 8)
    for first, second in zip(mixture.draw(50, 7), again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (again[0] != other[0]).any()
    assert (again[1] != other[1]).any()


def test_a_file_gives_the_same_bits_back(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.dirichlet([1, 1, 1])
    mixture = Mixture(weights, rng.normal(size=(3, 4)), rng.uniform(size=(3, 4)))
    mixture.save(tmp_path / "mixture.json")
    read = Mixture.load(tmp_path / "mixture.json")
    for name in ("weights", "means", "stds"):
        np.testing.assert_array_equal(getattr(read, name), getattr(mixture, name))
    assert [file.name for file in tmp_path.iterdir()] == ["mixture.json"]


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[1]",
        json.dumps({"weights": [1.0], "means": [[0.0]]}),
        json.dumps({"weights": ["a"], "means": [[0.0]], "stds": [[1.0]]}),
        json.dumps({"weights": [0.5], "means": [[0.0]], "stds": [[1.0]]}),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(ValueError, match=r"m\.json' is not a mixture"):
        Mixture.load(tmp_path / "m.json")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        Mixture.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("weights", "means", "stds", "message"),
    [
        ([], np.ones((0, 1)), np.ones((0, 1)), r"weights must be 1-D \[k >= 1\]"),
        ([1.0], [[0.0], [1.0]], [[1.0]], r"means must be 2-D \[1, dim\]"),
        ([1.0], [[0.0]], [[1.0, 1.0]], r"stds must be 2-D \[1, dim\]"),
        ([0.5, 0.6], np.zeros((2, 1)), np.ones((2, 1)), "weights must be positive with sum 1"),
        ([1.5, -0.5], np.zeros((2, 1)), np.ones((2, 1)), "weights must be positive with sum 1"),
        ([1.0], [[np.nan]], [[1.0]], "means must be finite"),
        ([1.0], [[0.0]], [[-2.0]], "stds must be >= 0, got -2"),
    ],
)
def test_what_is_no_mixture_is_refused(weights, means, stds, message):
    with pytest.raises(ValueError, match=message):
        Mixture(weights, means, stds)


def test_matchings_without_clusters_are_refused(clumps, tmp_path):
    with pytest.raises(ValueError, match="matching must have groups"):
        Mixture.from_matching(match(clumps, seed=0))
    groups = (np.zeros(2, int), np.zeros(80, int))
    with pytest.raises(ValueError, match=r"every latent a source.*got 2 sources for 80 latents"):
        Mixture.from_matching(match(clumps, clumps[:2], groups=groups))
    with pytest.raises(ValueError, match=r"got 3 with counts \[1, 0, 2\]"):
        Mixture.of_clusters(np.ones((3, 1)), [0, 2, 2])
