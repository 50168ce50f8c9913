"""Bars: the kind that fits the place, and no harm where nobody reads them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from command import child
from gtn_label import match
from gtn_label.progress import progress_bar

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
