"""The library's surroundings: example data, documents, CI's helpers.

Helpers must reject what they are there to reject, so each is shown a fault. Not here: the library,
the command and the benchmarks.
"""

from __future__ import annotations

import gzip
import importlib.util
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import gtn_label

ROOT = Path(__file__).resolve().parent.parent


def load(path: str) -> ModuleType:
    """Import a script by its path."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_idx(path: Path, images: np.ndarray, promised: int | None = None) -> None:
    n, rows, columns = images.shape
    header = struct.pack(">IIII", 0x803, n if promised is None else promised, rows, columns)
    with gzip.open(path, "wb") as file:
        file.write(header + images.astype(np.uint8).tobytes())


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, size=(50, 4, 5), dtype=np.uint8)


class TestExampleData:
    def test_latents_are_small_finite_centred_float32(self) -> None:
        path = ROOT / "examples/latents.npy"
        latents = np.load(path)
        assert path.stat().st_size < 1_000_000
        assert latents.shape == (10_000, 24)
        assert latents.dtype == np.float32
        assert np.isfinite(latents).all()
        assert np.abs(latents.mean(axis=0, dtype=np.float64)).max() < 1e-5
        assert (np.diff(latents.std(axis=0)) <= 0).all()

    def test_script_makes_pca_codes(self, tmp_path: Path, images: np.ndarray) -> None:
        script = load("examples/make_latents.py")
        source, out = tmp_path / "images.gz", tmp_path / "codes.npy"
        write_idx(source, images)
        assert script.main([str(source), "--out", str(out), "--dim", "20"]) == 0
        codes = np.load(out).astype(np.float64)
        assert codes.shape == (50, 20)
        pixels = images.reshape(50, 20) / 255.0
        # All components keep all distances.
        assert np.allclose(
            np.linalg.norm(codes[:, None] - codes, axis=2),
            np.linalg.norm(pixels[:, None] - pixels, axis=2),
            atol=1e-5,
        )
        covariance = codes.T @ codes
        assert np.allclose(covariance, np.diag(np.diag(covariance)), atol=1e-4)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "at least 16"),
            (struct.pack(">IIII", 0x801, 1, 1, 1) + b"x", "magic number"),
            (struct.pack(">IIII", 0x803, 2, 1, 1) + b"x", "promises 2 x 1 x 1"),
        ],
    )
    def test_script_refuses_other_files(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        content: bytes,
        message: str,
    ) -> None:
        script = load("examples/make_latents.py")
        source, out = tmp_path / "images.gz", tmp_path / "codes.npy"
        source.write_bytes(gzip.compress(content))
        assert script.main([str(source), "--out", str(out)]) == 2
        assert message in capsys.readouterr().err
        assert sorted(tmp_path.iterdir()) == [source]


class TestDocuments:
    def test_readme_has_exactly_two_shell_commands(self) -> None:
        blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
        assert len(blocks) == 2
        assert "gtn-label examples/latents.npy --out pairs.npz" in blocks[0]
        assert "pytest" in blocks[1]

    def test_versions_agree(self) -> None:
        pyproject = (ROOT / "pyproject.toml").read_text()
        assert f'\nversion = "{gtn_label.__version__}"\n' in pyproject

    def test_paths_in_documents_exist_and_others_are_reported(self, tmp_path: Path) -> None:
        command = [sys.executable, str(ROOT / ".ci/check_paths.py")]
        documents = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "examples/README.md"]
        subprocess.run([*command, *documents], check=True, capture_output=True)
        wrong = tmp_path / "wrong.md"
        wrong.write_text("`csrc/core/greedy.cpp` `csrc/core/gone.cpp` [this](nowhere.md) `n/2`")
        done = subprocess.run([*command, str(wrong)], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "csrc/core/gone.cpp" in done.stderr
        assert "nowhere.md" in done.stderr
        assert "greedy.cpp" not in done.stderr


class TestWorkflow:
    def test_runs_every_step(self) -> None:
        """The matrix of the workflow and the list of .ci/run are the same."""
        help_text = subprocess.run(
            ["bash", str(ROOT / ".ci/run"), "--help"], check=True, capture_output=True, text=True
        ).stdout
        steps = help_text.splitlines()[-1].removeprefix("Steps: ").split()
        workflow = (ROOT / ".github/workflows/ci.yml").read_text()
        matrix = workflow[workflow.index("        steps:\n") : workflow.index("        include:")]
        run = [step for line in re.findall(r"^ +- (.+)$", matrix, re.M) for step in line.split()]
        assert sorted(run) == sorted(steps)


class TestSmoke:
    """The check of the pairs that a wheel writes."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> tuple[Path, Path]:
        latents, pairs = tmp_path / "latents.npy", tmp_path / "pairs.npz"
        rows = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
        np.save(latents, rows)
        gtn_label.match(rows).save(pairs)
        return latents, pairs

    def test_accepts_what_match_wrote(self, files: tuple[Path, Path]) -> None:
        assert "300 pairs checked" in load(".ci/smoke.py").check(*files)

    @pytest.mark.parametrize("fault", ["twice", "labels", "cosine", "greedy"])
    def test_rejects_wrong_pairs(self, files: tuple[Path, Path], fault: str) -> None:
        latents, pairs = files
        with np.load(pairs) as file:
            arrays = {name: file[name] for name in file.files}
        first = np.argsort(np.linalg.norm(arrays["sources"].astype(np.float64), axis=1))[0]
        other = (first + 1) % 300
        if fault == "twice":
            arrays["assignment"][first] = arrays["assignment"][other]
        elif fault == "labels":
            arrays["labels"][first, 0] += 1
        elif fault == "cosine":
            arrays["cosine"][first] += 1e-6
        else:
            for name in ("assignment", "labels"):
                arrays[name][[first, other]] = arrays[name][[other, first]]
            label = arrays["labels"].astype(np.float64)
            source = arrays["sources"].astype(np.float64)
            norms = np.linalg.norm(label, axis=1) * np.linalg.norm(source, axis=1)
            arrays["cosine"] = np.einsum("ij,ij->i", label, source) / norms
        np.savez(pairs, **arrays)
        with pytest.raises(AssertionError):
            load(".ci/smoke.py").check(latents, pairs)
