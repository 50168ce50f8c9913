"""match_mixture against its recipe: clusters, sources around them, groups."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import gtn_label
from gtn_label import match_mixture


class TestMixture:
    @pytest.fixture(autouse=True)
    def _scikit_learn(self):
        pytest.importorskip("sklearn")

    @staticmethod
    def clumps(n: int = 120, dtype=np.float32) -> np.ndarray:
        rng = np.random.default_rng(0)
        centers = np.array([[8.0, 0.0], [-8.0, 1.0], [0.0, 9.0]])
        return (centers[np.arange(n) % 3] + rng.normal(size=(n, 2)) * [0.2, 0.5]).astype(dtype)

    def test_finds_the_clumps_and_stays_inside(self):
        latents = self.clumps()
        m = match_mixture(latents, 3)
        source_groups, latent_groups = m.groups
        np.testing.assert_array_equal(source_groups, latent_groups)
        np.testing.assert_array_equal(latent_groups[m.assignment], source_groups)
        for clump in range(3):
            assert len(set(latent_groups[clump::3].tolist())) == 1
        assert len(set(latent_groups.tolist())) == 3
        assert sorted(m.assignment.tolist()) == list(range(120))

    def test_sources_follow_mean_and_spread(self):
        latents = self.clumps(dtype=np.float64)
        m = match_mixture(latents, 3, seed=11)
        z = np.random.Generator(np.random.Philox(11)).standard_normal((120, 2), dtype=np.float32)
        for cluster in range(3):
            inside = m.groups[1] == cluster
            mean = latents[inside].sum(0) / inside.sum()
            std = np.sqrt(((latents[inside] - mean) ** 2).sum(0) / inside.sum())
            np.testing.assert_allclose(m.sources[inside], mean + std * z[inside], rtol=1e-6)
        assert m.sources.dtype == np.float32

    def test_equals_match_within_groups(self):
        latents = self.clumps()
        m = match_mixture(latents, 3, cone=4, order="norm_desc")
        again = gtn_label.match(latents, m.sources, groups=m.groups, cone=4, order="norm_desc")
        np.testing.assert_array_equal(m.assignment, again.assignment)
        np.testing.assert_array_equal(m.cosine, again.cosine)

    def test_seed_decides(self):
        latents = self.clumps()
        one, same, other = (match_mixture(latents, 3, seed=seed) for seed in (2**70, 2**70, 1))
        np.testing.assert_array_equal(one.sources, same.sources)
        np.testing.assert_array_equal(one.assignment, same.assignment)
        assert not np.array_equal(one.sources, other.sources)

    def test_one_cluster_of_standard_latents_is_nearly_match(self):
        m = match_mixture(self.clumps(), 1)
        assert not m.groups[0].any()

    def test_single_member_takes_its_own_place(self):
        latents = np.array([[1.0, 0.0], [1.1, 0.0], [0.9, 0.1], [-50.0, 7.0]])
        m = match_mixture(latents, 2)
        assert m.assignment[3] == 3
        np.testing.assert_array_equal(m.sources[3], latents[3].astype(np.float32))

    def test_column_without_spread_equals_the_mean(self):
        latents = self.clumps()
        latents[:, 1] = 2.5
        assert (match_mixture(latents, 2).sources[:, 1] == 2.5).all()

    def test_torch(self):
        torch = pytest.importorskip("torch")
        m = match_mixture(torch.from_numpy(self.clumps()).bfloat16(), 3)
        assert m.sources.dtype == torch.float32
        assert torch.equal(m.groups[1][m.assignment], m.groups[0])
        assert m.pairs()[1].dtype == torch.bfloat16

    def test_input_is_not_modified(self):
        latents = self.clumps()
        before = latents.copy()
        match_mixture(latents, 3)
        np.testing.assert_array_equal(latents, before)

    def test_meta_and_options(self):
        calls = []
        m = match_mixture(
            self.clumps(), 3, seed=6, threads=1, progress=lambda *call: calls.append(call)
        )
        assert (m.meta["method"], m.meta["seed"], m.meta["n_clusters"]) == ("mixture", 6, 3)
        assert m.meta["groups"]["count"] == 3
        assert m.stats["threads"] == 1
        assert calls[-1][:2] == (120, 120)

    @pytest.mark.parametrize(
        ("n_clusters", "error", "message"),
        [
            (0, ValueError, "n_clusters must be >= 1, got 0"),
            (121, ValueError, "n_clusters must not exceed the 120 latents, got 121"),
            (2.0, TypeError, "n_clusters must be an int, got float 2.0"),
            (True, TypeError, "n_clusters must be an int, got bool True"),
        ],
    )
    def test_number_of_clusters_is_checked(self, n_clusters, error, message):
        with pytest.raises(error, match=message):
            match_mixture(self.clumps(), n_clusters)

    def test_fewer_distinct_rows_than_clusters(self):
        message = "n_clusters must not exceed the clusters that latents has, got 3 for 2 distinct"
        with pytest.raises(ValueError, match=message):
            match_mixture(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), 3)

    def test_nan_is_refused_in_our_words(self):
        latents = self.clumps()
        latents[[4, 9]] = np.nan
        with pytest.raises(ValueError, match=r"latents must be finite.*2 of 120 rows: rows 4, 9$"):
            match_mixture(latents)

    def test_zero_row_is_refused(self):
        latents = self.clumps()
        latents[17] = 0
        with pytest.raises(ValueError, match=r"latents.*\b17\b"):
            match_mixture(latents)

    def test_beyond_float32_is_refused(self):
        with pytest.raises(ValueError, match=r"within float32.*scale the latents down"):
            match_mixture(self.clumps(dtype=np.float64) * 1e50, 3)

    def test_center_is_not_offered(self):
        with pytest.raises(TypeError, match="center"):
            match_mixture(self.clumps(), center=True)


def test_mixture_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(
        ImportError, match=r"needs scikit-learn: pip install 'gtn-label\[mixture\]'"
    ):
        match_mixture(np.ones((3, 2)))


def test_a_generator_is_asked_for_a_seed():
    pytest.importorskip("sklearn")
    latents = np.random.default_rng(0).normal(size=(30, 2))
    m = match_mixture(latents, 2, seed=np.random.default_rng(5))
    assert type(m.meta["seed"]) is int
    again = match_mixture(latents, 2, seed=m.meta["seed"])
    np.testing.assert_array_equal(m.sources, again.sources)
    assert again.meta == m.meta
