"""Certificates and maps: true ones pass, and each fault of a report is caught."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import gtn_label
from benchmarks import certificate, check, data, judge, maps, pairs
from benchmarks.peer import Budget
from benchmarks.peers import BY_NAME

N, DIM = 300, 4


@pytest.fixture(scope="module", params=["clustered", "isotropic"])
def problem(request) -> tuple[np.ndarray, np.ndarray]:
    return data.latents(request.param, N, DIM), data.sources(N, DIM)


def solved(latents, sources, tolerance: float):
    """Assignment, prices and report of a run."""
    name = {0.0: "0", 1e-2: "1e-2"}[tolerance]
    answer = BY_NAME[f"gtn_label:optimal_{name}"].match(latents, sources, Budget(1, 60))
    return answer.assignment, answer.prices, answer.stats["certificate"]


class TestCertificate:
    @pytest.mark.parametrize("tolerance", [0.0, 1e-2])
    def test_a_true_one_passes_whole_and_sampled(self, problem, tolerance, monkeypatch) -> None:
        assignment, prices, account = solved(*problem, tolerance)
        found = certificate.measure(*problem, assignment, prices, account)
        certificate.judge(found)
        assert found.checked == N
        assert found.gap_checked == pytest.approx(found.gap, abs=1e-9)
        cost = account["cost"]
        assert found.scale * found.gap == pytest.approx(cost - account["lower_bound"])
        monkeypatch.setattr(certificate, "WORK", 100 * N * (DIM + 30))
        sampled = certificate.measure(*problem, assignment, prices, account)
        certificate.judge(sampled)
        assert sampled.checked == 100
        assert abs(sampled.gap_checked - found.gap) <= sampled.gap_error

    def test_blocks_change_nothing(self, problem, monkeypatch) -> None:
        assignment, prices, account = solved(*problem, 1e-2)
        whole = certificate.measure(*problem, assignment, prices, account)
        monkeypatch.setattr(certificate, "BLOCK_ELEMENTS", 7 * N)
        cut = certificate.measure(*problem, assignment, prices, account)
        assert cut.gap_checked == pytest.approx(whole.gap_checked, rel=1e-12)

    def test_faults_are_caught(self, problem) -> None:
        assignment, prices, account = solved(*problem, 1e-2)

        def refuse(message: str, of=assignment, at=prices, **told) -> None:
            with pytest.raises(check.WrongAnswer, match=message):
                certificate.judge(certificate.measure(*problem, of, at, {**account, **told}))

        scale = certificate.measure(*problem, assignment, prices, account).scale
        refuse("that of the pairs is", cost=0.999 * account["cost"])
        refuse("the gap says", gap=account["gap"] / 2)
        refuse("the gap says", lower_bound=account["cost"])
        wrong = {"gap": account["gap"] / 2}
        wrong["lower_bound"] = account["cost"] - wrong["gap"] * scale
        refuse("the prices prove", **wrong)
        refuse("the prices prove", at=prices + np.linspace(0, 1, N))
        refuse("the tolerance is 1e-06", tolerance=1e-6)
        refuse("the tolerance is 0", tolerance=0.0)
        swapped = assignment.copy()
        swapped[[3, 4]] = swapped[[4, 3]]
        refuse("that of the pairs is", of=swapped)
        for prices_told in (None, prices[1:], np.full(N, np.nan)):
            with pytest.raises(ValueError, match="finite price for each latent"):
                certificate.measure(*problem, assignment, prices_told, account)


class TestJudge:
    def judged(self, problem) -> judge.Judge:
        found = judge.Judge(*problem, 40, True)
        found.verdict("contract", np.array(gtn_label.match(*problem).assignment), {})
        return found

    def test_bounds_are_held_against_everybody(self, problem) -> None:
        optimum, prices, account = solved(*problem, 0.0)
        stats = {"certificate": account}
        found = self.judged(problem)
        verdict = found.verdict("certified", optimum, stats, prices)
        assert verdict.checked == f"gap proved over {N} sources"
        assert verdict.certificate.tolerance == 0
        assert found.optimum == verdict.quality.mean_squared_distance
        assert found.bound == account["lower_bound"]
        found.verdict("optimal", optimum, {})
        found.bound *= 1.001
        found.optimum = 0.0
        with pytest.raises(judge.FalseCertificate, match="certified was"):
            found.verdict("pairing", optimum, {})

    def test_a_bound_above_a_cost_is_false(self, problem) -> None:
        optimum, prices, account = solved(*problem, 1e-2)
        found = self.judged(problem)
        found.least = 0.99 * account["lower_bound"]
        with pytest.raises(judge.FalseCertificate, match="another peer has"):
            found.verdict("certified", optimum, {"certificate": account}, prices)

    def test_the_optimum_must_be_the_least(self, problem) -> None:
        optimum, prices, account = solved(*problem, 0.0)
        found = self.judged(problem)
        found.least = 0.99 * account["cost"]
        with pytest.raises(check.WrongAnswer, match="another peer has"):
            found.verdict("certified", optimum, {"certificate": account}, prices)


class TestMaps:
    def test_labels_follow_from_prices(self, problem) -> None:
        latents, sources = problem
        answer = BY_NAME["gtn_label:assign"].match(latents, sources, Budget(1, 60))
        found = maps.measure(latents, answer.assignment, answer.prices)
        assert found.sources == maps.A_LATENT * N
        by_hand = maps.by_prices(latents, answer.prices, maps.fresh_sources(latents))
        assert np.mean(by_hand == answer.assignment) > 0.99
        with pytest.raises(check.WrongAnswer, match="of their value at the prices"):
            maps.measure(latents, np.roll(answer.assignment, 1), answer.prices)
        for labels, prices in ((answer.assignment[1:], answer.prices), (answer.assignment, None)):
            with pytest.raises(ValueError, match="a price for each latent and a label"):
                maps.measure(latents, labels, prices)

    def test_figures_by_hand(self, monkeypatch) -> None:
        latents = np.array([[1.0], [-1.0], [9.0]])
        fresh = np.array([[2.0], [1.0], [-1.0], [3.0]])
        monkeypatch.setattr(maps, "fresh_sources", lambda latents: fresh)
        prices = np.array([0.0, 0.0, 50.0])
        found = maps.measure(latents, np.array([0, 0, 1, 0]), prices)
        assert found.mean_squared_distance == (1 + 0 + 0 + 4) / 4
        # |y|² - 2 max(⟨y, x⟩ - p) on the mean, and |x|² - 2p on the mean.
        assert found.dual == pytest.approx((4 + 1 + 1 + 9) / 4 - 2 * 7 / 4 + (83 - 100) / 3)
        assert found.imbalance == pytest.approx(3 * (3 * 2) / (4 * 3) - 1)
        assert found.never == pytest.approx(1 / 3)
        assert found.never_expected == pytest.approx((2 / 3) ** 4)


class TestPairs:
    def test_leftovers_are_paired_exactly(self) -> None:
        latents, sources = (
            np.array([[0.0], [1.0], [2.0], [3.0]]),
            np.array([[0], [2.9], [1.1], [2]]),
        )
        for taken in ([0, 3, -1, 3], [0, 3, 0, 0]):
            found, lonely = pairs.complete(latents, sources, np.array(taken))
            assert found.tolist() == [0, 3, 1, 2]
            assert lonely == 2
        same, lonely = pairs.complete(latents, sources, found)
        assert (same.tolist(), lonely) == (found.tolist(), 0)

    def test_the_largest_entries_come_first(self) -> None:
        plan = np.array([[0.5, 0.4, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
        assert pairs.largest_first(plan).tolist() == [2, 0, 1]
        pairs_of_two = np.array([[0.9, 0.1], [0.8, 0.2]])
        assert pairs.largest_first(pairs_of_two).tolist() == [0, 1]

    def test_rows_without_a_free_column_stay(self, monkeypatch) -> None:
        monkeypatch.setattr(pairs, "WIDTH", 1)
        assert pairs.largest_first(np.array([[0.9, 0.1], [0.8, 0.2]])).tolist() == [0, -1]


def test_own_promises_are_those_that_fail_a_run() -> None:
    from benchmarks.peer import OWN_PROMISES

    certified = dataclasses.replace(BY_NAME["gtn_label:optimal_0"])
    assert certified.kind in OWN_PROMISES
    assert BY_NAME["lapx"].kind not in OWN_PROMISES
