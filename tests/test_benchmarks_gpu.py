"""What the benchmarks do on a GPU, as far as a CPU shows it.

The greedy over flat search on a device runs with PyTorch on the CPU; the script for a GPU machine
runs where it finds no GPU, or a build that fails. What has the marker needs a GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gtn_label
from benchmarks import check, data, device, floors, throughput_plan, worker
from benchmarks.peer import Budget
from benchmarks.peers import faiss_greedy, gpu_greedy
from gtn_label import _core

ROOT = Path(__file__).resolve().parent.parent


class TestGreedyOnADevice:
    @pytest.fixture(autouse=True)
    def on_the_cpu(self, monkeypatch):
        pytest.importorskip("torch")
        monkeypatch.setattr(device, "NAME", "cpu")

    def problem(self):
        latents, sources = data.latents("isotropic", 3000, 6), data.sources(3000, 6)
        return latents, sources, np.array(gtn_label.match(latents, sources).assignment)

    def test_by_pytorch(self, monkeypatch) -> None:
        monkeypatch.setattr(gpu_greedy, "MOST_SCORES", 1 << 18)  # several parts a block
        latents, sources, right = self.problem()
        found = gpu_greedy.match_torch(latents, sources, Budget(1, 9))
        assert np.mean(found.assignment == right) > 0.99
        check.check_same("greedy", latents, sources, found.assignment, right)
        assert found.stats["searches"] >= 3

    def test_by_faiss(self, monkeypatch) -> None:
        faiss = pytest.importorskip("faiss")
        import torch

        def knn_gpu(resources, queries, rows, k, metric):
            assert isinstance(queries, torch.Tensor)
            found = faiss.knn(queries.numpy(), rows.numpy(), k, metric=metric)
            return tuple(torch.from_numpy(part) for part in found)

        monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
        monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
        imported = gpu_greedy.importlib.import_module
        monkeypatch.setattr(
            gpu_greedy,
            "importlib",
            SimpleNamespace(import_module=lambda name: name.startswith("faiss") or imported(name)),
        )
        latents, sources, right = self.problem()
        found = gpu_greedy.match_faiss(latents, sources, Budget(1, 9))
        assert np.mean(found.assignment == right) > 0.99

    def test_a_block_takes_in_order(self) -> None:
        random = np.random.default_rng(0)
        for free, k in ((40, 3), (40, 16), (20, 16), (5, 5)):
            candidates = np.array([random.permutation(free)[:k] for _ in range(min(free, 25))])
            taken: list[int] = []
            for row in candidates.tolist():
                column = next((c for c in row if c not in taken), None)
                if column is None:
                    break
                taken.append(column)
            assert faiss_greedy.take_in_order(candidates).tolist() == taken


@pytest.mark.gpu
class TestOnADevice:
    def test_every_peer_agrees(self) -> None:
        latents, sources = data.latents("isotropic", 3000, 20), data.sources(3000, 20)
        right = np.array(gtn_label.match(latents, sources, backend="cpu").assignment)
        for peer in throughput_plan.everybody():
            on_gpu = "GPU" in peer.title or "cuda" in peer.name
            if on_gpu and not peer.missing():
                loaded = worker.Loaded(peer, latents, sources, Budget(1, 60))
                loaded.run("")
                check.check_same(peer.kind, latents, sources, loaded.assignment, right)

    def test_rates(self) -> None:
        found = floors.cuda([64, 100], 1 << 16, 1024, 1 << 24, 0.001)
        assert found["int8_operations"] > found["fp16_operations"] > 0
        assert found["copied_bytes"] > 0
        assert found["name"] == _core.cuda_devices()[0]["name"]
        for one in found["scans"]:
            assert 0 < one["operations"] <= 1.05 * found["int8_operations"]
            assert one["bytes"] > 0


def test_rates_of_what_is_not_there_are_refused() -> None:
    if not hasattr(_core, "cuda_rates"):
        pytest.skip("this build has no CUDA")
    with pytest.raises(ValueError, match=r"kernel must be one of cuda_kernels\(\), got none"):
        _core.cuda_kernel_rate(0, "none", 4, 10, 10, 0.001)
    with pytest.raises(ValueError, match="dim, latents and sources must be >= 1, got 0, 1 and 2"):
        _core.cuda_kernel_rate(0, "mma", 0, 1, 2, 0.001)
    with pytest.raises(ValueError, match="copied must be >= 1, got 0"):
        _core.cuda_rates(0, 0, 0.001)


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
class TestGpuRun:
    def run(self, tmp_path: Path, *arguments: str, smi: str) -> subprocess.CompletedProcess[str]:
        tools, scratch = tmp_path / "tools", tmp_path / "scratch"
        tools.mkdir()
        scratch.mkdir()
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
        (tools / "nvidia-smi").chmod(0o755)
        env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(scratch)}
        env |= {"PYTHON": str(self.python_with_pybind11(tools)), "GTN_COMMIT": "abc"}
        done = subprocess.run(
            ["bash", "benchmarks/gpu_run.sh", *arguments],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert list(scratch.iterdir()) == []
        return done

    def python_with_pybind11(self, tools: Path) -> Path:
        """What builds the package needs pybind11, what tests it does not."""
        package = tools / "packages" / "pybind11"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text("print('nowhere')\n")
        python = tools / "python"
        python.write_text(
            f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{package.parent}" exec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        return python

    def test_without_a_gpu_it_says_so_and_leaves_nothing(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        done = self.run(tmp_path, str(out), smi="exit 9")
        assert done.returncode == 1
        assert [path.name for path in out.iterdir()] == ["summary.txt"]
        parts = [line for line in done.stdout.splitlines() if "not run: no NVIDIA GPU here" in line]
        assert len(parts) == 6
        assert (out / "summary.txt").read_text() == done.stdout

    def test_a_build_that_fails_stops_what_needs_it(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        broken = tmp_path / "tools" / "cmake"
        smi = f"echo 'A GPU, 9.0, 1'; printf '#!/bin/sh\\necho broken; exit 3\\n' >{broken}; "
        smi += f"chmod +x {broken}; cp {broken} {broken.with_name('nvcc')}; "
        smi += f"cp {broken} {broken.with_name('ninja')}"
        done = self.run(tmp_path, str(out), smi=smi)
        assert done.returncode == 1
        assert "FAILED (3): broken" in done.stdout
        assert done.stdout.count("not run: the build did not succeed") == 3 + 2 * (
            "compute-sanitizer is missing" not in done.stdout
        )
        assert sorted(path.name for path in out.iterdir()) == ["build.log", "summary.txt"]

    def test_wrong_usage(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "a", "b", smi="exit 9")
        assert done.returncode == 2
        assert "bash benchmarks/gpu_run.sh [OUT]" in done.stderr
