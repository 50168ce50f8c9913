"""The examples in docstrings: each runs, and gives what it shows."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gtn_train

MODULES = [
    "gtn_train",
    *(
        name
        for _, name, _ in pkgutil.walk_packages(gtn_train.__path__, "gtn_train.")
        if name != "gtn_train.__main__"
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name)).failed == 0
