"""Fixtures of the tests of gtn_train."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def gtn_train(capfd, monkeypatch):
    """gtn-train in this process, with small sheets: gtn_train(*args) -> how it ended."""
    from command_cases import Runner  # here: other tests need no command

    from gtn_train import samples
    from gtn_train.evaluation import runs

    for module, name, few in (
        (samples, "SHEET", 16),
        (samples, "LINES", 2),
        (samples, "LATENTS", 300),
        (runs, "LATENTS", 300),
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
