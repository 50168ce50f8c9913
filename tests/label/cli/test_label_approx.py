"""gtn-label --approx: what it says, what it refuses, and a run that is continued."""

from __future__ import annotations

import json

import numpy as np
import pytest

import command
from datasets import make

pytest.importorskip("faiss", reason="the approximate mode is FAISS's")

INDEX = ("--approx", "IVF16,Flat", "--nprobe", "2")


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "latents.npy", make("gaussian", 1200, 8)[0])
    return tmp_path


def test_summary_tells_the_loss(folder):
    done = command.gtn_label("latents.npy", "--out", "p.npz", *INDEX, "--sample", "300", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert lines["approximate"].strip() == "IVF16,Flat, nprobe 2"
    assert "% of 300 sampled sources (95 %: " in lines["not the exact choice"]
    assert "against the best latent free at the time" in lines["mean cosine lost"]
    assert lines["backend"].strip().startswith("faiss (python ")


def test_json_and_file_agree(folder):
    done = command.gtn_label("latents.npy", "--out", "p.npz", *INDEX, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["approx"]
    with np.load(folder / "p.npz", allow_pickle=False) as file:
        assert json.loads(str(file["meta"]))["approx"] == told
        assert sorted(file["assignment"].tolist()) == list(range(1200))
    assert told["sample"] == 1000
    assert told["other_latent"] > 0


def test_exact_runs_say_nothing_of_it(folder):
    done = command.gtn_label("latents.npy", "--out", "p.npz", "--json", cwd=folder)
    assert json.loads(done.stdout)["approx"] is None
    assert "approximate" not in command.gtn_label("latents.npy", "-o", "q.npz", cwd=folder).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nprobe", "3"), "--nprobe needs --approx."),
        (("--parameters", "efSearch=3"), "--parameters needs --approx."),
        (("--sample", "3"), "--sample needs --approx or --verify."),
        (
            (*INDEX, "--backend", "cpu"),
            "--approx searches with FAISS's Python package: leave --backend out.",
        ),
        (("--approx", "nonsense"), "--approx must be a factory string of FAISS's for 8 dimensions"),
        (("--approx", ""), "--approx must not be empty"),
        (
            ("--approx", "IVF4096,Flat"),
            "--approx 'IVF4096,Flat' has 4096 cells, and there must be at least as many",
        ),
        (("--approx", "Flat", "--nprobe", "3"), "--nprobe is for an index with cells (IVF...)"),
        (
            ("--approx", "Flat", "--parameters", "x=1"),
            "--parameters must be FAISS's for this index",
        ),
        (("--approx", "Flat", "--device", "cuda"), "--device 'cuda' needs a FAISS built for GPUs"),
        (("--approx", "Flat", "--sample", "0"), "'--sample': must be an integer >= 1, got '0'"),
    ],
)
def test_refusals(folder, arguments, message):
    done = command.gtn_label("latents.npy", "--out", "p.npz", *arguments, cwd=folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / "p.npz").exists()


def test_exact_and_approximate_runs_do_not_continue_each_other(folder):
    run = ("latents.npy", "--out", "p.npz", "--checkpoint", "run.ckpt")
    # A run that dies after the long part leaves its checkpoint.
    first = command.child(
        """
import gtn_label.cli.job
def full(*args): raise OSError(28, "No space left on device")
gtn_label.cli.job.quality.summarize = full
from gtn_label.cli.main import main
main()
""",
        *run,
        *INDEX,
        cwd=folder,
    )
    assert first.returncode == 1
    assert (folder / "run.ckpt").exists(), first.stderr
    exact = command.gtn_label(*run, cwd=folder)
    assert exact.returncode == 2
    assert "--approx was IVF16,Flat and is not given" in exact.stderr
    other = command.gtn_label(*run, *INDEX[:3], "3", cwd=folder)
    assert "--nprobe was 2 and is 3" in other.stderr
    continued = command.gtn_label(*run, *INDEX, "--json", cwd=folder)
    assert continued.returncode == 0, continued.stderr
    figures = json.loads(continued.stdout)
    assert figures["resumed_at"] == 1200
    assert figures["approx"]["other_latent"] > 0
