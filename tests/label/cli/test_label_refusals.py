"""Refusals of the gtn-label command: bad input, bad options, and outputs that cannot be written.

Each ends with exit code 2 (1 if the machine failed) and one line that names the argument, the rule
and the value found, and leaves every file as it was. One case of a kind is here; test_errors.py and
io/ have them all.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest

from another_user import as_nobody, open_folder
from command import child, gaussian, gtn_label, interruptible, listing, one_line, shell
from gtn_label.cli.options import cli

__all__ = ["open_folder"]

LATENTS = gaussian(200, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "latents.npy", LATENTS)
    return tmp_path


def save(name: str, array: object) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array, allow_pickle=True)


def spoiled(value: float, rows: list[int]) -> np.ndarray:
    latents = LATENTS.astype(np.float64)
    latents[rows] = value
    return latents


def npz(folder: Path) -> None:
    np.savez(folder / "bad.npz", mu=LATENTS, logvar=LATENTS)


def groups(source_groups: object, latent_groups: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        np.save(folder / "sg.npy", source_groups)
        np.save(folder / "lg.npy", latent_groups)

    return write


def nothing(folder: Path) -> None:
    pass


GROUPS = "latents.npy --source-groups sg.npy --latent-groups lg.npy"

# What is prepared, the arguments, and what the message has to say.
REFUSED = {
    "missing file": (nothing, "no.npy", r"LATENTS 'no\.npy' does not exist"),
    "1-D": (save("bad.npy", LATENTS[0]), "bad.npy", r"2-D.*1-D shape \(4,\): .*\(4, 1\), one row"),
    "NaN": (
        save("bad.npy", spoiled(np.nan, [7, 3, 11, 5, 150, 199])),
        "bad.npy",
        r"LATENTS 'bad\.npy' must be finite.*\b6\b.*3, 5, 7, 11, 150\b(?!, 199)",
    ),
    "NaN in the sources": (
        save("s.npy", spoiled(np.nan, [2])),
        "latents.npy --sources s.npy",
        r"--sources 's\.npy' must be finite.*\b2\b",
    ),
    "more sources than latents": (
        save("s.npy", gaussian(201, 4)),
        "latents.npy --sources s.npy",
        r"--sources 's\.npy' must not exceed the 200 latents, got 201 sources",
    ),
    "different dims": (
        save("s.npy", gaussian(200, 5)),
        "latents.npy --sources s.npy",
        r"--sources 's\.npy' and LATENTS 'latents\.npy' must have the same dim, "
        r"got sources \(200, 5\) and latents \(200, 4\)",
    ),
    "missing sources": (
        nothing,
        "latents.npy --sources s.npy",
        r"--sources 's\.npy' does not exist",
    ),
    "complex": (
        save("bad.npy", LATENTS.astype(complex)),
        "bad.npy",
        "LATENTS 'bad.npy' .*got complex128",
    ),
    "wrong key": (npz, "bad.npz --key z", r"--key 'z' is not in .*holds: 'mu', 'logvar'"),
    "key for a .npy": (nothing, "latents.npy --key z", "--key 'z' has no meaning"),
    "groups too short": (
        groups(np.zeros(199, int), np.zeros(200, int)),
        GROUPS,
        r"--source-groups 'sg\.npy' .*200 sources.*\(199,\)",
    ),
    "group with too few latents": (
        groups(np.repeat([0, 7], [90, 110]), np.repeat([0, 7], [100, 100])),
        GROUPS,
        r"group 7.*110.*100",
    ),
    "groups of floats": (
        groups(np.zeros(200), np.zeros(200)),
        GROUPS,
        "--source-groups 'sg.npy' .*integers.*, got .*float64",
    ),
    "one group file": (nothing, "latents.npy --source-groups a.npy", "needs --latent-groups"),
    "seed and sources": (nothing, "latents.npy --sources s.npy --seed 1", "--seed .*--sources"),
    "key without sources": (
        nothing,
        "latents.npy --sources-key a",
        "--sources-key needs --sources",
    ),
    "threads": (
        nothing,
        "latents.npy --threads 0",
        "'--threads': must be an integer >= 1, got '0'",
    ),
    "cone": (nothing, "latents.npy --cone 0", "'--cone': must be an integer >= 1, got '0'"),
    "seed": (nothing, "latents.npy --seed -1", "'--seed': must be an integer >= 0, got '-1'"),
    "no seed": (nothing, "latents.npy --seed x", "'--seed': must be an integer >= 0, got 'x'"),
    "no seconds": (
        nothing,
        "latents.npy --checkpoint-every x",
        "'--checkpoint-every': must be a finite number >= 0, got 'x'",
    ),
    "plot without a name": (
        nothing,
        "latents.npy --plot .png",
        r"--plot must have a name before its suffix, and is '\.png'",
    ),
    "order": (nothing, "latents.npy --order up", "'--order': 'up' is not one of 'norm', "),
    "memory": (nothing, "latents.npy --memory 2X", "'--memory': '2X' is not a size such as 2GB"),
    "too little memory": (nothing, "latents.npy --memory 1", "--memory must be at least"),
    "NaN seconds": (
        nothing,
        "latents.npy --checkpoint-every nan",
        "must be a finite number >= 0, got 'nan'",
    ),
    "no memory": (nothing, "latents.npy --memory 0", "'--memory': '0' is not above zero"),
    "unknown device": (
        nothing,
        "latents.npy --device gpu",
        r"--device must be 'cpu', 'cuda' or 'cuda:N', got 'gpu'",
    ),
    "a device of another backend": (
        nothing,
        "latents.npy --device cuda",
        r"--device 'cuda' needs --backend 'cuda' or 'faiss:python', and 'cpu' runs on the CPU",
    ),
    "unknown backend": (
        nothing,
        "latents.npy --backend tpu",
        "--backend must be one of auto, cpu, .*, got 'tpu'",
    ),
    "unknown option": (nothing, "latents.npy --sede 1", "No such option.*--sede"),
    "two inputs": (nothing, "latents.npy more.npy", "unexpected extra argument"),
    "no input": (nothing, "--seed 1", "LATENTS is missing"),
    "plot suffix": (nothing, "latents.npy --plot p.gif", r"--plot must end in \.png, .*'p\.gif'"),
    "plot folder": (
        nothing,
        "latents.npy --plot no/p.png",
        "--plot must be in a folder that exists",
    ),
    "checkpoint folder": (
        nothing,
        "latents.npy --checkpoint no/c",
        "--checkpoint must be in a folder",
    ),
    "checkpoint is the input": (
        nothing,
        "latents.npy --checkpoint ./latents.npy",
        "--checkpoint must not be the file of LATENTS",
    ),
    "checkpoint is the output": (
        nothing,
        "latents.npy --checkpoint kept.npz",
        "--checkpoint must not be the file of --out",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder: Path, name: str) -> None:
    prepare, arguments, message = REFUSED[name]
    prepare(folder)
    (folder / "kept.npz").write_bytes(b"previous")
    before = listing(folder)
    done = gtn_label(*arguments.split(), "--out", "kept.npz", cwd=folder)
    assert done.returncode == 2, done.stderr
    assert re.search(message, one_line(done.stderr)), done.stderr
    assert done.stdout == ""
    assert listing(folder) == before
    assert (folder / "kept.npz").read_bytes() == b"previous"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("no/pairs.npz", r"--out must be in a folder that exists, and '.*no' does not"),
        ("latents.npy/pairs.npz", r"--out must be in a folder, and '.*latents\.npy' is not one"),
        (".npz", r"--out must have a name before its suffix, and is '\.npz'"),
        ("pairs.npy", r"--out must end in \.npz or \.safetensors, and is 'pairs\.npy'"),
        ("pairs", r"--out must end in \.npz or \.safetensors, and is 'pairs'"),
        ("folder.npz", r"--out must be a file, and 'folder\.npz' is a directory"),
        ("/proc/pairs.npz", r"--out must be in a folder that can be written to, and '/proc' is"),
        ("same.npz", r"--out must not be the file of LATENTS: 'same\.npz'"),
        ("link.npz", r"--out must not be the file of LATENTS: 'link\.npz'"),
    ],
)
def test_output_refused_before_anything_is_read(folder: Path, out: str, message: str) -> None:
    if out.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("needs a folder closed even to root")
    (folder / "folder.npz").mkdir()
    # It would be refused when it is read, which therefore does not happen.
    (folder / "same.npz").write_bytes(b"not an array")
    (folder / "link.npz").symlink_to("same.npz")
    before = listing(folder)
    done = gtn_label("same.npz", "--out", out, cwd=folder)
    assert done.returncode == 2
    assert re.search(message, one_line(done.stderr)), done.stderr
    assert listing(folder) == before
    assert (folder / "same.npz").read_bytes() == b"not an array"


@pytest.mark.parametrize("option", ["LATENTS", "--out", "--sources", "--plot", "--checkpoint"])
def test_empty_names_are_called_that(folder: Path, option: str) -> None:
    done = gtn_label(*([""] if option == "LATENTS" else ["latents.npy", option, ""]), cwd=folder)
    assert done.returncode == 2
    assert re.search(rf"{option}\b.*: the name is empty\.", one_line(done.stderr))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_not_writable(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o500)
    done = gtn_label("latents.npy", "--out", "closed/pairs.npz", cwd=folder)
    assert done.returncode == 2
    assert "--out must be in a folder that can be written to" in one_line(done.stderr)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_input_not_readable(folder: Path) -> None:
    (folder / "latents.npy").chmod(0)
    done = gtn_label("latents.npy", cwd=folder)
    assert done.returncode == 2
    assert "LATENTS 'latents.npy' cannot be read: Permission denied" in one_line(done.stderr)


def test_missing_inputs_come_before_outputs(folder: Path) -> None:
    (folder / "pairs.npz").write_bytes(b"previous")
    (folder / "small.npz").write_bytes(b"")
    for arguments, message in (
        (("no.npy",), "LATENTS 'no.npy' does not exist"),
        (("latents.npy", "--sources", "no.npy"), "--sources 'no.npy' does not exist"),
        (("no.npy", "--apply", "small.npz"), "LATENTS 'no.npy' does not exist"),
        (("latents.npy", "--apply", "no.npz", "-o", "x.gif"), "--apply 'no.npz' does not exist"),
    ):
        done = gtn_label(*arguments, cwd=folder)
        assert done.returncode == 2
        assert message in one_line(done.stderr)


def test_an_output_may_be_unreadable(open_folder: Path) -> None:
    np.save(open_folder / "latents.npy", LATENTS)
    (open_folder / "pairs.npz").touch()
    (open_folder / "pairs.npz").chmod(0o222)
    (open_folder / "latents.npy").chmod(0o444)
    script = "main(['latents.npy', '-o', 'pairs.npz', '-q'])\n"
    # A whole run, as nobody may be able to read any module.
    imports = "from gtn_label.cli.main import main\n"
    imports += "try: main(['latents.npy', '-o', 'first.npz', '-q'])\nexcept SystemExit: pass\n"
    done = as_nobody(script, cwd=open_folder, imports=imports)
    assert (done.returncode, done.stderr) == (0, "")
    assert (open_folder / "pairs.npz").stat().st_mode & 0o777 == 0o222
    assert (open_folder / "pairs.npz").stat().st_size > 0


def test_no_file_has_to_be_readable_before_it_is_opened() -> None:
    files = [each for each in cli.params if isinstance(each.type, click.Path)]
    assert {"out", "plot", "checkpoint", "latents"} <= {each.name for each in files}
    assert not any(each.type.readable or each.type.writable for each in files)


def test_default_output_replaces_nothing(folder: Path) -> None:
    assert gtn_label("latents.npy", "-q", cwd=folder).returncode == 0
    first = (folder / "pairs.npz").read_bytes()
    done = gtn_label("latents.npy", "--seed", 1, cwd=folder)
    assert done.returncode == 2
    assert "--out is not given, and 'pairs.npz' exists already" in one_line(done.stderr)
    assert (folder / "pairs.npz").read_bytes() == first
    assert gtn_label("latents.npy", "--seed", 1, "-o", "pairs.npz", cwd=folder).returncode == 0
    assert (folder / "pairs.npz").read_bytes() != first


def test_backend_that_is_not_available_says_why(folder: Path) -> None:
    script = """
