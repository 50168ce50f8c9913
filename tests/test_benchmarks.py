"""The benchmark suite: it must catch wrong answers, say what it lacks, and keep what it measured.

Runs are tiny and nothing here looks at a time. Peers that need packages of the extra bench are
skipped with the reason they give. Not here: whether the engine is right (test_differential.py).
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gtn_label
from benchmark_settings import SETTINGS
from benchmarks import __main__ as command
from benchmarks import check, data, floors, harness, peers, quality, report, suite
from benchmarks.harness import Case, Contest, Entry
from benchmarks.peer import Budget, Cost, needs
from benchmarks.peers import BY_NAME, OURS, PEERS
from benchmarks.process import Worker, WorkerFailed, environment
from gtn_label import _core

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents, sources and the exact assignment."""
    latents, sources = data.latents("isotropic", 400, 6), data.sources(400, 6)
    return latents, sources, np.array(gtn_label.match(latents, sources).assignment)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, str]:
    """One small run of the command with two of the parts: prefix, record, stderr."""
    prefix = tmp_path_factory.mktemp("results") / "small"
    done = run_command(
        *["--compare", "--scaling", "--shape", "64x4", "--data", "isotropic"],
        *["--peers", "numpy_greedy,gtn_label:cuda,gtn_label:scalar", "--quick", "--runs", "1"],
        *["--threads", "1", "--out", str(prefix)],
    )
    assert done.returncode == 0, done.stderr
    return prefix, json.loads(prefix.with_suffix(".json").read_text()), done.stderr


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=environment(1, {}),
        capture_output=True,
        text=True,
        check=False,
    )


class TestChecks:
    def test_accepts_the_engine(self, problem) -> None:
        latents, sources, exact = problem
        assert check.check_exact(latents, sources, exact, 40) == "identical to the oracle"
        assert quality.measure(latents, sources, exact, exact).identical == 1

    def test_large_answers_are_sampled(self, problem, monkeypatch) -> None:
        monkeypatch.setattr(check, "WHOLE_WORK", 0)
        latents, sources, exact = problem
        assert "choices are the oracle's" in check.check_exact(latents, sources, exact, 800)
        swapped = exact.copy()
        swapped[[3, 4]] = swapped[[4, 3]]
        with pytest.raises(check.WrongAnswer, match="the contract gives"):
            check.check_exact(latents, sources, swapped, 800)
        swapped[3] = swapped[4]
        with pytest.raises(check.WrongAnswer, match="taken twice"):
            check.check_exact(latents, sources, swapped, 800)

    def test_rejects_another_assignment(self, problem) -> None:
        latents, sources, exact = problem
        with pytest.raises(check.WrongAnswer, match="the oracle gives another"):
            check.check_exact(latents, sources, np.roll(exact, 1), 40)

    @pytest.mark.parametrize(
        ("kind", "fault", "message"),
        [
            ("contract", "swap", "are the exact ones"),
            ("greedy", "random", "mean cosine"),
            ("greedy", "twice", "taken twice"),
            ("optimal", "random", "random pairs have"),
            ("optimal", "none", "another peer has"),
            ("pairing", "random", "random pairs have"),
            ("pairing", "impossible", "the optimum is"),
            ("pairing", "part", "sources have a latent"),
        ],
    )
    def test_holds_a_peer_to_its_promise(self, problem, kind, fault, message) -> None:
        latents, sources, exact = problem
        answer = exact.copy()
        if fault == "swap":
            answer[[3, 4]] = answer[[4, 3]]
        elif fault == "twice":
            answer[3] = answer[4]
        elif fault == "part":
            answer[9] = -1
        elif fault == "random":
            answer = np.random.default_rng(0).permutation(400)
        measured = quality.measure(latents, sources, answer, exact)
        ours = quality.measure(latents, sources, exact, exact)
        distance = ours.mean_squared_distance
        least = 0.9 * distance if fault == "none" else distance
        optimum = 1.1 * distance if fault == "impossible" else None
        chance = check.chance(latents, sources)
        chance = chance if fault != "random" else 0.9 * chance
        with pytest.raises(check.WrongAnswer, match=message):
            check.judge(kind, measured, ours.mean_cosine, chance, least, optimum)
        check.judge(kind, ours, ours.mean_cosine, 2 * distance, distance, None)

    def test_figures_by_hand(self) -> None:
        latents = np.array([[2, 0], [0, 1], [-3, 0]], dtype=np.float32)
        sources = np.array([[1, 0], [0, 3], [1, 0]], dtype=np.float32)
        measured = quality.measure(latents, sources, np.array([0, 1, 2]), np.array([0, 2, 1]))
        assert measured.one_to_one
        assert measured.identical == pytest.approx(1 / 3)
        assert measured.mean_cosine == pytest.approx(1 / 3)
        assert measured.mean_squared_distance == pytest.approx((1 + 4 + 16) / 3)
        assert measured.last_decile_cosine == 1  # the source of norm 3
        part = quality.measure(latents, sources, np.array([0, -1, 2]), np.array([0, 2, 1]))
        assert (part.visited, part.mean_squared_distance) == (2, None)
        for wrong, message in (([0, 1, 3], "out of range"), ([0, 1], "one latent a source")):
            with pytest.raises(ValueError, match=message):
                quality.measure(latents, sources, np.array(wrong), np.array([0, 1, 2]))


