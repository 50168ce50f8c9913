"""The loss that the approximate mode reports: a true report passes, a false one does not.

A stand-in for the mode pairs with the best of a few free latents, and gives reports true and false.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from benchmark_cases import entries, rows

from benchmarks import approximation, check, data, markdown
from benchmarks.harness import Case
from benchmarks.peer import Budget
from benchmarks.peers import BY_NAME, OURS, approximate

N, DIM = 300, 6


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Latents, sources, a lossy assignment, and whether and what each choice lost [N]."""
    latents, sources = data.latents("isotropic", N, DIM), data.sources(N, DIM)
    units = latents / np.linalg.norm(latents.astype(float), axis=1, keepdims=True)
    norms = np.linalg.norm(sources.astype(float), axis=1, keepdims=True)
    cosines = (sources / norms) @ units.T
    rng = np.random.default_rng(0)
    free = np.ones(N, dtype=bool)
    assignment, other, lost = np.empty(N, dtype=np.int64), np.zeros(N, bool), np.zeros(N)
    for source in np.argsort(norms[:, 0]):
        row = np.where(free, cosines[source], -np.inf)
        seen = row.argmax() if rng.random() < 0.7 else rng.choice(np.flatnonzero(free))
        assignment[source], other[source] = seen, seen != row.argmax()
        lost[source] = row.max() - row[seen]
        free[seen] = False
    return latents, sources, assignment, other, lost


def account(other: np.ndarray, lost: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    return {
        "sample": len(rows),
        "other_latent": float(other[rows].mean()),
        "cosine_lost": float(lost[rows].mean()),
    }


def test_figures_are_those_of_every_choice(problem) -> None:
    latents, sources, assignment, other, lost = problem
    told = account(other, lost, np.arange(N))
    loss = approximation.measure(latents, sources, assignment, told)
    assert (loss.sample, loss.checked) == (N, N)
    assert loss.other_latent_checked == loss.other_latent == other.mean() > 0.1
    assert loss.cosine_lost_checked == pytest.approx(lost.mean(), abs=1e-7)
    approximation.judge(dataclasses.replace(loss, cosine_lost=loss.cosine_lost_checked))
    # Both are about all choices: nothing is left to chance.
    assert loss.other_latent_tolerance == loss.cosine_lost_tolerance == approximation.ROUNDING
    with pytest.raises(check.WrongAnswer, match="share of other latents told over 300 choices"):
        approximation.judge(dataclasses.replace(loss, other_latent=other.mean() - 1 / N))
    with pytest.raises(check.WrongAnswer, match="mean cosine lost told"):
        approximation.judge(dataclasses.replace(loss, cosine_lost=loss.cosine_lost - 1e-6))


@pytest.mark.parametrize("whole", [True, False])
def test_true_accounts_of_samples_pass_and_false_ones_do_not(problem, whole, monkeypatch) -> None:
    latents, sources, assignment, other, lost = problem
    if not whole:
        monkeypatch.setattr(approximation, "WORK", 200 * N * (DIM + 30))
    rng = np.random.default_rng(1)
    for _ in range(20):
        told = account(other, lost, rng.choice(N, 150, replace=False))
        loss = approximation.measure(latents, sources, assignment, told)
        assert loss.checked == (N if whole else 200)
        approximation.judge(loss)
    for name in ("other_latent", "cosine_lost"):
        false = {**told, name: 0.0}
        loss = approximation.measure(latents, sources, assignment, false)
        with pytest.raises(check.WrongAnswer, match="the oracle finds"):
            approximation.judge(loss)


def test_exact_answers_lost_nothing(problem) -> None:
    latents, sources, *_ = problem
    exact = np.array(OURS.match(latents, sources, Budget(1, 100)).assignment)
    told = {"sample": 20, "other_latent": 0.0, "cosine_lost": 0.0}
    loss = approximation.measure(latents, sources, exact, told)
    assert (loss.other_latent_checked, loss.cosine_lost_checked) == (0, 0)
    approximation.judge(loss)
    loss = approximation.measure(latents, sources, exact, {**told, "other_latent": 1.0})
    with pytest.raises(check.WrongAnswer, match="the oracle finds 0 over 300"):
        approximation.judge(loss)


def test_the_index_follows_n() -> None:
    assert [approximate.lists(n) for n in (10, 1_000, 50_000, 1_000_000)] == [64, 128, 1024, 4096]


def test_rows_show_both_accounts() -> None:
    peer = BY_NAME["gtn_label:approx"]
    if peer.missing():
        pytest.skip(peer.missing())
    exact, row = rows(entries(peer, case=Case("isotropic", 600, 6)))
    assert exact["loss"] is None
    assert row["seconds"]["median"] > 0
    assert row["note"] == "IVF128,Flat, nprobe 16"
    assert row["quality"]["one_to_one"]
    assert 0 < row["quality"]["identical"] < 1
    assert 0 < row["loss"]["other_latent"] < 1
    assert row["loss"]["checked"] == 600
    text = markdown.losses([exact, row])
    assert text.count("\n") == 4
    assert "| gtn_label, approximate | IVF128,Flat, nprobe 16 | 600 |" in text
    assert markdown.losses([{"title": "a row from before there were any"}]) == ""
