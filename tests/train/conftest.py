"""Fixtures of the tests of gtn_train."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Networks this small are fastest with one thread of torch, by far on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def terminal(monkeypatch):
    """Let stderr count as a terminal, which has bars; elsewhere there are lines (progress.py)."""
    monkeypatch.setattr("gtn_train.progress.console.is_terminal", lambda stream: True)


@pytest.fixture
def folder(tmp_path):
    """The folder of one training."""
    from gtn_train.run.store import RunFolder

    return RunFolder(tmp_path / "run")


@pytest.fixture
def gtn_train(capfd, monkeypatch):
    """gtn-train in this process, with small sheets: gtn_train(*args) -> how it ended."""
    from command_cases import Runner  # here: other tests need no command

    from gtn_train.evaluation import evaluate_run
    from gtn_train.report import sheets

    for module, name, few in (
        (sheets, "SHEET", 16),
        (sheets, "LINES", 2),
        (sheets, "LATENTS", 300),
        (evaluate_run, "LATENTS", 300),
    ):
        monkeypatch.setattr(module, name, few)
    return Runner(capfd)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run of images and one of vectors with their data, for tests to copy."""
    from command_cases import IMAGE_RUN, VECTOR_RUN, main, write_mnist, write_vectors

    root = tmp_path_factory.mktemp("finished")
    write_mnist(root / "mnist")
    write_vectors(root / "v.npy")
    images = ("--preset", "mnist", "--data", root / "mnist", "--out", root / "images", *IMAGE_RUN)
    vectors = (
        ("--preset", "vectors", "--data", root / "v.npy", "--out", root / "vectors"),
        VECTOR_RUN,
    )
    for args in (images, (*vectors[0], *vectors[1])):
        with pytest.raises(SystemExit) as left:
            main(["fit", "--quiet", *map(str, args)])
        assert left.value.code == 0
    return root


@pytest.fixture
def images(finished, tmp_path):
    """A finished run of images, to be changed; its data are beside it as "mnist"."""
    shutil.copytree(finished / "mnist", tmp_path / "mnist")
    shutil.copytree(finished / "images", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def vectors(finished, tmp_path):
    """A finished run of vectors, to be changed."""
    shutil.copytree(finished / "vectors", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def browse(tmp_path_factory):
    """Run headless Chromium on a file: browse(path, *options, size=...) -> (stdout, stderr).

    Where there is none its tests are skipped, unless GTN_REQUIRE_BROWSER is set, as in CI: then
    that is a failure.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        if os.environ.get("GTN_REQUIRE_BROWSER"):
            pytest.fail(f"GTN_REQUIRE_BROWSER is set, and there is none of {', '.join(BROWSERS)}")
        pytest.skip(f"needs a browser: {', '.join(BROWSERS)}")
    profile = tmp_path_factory.mktemp("profile")

    def run(path, *options, size=(1200, 900)):
        command = [
            found,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            *options,
            path.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, done.stderr

    return run
