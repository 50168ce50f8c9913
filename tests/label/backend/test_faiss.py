"""The faiss backend on the CPU: its pairs, what it records and needs, and importing its package.

That its pairs are the oracle's is shown with every other backend's (test_differential.py,
test_properties.py, test_invariance.py). FAISS's settings are in test_faiss_package.py, the object
that the engine searches by in test_faiss_exact.py, the GPU's way in test_faiss_gpu.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
import unittest.mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
import faiss_double
import gtn_label
from command import environment
from datasets import make
from gtn_label import _core
from gtn_label.backend import engines, faiss_package, names

WAYS = ("faiss:python", "faiss:linked")
LATENTS, SOURCES = make("gaussian", 3000, 33)


@pytest.fixture(params=WAYS)
def way(request) -> str:
    return engine.forced(request.param)


# --------------------------------------------------------------------------------------- the pairs


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=50)
@given(st.data())
def test_random_problems(name, data):
    engine.forced(name)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    m, dim = data.draw(st.integers(193, 900)), data.draw(st.integers(2, 70))
    n = data.draw(st.integers(1, m))
    options = {
        "order": data.draw(st.sampled_from(["norm", "norm_desc", "index"])),
        "cone": data.draw(st.integers(1, 40)),
        "center": data.draw(st.booleans()),
    }
    coarse = data.draw(st.sampled_from([0.02, 0.5, 2.0]))  # ties beside near ties
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    latents = (np.round(rng.standard_normal((m, dim)) / coarse) * coarse + 1e-3).astype(dtype)
    sources = rng.standard_normal((n, dim))
    if data.draw(st.booleans()):
        labels = rng.integers(0, 3, m)
        options["groups"] = (labels[:n], labels)
    threads = data.draw(st.integers(1, 3))
    matching = engine.run(latents, sources, backend=name, threads=threads, **options)
    engine.assert_same(matching, gtn_label.match(latents, sources, backend="cpu", **options))


@pytest.mark.parametrize("threads", [1, 2])
def test_what_ran_is_recorded(way, threads):
    matching = gtn_label.match(LATENTS, SOURCES, backend=way, threads=threads)
    record = matching.stats["faiss"]
    assert record["way"] == way.removeprefix("faiss:")
    assert re.fullmatch(r"\d+\.\d+\.\d+", record["version"])
    assert record["device"] == "cpu"
    assert matching.stats["backend"] == "faiss"
    assert matching.stats["arithmetic"] == "float32"
    assert matching.stats["threads"] == threads
    assert matching.stats["rescored"] < 20 * len(SOURCES)
    assert matching.stats["full_scans"] == 0
    assert matching.meta == gtn_label.match(LATENTS, SOURCES).meta | {"backend": "faiss"}
    assert "faiss" not in gtn_label.match(LATENTS, SOURCES).stats


def test_progress_counts_up_to_the_total(way):
    calls = []
    gtn_label.match(
        *make("gaussian", 12_000, 64),
        backend=way,
        progress=lambda done, total, seconds_left: calls.append((done, total)),
    )
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert done[-1] == 12_000
    assert {call[1] for call in calls} == {12_000}


class TestMemory:
    @pytest.mark.parametrize("name", [*WAYS, "cuda"])
    def test_what_is_needed_is_said_and_suffices(self, name, monkeypatch):
        options = {"backend": name}
        if name == "cuda":
            faiss_double.install(monkeypatch)
            options = {"backend": "faiss:python", "device": "cuda"}
        else:
            engine.forced(name)
        message = r"^memory must be at least (\d+) bytes for this input, got 1$"
        with pytest.raises(ValueError, match=message) as caught:
            gtn_label.match(LATENTS, SOURCES, memory=1, **options)
        needed = int(re.match(message, str(caught.value))[1])
        assert needed > LATENTS.nbytes
        with pytest.raises(ValueError, match=f"got {needed - 1}$"):
            gtn_label.match(LATENTS, SOURCES, memory=needed - 1, **options)
        matching = gtn_label.match(LATENTS, SOURCES, memory=needed, **options)
        engine.assert_same(matching, gtn_label.match(LATENTS, SOURCES))
        assert matching.stats["peak_work_bytes"] <= needed


# ------------------------------------------------------------------------------------- the package


class TestWithoutThePackage:
    @pytest.fixture(autouse=True)
    def not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "faiss", None)

    def test_how_to_get_it_is_said(self):
        message = (
            "^backend 'faiss:python' is not available here: the package faiss is not installed: "
            r"pip install 'gtn-label\[faiss\]', for a GPU pip install 'gtn-label\[faiss-gpu\]'"
        )
        with pytest.raises(ValueError, match=message):
            gtn_label.match(LATENTS, backend="faiss:python")

    def test_the_linked_library_takes_its_place(self):
        engine.forced("faiss:linked")
        matching = gtn_label.match(LATENTS, SOURCES, backend="faiss")
        assert matching.stats["faiss"]["way"] == "linked"

    def test_without_either_how_to_get_the_package_is_said(self, monkeypatch):
        monkeypatch.setattr(_core, "linked_faiss", {"version": "", "missing": "made without"})
        for name, reason in (
            ("faiss", r"not installed: pip install 'gtn-label\[faiss\]', for a GPU .*faiss-gpu"),
            ("faiss:linked", "made without$"),
        ):
            with pytest.raises(ValueError, match=f"^backend '{name}' is not available .*{reason}"):
                gtn_label.match(LATENTS, backend=name)

    @pytest.mark.parametrize("name", ["auto", "cpu", "cpu:scalar"])
    def test_nothing_else_changes(self, name):
        matching = gtn_label.match(LATENTS, SOURCES, backend=name)
        assert matching.stats["backend"] == "cpu"
        rows = {row.name: row for row in gtn_label.backends()}
        assert not rows["faiss:python"].available


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "faiss").mkdir()
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert "is not installed" in faiss_package.missing()


@pytest.mark.parametrize("stub", [types.ModuleType("faiss"), unittest.mock.MagicMock()])
def test_a_stub_in_its_place_changes_nothing_else(stub, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", stub)
    assert gtn_label.match(LATENTS, SOURCES).stats["backend"] == "cpu"
    assert "is not installed" in faiss_package.missing()


# A package that is imported in its place, and notes what an OpenBLAS would be told.
PACKAGE = """
import os
told = os.environ.get("OPENBLAS_CORETYPE")
"""
IMPORT = """
import os, sys
from gtn_label.backend import faiss_package
try:
    print("told", faiss_package.load().told)
