"""match() in small cases worked by hand: sources, options, statistics, progress.

Bits against the oracle are in test_differential.py, what must not change them in
test_invariance.py, refusals in test_errors.py, runs that are watched and continued in
test_label_run.py, interrupts and Python threads in test_interrupt.py.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import gtn_label
from gtn_label.progress import Progress


def gaussian(n: int, dim: int, seed: int = 0, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(dtype)


# Latents on the axes; sources lean to one axis each, in an order that makes them compete.
AXES = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


class TestByHand:
    def test_nearest_in_angle(self):
        m = gtn_label.match(AXES, np.array([[0.1, 2.0], [3.0, 0.1], [-0.1, -4.0]]))
        assert m.assignment.tolist() == [1, 0, 3]
        np.testing.assert_allclose(
            m.cosine, [2 / np.hypot(0.1, 2), 3 / np.hypot(3, 0.1), 4 / np.hypot(0.1, 4)]
        )

    def test_order_says_who_chooses_first(self):
        latents = np.array([[1.0, 0.0], [0.0, 1.0]])
        sources = np.array([[2.0, 1.9], [5.0, 0.1], [1.0, 0.9]])[:2]
        small_first = gtn_label.match(latents, sources, order="norm")
        assert small_first.assignment.tolist() == [0, 1]
        large_first = gtn_label.match(latents, sources, order="norm_desc")
        assert large_first.assignment.tolist() == [1, 0]
        as_given = gtn_label.match(latents, sources[::-1], order="index")
        assert as_given.assignment.tolist() == [0, 1]

    def test_ties_go_to_the_lower_norm_then_the_lower_index(self):
        latents = np.array([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
        sources = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
        assert gtn_label.match(latents, sources).assignment.tolist() == [1, 3, 2, 0]
        descending = gtn_label.match(latents, sources, order="norm_desc")
        assert descending.assignment.tolist() == [3, 1, 2, 0]

    def test_cone_prefers_small_norms(self):
        latents = np.array([[9.0, 0.1], [1.0, 0.3], [0.0, 1.0]])
        sources = np.array([[1.0, 0.0]])
        assert gtn_label.match(latents, sources).assignment.tolist() == [0]
        assert gtn_label.match(latents, sources, cone=2).assignment.tolist() == [1]

    def test_cone_may_exceed_everything(self):
        latents, sources = gaussian(20, 3), gaussian(20, 3, 1)
        all_of_them = gtn_label.match(latents, sources, cone=20)
        beyond = gtn_label.match(latents, sources, cone=10**30)
        np.testing.assert_array_equal(all_of_them.assignment, beyond.assignment)
        assert beyond.meta["cone"] == 10**30

    def test_center_subtracts_the_mean_for_matching_only(self):
        latents = AXES + 100.0
        sources = np.array([[0.1, 2.0], [3.0, 0.1]])
        m = gtn_label.match(latents, sources, center=True)
        assert m.assignment.tolist() == [1, 0]
        np.testing.assert_array_equal(m.pairs()[1], latents[[1, 0]])

    def test_groups_keep_apart(self):
        sources = np.array([[1.0, 0.1], [1.0, 0.2]])
        m = gtn_label.match(AXES, sources, groups=([7, -3], [-3, 7, 7, 7]))
        assert m.assignment.tolist() == [1, 0]

    def test_one_row(self):
        m = gtn_label.match(np.array([[2.0]]), np.array([[-1.0]]))
        assert m.assignment.tolist() == [0]
        assert m.cosine.tolist() == [-1.0]


class TestSources:
    def test_are_drawn_from_the_seed(self):
        latents = gaussian(50, 4)
        drawn = np.random.Generator(np.random.Philox(3)).standard_normal((50, 4), dtype=np.float32)
        m = gtn_label.match(latents, seed=3)
        np.testing.assert_array_equal(m.sources, drawn)
        np.testing.assert_array_equal(m.assignment, gtn_label.match(latents, drawn).assignment)

    def test_seed_is_unused_when_given(self):
        latents, sources = gaussian(50, 4), gaussian(50, 4, 1)
        one, two = (gtn_label.match(latents, sources, seed=seed) for seed in (1, 2))
        np.testing.assert_array_equal(one.assignment, two.assignment)

    def test_drawn_with_groups(self):
        labels = np.arange(40) % 3
        m = gtn_label.match(gaussian(40, 3), groups=(labels, labels))
        np.testing.assert_array_equal(labels[m.assignment], labels)

    @pytest.mark.parametrize("seed", [0, 2**63, 2**200, np.int64(5), np.uint8(5)])
    def test_seeds_of_any_size_and_integer_type(self, seed):
        assert gtn_label.match(gaussian(5, 2), seed=seed).meta["seed"] == int(seed)


class TestInputs:
    def test_numpy_scalars_as_options(self):
        latents = gaussian(30, 3)
        m = gtn_label.match(
            latents, cone=np.int32(2), center=np.bool_(True), threads=np.int64(1), seed=np.int8(0)
        )
        plain = gtn_label.match(latents, cone=2, center=True, threads=1)
        np.testing.assert_array_equal(m.assignment, plain.assignment)


class TestMemory:
    def test_beyond_int64_is_no_limit(self):
        assert gtn_label.match(gaussian(30, 3), memory=10**30).assignment.shape == (30,)


class TestStats:
    def test_say_what_ran(self):
        stats = gtn_label.match(gaussian(30, 3), gaussian(20, 3, 1), threads=1).stats
        assert (stats["n"], stats["m"], stats["dim"]) == (20, 30, 3)
        assert stats["backend"] == "cpu"
        assert f"cpu:{stats['instruction_set']}" in [row.name for row in gtn_label.backends()]
        assert stats["threads"] == 1
        seconds = stats["seconds"]
        assert min(seconds.values()) >= 0
        assert seconds["total"] >= seconds["prepare"]


class TestProgress:
    def test_callback_is_told_the_end(self):
        calls = []
        gtn_label.match(gaussian(60, 3), progress=lambda *call: calls.append(call))
        done, total, left = calls[-1]
        assert (done, total) == (60, 60)
        assert left == 0.0

    def test_true_draws_a_bar_on_stderr(self, capfd):
        gtn_label.match(gaussian(60, 3), progress=True)
        out, err = capfd.readouterr()
        assert out == ""
        assert "60/60" in err

    @pytest.mark.parametrize("silent", [None, False])
    def test_silence(self, silent, capfd):
        gtn_label.match(gaussian(60, 3), progress=silent)
        assert capfd.readouterr() == ("", "")

    def test_no_estimate_before_there_is_a_rate(self):
        calls = []
        bar = Progress(lambda *call: calls.append(call), total=10, latents=10, start=4)
        bar(4)
        bar(5)
        assert calls[0] == (4, 10, None)
        assert calls[1][2] > 0

    def test_estimate_follows_the_work_left(self, monkeypatch):
        clock = iter([100.0, 103.0, 104.0])
        monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
        calls = []
        bar = Progress(lambda *call: calls.append(call), total=4, latents=4)
        bar(2)  # 4 + 3 of 4 + 3 + 2 + 1 comparisons in 3 s
        bar(4)
        assert calls == [(2, 4, pytest.approx(3.0 * 3 / 7)), (4, 4, 0.0)]


IMPORTS = """
import sys
import gtn_label
{statement}
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(" ".join(sorted(loaded & {{"torch", "faiss", "matplotlib", "sklearn", "scipy", "tqdm"}})))
"""


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("", ""),
        ("import numpy; gtn_label.match(numpy.ones((3, 2))).pairs(); gtn_label.backends()", ""),
        ("import numpy; gtn_label.match_quantile(numpy.arange(3.0))", ""),
        ("import numpy; gtn_label.match(numpy.ones((3, 2)), progress=True)", "tqdm"),
    ],
)
def test_nothing_heavy_is_imported_unasked(statement, expected):
    code = IMPORTS.format(statement=statement)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == expected


def test_version_is_that_of_the_distribution():
    pyproject = pathlib.Path(__file__).parents[2] / "pyproject.toml"
    (version,) = re.findall(r'^version = "(.*)"$', pyproject.read_text(), flags=re.MULTILINE)
    assert gtn_label.__version__ == version
