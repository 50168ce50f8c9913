"""Makes the data of these tests with the version whose files are to be kept.

OLD/bin/python tests/compat/make_data.py

OLD is an environment into which the old version was installed: the data here come from commit
8573bc3 (`pip install ".[test,train]"`, x86-64). Do not run the script with a later version: the old
files would be lost. Files of a later version belong in a folder of their own.

The script edits two things:

- The smallest autoencoder has 268,000 weights, too many to keep. The script rounds the tensors of
  the killed autoencoder's checkpoint to a few values, which compress well. It also sets the best
  value so low that no later epoch improves on it, so that the finished run has the rounded weights
  on every machine.
- Each run.json names FORMER_PLACE as the place of the data.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import old_files
import torch
from old_files import PAIRS, run, start

import gtn_label


def make_latents(folder: Path) -> None:
    rng = np.random.Generator(np.random.Philox(17))
    rows = rng.standard_normal((48, 3)) * [1, 2, 0.5] + [0.5, 0, -1]
    rows[7] = rows[3]  # a tie
    np.save(folder / "rows.npy", rows.astype(np.float32))
    np.save(folder / "sources.npy", rng.standard_normal((30, 3)).astype(np.float32))
    np.save(folder / "groups.npy", rng.permutation(48) % 3)
    np.savez(folder / "named.npz", other=np.ones(3), z=rng.standard_normal((40, 2)) - 0.2)
    np.save(folder / "line.npy", rng.standard_normal((30, 1)) * 3)
    # Clusters so far apart that every k-means finds them.
    two = rng.standard_normal((40, 2)) + np.where(np.arange(40)[:, None] % 2, 20, -20)
    np.save(folder / "two.npy", two.astype(np.float32))


def make_pairs() -> dict[str, object]:
    PAIRS.mkdir(parents=True, exist_ok=True)
    make_latents(PAIRS)
    for name, args in old_files.LABELED.items():
        run("gtn_label", *args, "-o", name, "--backend", "cpu", "-q", cwd=PAIRS)
    line = np.load(PAIRS / "line.npy")
    gtn_label.match_quantile(line[:, 0], seed=2).save(PAIRS / "quantile.npz")
    two = np.load(PAIRS / "two.npy")
    gtn_label.match_mixture(two, 2, seed=2, backend="cpu").save(PAIRS / "mixture.npz")
    summaries, tables = {}, {}
    for name in old_files.SUMMARIZED:
        args = (*old_files.LABELED[name], *old_files.SAME_COUNTS, "-o", name)
        summaries[name] = json.loads(run("gtn_label", *args, "--json", cwd=PAIRS))
        tables[name] = run("gtn_label", *args, cwd=PAIRS)
    backends = run("gtn_label", "--backends", cwd=PAIRS)
    return {"summaries": summaries, "tables": tables, "backends": backends}


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, "the run ended before its checkpoint was seen"
        time.sleep(0.001)


def make_checkpoints(folder: Path) -> dict[str, object]:
    old_files.CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    np.save(folder / "large.npy", old_files.large_latents())
    np.save(folder / "large_groups.npy", old_files.large_groups())
    hashes = {"latents": old_files.sha256((folder / "large.npy").read_bytes())}
    for name, args in old_files.INTERRUPTED.items():
        run("gtn_label", *args, "-o", f"{name}.npz", "--backend", "cpu", cwd=folder)
        hashes[name] = old_files.sha256((folder / f"{name}.npz").read_bytes())
        saving = ("--checkpoint", f"{name}.ckpt", "--checkpoint-every", "0")
        process = start(
            "gtn_label", *args, "-o", "never.npz", *old_files.SAME_COUNTS, *saving, cwd=folder
        )
        wait_for(folder / f"{name}.ckpt", process)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 130
        (old_files.CHECKPOINTS / f"{name}.ckpt").write_bytes((folder / f"{name}.ckpt").read_bytes())
    return {"checkpoints": hashes}


def write_mnist(raw: Path) -> None:
    """Write MNIST's files with images of 8 x 8."""
    raw.mkdir(parents=True)
    rng = np.random.default_rng(8)
    for prefix, count in (("train", 60), ("t10k", 30)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = rng.integers(0, 60, (count, 8, 8), dtype=np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            image[label % 8, 1 + label // 2 :] = rng.integers(100, 256)
        for name, magic, array in (("images-idx3", 2051, pixels), ("labels-idx1", 2049, labels)):
            header = np.array([magic, *array.shape], ">i4").tobytes()
            (raw / f"{prefix}-{name}-ubyte").write_bytes(header + array.tobytes())


def fit(name: str, folder: Path, *more: str) -> None:
    args = ("--out", name, *old_files.SMALL_GENERATOR)
    run("gtn_train", "fit", "-q", *old_files.FITTED[name], *args, *more, cwd=folder)


def kill_once_begun(name: str, stage: str, folder: Path) -> None:
    """Start a run, and kill it when a stage has saved its first checkpoint."""
    args = ("--out", name, *old_files.SMALL_GENERATOR)
    process = start("gtn_train", "fit", "-q", *old_files.FITTED[name], *args, cwd=folder)
    wait_for(folder / name / stage / "checkpoint.ckpt", process)
    process.kill()
    process.communicate()
    for left in (folder / name).rglob(".gtn-label-*.tmp"):
        left.unlink()


def rounded(tensor: torch.Tensor) -> torch.Tensor:
    """Round a tensor to at most five values."""
    if not tensor.is_floating_point() or tensor.ndim == 0:
        return tensor
    step = tensor.abs().max() / 2
    return torch.round(tensor / step) * step


def make_compressible(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    assert state["epoch"] < 3
    for weights in (state["model"], state["best"]["weights"]):
        for name, tensor in weights.items():
            weights[name] = rounded(tensor)
    for moments in state["optimizer"]["state"].values():
        moments["exp_avg"] = rounded(moments["exp_avg"])
        moments["exp_avg_sq"] = torch.full_like(
            moments["exp_avg_sq"], float(moments["exp_avg_sq"].mean())
        )
    state["best"]["value"] = -1.0
    torch.save(state, checkpoint)


def fit_fresh_images(folder: Path) -> dict[str, str]:
    """Train "images" without the edit; keep the autoencoder's metrics and the hashes of arrays."""
    fit("images", folder)
    shutil.copy(folder / "images" / "autoencoder" / "metrics.jsonl", folder / old_files.FRESH)
    hashes = {
        name: old_files.sha256(content)
        for name, content in old_files.files(folder / "images").items()
        if name.endswith((".npy", ".npz", "weights.safetensors"))
    }
    shutil.rmtree(folder / "images")
    return hashes


def make_runs(folder: Path) -> dict[str, object]:
    rng = np.random.default_rng(9)
    np.save(folder / "v.npy", (rng.normal(size=(80, 2)) * [1, 2] + 1).astype(np.float32))
    write_mnist(folder / "mnist" / "MNIST" / "raw")
    fit("vectors", folder)
    fit("squares", folder)
    hashes = fit_fresh_images(folder)
    kill_once_begun("images", "autoencoder", folder)
    make_compressible(folder / "images" / "autoencoder" / "checkpoint.ckpt")
    shutil.copytree(folder / "images", folder / old_files.BEGUN)
    fit("images", folder, "--resume")
    kill_once_begun("rounds", "generator", folder)
    shutil.move(folder / "rounds", folder / "killed")
    fit("rounds", folder)  # in one go
    whole = {
        f"rounds-{name}": (folder / "rounds" / "generator" / name).read_bytes()
        for name in ("weights.safetensors", "metrics.jsonl")
    }
    shutil.rmtree(folder / "rounds")
    shutil.move(folder / "killed", folder / "rounds")
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    for name, args in old_files.SAMPLED.items():
        run("gtn_train", *args, "--out", name, "--accelerator", "cpu", cwd=folder)
    evaluations = {
        name: json.loads(run("gtn_train", *args, "--accelerator", "cpu", cwd=folder))
        for name, args in old_files.EVALUATED.items()
    }
    for path in folder.glob("*/run.json"):
        path.write_text(path.read_text().replace(str(folder), old_files.FORMER_PLACE))
    for name in ("images", "squares"):
        shutil.rmtree(folder / name / "evaluation")
    pack(folder)
    return {"fresh images": hashes, "evaluations": evaluations, "machine": old_files.this_machine()}


def pack(folder: Path) -> None:
    """Write the archive. Its bytes depend on the files' names and bytes alone."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
        return entry

    with tarfile.open(old_files.RUNS, "w:xz", preset=9) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name, filter=plain)


if __name__ == "__main__":
    print(f"by {gtn_label.__file__}")
    with tempfile.TemporaryDirectory() as name:
        places = [Path(name, part).resolve() for part in ("checkpoints", "runs")]
        for place in places:
            place.mkdir()
        found = make_pairs() | make_checkpoints(places[0]) | make_runs(places[1])
    old_files.EXPECTED.write_text(json.dumps(found, indent=1) + "\n")
