"""benchmarks/gpu_run.sh: no GPU, a build that fails, and its steps over the emulator of CUDA."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_cases import ROOT

import gtn_label
from gtn_label import _core
from gtn_label.backend import cuda

EMULATED = hasattr(_core, "EmulatedMemory")


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
class TestGpuRun:
    def run(
        self, tmp_path: Path, *arguments: str, smi: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        tools, scratch = tmp_path / "tools", tmp_path / "scratch"
        tools.mkdir()
        scratch.mkdir()
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
        (tools / "nvidia-smi").chmod(0o755)
        env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(scratch)}
        env |= {"PYTHON": str(self.python_with_pybind11(tools)), "GTN_COMMIT": "abc", **variables}
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

    @pytest.mark.skipif(bool(EMULATED or not cuda.missing()), reason="something can run here")
    def test_without_a_gpu_the_second_step_refuses(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        package = str(Path(gtn_label.__file__).parents[1])
        done = self.run(tmp_path, str(out), smi="exit 9", GTN_GPU_PACKAGE=package)
        assert done.returncode == 1
        assert [path.name for path in out.iterdir()] == ["summary.txt"]
        refusal = f"nothing can run: the cuda backend cannot run here: {cuda.missing()}\n"
        assert refusal in done.stdout
        assert (out / "summary.txt").read_text() == done.stdout

    @pytest.mark.skipif(not EMULATED, reason="needs a build with GTN_CUDA=EMULATED")
    def test_rehearsal(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        settings = {"GTN_GPU_REHEARSE": "1", "GTN_GPU_STEPS": "2 3 4 5"}
        package = str(Path(gtn_label.__file__).parents[1])
        done = self.run(tmp_path, str(out), smi="exit 9", GTN_GPU_PACKAGE=package, **settings)
        assert done.returncode == 0, done.stdout
        assert "kernels: mma dp4a\n" in done.stdout
        lines = (out / "figures.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert [step for step, _ in itertools.groupby(steps)] == [
            "check",
            "answers",
            "match",
            "optimal",
            "rates",
            "sizes",
        ]
        assert all(json.loads(line)["good"] for line in lines)

    def test_a_build_that_fails_stops_what_needs_it(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        broken = tmp_path / "tools" / "cmake"
        smi = f"echo 'A GPU, 9.0, 1'; printf '#!/bin/sh\\necho broken; exit 3\\n' >{broken}; "
        smi += f"chmod +x {broken}; cp {broken} {broken.with_name('nvcc')}; "
        smi += f"cp {broken} {broken.with_name('ninja')}"
        done = self.run(tmp_path, str(out), smi=smi)
        assert done.returncode == 1
        assert "FAILED (3): broken" in done.stdout
        assert sorted(path.name for path in out.iterdir()) == ["build.log", "summary.txt"]

    def test_wrong_usage(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "a", "b", smi="exit 9")
        assert done.returncode == 2
        assert "bash benchmarks/gpu_run.sh [OUT]" in done.stderr
