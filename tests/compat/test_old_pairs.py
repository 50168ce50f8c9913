"""Files of pairs that an old version wrote are read, and written again, byte for byte.

The same commands and functions write the same bytes from the same latents. The old files load. The
summary of a run has the same figures.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from old_files import LABELED, PAIRS, SAME_COUNTS, SUMMARIZED, expected, run

from gtn_label import Matching, match, match_mixture, match_quantile

ROWS = np.load(PAIRS / "rows.npy")
GROUPS = np.load(PAIRS / "groups.npy")
LINE = np.load(PAIRS / "line.npy")
Z = np.load(PAIRS / "named.npz")["z"]

# By the stem of a file: arguments with which `match` gives the pairs of the command.
MATCHED: dict[str, tuple[Any, dict[str, Any]]] = {
    "default": (ROWS, {}),
    "seed": (ROWS, {"seed": 7}),
    "cone": (ROWS, {"center": True, "cone": 4}),
    "descending": (ROWS, {"order": "norm_desc"}),
    "given": (ROWS, {"sources": np.load(PAIRS / "sources.npy"), "order": "index"}),
    "groups": (ROWS, {"groups": (GROUPS, GROUPS)}),
    "double": (Z, {}),
    "line": (LINE, {"seed": 3}),
}

TIME = r"\d[\d.,]*( (s|min|h)\b( \d\d (s|min)\b)?)?"
# Entries of --json that are measured with a clock.
TIMED = {"seconds", "pairs_a_second"}
# Sums in float64, whose last bits may differ from machine to machine.
ROUNDED = {"mean_cosine", "last_decile_cosine", "norm_correlation", "learnability"}


@pytest.fixture
def latents(tmp_path: Path) -> Path:
    """Make a folder that holds the old latents alone."""
    for name in ("rows.npy", "sources.npy", "groups.npy", "named.npz", "line.npy"):
        shutil.copy(PAIRS / name, tmp_path)
    return tmp_path


def arrays_of(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file of pairs by NumPy or safetensors alone: arrays and meta."""
    if path.suffix == ".npz":
        with np.load(path) as content:
            arrays = dict(content)
        return arrays, json.loads(str(arrays.pop("meta")))
    from safetensors import safe_open

    with safe_open(path, "np") as content:
        arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        return arrays, json.loads(content.metadata()["meta"])


@pytest.mark.parametrize("name", LABELED)
def test_the_command_writes_the_same_bytes(latents: Path, name: str) -> None:
    run("gtn_label", *LABELED[name], "-o", name, "--backend", "cpu", "-q", cwd=latents)
    assert (latents / name).read_bytes() == (PAIRS / name).read_bytes()


@pytest.mark.parametrize("name", [name for name in LABELED if name != "double.safetensors"])
def test_match_saves_the_same_bytes(tmp_path: Path, name: str) -> None:
    rows, options = MATCHED[name.partition(".")[0]]
    matching = match(rows, backend="cpu", **options)
    matching.save(tmp_path / name, indices_only="--indices-only" in LABELED[name])
    assert (tmp_path / name).read_bytes() == (PAIRS / name).read_bytes()


def test_match_quantile_saves_the_same_bytes(tmp_path: Path) -> None:
    match_quantile(LINE[:, 0], seed=2).save(tmp_path / "quantile.npz")
    assert (tmp_path / "quantile.npz").read_bytes() == (PAIRS / "quantile.npz").read_bytes()


def test_match_mixture_finds_the_same_pairs() -> None:
    """Last bits may differ: the clusters are scikit-learn's."""
    old, new = (
        Matching.load(PAIRS / "mixture.npz"),
        match_mixture(np.load(PAIRS / "two.npy"), 2, seed=2, backend="cpu"),
    )
    np.testing.assert_array_equal(new.assignment, old.assignment)
    np.testing.assert_allclose(new.cosine, old.cosine, rtol=0, atol=1e-6)
    np.testing.assert_allclose(new.sources, old.sources, rtol=1e-5, atol=1e-6)
    assert new.meta.keys() == old.meta.keys()