class TestPeers:
    @pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
    def test_keeps_its_promise(self, problem, peer, monkeypatch) -> None:
        if peer.missing():
            pytest.skip(peer.missing())
        for name, value in peer.environment().items():
            monkeypatch.setenv(name, value)
        latents, sources, exact = problem
        answer = peer.match(latents, sources, Budget(1, 100)).assignment
        measured = quality.measure(latents, sources, answer, exact)
        cosine = quality.measure(latents, sources, exact, exact).mean_cosine
        chance = check.chance(latents, sources)
        check.judge(peer.kind, measured, cosine, chance, np.inf, None)
        if peer.kind != "approximate":  # which may find every exact choice, and need not
            assert (measured.identical > 0.99) == (peer.kind in ("contract", "greedy"))

    def test_exact_solvers_agree(self, problem) -> None:
        latents, sources, exact = problem
        solvers = [peer for peer in PEERS if peer.kind == "optimal" and not peer.missing()]
        if len(solvers) < 2:
            pytest.skip("needs two of the exact solvers")
        distances = [
            quality.measure(
                latents, sources, peer.match(latents, sources, Budget(1, 100)).assignment, exact
            ).mean_squared_distance
            for peer in solvers
        ]
        assert distances == pytest.approx([distances[0]] * len(distances))

    def test_authors_loop_stands_for_the_whole_by_a_part(self, problem, monkeypatch) -> None:
        monkeypatch.setattr(peers.authors_loop, "PART", 50)
        latents, sources, exact = problem
        answer = BY_NAME["authors_loop"].match(latents, sources, Budget(1, 0))
        assert (answer.assignment >= 0).sum() == 50
        assert "estimated from 50 of 400" in answer.note
        assert answer.loop_seconds > 0
        assert quality.measure(latents, sources, answer.assignment, exact).identical > 0.99

    def test_names_are_unique_and_every_backend_has_a_row(self) -> None:
        assert len(BY_NAME) == len(PEERS)
        backends = {row.name for row in gtn_label.backends()} - {"cpu", "faiss"}  # synonyms
        names = {name.removeprefix("cpu:").replace(":", "_") for name in backends}
        names = names - {"faiss_python"} | {"faiss", "faiss_cuda", "cuda", "cuda_on_device"}
        assert {"gtn_label"} | {f"gtn_label:{name}" for name in names} == {
            peer.name for peer in PEERS if peer.kind == "contract"
        }

    def test_missing_package_says_what_to_install(self) -> None:
        assert "pip install '.[bench]'" in needs("no_such_module_here", "nothing")()
        assert "pip install '.[bench]'" in needs("no_such_module.inside", "nothing")()
        assert needs("numpy", "numpy")() == ""


