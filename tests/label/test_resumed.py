"""Prefixes without a hash: right ones are believed, wrong choices among the sample are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import make
from gtn_label import match, match_approx, resumed, run
from gtn_label.arrays.sources import draw_sources
from gtn_label.backend.faiss_approx import Approx
from gtn_label.io.checkpoint import fingerprint
from gtn_label.io.npy import write_npz

LATENTS = np.repeat(make("gaussian", 300, 4)[0], 2, axis=0)  # each row twice
SOURCES = draw_sources(500, 4, 0)
GROUPS = (np.arange(500) % 7 // 2 * 3 - 2, np.arange(600) % 7 // 2 * 3 - 2)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"order": "norm_desc", "cone": 3, "center": True},
    {"order": "index", "groups": GROUPS},
    {"cone": 2, "groups": GROUPS},
]


def leave(path: Path, visited: np.ndarray, **options: Any) -> None:
    """Write a checkpoint as earlier versions did."""
    options = {"order": "norm", "cone": 1, "center": False, **options}
    groups = options.pop("groups", None)
    fields = fingerprint(LATENTS, SOURCES, groups, seed=None, **options)
    write_npz(path, {"visited": visited}, fields)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("done", [1, 2, 77, 250, 499, 500])
def test_a_right_prefix_is_continued(tmp_path: Path, options: dict[str, Any], done: int) -> None:
    path = tmp_path / "run.ckpt"
    whole = match(LATENTS, SOURCES, **options)
    leave(path, whole.visited[:done], **options)
    again = match(LATENTS, SOURCES, checkpoint=path, **options)
    assert np.array_equal(again.visited, whole.visited)


@pytest.mark.parametrize("options", OPTIONS)
def test_swapped_entries_are_found(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "run.ckpt"
    visited = match(LATENTS, SOURCES, **options).visited
    rng = np.random.Generator(np.random.Philox(3))
    for i, j in rng.integers(0, 250, (10, 2)).tolist():
        changed = visited[:250].copy()
        changed[[i, j]] = changed[[j, i]]
        if np.array_equal(LATENTS[changed[i]], LATENTS[changed[j]]):
            continue
        leave(path, changed, **options)
        with pytest.raises(
            ValueError,
            match=r"^checkpoint '.*' (is damaged: entry \d+ is not what its source takes|must hold "
            r".* not a free latent that it can have taken); delete it to start over$",
        ):
            match(LATENTS, SOURCES, checkpoint=path, **options)


@pytest.mark.parametrize(("sample", "checked"), [(10, "10"), (249, "249")])
def test_a_warning_says_how_many_were_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: int, checked: str
) -> None:
    for module in (resumed, run):
        monkeypatch.setattr(module, "SAMPLE", sample)
    path = tmp_path / "run.ckpt"
    whole = match(LATENTS, SOURCES)
    leave(path, whole.visited[:250])
    message = rf"^checkpoint '.*' has no hash, .*: {checked} of its 250 choices were checked, and"
    with pytest.warns(RuntimeWarning, match=message):
        again = match(LATENTS, SOURCES, checkpoint=path)
    assert np.array_equal(again.visited, whole.visited)


def test_nothing_is_checked_of_an_approximate_run(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    path = tmp_path / "run.ckpt"
    whole = match_approx(LATENTS, SOURCES, index="Flat")
    approx = Approx("Flat", None, None, 1)
    leave(path, whole.visited[:250], approx=approx)
    with pytest.warns(RuntimeWarning, match=r"has no hash, .*: 0 of its 250 choices were checked"):
        match_approx(LATENTS, SOURCES, index="Flat", checkpoint=path)


def test_a_sample_is_spread_over_a_long_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumed, "SAMPLE", 10)
    latents, sources = LATENTS[::2], SOURCES[:250]
    visited = match(latents, sources).visited
    problem: dict[str, Any] = {
        "latents": latents.copy(),
        "sources": sources,
        "order": "norm",
        "cone": 1,
        "center": False,
        "source_groups": None,
        "latent_groups": None,
        "instruction_set": "scalar",
        "threads": 1,
        "memory": 0,
    }
    assert resumed.wrong_choice(visited, 200, **problem) is None
    for at in resumed.positions(200, 10).tolist():
        changed = visited.copy()
        changed[[at, at + 1]] = changed[[at + 1, at]]
        assert resumed.wrong_choice(changed, 200, **problem) == at
