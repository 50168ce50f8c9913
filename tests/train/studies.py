"""Running and importing the scripts of examples/reproduction in tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from forked import Forked, run_script

STUDIES = Path(__file__).resolve().parents[2] / "examples" / "reproduction"
NEIGHBOURS = ("study", "squares", "diffusion", "latent_sets", "own_features", "latent_dims")
NEIGHBOURS += ("geodesics",)


def loading(monkeypatch):
    """Give a function that imports a script, whose neighbours it finds as when it is run."""
    monkeypatch.syspath_prepend(str(STUDIES))
    loaded = []

    def load(name):
        loaded.append(name)
        return importlib.import_module(name)

    yield load
    for name in (*loaded, *NEIGHBOURS):
        sys.modules.pop(name, None)


def run(script, folder, *arguments):
    """Run a study in its small form."""
    process = Forked(
        folder.parent, run_script, STUDIES / script, "--quick", "--out", folder, *arguments
    )
    _, said = process.communicate()
    assert process.returncode == 0, said
