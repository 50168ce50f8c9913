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
from gtn_label import _core, match, match_optimal
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


def told(monkeypatch: pytest.MonkeyPatch, total: int, seen: list) -> tuple[list, list]:
    """Texts of a bar, and the seconds left that a callback gets, at given times and stages."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    stage = [seen[0][2]]
    reports: list[tuple[int, int, float | None]] = []
    bar = PhaseProgress(True, total, lambda: stage[0])
    called = PhaseProgress(lambda *report: reports.append(report), total, lambda: stage[0])
    texts = []
    with bar, called:
        for second, done, place in seen:
            now[0], stage[0] = second, place
            bar(done)
            called(done)
            texts.append(bar._bar.postfix)
            assert bar._bar.n == done
    assert [report[:2] for report in reports] == [(done, total) for _, done, _ in seen]
    return texts, [None if left is None else round(left, 1) for *_, left in reports]


def test_an_auction_tells_its_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time left follows from the sources placed, and later from the phase before."""
    texts, left = told(
        monkeypatch,
        50,
        [
            (100, 0, (0, 0, 0, 0, -1.0, 0)),
            (101, 0, (1, 1, 1, 3, -1.0, 0)),
            (105, 10, (1, 1, 1, 3, -1.0, 0)),
            (110, 49, (1, 1, 1, 3, -1.0, 0)),
            (111, 20, (1, 1, 2, 3, -1.0, 0)),
            (113, 40, (1, 1, 2, 3, -1.0, 0)),
            (131, 48, (1, 1, 2, 3, -1.0, 0)),
            (151, 30, (1, 1, 5, 6, 0.0125, 0)),
            (152, 49, (1, 1, 6, 6, 0.0012, 0)),
            (153, 50, (0, 0, 0, 0, -1.0, 0)),
        ],
    )
    assert texts == [
        "",
        "phase 1 of about 3",
        "phase 1 of about 3, about 35 s left",
        "phase 1 of about 3, about 9 s left",
        "phase 2 of about 3, about 10 s left",
        "phase 2 of about 3, about 8 s left",
        "phase 2 of about 3, about 9 s left",  # it takes longer than it should
        "phase 5 of about 6, gap 1.3e-02, about 13 s left",
        "phase 6, likely the last, gap 1.2e-03",
        "",
    ]
    assert left == [None, None, 35.2, 9.0, 9.6, 7.6, 8.6, 12.8, 0.6, None]


def test_the_sample_of_an_auction_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its phases are not those of the whole, which begin anew."""
    texts, left = told(
        monkeypatch,
        5000,
        [
            (101, 0, (1, 1, 0, 0, -1.0, 1250)),
            (102, 0, (1, 1, 3, 0, -1.0, 1250)),
            (109, 0, (1, 1, 0, 0, -1.0, 1250)),
            (110, 0, (1, 1, 1, 1, -1.0, 0)),
            (112, 2500, (1, 1, 1, 1, -1.0, 0)),
        ],
    )
    assert texts == [
        "sample of 1,250 sources",
        "sample of 1,250 sources, phase 3",
        "sample of 1,250 sources",
        "phase 1, likely the last",
        "phase 1, likely the last, about 2 s left",
    ]
    assert left == [None, None, None, None, 2.0]


def test_groups_of_an_auction_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, left = told(
        monkeypatch,
        50,
        [
            (101, 8, (1, 7, 1, 4, -1.0, 0)),
            (102, 12, (1, 7, 2, 4, -1.0, 0)),
            (103, 18, (2, 7, 1, 4, -1.0, 0)),
            (104, 20, (2, 7, 2, 4, -1.0, 0)),
            (109, 45, (7, 7, 1, 2, -1.0, 0)),
            (111, 47, (7, 7, 2, 3, -1.0, 0)),
        ],
    )
    assert texts == [
        "group 1 of 7, phase 1 of about 4",
        "group 1 of 7, phase 2 of about 4",
        "group 2 of 7, phase 1 of about 4, about 6 s left",
        "group 2 of 7, phase 2 of about 4, about 5 s left",
        "group 7 of 7, phase 1 of about 2, about 1 s left",
        "group 7 of 7, phase 2 of about 3, about 2 s left",
    ]
    assert left == [None, None, 6.4, 5.4, 1.1, 1.9]


def test_an_auction_ends_with_all_sources() -> None:
    reports: list[tuple[int, int, float | None]] = []
    match_optimal(LATENTS, progress=lambda *report: reports.append(report))
    assert reports[-1] == (300, 300, None)


def test_the_engine_tells_of_its_sample() -> None:
    class Seen(Exception):
        pass

    def poll(_: int) -> None:
        if state.stage[-1] > 0 and state.stage[2] > 0:
            raise Seen(*state.stage)

    latents, sources = np.random.default_rng(1).normal(size=(2, 20_000, 5))
    state = _core.OptimalState(keeps=False)
    options = {"tolerance": 10.0, "instruction_set": "scalar", "threads": 1, "depth": 8}
    options["engine"] = _core.CpuEngine()
    with pytest.raises(Seen) as caught:
        _core.optimal_rows(latents, sources, **options, state=state, poll=poll)
    group, groups, _, _, gap, sampled = caught.value.args
    assert (group, groups, gap) == (1, 1, -1.0)
    assert sampled in (1250, 5000)  # the sample has one of its own
    assert state.stage == (0, 0, 0, 0, -1.0, 0)


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
