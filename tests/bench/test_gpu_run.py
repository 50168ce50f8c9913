"""benchmarks/gpu_run.sh where it finds no GPU, or a build that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_cases import ROOT


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
