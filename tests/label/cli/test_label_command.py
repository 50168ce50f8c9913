"""The gtn-label command in a process of its own: what it prints, writes and returns.

What it refuses is in test_label_refusals.py, and runs continued are in test_label_checkpoint.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

import engine
import gtn_label as library
from command import (
    COMMAND,
    child,
    environment,
    gaussian,
    gtn_label,
    interruptible,
    listing,
    one_line,
    shell,
)
from gtn_label.cli.options import parse_bytes

LATENTS = gaussian(200, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "latents.npy", LATENTS)
    return tmp_path


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


# ------------------------------------------------------------------------------- what it writes


def test_pairs_are_those_of_match(folder: Path) -> None:
    done = gtn_label("latents.npy", "--out", "pairs.npz", "--seed", 3, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    expected = library.match(LATENTS, seed=3)
    found = arrays_of(folder / "pairs.npz")
    assert set(found) == {"sources", "labels", "assignment", "cosine", "meta"}
    np.testing.assert_array_equal(found["assignment"], expected.assignment)
    np.testing.assert_array_equal(found["cosine"], expected.cosine)
    np.testing.assert_array_equal(found["sources"], expected.sources)
    np.testing.assert_array_equal(found["labels"], LATENTS[expected.assignment])
    meta = json.loads(str(found["meta"]))
    assert meta == expected.meta
    assert meta["seed"] == 3
    expected.save(folder / "saved.npz")
    assert (folder / "saved.npz").read_bytes() == (folder / "pairs.npz").read_bytes()


def test_bytes_depend_on_input_and_options_only(folder: Path) -> None:
    for name, options in (("a.npz", ["--threads", 1]), ("b.npz", ["--backend", "cpu:scalar"])):
        assert gtn_label("latents.npy", "-o", name, *options, cwd=folder).returncode == 0
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()


def test_safetensors_and_indices_only(folder: Path) -> None:
    done = gtn_label("latents.npy", "-o", "p.safetensors", "--indices-only", cwd=folder)
    assert done.returncode == 0
    loaded = library.Matching.load(folder / "p.safetensors")
    np.testing.assert_array_equal(loaded.assignment, library.match(LATENTS).assignment)
    assert loaded.sources is None


def test_every_option_reaches_the_matching(folder: Path) -> None:
    sources = gaussian(150, 4, seed=5)
    np.savez(folder / "s.npz", a=sources, b=LATENTS)
    source_groups, latent_groups = np.arange(150) % 2, np.arange(200) % 2
    np.save(folder / "sg.npy", source_groups)
    np.savez(folder / "lg.npz", latent_groups)
    done = gtn_label(
        *("latents.npy", "-o", "p.npz", "--sources", "s.npz", "--sources-key", "a"),
        *("--order", "norm_desc", "--cone", 4, "--center", "--threads", 2, "--memory", "1GB"),
        *("--source-groups", "sg.npy", "--latent-groups", "lg.npz", "--json"),
        cwd=folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = library.match(
        LATENTS,
        sources,
        order="norm_desc",
        cone=4,
        center=True,
        groups=(source_groups, latent_groups),
    )
    found = arrays_of(folder / "p.npz")
    np.testing.assert_array_equal(found["assignment"], expected.assignment)
    assert json.loads(str(found["meta"])) == expected.meta
    figures = json.loads(done.stdout)
    assert (figures["n"], figures["latents"], figures["seed"]) == (150, 200, None)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_input_formats(folder: Path, suffix: str) -> None:
    path = folder / f"z{suffix}"
    if suffix == ".npz":
        np.savez(path, z=LATENTS, other=LATENTS[:3])
    elif suffix == ".safetensors":
        safetensors_numpy = pytest.importorskip("safetensors.numpy")
        safetensors_numpy.save_file({"z": LATENTS, "other": LATENTS[:3]}, path)
    else:
        torch = pytest.importorskip("torch")
        torch.save({"z": torch.from_numpy(LATENTS), "other": torch.ones(3, 3)}, path)
    assert gtn_label(path, "--key", "z", "-o", "a.npz", cwd=folder).returncode == 0
    assert gtn_label("latents.npy", "-o", "b.npz", cwd=folder).returncode == 0
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()


def test_fortran_order_and_big_endian_input(folder: Path) -> None:
    np.save(folder / "other.npy", np.asfortranarray(LATENTS.astype(">f4")))
    for name in ("latents", "other"):
        done = gtn_label(f"{name}.npy", "-o", f"{name}.npz", cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
    a, b = arrays_of(folder / "latents.npz"), arrays_of(folder / "other.npz")
    for key in ("sources", "labels", "assignment", "cosine"):
        np.testing.assert_array_equal(a[key], b[key])


def test_paths_with_spaces_and_any_letters(tmp_path: Path) -> None:
    inside = tmp_path / "naïve Ordner 数据"
    inside.mkdir()
    np.save(inside / "z z.npy", LATENTS)
    done = gtn_label(inside / "z z.npy", "-o", inside / "é.npz", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "é.npz" in done.stdout
    # An encoding without these letters is no reason to fail either.
    done = shell(
        inside / "z z.npy",
        *("-o", inside / "é.npz"),
        cwd=tmp_path,
        env=environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0"),
    )
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------------------- what it prints


def test_table(folder: Path) -> None:
    done = gtn_label("latents.npy", "-o", "pairs.npz", "--plot", "p.png", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert list(lines) == [
        *("n", "dim", "backend", "time", "pairs a second", "mean cosine", "last decile"),
        *("norm correlation", "learnability", "pairs", "plot"),
    ]
    assert lines["n"] == "200"
    assert lines["dim"] == "4"
    assert lines["backend"].startswith("cpu, ")
    expected = library.match(LATENTS)
    assert lines["mean cosine"] == f"{expected.cosine.mean():.4f}"
    last = np.argsort(np.linalg.norm(expected.sources, axis=1))[-20:]
    assert lines["last decile"].startswith(f"{expected.cosine[last].mean():.4f} ")
    assert lines["pairs"].startswith("pairs.npz (")
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("dim", "suffix"), [(1, "svg"), (2, "pdf"), (3, "svg")])
def test_plots(tmp_path: Path, dim: int, suffix: str) -> None:
    np.save(tmp_path / "z.npy", gaussian(100, dim))
    done = gtn_label("z.npy", "-q", "-o", "p.npz", "--plot", f"p.{suffix}", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / f"p.{suffix}").stat().st_size > 5000


def test_json(folder: Path) -> None:
    done = gtn_label("latents.npy", "-o", "pairs.npz", "--json", "--quiet", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    figures = json.loads(done.stdout)
    assert figures["n"] == 200
    assert figures["dim"] == 4
    assert figures["out"] == "pairs.npz"
    assert figures["out_bytes"] == (folder / "pairs.npz").stat().st_size
    assert figures["mean_cosine"] == pytest.approx(library.match(LATENTS).cosine.mean())
    assert -1 <= figures["last_decile_cosine"] <= 1
    assert -1 <= figures["norm_correlation"] <= 1
    assert figures["learnability"] <= 1
    assert figures["instruction_set"] == figures["stats"]["instruction_set"]
    assert figures["pairs_a_second"] > 0


def test_one_pair(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.ones((1, 1)))
    done = gtn_label("z.npy", "--plot", "p.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "learnability      undefined" in done.stdout
    done = gtn_label("z.npy", "-o", "pairs.npz", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["learnability"] is None


def test_quiet(folder: Path) -> None:
    done = gtn_label("latents.npy", "-o", "pairs.npz", "--quiet", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("options", "bar"), [([], True), (["--quiet"], False)])
def test_progress_on_a_terminal_only(folder: Path, options: list[str], bar: bool) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    try:
        subprocess.run(
            [*COMMAND, "latents.npy", "-o", "pairs.npz", *options],
            cwd=folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            check=True,
            timeout=120,
        )
        os.set_blocking(ours, False)
        try:
            shown = os.read(ours, 65536)
        except (BlockingIOError, OSError):
            shown = b""
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b"sources" in shown) is bar


def test_help_teaches(tmp_path: Path) -> None:
    done = gtn_label("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("Examples:", "Input:", "Matching:", "Output:", "Running:", "Exit codes:"):
        assert words in done.stdout
    for option in ("--key", "--sources", "--seed", "--order", "--cone", "--center", "--memory"):
        assert option in done.stdout
    assert "gtn-label latents.npy --out pairs.npz" in done.stdout


def test_version(tmp_path: Path) -> None:
    done = gtn_label("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"gtn-label {library.__version__}\n")


@pytest.mark.parametrize("backend", ["faiss:python", "faiss:linked"])
def test_faiss_is_named_with_its_way_and_version(backend: str, tmp_path: Path) -> None:
    engine.forced(backend)
    np.save(tmp_path / "latents.npy", gaussian(300, 5))
    where = ("--backend", backend, "--device", "cpu", "--threads", 1)
    done = gtn_label("latents.npy", "--out", "a.npz", *where, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    way = backend.removeprefix("faiss:")
    assert re.search(rf"^backend +faiss \({way} [0-9.]+\), 1 thread$", done.stdout, re.M)
    done = gtn_label("latents.npy", "--out", "b.npz", "--json", *where, cwd=tmp_path)
    record = json.loads(done.stdout)["stats"]["faiss"]
    assert (record["way"], record["device"]) == (way, "cpu")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_backends(tmp_path: Path) -> None:
    done = gtn_label("--backends", cwd=tmp_path)
    assert done.returncode == 0
    for row in library.backends():
        assert row.name in done.stdout
        assert row.reason in done.stdout
    done = gtn_label("--backends", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == [row._asdict() for row in library.backends()]


def test_reader_of_stdout_that_left(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = shell("latents.npy", "-o", "pairs.npz", cwd=folder, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "pairs.npz").exists()


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_reader_of_the_help_that_left(folder: Path, option: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = shell(option, cwd=folder, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [("latents.npy", "-o", "pairs.npz"), ("--backends",), ("--help",), ("--version",)]
)
def test_stdout_on_a_full_disk(folder: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = shell(*arguments, cwd=folder, stdout=full)
    assert done.returncode == 1
    assert "stdout could not be written: No space left" in one_line(done.stderr)


def test_stdout_and_stderr_closed(folder: Path) -> None:
    def close() -> None:
        interruptible()
        os.close(1)
        os.close(2)

    done = shell("latents.npy", "-o", "pairs.npz", cwd=folder, preexec_fn=close)
    assert done.returncode == 0
    library.Matching.load(folder / "pairs.npz")


def test_nothing_heavy_is_imported(folder: Path) -> None:
    script = """
