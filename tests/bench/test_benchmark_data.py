"""Data sets of the benchmarks, and files of latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gtn_label
from benchmarks import data, modes


@pytest.mark.parametrize("name", list(data.DATASETS))
def test_data_sets_are_valid_latents(name: str) -> None:
    dim = 1 if name == "swiss_roll" else 3
    latents = data.latents(name, 120, dim)
    assert latents.shape == (120, dim)
    assert latents.dtype == (np.float64 if name == "double" else np.float32)
    assert np.array_equal(latents, data.latents(name, 120, dim))
    assert data.describe(name)
    gtn_label.match(latents, data.sources(120, dim))


def test_swiss_roll_has_one_dimension() -> None:
    with pytest.raises(ValueError, match="dim 1, got 3"):
        data.latents("swiss_roll", 10, 3)
    assert data.unfit("swiss_roll", 10, 3) == "the data set swiss_roll has dim 1, got dim 3"
    assert data.unfit("swiss_roll", 10, 1) == ""


def test_codes_are_as_many_as_the_example_has() -> None:
    codes = data.latents("codes", 200, 5)
    whole = np.load(data.EXAMPLE)[:, :5]
    assert len(np.unique(codes, axis=0)) == 200
    assert {row.tobytes() for row in codes} <= {row.tobytes() for row in whole}
    rows, dim = data.MOST_ROWS["codes"], data.MOST_DIM["codes"]
    assert not data.unfit("codes", rows, dim)
    assert data.latents("codes", rows, dim).shape == (rows, dim)
    assert "at most dim 24, got dim 25" in data.unfit("codes", 9, 25)
    assert "at most n 10000, got n 10001" in data.unfit("codes", 10_001, 3)
    with pytest.raises(ValueError, match="got n 9 and dim 25"):
        data.latents("codes", 9, 25)


def test_files_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((5, 2), np.float16))
    assert data.read(tmp_path / "rows.npy").dtype == np.float32
    assert str(modes.file_case(tmp_path / "rows.npy")) == "5 × 2, rows.npy"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones(5), "one array of numbers"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.array([["a"]]), "one array of numbers"),
        (np.ones((0, 3)), r"rows\.npy must hold .* n > 1 and dim > 0, got \[0, 3\]"),
        (np.ones((1, 3)), r"got \[1, 3\]"),
        (np.ones((2, 0)), r"got \[2, 0\]"),
        (np.array([[1, 1], [0, 0]]), r"rows\.npy must hold rows with norms .* row 1 has none"),
        (np.array([[1e200, 1], [1, 1]]), "row 0 has none"),
        (np.array([[1, 1], [1e-200, 0]]), "row 1 has none"),
        (np.eye(2).repeat([data.BLOCK, 1], axis=0) * [[1, 0]], "row 10000 has none"),
        (b"nothing", r"not a \.npy file"),
    ],
    ids=str,
)
def test_other_files_are_refused(rows, message, tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    if isinstance(rows, bytes):
        path.write_bytes(rows)
    else:
        np.save(path, rows)
    with pytest.raises(ValueError, match=message):
        data.read(path)
