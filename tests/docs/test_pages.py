"""Pages say what the code has: options, arguments, the version. Not here: blocks of code."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gtn_label
import gtn_train

ROOT = Path(__file__).resolve().parents[2]


def page(*names: str) -> str:
    return "".join((ROOT / name).read_text(encoding="utf-8") for name in names)


def test_readme_is_short() -> None:
    assert len(page("README.md").splitlines()) <= 130


def test_options_pages_name_every_option_of_the_command() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "gtn_label", "--help"], capture_output=True, text=True, check=True
    ).stdout
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_text))
    assert "--cone" in options
    text = page("docs/options.md", "docs/faiss.md")
    missing = {name for name in options if not re.search(rf"`{name}\b", text)}
    assert missing == {"--help", "--version"}


def test_options_page_names_every_option_of_many_machines() -> None:
    from gtn_label.cluster.options import cli

    text = page("docs/options.md")
    shown = [p for p in cli.params if not getattr(p, "hidden", False) and p.opts[0][0] == "-"]
    options = {max(p.opts, key=len) for p in shown} - {"--version"}
    assert "--journal-every" in options
    assert {name for name in options if not re.search(rf"`{name}[` ]", text)} == set()


def test_api_page_names_everything_of_many_machines() -> None:
    from gtn_label import cluster

    listed = re.findall(r"^::: gtn_label\.cluster\.(\w+)$", page("docs/api/gtn_label.md"), re.M)
    assert sorted(listed) == sorted(cluster.__all__)


def test_pages_name_every_option_of_gtn_train() -> None:
    from gtn_train.cli.group import cli

    text = page("docs/training_options.md")
    commands = cli.commands.values()
    options = {max(p.opts, key=len) for c in commands for p in c.params if p.opts[0][0] == "-"}
    assert "--autoencoder-patience" in options
    assert {name for name in options if not re.search(rf"`{name}[` ]", text)} == set()


@pytest.mark.parametrize("function", [gtn_label.match, gtn_label.match_approx])
def test_options_pages_name_every_argument(function: object) -> None:
    text = page("docs/options.md", "docs/faiss.md")
    arguments = inspect.signature(function).parameters
    assert {name for name in arguments if f"`{name}`" not in text} == set()


def test_api_page_names_everything_public() -> None:
    for package in (gtn_label, gtn_train):
        name = package.__name__
        listed = re.findall(rf"^::: {name}\.(\w+)$", page(f"docs/api/{name}.md"), re.M)
        assert sorted(listed) == sorted({*package.__all__} - {"__version__"})


def test_citation_has_the_version() -> None:
    assert f"\nversion: {gtn_label.__version__}\n" in page("CITATION.cff")
    assert f"version = {{{gtn_label.__version__}}}" in page("README.md")
