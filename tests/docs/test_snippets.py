"""Every Python and shell block of the documents runs.

The blocks of one page run in order, in one namespace and one temporary folder that holds examples/.
A block that cannot run here stands below `<!-- not run: REASON -->`, with a reason from NOT_RUN.
Not here: the two commands of README.md, which .ci/run runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
NOT_RUN = {
    ".ci/run runs this command",
    "installs packages",
    "needs a GPU",
    "needs a data set",
    "needs several machines",
    "takes minutes",
}
SHOWN = {"bibtex", "mermaid", "text"}  # languages that nothing could run
MARKER = re.compile(r"<!-- not run: (.*) -->$")


class Block(NamedTuple):
    """One fenced block; `reason` is empty for one that runs, `line` is that of its first line."""

    language: str
    text: str
    line: int
    reason: str


def blocks_of(text: str, page: str) -> list[Block]:
    """Find the fenced blocks of a page; refuse a block that would be skipped without a word."""
    found: list[Block] = []
    lines = text.splitlines(keepends=True)
    number, reason = 0, ""
    while number < len(lines):
        line = lines[number].rstrip()
        number += 1
        where = f"{page}:{number}"
        if marker := MARKER.match(line):
            reason = marker[1]
            if reason not in NOT_RUN:
                raise ValueError(f"{where}: not run for a reason that is not listed: {reason!r}")
            continue
        if "```" not in line:
            if reason:
                raise ValueError(f"{where}: the line above marks no block")
            continue
        language = line.removeprefix("```")
        if language not in {"python", "sh", *SHOWN}:
            raise ValueError(f"{where}: a block must start with ``` and a language, got {line!r}")
        end = next(i for i in range(number, len(lines)) if lines[i].rstrip() == "```")
        found.append(Block(language, "".join(lines[number:end]), number + 1, reason))
        number, reason = end + 1, ""
    return found


def read(page: str) -> list[Block]:
    return blocks_of((ROOT / page).read_text(encoding="utf-8"), page)


def run_shell(text: str, page: str) -> None:
    """Run a block in bash, which finds this environment's commands first."""
    bin_first = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env={**os.environ, "PATH": bin_first},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{page}:\n{text}\n{done.stdout}\n{done.stderr}"


class TestBlocks:
    """The collector refuses what would hide a block."""

    def test_finds_blocks_with_their_lines_and_reasons(self) -> None:
        text = "a\n```python\nx = 1\n```\n<!-- not run: needs a GPU -->\n```sh\nls\n```\n"
        assert blocks_of(text, "page") == [
            Block("python", "x = 1\n", 3, ""),
            Block("sh", "ls\n", 7, "needs a GPU"),
        ]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("```\nls\n```\n", "page:1: a block must start with"),
            ("- item\n  ```sh\n  ls\n  ```\n", "page:2: a block must start with"),
            ("<!-- not run: no time -->\n```sh\nls\n```\n", "page:1: not run for a reason"),
            ("<!-- not run: needs a GPU -->\n\n```sh\nls\n```\n", "page:2: the line above"),
        ],
    )
    def test_refuses_blocks_that_would_not_run(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            blocks_of(text, "page")

    def test_every_reason_is_used(self) -> None:
        assert {block.reason for page in PAGES for block in read(page)} - {""} == NOT_RUN


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in read(page):
        if block.reason or block.language in SHOWN:
            continue
        if block.language == "sh":
            run_shell(block.text, f"{page}:{block.line}")
        else:
            # Empty lines first, so that a traceback shows the page's own line numbers.
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(ROOT / page), "exec"), namespace)
