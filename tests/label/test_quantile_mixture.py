"""match_quantile against the definition of Theorem 2.1, match_mixture against its recipe."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest

import gtn_label
from gtn_label import match_mixture, match_quantile


def by_definition(latents, sources) -> list[int]:
    """h = F_X^-1 o F_Y in exact fractions: F_X^-1(p) = min {x : F_X(x) >= p}."""
    n, m = len(sources), len(latents)
    ranked = sorted(range(m), key=lambda j: (latents[j], j))
    assignment = []
    for i in range(n):
        rank = sum((sources[k], k) < (sources[i], i) for k in range(n))
        p = (rank + Fraction(1, 2)) / n
        assignment.append(next(j for at, j in enumerate(ranked) if Fraction(at + 1, m) >= p))
    return assignment


class TestQuantile:
    def test_sorted_against_sorted(self):
        rng = np.random.default_rng(0)
        latents, sources = rng.uniform(3, 4, 500), rng.normal(size=500)
        m = match_quantile(latents, sources)
        y, x = m.pairs()
        np.testing.assert_array_equal(x[np.argsort(y)], np.sort(latents))

    def test_is_not_algorithm_1(self):
        latents, sources = np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.5, 1.0])
        assert match_quantile(latents, sources).assignment.tolist() == [0, 1, 2]
        alone = gtn_label.match(latents.reshape(-1, 1), sources.reshape(-1, 1))
        assert alone.assignment.tolist() != [0, 1, 2]

    @pytest.mark.parametrize("m", [1, 2, 3, 7, 30, 31])
    def test_fewer_sources_follow_the_definition(self, m):
        rng = np.random.default_rng(m)
        for n in range(1, m + 1):
            latents, sources = rng.integers(0, 8, m), rng.integers(0, 8, n)  # with ties
            assignment = match_quantile(latents, sources).assignment
            assert assignment.tolist() == by_definition(latents.tolist(), sources.tolist())
            assert len(set(assignment.tolist())) == n

    def test_one_source_takes_the_median(self):
        assert match_quantile([5.0, 1.0, 3.0], [0.0]).assignment.tolist() == [2]
        assert match_quantile([5.0, 1.0, 3.0, 2.0], [0.0]).assignment.tolist() == [3]

    def test_equal_values_rank_by_index(self):
        assert match_quantile([2.0] * 4, [1.0] * 4).assignment.tolist() == [0, 1, 2, 3]
        assert match_quantile([0.0, -0.0, 0.0], [-0.0, 0.0, -0.0]).assignment.tolist() == [0, 1, 2]

    @pytest.mark.parametrize("latent_shape", [(6,), (6, 1)])
    @pytest.mark.parametrize("source_shape", [(4,), (4, 1)])
    def test_shapes_are_kept(self, latent_shape, source_shape):
        rng = np.random.default_rng(0)
        latents, sources = rng.normal(size=latent_shape), rng.normal(size=source_shape)
        m = match_quantile(latents, sources)
        y, x = m.pairs()
        assert y.shape == m.sources.shape == source_shape
        assert x.shape == (4, *latent_shape[1:])
        flat = match_quantile(latents.ravel(), sources.ravel())
        np.testing.assert_array_equal(m.assignment, flat.assignment)

    @pytest.mark.parametrize("shape", [(50,), (50, 1)])
    def test_drawn_sources(self, shape):
        m = match_quantile(np.arange(50.0).reshape(shape), seed=2)
        expected = np.random.Generator(np.random.Philox(2)).standard_normal(50, dtype=np.float32)
        np.testing.assert_array_equal(m.sources, expected.reshape(shape))
        np.testing.assert_array_equal(m.assignment, np.argsort(np.argsort(expected)))

    def test_cosine_is_the_sign(self):
        m = match_quantile([-2.0, 0.0, 3.0, 4.0], [-1.0, -0.5, 0.0, 7.0])
        assert m.assignment.tolist() == [0, 1, 2, 3]
        assert m.cosine.tolist() == [1.0, 0.0, 0.0, 1.0]
        assert match_quantile([1.0], [-1.0]).cosine.tolist() == [-1.0]
        zeros = match_quantile([0.0, -1.0], [-2.0, -1.0]).cosine
        assert not np.signbit(zeros[zeros == 0]).any()

    def test_extremes_do_not_overflow(self):
        m = match_quantile([1e308, 1e-308, -1e308], [1e-320, -1e300, 1e300])
        assert m.assignment.tolist() == [1, 2, 0]
        assert m.cosine.tolist() == [1.0, 1.0, 1.0]

    def test_torch(self):
        torch = pytest.importorskip("torch")
        m = match_quantile(torch.tensor([3.0, 1.0]).bfloat16(), torch.tensor([0.0, 1.0]))
        assert m.assignment.tolist() == [1, 0]
        assert m.pairs()[1].dtype == torch.bfloat16

    def test_meta(self):
        meta = match_quantile([1.0, 2.0], seed=5).meta
        assert (meta["method"], meta["seed"], meta["order"], meta["cone"]) == (
            "quantile",
            5,
            None,
            None,
        )
        assert match_quantile([1.0], [2.0]).meta["seed"] is None

    def test_saves(self, tmp_path):
        m = match_quantile([3.0, 1.0, 2.0])
        m.save(tmp_path / "pairs.npz")
        back = gtn_label.Matching.load(tmp_path / "pairs.npz")
        np.testing.assert_array_equal(back.pairs()[1], m.pairs()[1])
        assert back.meta == m.meta

    @pytest.mark.parametrize(
        ("latents", "sources", "error", "message"),
        [
            (
                [1.0],
                [1.0, 2.0],
                ValueError,
                "2 sources must not exceed 1 latents; draw or pass fewer",
            ),
            ([1.0, np.nan], [1.0], ValueError, r"latents must be finite.*1 of 2 rows: row 1$"),
            ([1.0], [-np.inf], ValueError, r"sources must be finite.*1 of 1 rows: row 0$"),
            ([[1.0, 2.0]], None, ValueError, "latents must be one column.*shape .1, 2."),
            ([1.0], [[1.0, 2.0]], ValueError, "sources must be one column"),
            ([], None, ValueError, "latents must have at least one row"),
            ([1j], None, TypeError, "latents must have dtype .* got complex128"),
        ],
    )
    def test_refusals(self, latents, sources, error, message):
        with pytest.raises(error, match=message):
            match_quantile(latents, sources)

    def test_seed_is_checked(self):
        with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
            match_quantile([1.0], seed=-1)


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
