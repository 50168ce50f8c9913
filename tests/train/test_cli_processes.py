"""gtn-train in processes of its own: signals, kills, terminals, pipes, several processes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
import torch
from command_cases import COMMAND, write_folder, write_mnist, write_vectors
from forked import Forked, run_command, run_killed

from gtn_train.models import registry
from gtn_train.run.store import RunFolder

WEIGHTS = ("autoencoder/weights.safetensors", "generator/weights.safetensors")
LATER = (
    "gtn-train: interrupted; complete stages and the last checkpoint are kept: "
    "the same command with --resume continues\n"
)


def wait_for(process, condition):
    """Wait until a file or a line says that the process is where it should be."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, (process.returncode, process.communicate())
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines_of(path):
    return path.read_text().count("\n") if path.exists() else 0


def interrupt(process, number=signal.SIGINT):
    """Send Ctrl-C or another signal; returns seconds until the end, and what was said."""
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return time.monotonic() - began, out, err


def test_a_whole_run_killed_on_the_way_has_the_same_bytes(gtn_train, tmp_path):
    """Killed in the autoencoder, and again in the generator; the rest is done by --resume."""
    data = write_mnist(tmp_path / "data")
    given = ("fit", "--preset", "mnist", "--data", data, "--latent-dim", 3)
    given += ("--autoencoder-epochs", 4, "--generator-epochs", 5, "--labeling", "algorithm1")
    out = tmp_path / "killed"
    for stage, resume in (("autoencoder", ()), ("generator", ("--resume",))):
        process = Forked(tmp_path, run_killed, stage, *given, "--out", out, *resume)
        _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said
        assert lines_of(out / stage / "metrics.jsonl") == 2
        assert (out / stage / "checkpoint.ckpt").exists(), "it was killed on the way"
        assert not (out / stage / "stage.json").exists()
    gtn_train.ok("fit", "--out", out, "--resume")
    gtn_train.ok(*given, "--out", tmp_path / "whole")
    for name in (*WEIGHTS, "latents/latents.npy", "pairs/pairs.npz", "samples/latents.npy"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not list(out.rglob("*.tmp"))
    for stage, epochs in (("autoencoder", 4), ("generator", 5)):
        lines = RunFolder(out / stage).read_metrics()
        assert [line["epoch"] for line in lines] == list(range(1, epochs + 1))


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [("autoencoder", signal.SIGINT, 130), ("generator", signal.SIGTERM, 143)],
)
def test_signals_while_a_network_is_trained(gtn_train, tmp_path, stage, number, code):
    if stage == "autoencoder":
        data = write_mnist(tmp_path / "data", n=300)
        given = ("--preset", "mnist", "--data", data, "--autoencoder-epochs", 5000)
    else:
        given = ("--preset", "uniform", "--n", 2000, "--generator-epochs", 5000)
    out = tmp_path / "run"
    process = Forked(tmp_path, run_command, stage, *given, "--out", out, "--threads", 1)
    wait_for(process, lambda: lines_of(out / stage / "metrics.jsonl") >= 2)
    seconds, printed, said = interrupt(process, number)
    assert process.returncode == code
    assert printed == ""
    assert said.endswith(LATER)
    assert said.count("interrupted") == 1
    assert "Traceback" not in said
    assert seconds < 10, "an epoch of training is left at once; a busy machine may take its time"
    assert (out / stage / "checkpoint.ckpt").exists()
    assert f"'{out / stage}' is unfinished" in gtn_train.refused(stage, "--out", out)


