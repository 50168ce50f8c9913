"""Checks of answers: a wrong one is caught, an exact one passes, figures are those made by hand."""

from __future__ import annotations

import numpy as np
import pytest

import gtn_label
from benchmarks import check, data, judge, quality


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents, sources and the exact assignment."""
    latents, sources = data.latents("isotropic", 400, 6), data.sources(400, 6)
    return latents, sources, np.array(gtn_label.match(latents, sources).assignment)


class TestOracle:
    def test_small_answers_are_checked_whole(self, problem) -> None:
        latents, sources, exact = problem
        assert check.check_exact(latents, sources, exact, 40) == "identical to the oracle"
        with pytest.raises(check.WrongAnswer, match="the oracle gives another"):
            check.check_exact(latents, sources, np.roll(exact, 1), 40)

    def test_large_answers_are_sampled(self, problem, monkeypatch) -> None:
        monkeypatch.setattr(check, "WHOLE_WORK", 0)
        latents, sources, exact = problem
        assert "choices are the oracle's" in check.check_exact(latents, sources, exact, 800)
        swapped = exact.copy()
        swapped[[3, 4]] = swapped[[4, 3]]
        with pytest.raises(check.WrongAnswer, match="the contract gives"):
            check.check_exact(latents, sources, swapped, 800)
        swapped[3] = swapped[4]
        with pytest.raises(check.WrongAnswer, match="taken twice"):
            check.check_exact(latents, sources, swapped, 800)

    @pytest.mark.parametrize("name", ["isotropic", "duplicated", "lattice", "tight_cone"])
    def test_in_blocks_it_finds_what_the_oracle_does(self, name: str, monkeypatch) -> None:
        monkeypatch.setattr(check, "WHOLE_WORK", 0)
        monkeypatch.setattr(check, "MOST_COPIED", 0)
        monkeypatch.setattr(check, "BLOCK_ELEMENTS", 200)
        latents, sources = data.latents(name, 400, 6), data.sources(400, 6)
        right = np.array(gtn_label.match(latents, sources).assignment)
        assert "choices are the contract's" in check.check_exact(latents, sources, right, 800)
        order = np.argsort(np.linalg.norm(sources.astype(np.float64), axis=1))
        for a, b in ((0, 1), (0, 399), (200, 333)):
            wrong = right.copy()
            wrong[order[[a, b]]] = wrong[order[[b, a]]]
            with pytest.raises(check.WrongAnswer, match=f"position {a}: source .* contract gives"):
                check.check_exact(latents, sources, wrong, 800)

    def test_memory_of_blocks_is_bounded(self) -> None:
        rows = np.zeros((10_000_000, 64), np.float16)
        blocks = check.blocks_of(rows)
        assert max(block.stop - block.start for block in blocks) * 64 <= check.BLOCK_ELEMENTS
        assert sum(len(rows[block]) for block in blocks) == len(rows)


class TestPromises:
    @pytest.mark.parametrize(
        ("kind", "fault", "message"),
        [
            ("greedy", "random", "mean cosine"),
            ("greedy", "twice", "taken twice"),
            ("optimal", "random", "random pairs have"),
            ("optimal", "none", "another peer has"),
            ("pairing", "random", "random pairs have"),
            ("pairing", "impossible", "the optimum is"),
            ("pairing", "part", "sources have a latent"),
        ],
    )
    def test_a_peer_is_held_to_its_own(self, problem, kind, fault, message) -> None:
        latents, sources, exact = problem
        answer = exact.copy()
        if fault == "twice":
            answer[3] = answer[4]
        elif fault == "part":
            answer[9] = -1
        elif fault == "random":
            answer = np.random.default_rng(0).permutation(400)
        judged = judge.Judge(latents, sources, 40, True)
        distance = judged.verdict("contract", exact, {}).quality.mean_squared_distance
        judged.random *= 0.9 if fault == "random" else 1
        judged.least *= 0.9 if fault == "none" else 1
        judged.optimum = 1.1 * distance if fault == "impossible" else 0
        with pytest.raises(check.WrongAnswer, match=message):
            judged.verdict(kind, answer, {})
        judged.least, judged.optimum = distance, distance
        judged.verdict(kind, exact, {})

    @pytest.mark.parametrize("whole", [True, False])
    def test_the_first_exact_answer_is_the_reference(self, problem, whole) -> None:
        latents, sources, exact = problem
        judged = judge.Judge(latents, sources, 40, whole)
        with pytest.raises(ValueError, match="no exact answer"):
            judged.verdict("greedy", exact, {})
        first = judged.verdict("contract", exact, {})
        assert first.checked == "identical to the oracle"
        assert (first.quality is not None) == whole
        assert judged.verdict("contract", exact, {}).checked == "identical"
        other = exact.copy()
        other[[3, 4]] = other[[4, 3]]
        with pytest.raises(check.WrongAnswer, match=r"2 of 400 .* the first is source 3"):
            judged.verdict("contract", other, {})
        greedy = judged.verdict("greedy", exact, {})
        assert greedy.checked == "as good"
        assert (greedy.quality.learnability is not None) == whole
        with pytest.raises(check.WrongAnswer, match="mean cosine"):
            judged.verdict("greedy", np.random.default_rng(0).permutation(400), {})


def test_figures_by_hand() -> None:
    latents = np.array([[2, 0], [0, 1], [-3, 0]], dtype=np.float32)
    sources = np.array([[1, 0], [0, 3], [1, 0]], dtype=np.float32)
    measured = quality.measure(latents, sources, np.array([0, 1, 2]), np.array([0, 2, 1]))
    assert measured.one_to_one
    assert measured.identical == pytest.approx(1 / 3)
    assert measured.mean_cosine == pytest.approx(1 / 3)
    assert measured.mean_squared_distance == pytest.approx((1 + 4 + 16) / 3)
    assert measured.last_decile_cosine == 1  # the source of norm 3
    part = quality.measure(latents, sources, np.array([0, -1, 2]), np.array([0, 2, 1]))
    assert (part.visited, part.mean_squared_distance) == (2, None)
    for wrong, message in (([0, 1, 3], "out of range"), ([0, 1], "one latent a source")):
        with pytest.raises(ValueError, match=message):
            quality.measure(latents, sources, np.array(wrong), np.array([0, 1, 2]))
