"""The marker gpu: a skip with a reason without a device, a failure if one is there and none ran."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

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
PLUGIN = "import engine\nengine.gpu_missing = lambda: {missing!r}\n"
NONE_RAN = "FAILED: a CUDA device is here, -m gpu was asked for, and no test marked gpu ran"


@pytest.fixture
def run(tmp_path):
    def run(*options: str, missing: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(SUITE)
        (tmp_path / "device.py").write_text(PLUGIN.format(missing=missing))
        settings = tmp_path / "pytest.ini"
        settings.write_text("[pytest]\naddopts = -rs -m 'not slow'\nmarkers =\n  gpu\n  slow\n")
        paths = [str(tmp_path), str(TESTS), *sys.path]
        plugins = ("-p", "device", "-p", "conftest", "-p", "no:cacheprovider")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-c", settings, *plugins, *options, tmp_path],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return run


def test_without_a_device_they_are_skipped_and_say_why(run):
    for options, result in (((), "1 passed, 2 skipped"), (("-m", "gpu"), "2 skipped")):
        done = run(*options, missing="no driver")
        assert done.returncode == 0, done.stdout
        assert result in done.stdout
        assert "needs a CUDA device: no driver" in done.stdout


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ((), "2 passed, 1 skipped"),
        (("-m", "gpu"), "1 passed, 1 skipped"),
        (("-m", "gpu and not slow"), "1 passed, 1 skipped"),
        (("-k", "plain"), "1 passed"),
        (("-k", "itself"), "1 skipped"),  # it was asked for by name, and said why not
        (("-m", "not gpu"), "1 passed"),
    ],
)
def test_with_a_device_they_run(run, options, result):
    done = run(*options, missing="")
    assert done.returncode == 0, done.stdout
    assert result in done.stdout
    assert NONE_RAN not in done.stdout


@pytest.mark.parametrize("options", [("-m", "gpu", "-k", "itself"), ("-m", "gpu", "-k", "plain")])
def test_with_a_device_one_must_run(run, options):
    done = run(*options, missing="")
    assert done.returncode != 0, done.stdout
    assert NONE_RAN in done.stdout
    assert run(*options, "--collect-only", missing="").stdout.count(NONE_RAN) == 0