import sys
from gtn_label.cli.main import main
try:
    main(["latents.npy", "-o", "pairs.npz", "--quiet"])
finally:
    heavy = {"torch", "matplotlib", "sklearn", "scipy", "faiss", "tqdm"} & set(sys.modules)
    assert not heavy, heavy
"""
    assert child(script, cwd=folder).stderr == ""


# -------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize(
    ("when", "name", "code"),
    [
        ("summary", "SIGHUP", 129),
        ("plot", "SIGINT", 130),
        ("write", "SIGTERM", 143),
    ],
)
def test_interrupted_after_the_matching(folder: Path, when: str, name: str, code: int) -> None:
    script = """
import os, signal, sys
from gtn_label import quality as report
from gtn_label.cli import main as command, plot
when, number = sys.argv[1], getattr(signal, sys.argv[2])
places = {"summary": (report, "summarize"), "plot": (plot, "draw"), "write": (os, "fsync")}
where, what = places[when]
original = getattr(where, what)
def interrupted(*args):
    os.kill(os.getpid(), number)
    return original(*args)
setattr(where, what, interrupted)
drawn = ["--plot", "p.png"] if when == "plot" else []
command.main(["latents.npy", "--out", "pairs.npz", *drawn])
"""
    (folder / "pairs.npz").write_bytes(b"previous")
    before = listing(folder)
    done = child(script, when, name, cwd=folder)
    assert done.returncode == code
    assert one_line(done.stderr) == "interrupted; nothing was written"
    assert (folder / "pairs.npz").read_bytes() == b"previous"
    assert listing(folder) == before


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_interrupted_while_it_starts(folder: Path, name: str, code: int) -> None:
    """The signal comes in the middle of importing NumPy, which is not torn apart by it."""
    script = """
