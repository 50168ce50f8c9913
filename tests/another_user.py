"""Running Python as a user to whom permissions apply, and in a namespace with mounts of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

needs_root = pytest.mark.skipif(not ROOT, reason="needs root, to make files of other users")

_DROP = """
import os
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({nobody})
    os.setuid({nobody})
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def as_nobody(
    script: str, *args: object, cwd: Path, imports: str
) -> subprocess.CompletedProcess[str]:
    """Run a script without root's rights; `imports` run before, as nobody may not read them."""
    text = imports + _DROP.format(nobody=NOBODY) + script
    return subprocess.run(
        [sys.executable, "-c", text, *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def with_mount(source: Path, target: Path, command: list[str], cwd: Path) -> tuple[int, str, str]:
    """Run a command where `source` is mounted on `target`; skip where that is not permitted."""
    enter = ["unshare", "-m"] if ROOT else ["unshare", "-rm"]
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, for a mount of its own")
    mount = f"mount --bind '{source}' '{target}'"
    tried = subprocess.run([*enter, "sh", "-c", mount], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no mounts here: {tried.stderr.strip()}")
    done = subprocess.run(
        [*enter, "sh", "-c", f'{mount} && exec "$@"', "sh", *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