import sys
from gtn_label import _core
sets = _core.instruction_sets()
absent = {"name": "amx", "description": "AMX", "built": True, "supported": False,
          "reason": "this CPU lacks AMX"}
_core.instruction_sets = lambda: [absent, *sets]
from gtn_label.cli.main import main
main(["latents.npy", *sys.argv[1:]])
"""
    done = child(script, "--backend", "cpu:amx", cwd=folder)
    assert done.returncode == 2
    assert "error: --backend 'cpu:amx' is not available here: this CPU lacks AMX" in one_line(
        done.stderr
    )
    done = child(script, "--backends", cwd=folder)
    assert re.search(r"cpu:amx +not available: this CPU lacks AMX", done.stdout)


def test_without_matplotlib(folder: Path) -> None:
    script = """
import sys
sys.modules["matplotlib"] = None
from gtn_label.cli.main import main
main(["latents.npy", "--plot", "p.png"])
"""
    before = listing(folder)
    done = child(script, cwd=folder)
    assert done.returncode == 2
    assert 'pip install "gtn-label[plot]"' in one_line(done.stderr)
    assert listing(folder) == before


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_full_disk_half_way(folder: Path, suffix: str) -> None:
    """No file may grow beyond 300 kB: writing fails half-way, as on a full disk."""

    def limit() -> None:
        interruptible()
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    np.save(folder / "latents.npy", gaussian(3000, 64))
    out = folder / f"pairs.{suffix}"
    out.write_bytes(b"previous")
    before = listing(folder)
    done = shell(
        *("latents.npy", "--out", out.name, "--plot", "p.png"), cwd=folder, preexec_fn=limit
    )
    assert done.returncode == 1
    message = rf"--out 'pairs\.{suffix}' could not be written: File too large"
    assert re.search(message, one_line(done.stderr))
    assert done.stdout == ""
    assert out.read_bytes() == b"previous"
    assert listing(folder) == before


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_full_disk_at_the_end(folder: Path, failing: str) -> None:
    script = """
import errno, os, sys
def fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
setattr(os, sys.argv[1], fail)
from gtn_label.cli.main import main
main(["latents.npy", "--out", "pairs.npz"])
"""
    (folder / "pairs.npz").write_bytes(b"previous")
    before = listing(folder)
    done = child(script, failing, cwd=folder)
    assert done.returncode == 1
    assert "--out 'pairs.npz' could not be written: No space left on device" in one_line(
        done.stderr
    )
    assert (folder / "pairs.npz").read_bytes() == b"previous"
    assert listing(folder) == before


@pytest.mark.parametrize("option", ["--out", "--plot", "--checkpoint", "--sources", "--verify"])
def test_a_name_that_ends_as_a_folder(folder: Path, option: str) -> None:
    before = listing(folder)
    done = gtn_label("latents.npy", option, "o.npz/", cwd=folder)
    assert done.returncode == 2
    assert "'o.npz/' must be a file, and ends as a folder does" in one_line(done.stderr)
    assert listing(folder) == before
