"""Two processes on the CPU give what one gives, within rounding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
import training_cases as cases

from gtn_train.models.registry import load_model
from gtn_train.run.store import RunFolder


def test_two_processes_are_one_within_rounding(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, cases.__file__, str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "distributed" not in done.stderr, "Fabric's own lines about processes"
    alone = cases.run_distributed(tmp_path / "one")
    names = ("generator", "autoencoder", "drifting", "flow")
    for (model, result), name in zip(alone, names, strict=True):
        folder = RunFolder(tmp_path / "two" / name)
        files = {file.name for file in folder.path.iterdir()}
        assert files == {"config.json", "last.ckpt", "metrics.jsonl", "weights.safetensors"}
        assert folder.read_config()["options"]["devices"] == 2
        distributed = load_model(folder.weights).state_dict()
        for key, tensor in model.state_dict().items():
            torch.testing.assert_close(distributed[key], tensor, rtol=1e-5, atol=1e-5)
        for line, wanted in zip(folder.read_metrics(), result.history, strict=True):
            for key in ("train_loss", "validation_loss", "energy distance of 50"):
                torch.testing.assert_close(line.get(key), wanted.get(key), rtol=1e-5, atol=1e-6)
            assert line.keys() == wanted.keys()
    assert alone[0][1].stopped == "callback"
    start = cases.generator(batch_norm_layers=0, classes=2).state_dict()
    trained = alone[0][0].state_dict()
    moved = max(float((trained[k] - start[k]).abs().max()) for k in start if k.startswith("net"))
    assert moved > 1e-3, "weights that have not moved would agree without a word"
    assert not list(Path(tmp_path).rglob("*.tmp"))