def test_ctrl_c_until_the_process_has_gone(tmp_path):
    given = ("fit", "--preset", "uniform", "--n", 2000, "--generator-epochs", 5000)
    process = subprocess.Popen(
        [*COMMAND, *map(str, given), "--out", tmp_path / "run", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    metrics = tmp_path / "run" / "generator" / "metrics.jsonl"
    wait_for(process, lambda: lines_of(metrics) >= 2)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert said.endswith(LATER)
    assert "Traceback" not in said


def test_ctrl_c_while_pairs_are_matched(gtn_train, tmp_path):
    rows = np.random.default_rng(0).normal(size=(150_000, 24)).astype(np.float32)
    np.save(tmp_path / "v.npy", rows)
    out = tmp_path / "run"
    given = ("--preset", "vectors", "--data", tmp_path / "v.npy", "--out", out)
    process = Forked(tmp_path, run_command, "label", *given, "--cone", 1)
    wait_for(process, lambda: (out / "latents" / "stage.json").exists())
    wait_for(process, lambda: (out / "pairs").exists())
    time.sleep(0.3)
    _, _, said = interrupt(process)
    assert process.returncode == 130
    assert said.endswith(LATER)
    assert not (out / "pairs").exists()
    assert gtn_train.ok("encode", "--out", out).stages == {"latents": "reused"}


def on_a_terminal(*args):
    """Run the command with its stderr on a terminal of 80 columns; returns what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    os.close(theirs)
    shown = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        try:
            block = os.read(ours, 65536) if ready else b""
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, shown
    return out, shown.decode()


def test_bars_on_a_terminal_and_lines_elsewhere(gtn_train, tmp_path):
    data = write_mnist(tmp_path / "data")
    given = ("fit", "--preset", "mnist", "--data", data, "--latent-dim", 3)
    given += ("--autoencoder-epochs", 2, "--generator-epochs", 2)
    out, shown = on_a_terminal(*given, "--out", tmp_path / "terminal")
    for bar in ("autoencoder", "encoding", "matching", "generator"):
        assert re.search(rf"\r{bar}:? +100%", shown), (bar, shown)
    assert re.search(r"epoch 2/2, train \d\.\d+, validation \d\.\d+", shown), shown
    assert "together" in out
    done = gtn_train.ok(*given, "--out", tmp_path / "file")
    assert "\r" not in done.err
    assert list(done.stages) == ["autoencoder", "latents", "pairs", "generator"]


COMMANDS = """
import errno, json, os, sys
from gtn_train.cli.main import main
from gtn_train.run.store import RunFolder

append_metrics = RunFolder.append_metrics

def full(self, line):
    if line["epoch"] == 2:
        raise OSError(errno.ENOSPC, "No space left on device", str(self.metrics))
    append_metrics(self, line)

codes = []
for words in json.loads(sys.argv[1]):
    RunFolder.append_metrics = full if words[0] == "full" else append_metrics
    try:
        main(words[1:])
    except SystemExit as left:
        codes.append(left.code)
with open(f"codes.{os.environ['RANK']}", "w") as file:
    json.dump(codes, file)
"""


def in_two_processes(folder, *commands):
    """Run commands by torchrun, one after the other; those called "full" find a full disk.

    After a failure none may train: torch does not make a second process group in a process. Returns
    the exit codes of both processes, and what they said.
    """
    script = folder / "commands.py"
    script.write_text(COMMANDS)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, script, json.dumps(commands)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    codes = [json.loads((folder / f"codes.{rank}").read_text()) for rank in (0, 1)]
    return codes, done


def test_two_processes_train_as_one_does_and_fail_together(gtn_train, tmp_path):
    data = write_vectors(tmp_path / "v.npy", n=90)
    given = ["generator", "--preset", "vectors", "--data", str(data)]
    given += ["--generator-epochs", "3", "--accelerator", "cpu", "--layers", "1"]
    given += ["--batch-size", "16"]  # one layer: no batch normalisation, whose shares differ
    two, faces = tmp_path / "two", write_folder(tmp_path / "faces")
    image = ["autoencoder", "--preset", "hap", "--size", "8", "--data", str(faces), "--out", "f"]
    codes, done = in_two_processes(
        tmp_path,
        ["run", *image, "--autoencoder-epochs", "1", "--latent-dim", "2", "--accelerator", "cpu"],
        ["run", *given, "--out", "two"],
        ["full", *given, "--out", "full"],
        ["run", "generator", "--out", "two", "--seed", "1"],
    )
    assert codes == [[0, 0, 1, 2]] * 2, "full disk, then wrong usage"
    said = [line for line in done.stderr.splitlines() if line.startswith("gtn-train: ")]
    refusal = "'two/pairs' is no longer valid: --seed was 0 and is 1. --resume rebuilds it; another"
    full = "'full/generator/metrics.jsonl': No space left on device"
    for message in (refusal, full):
        errors = [line.removeprefix("gtn-train: error: ") for line in said if message in line]
        ours, theirs = sorted(errors, key=len)
        assert theirs == f"process 0 failed: {ours}"
    rest = [line.split()[1] for line in said if line.split()[1] not in ("error:", "warning:")]
    assert rest == [
        *("run:", "autoencoder:", "autoencoder:"),  # its plan and its end
        *("run:", "latents:", "pairs:", "generator:", "generator:"),
        *("run:", "latents:", "pairs:", "generator:"),
        *("run:", "latents:"),
    ], "only one of them speaks"
    assert done.stdout.count("together") == 2
    assert len(list((tmp_path / "f" / "images").iterdir())) == 1, "one of them decoded"
    gtn_train.ok(*given, "--out", tmp_path / "one")
    ours, theirs = (
        registry.load_model(folder / "generator" / "weights.safetensors").state_dict()
        for folder in (two, tmp_path / "one")
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-5)
    assert json.loads((two / "run.json").read_text())["computing"]["devices"] == 2
    # Another number of processes does not make another run.
    assert gtn_train.ok("fit", "--out", two).stages["generator"] == "reused"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that is in use")
@pytest.mark.parametrize(
    "words", [["sample", "RUN"], ["report", "RUN"], ["fit", "--preset", "uniform", "--out", "run"]]
)
def test_a_deleted_working_folder_is_named(finished, tmp_path, words):
    """Importing torch there would end the process."""
    gone = tmp_path / "gone"
    gone.mkdir()
    given = [str(finished / "vectors") if word == "RUN" else word for word in words]
    command = [sys.executable, "-c", IN_A_DELETED_FOLDER, str(gone), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    message = "the working folder no longer exists; change to another folder"
    assert done.stderr == f"gtn-train: error: {message}\n"
    assert (done.returncode, done.stdout) == (2, "")


IN_A_DELETED_FOLDER = """
import os, sys
os.chdir(sys.argv[1])
os.rmdir(sys.argv[1])
from gtn_train.cli.main import main
sys.argv[1:2] = []
main()
"""
