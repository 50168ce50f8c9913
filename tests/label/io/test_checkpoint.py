"""Checkpoint, and match(checkpoint=...): when a file is written, continued and deleted.

How the command continues runs, and what it refuses, is in cli/test_label_checkpoint.py.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

import engine
from datasets import make
from gtn_label import match, match_mixture
from gtn_label.io.checkpoint import Checkpoint, read_npz

LATENTS, SOURCES = make("gaussian", 3000, 8)


class Stop(Exception):
    """Ends a run."""


def stop_at(share: float):
    def progress(done: int, total: int, _: object) -> None:
        if done >= share * total:
            raise Stop

    return progress


def begun(path: Path, n: int, every: float, warn=pytest.fail) -> Checkpoint:
    state = Checkpoint(path, every, warn)
    state.open({"contract": 1}, np.arange(n), n)
    return state


def test_saves_are_spaced_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path = tmp_path / "c"
    state = begun(path, 10, 30.0)
    saved = []
    for second, done in ((10, 1), (29, 2), (30, 3), (31, 4), (59, 5), (61, 6), (99, 6)):
        now[0] = second
        state.poll(done)
        if path.exists():
            saved.append(len(read_npz(path)[0]["visited"]))
    assert saved == [3, 3, 3, 6, 6]


def test_a_save_that_fails_warns_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    warnings: list[str] = []
    state = begun(tmp_path / "c", 9, 0.0, warnings.append)
    state.poll(3)
    monkeypatch.setattr(os, "fsync", full)
    state.poll(5)
    state.poll(6)
    assert len(warnings) == 1
    assert "could not be written (No space left on device); the run goes on" in warnings[0]
    assert read_npz(tmp_path / "c")[0]["visited"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("as_path", [str, Path])
def test_a_stopped_match_is_continued(tmp_path: Path, share: float, as_path: type) -> None:
    path = as_path(tmp_path / "run.ckpt")
    options = {"cone": 2, "center": True, "checkpoint": path}
    with pytest.raises(Stop):
        match(LATENTS, SOURCES, **options, progress=stop_at(share), threads=1)
    begins = []
    again = match(LATENTS, SOURCES, **options, progress=lambda done, *_: begins.append(done))
    engine.assert_same(again, match(LATENTS, SOURCES, cone=2, center=True))
    assert min(begins) >= share * len(SOURCES)
    assert not (tmp_path / "run.ckpt").exists()


def test_a_whole_match_leaves_no_file(tmp_path: Path) -> None:
    match(LATENTS, checkpoint=tmp_path / "run.ckpt")
    match_mixture(LATENTS[:200], 2, checkpoint=tmp_path / "run.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_messages_name_options_as_python_does(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    with pytest.raises(Stop):
        match(LATENTS, checkpoint=path, progress=stop_at(0.5))
    with pytest.raises(ValueError, match="belongs to another run: ") as caught:
        match(LATENTS, checkpoint=path, cone=2, groups=([0] * 3000, [0] * 3000))
    assert str(caught.value).startswith(f"checkpoint '{path}' belongs")
    assert "run: cone was 1 and is 2; source_groups: SHA-256 was None and" in str(caught.value)


@pytest.mark.parametrize("value", [3, True, b"run.ckpt"])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"^checkpoint must be a path, got "):
        match(LATENTS, checkpoint=value)
    with pytest.raises(ValueError, match=r"^checkpoint must be the path of a file, got ''$"):
        match(LATENTS, checkpoint="")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^checkpoint must be in a folder that exists"):
        match(LATENTS, checkpoint=tmp_path / "no" / "run.ckpt")