import os, signal, sys
from gtn_label.cli.main import main
assert "numpy" not in sys.modules
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "numpy.linalg":
            os.kill(os.getpid(), getattr(signal, sys.argv[1]))
sys.meta_path.insert(0, Finder)
main(["latents.npy", "--out", "pairs.npz"])
"""
    before = listing(folder)
    done = child(script, name, cwd=folder)
    assert done.returncode == code
    assert one_line(done.stderr) == "interrupted; nothing was written"
    assert listing(folder) == before


def test_ignored_signals_stay_ignored(folder: Path) -> None:
    """As under nohup, or in the background of a shell."""
    script = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from gtn_label import quality as report
from gtn_label.cli import main as command
original = report.summarize
def hangup(*args):
    os.kill(os.getpid(), signal.SIGHUP)
    return original(*args)
report.summarize = hangup
command.main(["latents.npy", "--out", "pairs.npz", "--quiet"])
"""
    done = child(script, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


# ------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("800000", 800_000),
        ("2GB", 2_000_000_000),
        ("2 gb", 2_000_000_000),
        ("1.5g", 1_500_000_000),
        ("512MiB", 512 << 20),
        ("1KiB", 1024),
        ("1k", 1000),
        (".5T", 500_000_000_000),
        ("10B", 10),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "2X", "1iB", "0", "0.1", "1 2", "NaN"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_bytes(text)


def test_module_and_script_are_one(folder: Path) -> None:
    script = Path(sys.executable).with_name("gtn-label")
    if not script.exists():
        pytest.skip("the package is not installed, only on the path")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"gtn-label {library.__version__}\n"


@pytest.mark.parametrize("module", ["gtn_label.cli.main", "gtn_label.cli.interrupts"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("how", ["script", "module"])
def test_interrupted_during_its_first_imports(
    folder: Path, module: str, name: str, code: int, how: str
) -> None:
    script = f"""
import os, runpy, signal, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{name})
sys.meta_path.insert(0, Finder)
sys.argv = ["gtn-label", "latents.npy", "--out", "pairs.npz"]
if {how == "module"}:
    runpy.run_module("gtn_label", run_name="__main__", alter_sys=True)
from gtn_label.cli.entry import main
sys.exit(main())
"""
    before = listing(folder)
    done = child(script, cwd=folder)
    assert done.returncode == code
    assert one_line(done.stderr) == "interrupted; nothing was written"
    assert listing(folder) == before


def test_little_is_imported_before_signals_wait(folder: Path) -> None:
    """Whatever is imported before them can end in a traceback."""
    script = """
import sys
known = set(sys.modules)
class Finder:
    def find_spec(name, path=None, target=None):
        known.add(name)
        if name == "gtn_label.cli.main":
            print(*sorted(known - before))
sys.meta_path.insert(0, Finder)
before = set(known)
from gtn_label.cli.entry import main
sys.argv[1:] = ["--version"]
main()
"""
    done = child(script, cwd=folder)
    early = {"gtn_label", "gtn_label.cli", "gtn_label.cli.entry", "gtn_label.cli.main"}
    assert set(done.stdout.splitlines()[0].split()) == {*early, "gtn_label.lazy", "__future__"}
