"""backends() and how a backend's name is resolved, with made-up engines and with the real one."""

from __future__ import annotations

import numpy as np
import pytest

import gtn_label
from gtn_label import _core, backend

VARIABLE = "GTN_LABEL_INSTRUCTION_SET"


def entry(name: str, *, built: bool = True, supported: bool = True, reason: str = "") -> dict:
    return {
        "name": name,
        "description": f"about {name}",
        "built": built,
        "supported": supported,
        "reason": reason,
    }


@pytest.fixture
def made_up(monkeypatch):
    """An engine with one set the CPU lacks and one the build lacks, best first."""
    sets = [
        entry("wide", supported=False, reason="this CPU has no wide"),
        entry("middle"),
        entry("other", built=False, reason="not in this build"),
        entry("scalar"),
    ]
    monkeypatch.setattr(_core, "instruction_sets", lambda: sets)
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
        ]

    @pytest.mark.parametrize(
        ("name", "resolved"),
        [("auto", "auto"), ("cpu", "auto"), ("cpu:middle", "middle"), ("cpu:scalar", "scalar")],
    )
    def test_resolve(self, name, resolved):
        assert backend.resolve(name) == ("cpu", resolved)

    @pytest.mark.parametrize("name", ["faiss", "cuda", "", "CPU", "cpu:", "cpu:auto", "scalar"])
    def test_unknown(self, name):
        message = (
            f"^unknown backend '{name}'; known: "
            "auto, cpu, cpu:wide, cpu:middle, cpu:other, cpu:scalar$"
        )
        with pytest.raises(ValueError, match=message):
            backend.resolve(name)

    @pytest.mark.parametrize(
        ("name", "reason"), [("wide", "this CPU has no wide"), ("other", "not in this build")]
    )
    def test_unavailable_says_why(self, name, reason):
        with pytest.raises(
            ValueError, match=f"^backend 'cpu:{name}' is not available here: {reason}$"
        ):
            backend.resolve(f"cpu:{name}")

    @pytest.mark.parametrize("value", [None, 1, b"cpu"])
    def test_must_be_a_str(self, value):
        with pytest.raises(TypeError, match="backend must be a str, got"):
            backend.resolve(value)

    @pytest.mark.parametrize("name", ["auto", "cpu"])
    def test_variable_forces_what_the_name_leaves_open(self, name, monkeypatch):
        monkeypatch.setenv(VARIABLE, "scalar")
        assert backend.resolve(name) == ("cpu", "scalar")

    def test_name_beats_variable(self, monkeypatch):
        monkeypatch.setenv(VARIABLE, "scalar")
        assert backend.resolve("cpu:middle") == ("cpu", "middle")

    @pytest.mark.parametrize("value", ["", "auto"])
    def test_variable_may_say_nothing(self, value, monkeypatch):
        monkeypatch.setenv(VARIABLE, value)
        assert backend.resolve("cpu") == ("cpu", "auto")

    @pytest.mark.parametrize("value", ["nonsense", "cpu:scalar", "SCALAR"])
    def test_variable_unknown(self, value, monkeypatch):
        monkeypatch.setenv(VARIABLE, value)
        message = f"{VARIABLE} is '{value}'; known: auto, wide, middle, other, scalar$"
        with pytest.raises(ValueError, match=message):
            backend.resolve("auto")

    def test_variable_unavailable(self, monkeypatch):
        monkeypatch.setenv(VARIABLE, "wide")
        message = f"{VARIABLE} is 'wide', which is not available here: this CPU has no wide"
        with pytest.raises(ValueError, match=message):
            backend.resolve("auto")

    def test_variable_does_not_break_the_list(self, monkeypatch):
        monkeypatch.setenv(VARIABLE, "nonsense")
        assert gtn_label.backends()[0].available


REAL = [row for row in gtn_label.backends() if row.name != "cpu"]


class TestReal:
    def test_every_kernel_is_listed_best_first(self):
        assert [row.name.removeprefix("cpu:") for row in REAL] == [
            "amx_int8",
            "avx512_vnni",
            "avx_vnni",
            "avx2",
            "neon_i8mm",
            "neon_dotprod",
            "scalar",
        ]

    def test_scalar_is_always_there_and_last(self):
        assert REAL[-1].name == "cpu:scalar"
        assert REAL[-1].available

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
        m = gtn_label.match(latents, backend=row.name)
        assert f"cpu:{m.stats['instruction_set']}" == row.name

    @pytest.mark.parametrize(
        "row", [row for row in REAL if row.available], ids=lambda row: row.name
    )
    def test_forced_by_variable(self, row, monkeypatch):
        monkeypatch.setenv(VARIABLE, row.name.removeprefix("cpu:"))
        m = gtn_label.match(np.random.default_rng(0).normal(size=(50, 9)))
        assert f"cpu:{m.stats['instruction_set']}" == row.name

    def test_auto_takes_the_best_available(self, monkeypatch):
        monkeypatch.delenv(VARIABLE, raising=False)
        m = gtn_label.match(np.random.default_rng(0).normal(size=(50, 9)))
        best = next(row for row in REAL if row.available)
        assert f"cpu:{m.stats['instruction_set']}" == best.name