@pytest.mark.parametrize("name", [*LABELED, "quantile.npz", "mixture.npz"])
def test_old_pairs_load(name: str) -> None:
    arrays, meta = arrays_of(PAIRS / name)
    loaded = Matching.load(PAIRS / name)
    assert loaded.meta == meta
    assert (loaded.stats, loaded.groups) == ({}, None)
    np.testing.assert_array_equal(loaded.assignment, arrays["assignment"])
    np.testing.assert_array_equal(loaded.cosine, arrays["cosine"])
    if "sources" not in arrays:
        assert loaded.sources is None
        with pytest.raises(ValueError, match="indices only"):
            loaded.pairs()
        return
    for found, known in zip(
        (loaded.sources, *loaded.pairs()),
        (arrays["sources"], arrays["sources"], arrays["labels"]),
        strict=True,
    ):
        assert found.dtype == known.dtype
        np.testing.assert_array_equal(found, known)


@pytest.mark.parametrize("name", [*LABELED, "quantile.npz", "mixture.npz"])
def test_old_pairs_are_saved_again_as_they_were(tmp_path: Path, name: str) -> None:
    loaded = Matching.load(PAIRS / name)
    loaded.save(tmp_path / name, indices_only=loaded.sources is None)
    assert (tmp_path / name).read_bytes() == (PAIRS / name).read_bytes()


# -------------------------------------------------------------------------------------- output


@pytest.mark.parametrize("name", SUMMARIZED)
def test_the_summary_is_the_same(latents: Path, name: str) -> None:
    printed = run("gtn_label", *LABELED[name], *SAME_COUNTS, "-o", name, "--json", cwd=latents)
    old, new = expected()["summaries"][name], json.loads(printed)
    assert list(new) == list(old)
    assert new["stats"].pop("threads_from") == "argument"  # since issue 14
    assert list(new["stats"]) == list(old["stats"])
    assert list(new["stats"]["seconds"]) == list(old["stats"]["seconds"])
    for key in ROUNDED:
        assert new[key] == pytest.approx(old[key], rel=1e-9, abs=1e-12), key
    # Another layout of the work may need a little more memory or less.
    assert new["stats"]["peak_work_bytes"] == pytest.approx(
        old["stats"]["peak_work_bytes"], rel=0.1
    )
    for summary in (old, new):
        del summary["stats"]["peak_work_bytes"]
        for key in TIMED | ROUNDED:
            del summary[key]
        del summary["stats"]["seconds"]
    assert new == old


@pytest.mark.parametrize("name", SUMMARIZED)
def test_the_table_is_the_same(latents: Path, name: str) -> None:
    printed = run("gtn_label", *LABELED[name], *SAME_COUNTS, "-o", name, cwd=latents)
    assert untimed(printed) == untimed(expected()["tables"][name])


def untimed(table: str) -> str:
    masked, count = re.subn(rf"(?m)^((time|pairs a second) +){TIME}$", r"\1<figure>", table)
    assert count == 2, table
    return masked


def test_the_list_of_backends_has_the_same_form(tmp_path: Path) -> None:
    """Names and columns are the same; the machine and the build decide what is available."""
    old = expected()["backends"].splitlines()
    new = run("gtn_label", "--backends", cwd=tmp_path).splitlines()
    names = [line.split()[0] for line in new]
    assert [name for name in names if name in {line.split()[0] for line in old}] == [
        line.split()[0] for line in old
    ]
    width = max(map(len, names)) + 2
    for line, name in zip(new, names, strict=True):
        assert line[:width] == name.ljust(width)
        assert re.match(r"\S", line[width:])
    for always in ("cpu:scalar", "faiss "):
        (known,) = (line for line in old if line.startswith(always))
        assert known in new
    rows = json.loads(run("gtn_label", "--backends", "--json", cwd=tmp_path))
    assert [row["name"] for row in rows] == names
    for line, row in zip(new, rows, strict=True):
        text = row["description"] if row["available"] else f"not available: {row['reason']}"
        assert line[width:] == text
