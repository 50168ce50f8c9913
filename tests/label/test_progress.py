"""Bars: the kind that fits the place, and no harm where nobody reads them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from command import child
from gtn_label import match, match_optimal
from gtn_label.progress import PhaseProgress, progress_bar

LATENTS = np.random.default_rng(0).normal(size=(300, 4))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_text_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress_bar(True, total=3, desc="a\x1b[2Jb", unit=" rows") as bar:
        bar.update(3)
    assert "3/3" in stderr.getvalue()
    assert "a\\x1b[2Jb" in stderr.getvalue()


def test_silent_without_a_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress_bar(False, total=3) as bar:
        bar.update(3)
    assert stderr.getvalue() == ""


@pytest.mark.parametrize("state", ["none", "closed", "broken"])
def test_nobody_reads(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """As under pythonw, after a daemon has closed its streams, or in a pipe whose reader left."""

    class Broken(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    stderr = {"none": None, "closed": Terminal(), "broken": Broken()}[state]
    if state == "closed":
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    result = match(LATENTS, progress=True)
    assert (result.assignment == match(LATENTS).assignment).all()


def test_stderr_that_closes_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress_bar(True, total=3, mininterval=0) as bar:
        bar.update(1)
        stderr.close()
        bar.update(1)


def test_an_auction_tells_its_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time left follows from the phase before, once there is one."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    stage = [(1, 1, 1, 3, -1.0)]
    reports: list[tuple[int, int, float | None]] = []
    bar = PhaseProgress(True, 50, lambda: stage[0])
    called = PhaseProgress(lambda *report: reports.append(report), 50, lambda: stage[0])
    texts = []
    with bar, called:
        for second, done, place in (
            (100, 0, (0, 0, 0, 0, -1.0)),
            (101, 10, (1, 1, 1, 3, -1.0)),
            (110, 49, (1, 1, 1, 3, -1.0)),
            (111, 20, (1, 1, 2, 3, -1.0)),
            (113, 40, (1, 1, 2, 3, -1.0)),
            (130, 48, (1, 1, 2, 3, -1.0)),
            (141, 30, (1, 1, 5, 6, 0.0125)),
            (142, 50, (0, 0, 0, 0, -1.0)),
        ):
            now[0], stage[0] = second, place
            bar(done)
            called(done)
            texts.append(bar._bar.postfix)
            assert bar._bar.n == done
    assert texts == [
        "",
        *["phase 1 of about 3"] * 2,
        "phase 2 of about 3, about 10 s left",
        "phase 2 of about 3, about 8 s left",
        "phase 2 of about 3, about 4 s left",
        "phase 5 of about 6, gap 1.3e-02, about 10 s left",
        "",
    ]
    assert [(done, total) for done, total, _ in reports] == [
        (done, 50) for done in (0, 10, 49, 20, 40, 48, 30, 50)
    ]
    assert [None if left is None else round(left, 1) for *_, left in reports] == [
        *[None] * 3,
        *(9.6, 7.6, 3.6, 9.6),
        None,
    ]


def test_groups_of_an_auction_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with PhaseProgress(True, 50, lambda: (2, 7, 1, 4, -1.0)) as bar:
        bar(12)
        assert bar._bar.postfix == "group 2 of 7, phase 1 of about 4"


def test_an_auction_ends_with_all_sources() -> None:
    reports: list[tuple[int, int, float | None]] = []
    match_optimal(LATENTS, progress=lambda *report: reports.append(report))
    assert reports[-1] == (300, 300, None)


def test_an_auction_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    match_optimal(LATENTS, progress=True)
    assert "300/300 sources" in stderr.getvalue()


def test_pipe_whose_reader_left(tmp_path: Path) -> None:
    script = "import numpy, gtn_label; gtn_label.match(numpy.eye(3), progress=True); print('done')"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=writing, check=False
    )
    os.close(writing)
    assert done.stdout == b"done\n"
    assert done.returncode in (0, 120)  # 120: Python could not flush its own stderr


def test_notebook_has_the_automatic_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm.auto is asked, and its warning about a missing ipywidgets is not shown."""
    asked = {}

    class Widget:
        def __init__(self, **options: object) -> None:
            asked.update(options)

    module = types.ModuleType("tqdm.auto")
    Widget.__module__ = "tqdm.notebook"
    module.tqdm = Widget
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    progress_bar(True, total=3, desc="x")
    assert asked == {"total": 3, "desc": "x"}, "a widget needs no stream"


def test_notebook_without_ipywidgets(tmp_path: Path) -> None:
    script = """
import sys, types, warnings
warnings.simplefilter("error")
ipython = types.ModuleType("IPython")
ipython.get_ipython = lambda: None
sys.modules["IPython"] = ipython
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
sys.modules["ipywidgets"] = None
import numpy, gtn_label
gtn_label.match(numpy.eye(50), progress=True)
"""
    done = child(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "50/50" in done.stderr
    assert "Warning" not in done.stderr


def test_a_shell_needs_no_asyncio(tmp_path: Path) -> None:
    script = """
import sys, numpy, gtn_label
gtn_label.match(numpy.eye(50), progress=True)
assert not {"asyncio", "IPython", "tqdm.auto"} & set(sys.modules)
"""
    done = child(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_unusable_setting_of_tqdm(tmp_path: Path) -> None:
    script = """
import os, warnings
os.environ["TQDM_MININTERVAL"] = "abc"
import numpy as np
from gtn_label import match
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    assert len(match(np.eye(9), progress=True)) == 9
assert "no progress is shown, as tqdm fails: could not convert" in str(warned[0].message)
assert len(warned) == 1
"""
    done = child(script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
