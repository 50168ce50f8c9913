"""gtn-label in a pipe: standard input for arrays, standard output for pairs."""

from __future__ import annotations

import io
import os
import pty
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import COMMAND, environment, gaussian, gtn_label, interruptible, listing, one_line
from gtn_label import Matching

LATENTS = gaussian(200, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "latents.npy", LATENTS)
    return tmp_path


def pipe(
    *args: object, cwd: Path, content: bytes = b"", **kwargs: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the command with bytes on its standard input."""
    temporary = cwd / "temporary"
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [*COMMAND, *map(str, args)],
        input=content,
        capture_output=True,
        cwd=cwd,
        env=environment(TMPDIR=str(temporary)),
        check=False,
        timeout=120,
        preexec_fn=interruptible,
        **kwargs,
    )
    assert listing(temporary) == [], "no temporary file is left"
    temporary.rmdir()
    return done


def encoded(suffix: str, folder: Path) -> bytes:
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, LATENTS)
        return buffer.getvalue()
    path = folder / f"input{suffix}"
    if suffix == ".npz":
        np.savez(path, z=LATENTS, other=LATENTS[:3])
    elif suffix == ".safetensors":
        pytest.importorskip("safetensors.numpy").save_file({"z": LATENTS, "other": LATENTS}, path)
    else:
        torch = pytest.importorskip("torch")
        torch.save({"z": torch.from_numpy(LATENTS), "other": torch.ones(3, 3)}, path)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
def test_formats_are_told_by_their_bytes(folder: Path, suffix: str) -> None:
    key = () if suffix == ".npy" else ("--key", "z")
    content = encoded(suffix, folder)
    done = pipe("-", *key, "-o", "a.npz", "-q", cwd=folder, content=content)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert gtn_label("latents.npy", "-o", "b.npz", "-q", cwd=folder).returncode == 0
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()


@pytest.mark.parametrize("option", ["--sources", "--source-groups", "--latent-groups"])
def test_other_arrays_from_a_stream(folder: Path, option: str) -> None:
    np.save(folder / "s.npy", gaussian(150, 4, seed=5))
    np.save(folder / "sg.npy", np.arange(150) % 2)
    np.save(folder / "lg.npy", np.arange(200) % 2)
    files = {"--sources": "s.npy", "--source-groups": "sg.npy", "--latent-groups": "lg.npy"}
    given = [word for pair in files.items() for word in pair]
    assert gtn_label("latents.npy", *given, "-o", "b.npz", "-q", cwd=folder).returncode == 0
    content = (folder / files[option]).read_bytes()
    given[given.index(files[option])] = "-"
    done = pipe("latents.npy", *given, "-o", "a.npz", "-q", cwd=folder, content=content)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "LATENTS '-' must be a .npy, .npz, .safetensors or .pt file, and its 0 bytes are"),
        (b"1,2\n3,4\n", "LATENTS '-' must be a .npy, .npz, .safetensors or .pt file, and its 8 "),
        (b"\x93NUMPY", "LATENTS '-' has a broken or truncated header"),
        (b"PK\x03\x04" + bytes(50), "LATENTS '-' is truncated or not a .npz file"),
    ],
)
def test_no_array_on_the_stream(folder: Path, content: bytes, message: str) -> None:
    before = listing(folder)
    done = pipe("-", "-o", "a.npz", cwd=folder, content=content)
    assert done.returncode == 2
    assert message in one_line(done.stderr.decode())
    assert listing(folder) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-", "--sources", "-"), "LATENTS and --sources are both standard input"),
        (("latents.npy", "--plot", "-"), "'--plot': '-' is no file"),
        (("latents.npy", "--checkpoint", "-"), "'--checkpoint': '-' is no file"),
        (("latents.npy", "-o", "-", "--json"), "--json and --out - are both for standard output"),
        (("latents.npy", "--format", "npz"), "--format needs --out -"),
        (("-", "--key", "z"), "--key 'z' has no meaning for LATENTS '-'"),
    ],
)
def test_streams_refused(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    content = (folder / "latents.npy").read_bytes()
    done = pipe(*arguments, cwd=folder, content=content)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in one_line(done.stderr.decode())


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_the_stream_has_the_bytes_of_the_file(folder: Path, suffix: str) -> None:
    options = ("latents.npy", "--seed", 3)
    done = pipe(*options, "--out", "-", "--format", suffix, cwd=folder)
    assert done.returncode == 0
    assert gtn_label(*options, "-o", f"b.{suffix}", "-q", cwd=folder).returncode == 0
    assert done.stdout == (folder / f"b.{suffix}").read_bytes()
    assert b"pairs             standard output (" in done.stderr
    quiet = pipe(*options, "--out", "-", "--format", suffix, "-q", cwd=folder)
    assert (quiet.stdout, quiet.stderr) == (done.stdout, b"")


def test_a_pipe_of_three(folder: Path) -> None:
    """As the help shows it: an encoder, gtn-label and a reader of np.load."""
    encode = "import sys, numpy; numpy.save(sys.stdout.buffer, numpy.eye(9, dtype='f4'))"
    content = subprocess.run([sys.executable, "-c", encode], capture_output=True, check=True).stdout
    done = pipe("-", "--out", "-", "--checkpoint", "run.ckpt", cwd=folder, content=content)
    with np.load(io.BytesIO(done.stdout)) as pairs:
        assert sorted(pairs["assignment"].tolist()) == list(range(9))
    assert not (folder / "run.ckpt").exists()


def test_a_checkpoint_continues_latents_from_a_stream(folder: Path) -> None:
    """Latents are known by their hash, whatever they came through."""
    content = (folder / "latents.npy").read_bytes()
    options = ("-o", "pairs.npz", "--checkpoint", "run.ckpt")
    script = (
        "import sys\nfrom gtn_label.cli import job, main\n"
        "def full(*_): raise OSError(28, 'No space left on device')\n"
        "job.quality.summarize = full\nmain.main(sys.argv[1:])\n"
    )
    first = subprocess.run(
        [sys.executable, "-c", script, "-", *options],
        input=content,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert first.returncode == 1
    assert b"'run.ckpt' holds what was decided" in first.stderr
    second = pipe("-", *options, "--seed", 1, cwd=folder, content=content)
    assert second.returncode == 2
    assert b"--seed was 0 and is 1" in second.stderr
    third = gtn_label("latents.npy", *options, cwd=folder)
    assert "continued at 200" in third.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_the_reader_of_pairs_that_left(folder: Path, unbuffered: str) -> None:
    np.save(folder / "latents.npy", gaussian(5000, 20))  # more than a pipe holds
    process = subprocess.Popen(
        [*COMMAND, "latents.npy", "--out", "-", "--checkpoint", "run.ckpt", "-q"],
        cwd=folder,
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(4) == b"PK\x03\x04"
    process.stdout.close()
    stderr = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 141
    message = one_line(stderr)
    assert "--out '-' was not read to its end: the reader of standard output has left" in message
    assert "'run.ckpt' holds what was decided, and the same command continues" in message
    assert (folder / "run.ckpt").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_pairs_on_a_full_disk(folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "latents.npy", "--out", "-"],
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert "--out '-' could not be written: No space left" in one_line(done.stderr.decode())


@pytest.mark.parametrize("arguments", [("-",), ("latents.npy", "--out", "-")])
def test_no_terminal_takes_or_gives_arrays(folder: Path, arguments: tuple[str, ...]) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=folder,
            env=environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert "'-' must be a pipe or a file, and is a terminal" in one_line(done.stderr.decode())


@pytest.mark.parametrize("number", [0, 1])
def test_streams_that_are_closed(folder: Path, number: int) -> None:
    def close() -> None:
        interruptible()
        os.close(number)

    arguments = ("-",) if number == 0 else ("latents.npy", "--out", "-")
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        check=False,
        preexec_fn=close,
    )
    assert done.returncode == 2
    assert ", and there is none" in one_line(done.stderr.decode())


def test_the_summary_never_joins_the_pairs(folder: Path) -> None:
    """Not even where there is no stderr."""

    def close() -> None:
        interruptible()
        os.close(2)

    done = subprocess.run(
        [*COMMAND, "latents.npy", "--out", "-"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        check=False,
        preexec_fn=close,
    )
    assert done.returncode == 0
    assert gtn_label("latents.npy", "-o", "b.npz", "-q", cwd=folder).returncode == 0
    assert done.stdout == (folder / "b.npz").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_killed_run_leaves_nothing_in_the_temporary_folder(folder: Path, direction: str) -> None:
    np.save(folder / "latents.npy", gaussian(20_000, 40))
    temporary = folder / "temporary"
    temporary.mkdir()
    arguments = ("-",) if direction == "in" else ("latents.npy", "--out", "-", "--cone", 2)
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(TMPDIR=str(temporary)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if direction == "in":
        process.stdin.write((folder / "latents.npy").read_bytes()[:3_000_000])
        process.stdin.flush()
        wait_until(lambda: held_in(temporary, process.pid) >= 2_000_000)
    else:
        process.stdout.read(10)  # the pipe is full, and the run waits
        assert held_in(temporary, process.pid) > 3_000_000
    assert listing(temporary) == []
    process.kill()
    process.communicate()
    assert listing(temporary) == []


def held_in(temporary: Path, process: int) -> int:
    """Return the bytes of the open files of a process that once were in a folder."""
    sizes = 0
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        if str(descriptor.readlink()).startswith(f"{temporary}/"):
            sizes += descriptor.stat().st_size
    return sizes


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("arguments", [("-",), ("latents.npy", "--out", "-")])
def test_a_full_temporary_folder_is_named(folder: Path, arguments: tuple[str, ...]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = subprocess.run(
        [*COMMAND, *arguments],
        input=(folder / "latents.npy").read_bytes(),
        cwd=folder,
        env=environment(TMPDIR=str(folder)),
        capture_output=True,
        check=False,
        preexec_fn=limit,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    message = one_line(done.stderr.decode())
    what = "LATENTS '-'" if arguments == ("-",) else "--out '-' could not be written: the pairs"
    assert message == (
        f"error: {what} could not be kept in the temporary folder '{folder}': File too large; "
        "TMPDIR names another one"
    )


def test_a_file_named_like_the_stream(folder: Path) -> None:
    (folder / "-").write_bytes((folder / "latents.npy").read_bytes())
    done = gtn_label("./-", cwd=folder)
    assert done.returncode == 2
    assert f"LATENTS '{folder / '-'}' must be one of .npy" in one_line(done.stderr)


def test_pairs_from_a_stream_can_be_saved_and_loaded(folder: Path) -> None:
    done = pipe("latents.npy", "--out", "-", "-q", cwd=folder)
    (folder / "piped.npz").write_bytes(done.stdout)
    assert len(Matching.load(folder / "piped.npz").assignment) == 200
