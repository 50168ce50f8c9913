"""The marker gpu: a skip with a reason without a device, a failure if one is there and none ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

# Tests of each kind, and a plugin that makes up whether there is a device.
SUITE = """
import pytest

def test_plain():
    pass

@pytest.mark.gpu
def test_on_gpu():
    pass

@pytest.mark.gpu
def test_skips_itself():
    pytest.skip("two devices are needed")
"""
# One process runs the suite as often as options are given: each start costs a second.
CHILD = """
import contextlib, io, json, sys
import pytest
import engine

ended = []
for missing, *options in json.loads(sys.argv[1]):
    engine.gpu_missing = lambda: missing
    shown = io.StringIO()
    plugins = ("-p", "conftest", "-p", "no:cacheprovider")
    with contextlib.redirect_stdout(shown):
        code = pytest.main(["-c", "pytest.ini", *plugins, *options, "test_it.py"])
    ended.append((int(code), shown.getvalue()))
print(json.dumps(ended))
"""
NONE_RAN = "FAILED: a CUDA device is here, -m gpu was asked for, and no test marked gpu ran"


HERE, NOT_HERE = "", "no driver"
RUN = [  # whether there is a device, options, and the end of pytest's report
    (NOT_HERE, (), "1 passed, 2 skipped"),
    (NOT_HERE, ("-m", "gpu"), "2 skipped"),
    (HERE, (), "2 passed, 1 skipped"),
    (HERE, ("-m", "gpu"), "1 passed, 1 skipped"),
    (HERE, ("-m", "gpu and not slow"), "1 passed, 1 skipped"),
    (HERE, ("-k", "plain"), "1 passed"),
    (HERE, ("-k", "itself"), "1 skipped"),  # it was asked for by name, and said why not
    (HERE, ("-m", "not gpu"), "1 passed"),
]
FAIL = [("-m", "gpu", "-k", "itself"), ("-m", "gpu", "-k", "plain")]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Exit code and output of every run, by whether there is a device and by options."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_it.py").write_text(SUITE)
    settings = "[pytest]\naddopts = -rs -m 'not slow'\nmarkers =\n  gpu\n  slow\n"
    (folder / "pytest.ini").write_text(settings)
    runs = [(missing, *options) for missing, options, _ in RUN]
    runs += [(HERE, *options, *more) for options in FAIL for more in ((), ("--collect-only",))]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(runs)],
        # This conftest before those of folders that pytest has put on the path.
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(runs, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("missing", "options", "result"), RUN)
def test_without_a_device_they_skip_and_with_one_they_run(ended, missing, options, result):
    code, shown = ended[(missing, *options)]
    assert code == 0, shown
    assert result in shown
    assert NONE_RAN not in shown
    assert ("needs a CUDA device: no driver" in shown) == (missing == NOT_HERE)


@pytest.mark.parametrize("options", FAIL)
def test_with_a_device_one_must_run(ended, options):
    code, shown = ended[(HERE, *options)]
    assert code != 0, shown
    assert NONE_RAN in shown
    assert ended[(HERE, *options, "--collect-only")][1].count(NONE_RAN) == 0