class TestData:
    @pytest.mark.parametrize("name", list(data.DATASETS))
    def test_data_sets_are_valid_latents(self, name: str) -> None:
        dim = 1 if name == "swiss_roll" else 3
        latents = data.latents(name, 120, dim)
        assert latents.shape == (120, dim)
        assert latents.dtype == (np.float64 if name == "double" else np.float32)
        assert np.array_equal(latents, data.latents(name, 120, dim))
        assert data.describe(name)
        gtn_label.match(latents, data.sources(120, dim))

    def test_swiss_roll_has_one_dimension(self) -> None:
        with pytest.raises(ValueError, match="dim 1, got 3"):
            data.latents("swiss_roll", 10, 3)
        assert not suite.fits("swiss_roll", 3)

    def test_reads_files_and_refuses_others(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.npy"
        np.save(path, np.ones((5, 2), np.float16))
        assert data.read(path).dtype == np.float32
        assert str(suite.file_case(path)) == "5 × 2, rows.npy"
        for rows, message in (
            (np.ones(5), "one array of numbers"),
            (np.full((2, 2), np.nan), "NaN"),
            (np.array([["a"]]), "one array of numbers"),
            (np.ones((0, 3)), r"rows\.npy must hold .* n > 1 and dim > 0, got \[0, 3\]"),
            (np.ones((1, 3)), r"got \[1, 3\]"),
            (np.ones((2, 0)), r"got \[2, 0\]"),
            (np.array([[1, 1], [0, 0]]), r"rows\.npy must hold rows with norms .* row 1 has none"),
            (np.array([[1e200, 1], [1, 1]]), "row 0 has none"),
            (np.array([[1, 1], [1e-200, 0]]), "row 1 has none"),
            (np.eye(2).repeat([data.BLOCK, 1], axis=0) * [[1, 0]], "row 10000 has none"),
        ):
            np.save(path, rows)
            with pytest.raises(ValueError, match=message):
                data.read(path)
        path.write_bytes(b"nothing")
        with pytest.raises(ValueError, match=r"not a \.npy file"):
            data.read(path)


class TestFloors:
    def test_sgemm_finds_a_block_and_measures_it(self) -> None:
        found = floors.sgemm(300, 5, None, 0.001)
        assert found["block"] in ([256, 300], [300, 300])
        assert floors.sgemm(300, 5, found["block"], 0.001)["rate"] > 0

    def test_int8_rate_of_every_instruction_set(self) -> None:
        for row in _core.instruction_sets():
            if row["supported"]:
                for dim in (1, 7, 100, 4096):
                    assert floors.int8(row["name"], dim, 2, 0.001)["rate"] > 1e6
        with pytest.raises(ValueError, match="must be auto or one of"):
            _core.int8_rate("none", 4, 0.001)
        with pytest.raises(ValueError, match="dim must be >= 1, got 0"):
            _core.int8_rate("scalar", 0, 0.001)


class TestHarness:
    def entries(self, *names: str) -> list[Entry]:
        ours = Entry(OURS, Case("isotropic", 100, 4), 1)
        return [ours, *(dataclasses.replace(ours, peer=BY_NAME[n], against=ours) for n in names)]

    def rows(self, entries: list[Entry], **changes) -> list[dict]:
        contest = Contest(entries, dataclasses.replace(SETTINGS, **changes))
        contest.run()
        return contest.rows()

    def test_rows_carry_everything(self) -> None:
        ours, blocks = self.rows(self.entries("numpy_greedy"))
        for row in (ours, blocks):
            assert len(row["seconds"]["runs"]) == 2
            assert row["cpu_seconds"]["median"] > 0
            assert row["peak_bytes"] > row["inputs_bytes"] == 2 * 100 * 4 * 4
            assert row["same_twice"]
            assert row["quality"]["one_to_one"]
            assert row["sgemm_ratio"]["median"] > 0
        quotients = [
            b / a for a, b in zip(*(r["seconds"]["runs"] for r in (ours, blocks)), strict=True)
        ]
        assert blocks["ratio"]["runs"] == pytest.approx(quotients)
        assert ours["int8_ratio"]["median"] > 0
        assert blocks["int8_ratio"] is None

    def test_wrong_answer_of_a_peer_is_a_row_and_ours_is_an_error(self, monkeypatch) -> None:
        real = harness.np.load
        shuffled = np.random.default_rng(0).permutation(100)

        def load(path, *args, **kwargs):
            return shuffled if self.lie(path) else real(path, *args, **kwargs)

        monkeypatch.setattr(harness.np, "load", load)
        self.calls = 0
        self.wrong_call = 2
        row = self.rows(self.entries("numpy_greedy"))[1]
        assert row["seconds"] is None
        assert "wrong, not timed: mean cosine" in row["note"]
        self.calls, self.wrong_call = 0, 1
        with pytest.raises(check.WrongAnswer, match="oracle gives another"):
            self.rows(self.entries("numpy_greedy"))

    def lie(self, path) -> bool:
        """Whether this is the reading of an assignment that shall be wrong."""
        if Path(path).name != "assignment.npy":
            return False
        self.calls += 1
        return self.calls == self.wrong_call

    def test_limits_and_missing_packages_are_rows(self) -> None:
        entries = self.entries("numpy_greedy", "authors_loop", "gtn_label:cuda")
        changes = {
            "numpy_greedy": {"cost": lambda n, dim, seconds: Cost(1e4, 0)},
            "authors_loop": {"cost": lambda n, dim, seconds: Cost(0, 1e18)},
            "gtn_label:cuda": {"missing": lambda: "nothing is not installed"},
        }
        entries = [
            dataclasses.replace(e, peer=dataclasses.replace(e.peer, **changes[e.peer.name]))
            if e.peer.name in changes
            else e
            for e in entries
        ]
        notes = [row["note"] for row in self.rows(entries)]
        assert notes[1] == "not run: would take about 2 h 47 min, the limit is 20.0 s (--limit)"
        assert notes[2].startswith("not run: would need about 1e+06 TB")
        assert notes[3] == "nothing is not installed"

    def test_slow_peer_is_ended(self) -> None:
        arguments = {"n": 9, "dim": 2, "block": [9, 9], "seconds": 60}
        with Worker(1, {}) as worker, pytest.raises(WorkerFailed, match="not finished within 0 s"):
            worker.ask({"do": "sgemm", "arguments": arguments}, 0.2)

    def test_out_of_time_is_a_row_and_a_crash_of_ours_is_an_error(self, monkeypatch) -> None:
        row = self.rows(self.entries("gtn_label:scalar"), limit=1e-9)[1]
        assert (row["seconds"], row["note"]) == (None, "not timed: not finished within 0 s")
        unknown = dataclasses.replace(BY_NAME["gtn_label:scalar"], name="unknown")
        monkeypatch.setitem(BY_NAME, "unknown", unknown)
        with pytest.raises(check.WrongAnswer, match="KeyError: 'unknown'"):
            self.rows(self.entries("unknown"))

    def test_failures_of_a_process_are_told(self) -> None:
        arguments = {"peer": "nobody", "threads": 1, "seconds": 1, "warm_rows": 0}
        request = {"do": "load", "arguments": arguments}
        with Worker(1, {}) as worker:
            with pytest.raises(WorkerFailed, match=r"KeyError: 'nobody'"):
                worker.ask(request)
            os.kill(worker._process.pid, signal.SIGKILL)
            with pytest.raises(WorkerFailed, match="killed, most likely for want of memory"):
                worker.ask(request)

    def test_environment_is_the_rows_own(self, monkeypatch) -> None:
        monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
        monkeypatch.setenv("GTN_LABEL_INSTRUCTION_SET", "scalar")
        env = environment(3, {})
        assert env["OMP_NUM_THREADS"] == env["OPENBLAS_NUM_THREADS"] == "3"
        assert "OPENBLAS_CORETYPE" not in env
        assert "GTN_LABEL_INSTRUCTION_SET" not in env
        assert environment(3, {"OPENBLAS_CORETYPE": "Haswell"})["OPENBLAS_CORETYPE"] == "Haswell"

    def test_data_sets_are_held_against_isotropic(self) -> None:
        sections: list[dict] = []
        names = ["lattice", "isotropic", "swiss_roll"]
        suite.datasets([(100, 4)], names, SETTINGS, sections)
        rows = sections[0]["rows"]
        assert [row["data"] for row in rows] == ["isotropic", "lattice"]
        assert rows[1]["against"] == ["gtn_label", "isotropic", 100, 1]
        assert rows[1]["ratio"]["median"] > 0

    def test_first_entry_must_be_ours(self) -> None:
        with pytest.raises(ValueError, match="must be gtn_label"):
            Contest(self.entries("numpy_greedy")[1:], SETTINGS)


class TestCommand:
    def test_end_to_end(self, results) -> None:
        prefix, record, progress = results
        assert [s["kind"] for s in record["sections"]] == ["compare", "scaling"]
        compared = record["sections"][0]["rows"]
        assert [row["peer"] for row in compared] == [
            *["gtn_label", "numpy_greedy", "gtn_label:cuda", "gtn_label:scalar"]
        ]
        assert "not available here" in compared[2]["note"] or compared[2]["seconds"]
        assert compared[3]["stats"]["instruction_set"] == "scalar"
        assert "identical to the oracle" in progress
        assert record["circumstances"]["command"].startswith("python -m benchmarks --compare")
        assert prefix.with_suffix(".svg").read_text().lstrip().startswith("<?xml")

    def test_tables_come_from_the_json_alone(self, results, tmp_path: Path) -> None:
        prefix, record, _ = results
        copy = tmp_path / "small.json"
        copy.write_text(json.dumps(record))
        assert report.render(copy) == prefix.with_suffix(".md").read_text()
        text = report.render(copy)
        assert "| greedy over NumPy blocks |" in text
        assert "n = 512" in text  # eight times 64
        wins = text.partition("## Where others win")[2]
        assert wins.count("\n- 64 × 4, isotropic: ") == 2  # of the comparison and the scaling
        assert "\n- 512 × 4, isotropic: " in wins
        assert copy.with_suffix(".svg").exists()
        record["schema"] = 1
        copy.write_text(json.dumps(record))
        with pytest.raises(ValueError, match="schema 2"):
            report.render(copy)

    def test_interruption_keeps_the_rows(self, tmp_path: Path) -> None:
        prefix = tmp_path / "broken"
        arguments = ["--peers", "numpy_greedy", "--shape", "100x4", "--runs", "100000"]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", *arguments, "--quick", "--out", str(prefix)],
            cwd=ROOT,
            env=environment(1, {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "numpy_greedy: run 2" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        process.stderr.close()
        assert process.wait() == 130, rest
        record = json.loads(prefix.with_suffix(".json").read_text())
        assert record["ended"].startswith("interrupted")
        assert all(row["seconds"]["runs"][0] > 0 for row in record["sections"][0]["rows"])
        assert "**interrupted" in prefix.with_suffix(".md").read_text()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--peers", "numpy_gredy"], "did you mean numpy_greedy"),
            (["--data", "nothing*"], "no data set 'nothing*'"),
            (["--shape", "100"], "not a shape like"),
            (["--runs", "0"], "at least 1"),
            (["--limit", "-1"], "not a positive number"),
            (["--latents", "missing.npy"], "missing.npy"),
            (["--data", "swiss_roll", "--shape", "10x2"], "has dim 1, got dim 2"),
            (["--render", "missing.json"], "missing.json"),
            (["--render", "missing.json", "--quick"], "--render runs nothing and goes alone, got"),
            (["--list", "--quick", "--scale", "1"], "goes alone, got --scale and --quick"),
        ],
    )
    def test_wrong_usage(self, arguments, message, capsys) -> None:
        with pytest.raises(SystemExit) as stopped:
            command.main(arguments)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize("rows", [np.ones((0, 3)), np.ones((1, 3)), np.zeros((5, 3))])
    def test_refused_latents_are_wrong_usage(self, rows, tmp_path: Path, capsys) -> None:
        np.save(tmp_path / "refused.npy", rows)
        with pytest.raises(SystemExit) as stopped:
            command.main(["--latents", str(tmp_path / "refused.npy"), "--quick"])
        assert stopped.value.code == 2
        assert "refused.npy must hold" in capsys.readouterr().err

    def test_list_names_everything(self, capsys) -> None:
        assert command.main(["--list"]) == 0
        text = capsys.readouterr().out
        assert all(f"  {name} " in text for name in [*BY_NAME, *data.DATASETS])
