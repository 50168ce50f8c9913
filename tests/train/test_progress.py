"""A bar in a terminal, a line a minute in a log."""

from __future__ import annotations

import re

import pytest
from command_cases import VECTOR_RUN, write_vectors
from training_cases import generator, options, pairs

from gtn_train import progress
from gtn_train.training import train_generator


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_a_minute(capsys, clock):
    with progress.progress_bar(True, total=100, desc="encoding", unit=" images") as bar:
        for second in range(1, 151):
            clock[0] = float(second)
            bar.update(0 if second % 2 else 1)
    assert capsys.readouterr().err.splitlines() == [
        "gtn-train: encoding: 30 %, 2 min 20 s left",
        "gtn-train: encoding: 60 %, 1 min 20 s left",
    ]


def test_a_line_has_the_latest_figures_and_counts_from_where_a_run_resumed(capsys, clock):
    with progress.progress_bar(True, total=100, desc="generator", initial=50) as bar:
        bar.set_postfix_str("epoch 6/10, train 0.25")
        clock[0] = 60.0
        bar.update(10)
    line = "gtn-train: generator: epoch 6/10, train 0.25, 60 %, 4 min 00 s left\n"
    assert capsys.readouterr().err == line


def test_a_short_work_leaves_a_log_alone(capsys):
    for show in (True, False):
        with progress.progress_bar(show, total=3, desc="encoding") as bar:
            bar.update(3)
            bar.set_postfix_str("x")
            bar.close()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar(capsys, terminal):
    with progress.progress_bar(True, total=3, desc="encoding") as bar:
        bar.update(3)
    assert "encoding: 100%|" in capsys.readouterr().err


def test_a_training_says_epoch_losses_and_time_left(folder, capfd, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    train_generator(generator(), pairs(), folder, options(max_epochs=2), progress=True)
    lines = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"gtn-train: generator: epoch 1/2, \d+ %, [\d.e-]+ s left", lines[0])
    pattern = r"gtn-train: generator: epoch 1/2, train [\d.]+, 100 %, 0 s left"
    assert re.fullmatch(pattern, lines[-1]), lines


def test_the_command_writes_lines_unless_it_is_quiet(gtn_train, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    data = write_vectors(tmp_path / "v.npy")
    given = ("generator", "--preset", "vectors", "--data", data, *VECTOR_RUN)
    said = gtn_train.ok(*given, "--out", tmp_path / "run").err
    assert re.search(r"^gtn-train: generator: epoch 2/3, .* left$", said, re.MULTILINE)
    assert re.search(r"^gtn-train: matching: 100 %", said, re.MULTILINE)
    assert gtn_train.ok(*given, "--out", tmp_path / "quiet", "--quiet").err == ""
