"""Old checkpoints of gtn-label are resumed and end with the bytes of an uninterrupted run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from old_files import (
    CHECKPOINTS,
    INTERRUPTED,
    expected,
    large_groups,
    large_latents,
    run,
    sha256,
    start,
)

HASHES = expected()["checkpoints"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw the rows of the interrupted runs again."""
    folder = tmp_path_factory.mktemp("rows")
    np.save(folder / "large.npy", large_latents())
    np.save(folder / "large_groups.npy", large_groups())
    assert sha256((folder / "large.npy").read_bytes()) == HASHES["latents"]
    return folder


@pytest.fixture
def folder(rows: Path, tmp_path: Path) -> Path:
    for path in rows.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def decided(path: Path) -> int:
    with np.load(path) as content:
        return len(content["visited"])


@pytest.mark.parametrize("name", INTERRUPTED)
def test_it_continues_to_the_same_bytes(folder: Path, name: str) -> None:
    shutil.copy(CHECKPOINTS / f"{name}.ckpt", folder / "run.ckpt")
    done = decided(folder / "run.ckpt")
    assert 0 < done < len(large_groups())
    printed = run(
        *("gtn_label", *INTERRUPTED[name], "-o", "pairs.npz", "--backend", "cpu"),
        *("--checkpoint", "run.ckpt", "--json"),
        cwd=folder,
    )
    summary = json.loads(printed)
    assert (summary["resumed_at"], summary["checkpoint_removed"]) == (done, "run.ckpt")
    assert sha256((folder / "pairs.npz").read_bytes()) == HASHES[name]
    assert not (folder / "run.ckpt").exists()


def test_one_from_before_approximate_search_continues(folder: Path) -> None:
    """Versions before commit b88531a did not write the three options of approximate search."""
    with np.load(CHECKPOINTS / "default.ckpt") as content:
        visited, meta = content["visited"], json.loads(str(content["meta"]))
    for option in ("--approx", "--nprobe", "--parameters"):
        assert meta.pop(option) is None
    with (folder / "run.ckpt").open("wb") as file:
        np.savez(file, visited=visited, meta=json.dumps(meta))
    printed = run(
        *("gtn_label", *INTERRUPTED["default"], "-o", "pairs.npz", "--backend", "cpu"),
        *("--checkpoint", "run.ckpt", "--json"),
        cwd=folder,
    )
    assert json.loads(printed)["resumed_at"] == len(visited)
    assert sha256((folder / "pairs.npz").read_bytes()) == HASHES["default"]


def test_another_run_is_still_refused(folder: Path) -> None:
    shutil.copy(CHECKPOINTS / "default.ckpt", folder / "run.ckpt")
    process = start(
        *("gtn_label", *INTERRUPTED["default"], "-o", "pairs.npz", "--backend", "cpu"),
        *("--checkpoint", "run.ckpt", "--cone", "2"),
        cwd=folder,
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "--cone" in err
    assert (folder / "run.ckpt").read_bytes() == (CHECKPOINTS / "default.ckpt").read_bytes()
    assert not (folder / "pairs.npz").exists()