except ValueError as error:
    print("error", error)
print("after", os.environ.get("OPENBLAS_CORETYPE"))
"""


class TestImport:
    def run(self, tmp_path, package, code=IMPORT, **variables):
        folder = tmp_path / "faiss"
        folder.mkdir()
        (folder / "__init__.py").write_text(package)
        paths = [str(tmp_path), *sys.path]
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(PYTHONPATH=os.pathsep.join(paths), **variables),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    @pytest.fixture(autouse=True)
    def no_variable(self, monkeypatch):
        monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)

    def test_openblas_is_told_the_processor_for_the_import_only(self, tmp_path):
        expected = faiss_package._core_type() or None
        if engine.BACKENDS["cpu:avx2"].available:
            assert expected in ("SkylakeX", "Haswell")
        assert self.run(tmp_path, PACKAGE) == f"told {expected}\nafter None\n"

    def test_a_choice_of_the_user_stays(self, tmp_path):
        output = self.run(tmp_path, PACKAGE, OPENBLAS_CORETYPE="Zen")
        assert output == "told Zen\nafter Zen\n"

    def test_an_import_of_the_user_stays(self, tmp_path):
        assert self.run(tmp_path, PACKAGE, "import faiss\n" + IMPORT) == "told None\nafter None\n"

    @pytest.mark.parametrize(
        "error", ["ImportError('no libfaiss.so')", "OSError('bad')", "AttributeError('numpy')"]
    )
    def test_a_package_that_fails(self, error, tmp_path):
        output = self.run(tmp_path, f"raise {error}")
        name, _, text = error.rstrip("')").partition("('")
        linked = not _core.linked_faiss["missing"]
        instead = r" \(backend 'faiss:linked' needs none\)" if linked else ""
        assert re.fullmatch(
            rf"error backend 'faiss': faiss\S* .* is installed, but cannot be imported{instead}: "
            rf"{name}: {text}\nafter None\n",
            output,
        ), output

    def test_an_interrupted_import(self, tmp_path):
        code = IMPORT.replace("ValueError", "KeyboardInterrupt")
        output = self.run(tmp_path, "raise KeyboardInterrupt('stop')", code)
        assert output == "error stop\nafter None\n"

    def test_many_threads_import_it_at_once(self, tmp_path):
        code = IMPORT.replace(
            "try:",
            "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(8) as pool:\n"
            "    list(pool.map(lambda _: faiss_package.load(), range(8)))\n"
            "try:",
        )
        slow = PACKAGE + "import time\ntime.sleep(0.1)\n"
        assert self.run(tmp_path, slow, code).endswith("\nafter None\n")


def test_it_is_not_imported_for_others():
    engine.forced("faiss:python")
    code = (
        "import sys, numpy, gtn_label, gtn_label.cli.options, gtn_label.cli.job\n"
        "gtn_label.backends(); gtn_label.match(numpy.ones((3, 2)))\n"
        "print('faiss' in sys.modules)\n"
        "gtn_label.match(numpy.ones((3, 2)), backend='faiss:python')\n"
        "print('faiss' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue\n"


def test_the_way_is_the_one_that_was_resolved(monkeypatch):
    """make_engine asks for no package when the linked library was chosen."""
    engine.forced("faiss:linked")
    monkeypatch.setattr(faiss_package, "load", lambda: pytest.fail("imported"))
    made, record = engines.make_engine(names.resolve("faiss:linked"), "cpu", 8, 1)
    assert isinstance(made, _core.FaissEngine)
    assert record["faiss"]["way"] == "linked"
