"""match_quantile against the definition of Theorem 2.1."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import gtn_label
from command import child
from gtn_label import match_quantile


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
                "sources must not exceed the 1 latents, got 2 sources; draw or pass fewer",
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


FLUSHED = """
import numpy as np, torch
from gtn_label import match_quantile
rng = np.random.default_rng(0)
for dtype, scale in (("f8", 1e-309), ("f4", 1e-39)):
    latents = (rng.standard_normal(3000) * scale).astype(dtype)
    sources = (rng.standard_normal(2000) * scale).astype(dtype)
    assert (latents != 0).all()
    expected = match_quantile(latents, sources)
    assert torch.set_flush_denormal(True)
    found = match_quantile(latents, sources)
    torch.set_flush_denormal(False)
    assert (found.assignment == expected.assignment).all()
    assert (found.cosine == expected.cosine).all()
    assert set(found.cosine) == {1.0, -1.0}
"""


def test_small_numbers_under_flush_to_zero(tmp_path):
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush")
    done = child(FLUSHED, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
