"""backends() and how a backend's name is resolved, with made-up engines and with the real one.

What the faiss backend does with its library is in test_faiss.py, names of the cuda backend and its
devices are in test_cuda_names.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import engine
import gtn_label
from gtn_label import _core
from gtn_label.backend import names
from made_up_engines import cuda_is, entry, faiss_is

VARIABLE = "GTN_LABEL_INSTRUCTION_SET"
FAISS = "FAISS's exhaustive search"
ALSO = ", which is also what --approx and match_approx search with"


@pytest.fixture
def made_up(monkeypatch):
    """An engine with one set the CPU lacks and one the build lacks, best first; nothing else."""
    sets = [
        entry("wide", supported=False, reason="this CPU has no wide"),
        entry("middle"),
        entry("other", built=False, reason="not in this build"),
        entry("scalar"),
    ]
    monkeypatch.setattr(_core, "instruction_sets", lambda: sets)
    faiss_is(monkeypatch, python="not installed", linked="not found")
    cuda_is(monkeypatch, "built without")
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.usefixtures("made_up")
class TestMadeUp:
    def test_list(self):
        assert gtn_label.backends() == [
            ("cpu", True, "", "this CPU's best instruction set: middle"),
            ("cpu:wide", False, "this CPU has no wide", "about wide"),
            ("cpu:middle", True, "", "about middle"),
            ("cpu:other", False, "not in this build", "about other"),
            ("cpu:scalar", True, "", "about scalar"),
            ("cuda", False, "built without", "on a GPU, by its best kernel"),
            ("faiss", False, "not installed", FAISS),
            ("faiss:python", False, "not installed", f"{FAISS} through its Python package{ALSO}"),
            ("faiss:linked", False, "not found", f"{FAISS} through its C++ library, linked"),
        ]

    @pytest.mark.parametrize(
        ("python", "linked", "first"),
        [("", "", "python"), ("", "not found", "python"), ("not installed", "", "linked")],
    )
    def test_faiss_is_the_first_way_there_is(self, python, linked, first, monkeypatch):
        faiss_is(monkeypatch, python=python, linked=linked)
        rows = {row.name: row for row in gtn_label.backends()}
        assert rows["faiss"] == ("faiss", True, "", f"the same as faiss:{first}")
        assert rows["faiss:python"].available == (not python)
        assert rows["faiss:linked"].available == (not linked)
        assert "faiss-cpu 9.8.7" in rows["faiss:python"].description or python
        assert "1.2.3" in rows["faiss:linked"].description or linked
        assert names.resolve("faiss") == ("faiss", "auto", first)
        assert names.resolve(f"faiss:{first}") == ("faiss", "auto", first)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("faiss", "not installed"),
            ("faiss:python", "not installed"),
            ("faiss:linked", "not found"),
        ],
    )
    def test_faiss_that_is_missing_says_why(self, name, reason):
        with pytest.raises(ValueError, match=f"^backend '{name}' is not available here: {reason}$"):
            names.resolve(name)

    @pytest.mark.parametrize("name", ["auto", "cpu"])
    def test_faiss_is_never_chosen_unasked(self, name, monkeypatch):
        faiss_is(monkeypatch, python="", linked="")
        assert names.resolve(name).name == "cpu"

    def test_variable_forces_the_instruction_set_beside_faiss(self, monkeypatch):
        faiss_is(monkeypatch, python="", linked="")
        monkeypatch.setenv(VARIABLE, "scalar")
        assert names.resolve("faiss:linked") == ("faiss", "scalar", "linked")

    @pytest.mark.parametrize(
        ("name", "resolved"),
        [("auto", "auto"), ("cpu", "auto"), ("cpu:middle", "middle"), ("cpu:scalar", "scalar")],
    )
    def test_resolve(self, name, resolved):
        assert names.resolve(name) == ("cpu", resolved, "")

    @pytest.mark.parametrize(
        "name", ["faiss:", "faiss:cpu", "CUDA", "", "CPU", "cpu:", "cpu:auto", "scalar"]
    )
    def test_unknown(self, name):
        message = (
            "^backend must be one of auto, cpu, cpu:wide, cpu:middle, cpu:other, cpu:scalar, cuda, "
            f"faiss, faiss:python, faiss:linked, got '{name}'$"
        )
        with pytest.raises(ValueError, match=message):
            names.resolve(name)

    @pytest.mark.parametrize(
        ("name", "reason"), [("wide", "this CPU has no wide"), ("other", "not in this build")]
    )
    def test_unavailable_says_why(self, name, reason):
        with pytest.raises(
            ValueError, match=f"^backend 'cpu:{name}' is not available here: {reason}$"
        ):
            names.resolve(f"cpu:{name}")

    @pytest.mark.parametrize("value", [None, 1, b"cpu"])
    def test_must_be_a_str(self, value):
        with pytest.raises(TypeError, match="backend must be a str, got"):
            names.resolve(value)

    @pytest.mark.parametrize("name", ["auto", "cpu"])
    def test_variable_forces_what_the_name_leaves_open(self, name, monkeypatch):
        monkeypatch.setenv(VARIABLE, "scalar")
        assert names.resolve(name) == ("cpu", "scalar", "")

    def test_name_beats_variable(self, monkeypatch):
        monkeypatch.setenv(VARIABLE, "scalar")
        assert names.resolve("cpu:middle") == ("cpu", "middle", "")

    @pytest.mark.parametrize("value", ["", "auto"])
    def test_variable_may_say_nothing(self, value, monkeypatch):
        monkeypatch.setenv(VARIABLE, value)
        assert names.resolve("cpu") == ("cpu", "auto", "")

    @pytest.mark.parametrize("value", ["nonsense", "cpu:scalar", "SCALAR"])
    def test_variable_unknown(self, value, monkeypatch):
        monkeypatch.setenv(VARIABLE, value)
        message = f"{VARIABLE} is '{value}'; known: auto, wide, middle, other, scalar$"
        with pytest.raises(ValueError, match=message):
            names.resolve("auto")

    def test_variable_unavailable(self, monkeypatch):
        monkeypatch.setenv(VARIABLE, "wide")
        message = f"{VARIABLE} is 'wide', which is not available here: this CPU has no wide"
        with pytest.raises(ValueError, match=message):
            names.resolve("auto")

    def test_variable_does_not_break_the_list(self, monkeypatch):
        monkeypatch.setenv(VARIABLE, "nonsense")
        assert gtn_label.backends()[0].available


REAL = list(engine.BACKENDS.values())
SETS = [engine.BACKENDS[name] for name in engine.INSTRUCTION_SETS]


class TestReal:
    def test_every_kernel_is_listed_best_first(self):
        assert [row.name.removeprefix("cpu:") for row in SETS] == [
            "amx_int8",
            "avx512_vnni",
            "avx_vnni",
            "avx2",
            "neon_i8mm",
            "neon_dotprod",
            "scalar",
        ]

    def test_scalar_is_always_there_and_last(self):
        assert SETS[-1].name == "cpu:scalar"
        assert SETS[-1].available

    def test_ways_to_faiss_come_last(self):
        names = [row.name for row in gtn_label.backends()]
        assert names[-3:] == ["faiss", "faiss:python", "faiss:linked"]

    def test_reasons_are_given_exactly_when_needed(self):
        for row in gtn_label.backends():
            assert bool(row.reason) != row.available, row
            assert row.description

    @pytest.mark.parametrize("row", REAL, ids=lambda row: row.name)
    def test_forced_by_name(self, row):
        latents = np.random.default_rng(0).normal(size=(50, 9))
        if not row.available:
            with pytest.raises(ValueError, match=f"backend '{row.name}' is not available here: "):
                gtn_label.match(latents, backend=row.name)
            return
        engine.run(latents, None, backend=row.name)

    @pytest.mark.parametrize(
        "row", [row for row in SETS if row.available], ids=lambda row: row.name
    )
    def test_forced_by_variable(self, row, monkeypatch):
        monkeypatch.setenv(VARIABLE, row.name.removeprefix("cpu:"))
        m = gtn_label.match(np.random.default_rng(0).normal(size=(50, 9)))
        assert f"cpu:{m.stats['instruction_set']}" == row.name

    def test_auto_takes_the_best_available(self, monkeypatch):
        monkeypatch.delenv(VARIABLE, raising=False)
        m = gtn_label.match(np.random.default_rng(0).normal(size=(50, 9)))
        best = next(row for row in SETS if row.available)
        assert f"cpu:{m.stats['instruction_set']}" == best.name
