"""Lazy names: a package has all of its own, and importing it does not import torch."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

PACKAGES = ("gtn_train", *(f"gtn_train.{room}" for room in ("data", "models", "pairs")))
PACKAGES += tuple(f"gtn_train.{room}" for room in ("evaluation", "geometry", "run", "sampling"))
PACKAGES += ("gtn_train.spectral", "gtn_train.training")
SLOW = ("torch", "torchvision", "lightning_fabric", "sklearn", "skdim", "PIL", "torch_fidelity")
SLOW += ("matplotlib", "scipy")


def test_packages_and_options_do_not_wait_for_torch():
    modules = (*PACKAGES, "gtn_train.cli.group", "gtn_train.run.settings")
    script = f"import sys, {', '.join(modules)}; print(sorted({set(SLOW)} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", PACKAGES)
def test_lazy_packages_have_all_their_names(name):
    package = importlib.import_module(name)
    assert all(getattr(package, entry) is not None for entry in package.__all__)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute"):
        package.nonsense  # noqa: B018


def test_dir_lists_the_lazy_names_without_importing_them():
    script = (
        "import importlib, sys\n"
        f"for name in {PACKAGES}:\n"
        "    package = importlib.import_module(name)\n"
        "    print(sorted({*package.__all__, '__name__'} - {*dir(package)}))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n" * len(PACKAGES) + "False\n"


def test_one_import_is_enough_to_train_and_sample(tmp_path):
    from gtn_train import (
        Algorithm1,
        FreshPairs,
        RunFolder,
        TrainingOptions,
        make_model,
        sample_latents,
        train_generator,
    )

    latents = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    options = TrainingOptions(batch_size=16, learning_rate=1e-3, max_epochs=2, threads=1)
    generator = make_model("generator", {"dim": 3, "layers": 2, "width": 8}, seed=0)
    with FreshPairs(latents, Algorithm1(cone=4, center=True), seed=0) as pairs:
        train_generator(generator, pairs, RunFolder(tmp_path / "run"), options, resume=True)
    assert sample_latents(generator, 10, seed=1).shape == (10, 3)
