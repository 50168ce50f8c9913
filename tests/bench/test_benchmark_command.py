"""The command: options, files that it writes, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_cases import ROOT, SETTINGS

from benchmarks import __main__ as command
from benchmarks import data, results, throughput
from benchmarks.peers import BY_NAME
from benchmarks.process import environment

COMMAND = (sys.executable, "-m", "benchmarks")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, str]:
    """One small run of the command with three modes: prefix, record, stderr."""
    prefix = tmp_path_factory.mktemp("results") / "small"
    arguments = ["compare", "scaling", "throughput", "--shape", "64x4", "--quick", "--runs", "1"]
    arguments += ["--peers", "numpy_greedy,gtn_label:cuda,gtn_label:scalar"]
    done = subprocess.run(
        [*COMMAND, *arguments, "--threads", "1", "--out", str(prefix)],
        cwd=ROOT,
        env=environment(1, {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == prefix.with_suffix(".md").read_text()
    return prefix, json.loads(prefix.with_suffix(".json").read_text()), done.stderr


def test_end_to_end(small) -> None:
    prefix, record, progress = small
    # No targets of the throughput where a problem was named.
    assert [s["kind"] for s in record["sections"]] == ["compare", "scaling", "throughput"]
    compared = record["sections"][0]["rows"]
    assert [row["peer"] for row in compared] == [
        *["gtn_label", "numpy_greedy", "gtn_label:cuda", "gtn_label:scalar"]
    ]
    assert "not available here" in compared[2]["note"] or compared[2]["seconds"]
    assert compared[3]["stats"]["instruction_set"] == "scalar"
    assert "identical to the oracle" in progress
    command = record["runs"][0]["command"]
    assert command.startswith("python -m benchmarks compare scaling")
    assert prefix.with_suffix(".svg").read_text().lstrip().startswith("<?xml")


def test_tables_come_from_the_json_alone(small, tmp_path: Path) -> None:
    prefix, record, _ = small
    copy = tmp_path / "small.json"
    copy.write_text(json.dumps(record))
    text = results.render([copy], None)
    assert text == prefix.with_suffix(".md").read_text()
    assert "| greedy over NumPy blocks |" in text
    assert "n = 512" in text  # eight times 64
    assert "| pairs a second | n = 64 |" in text
    wins = text.partition("## Where others win")[2]
    assert wins.count("\n- 64 × 4, isotropic: ") == 2  # of the comparison and the scaling
    assert "\n- 512 × 4, isotropic: " in wins
    assert copy.with_suffix(".svg").exists()


def test_interruption_keeps_the_rows(tmp_path: Path) -> None:
    prefix = tmp_path / "broken"
    arguments = ["--peers", "numpy_greedy", "--shape", "100x4", "--runs", "100000"]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--quick", "--out", str(prefix)],
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
        (["compere"], "did you mean compare?"),
        (["--peers", "numpy_gredy"], "did you mean numpy_greedy"),
        (["--data", "nothing*"], "no data set 'nothing*'"),
        (["--shape", "100"], "not a shape like"),
        (["--runs", "0"], "at least 1"),
        (["--limit", "-1"], "not a positive number"),
        (["--latents", "missing.npy"], "missing.npy"),
        (["--data", "swiss_roll", "--shape", "10x2"], "has dim 1, got dim 2"),
        (["compare", "--budget", "9"], "--budget belongs to throughput"),
        (["throughput", "--peers", "bsp_ot*"], "throughput times Algorithm 1 alone"),
        (["targets", "--shape", "5x5"], "which are 50000x768"),
        (["--render", "missing.json"], "missing.json"),
        (["--render", "a.json", "b.json"], "needs --out"),
        (["--render", "missing.json", "--quick"], "--render runs nothing and goes alone, got"),
        (["--list", "--quick", "--scale", "1"], "goes alone, got --scale and --quick"),
    ],
)
def test_wrong_usage(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("rows", [np.ones((0, 3)), np.ones((1, 3)), np.zeros((5, 3))])
def test_refused_latents_are_wrong_usage(rows, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "refused.npy", rows)
    with pytest.raises(SystemExit) as stopped:
        command.main(["--latents", str(tmp_path / "refused.npy"), "--quick"])
    assert stopped.value.code == 2
    assert "refused.npy must hold" in capsys.readouterr().err


def test_list_names_everything(capsys) -> None:
    assert command.main(["--list"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in [*BY_NAME, *data.DATASETS])


def test_nothing_timed_is_a_failure_and_leaves_no_plot(tmp_path: Path, capsys) -> None:
    absent = next(p for p in throughput.everybody() if p.missing())
    picture = tmp_path / "t.svg"
    picture.write_text("of an earlier run")
    arguments = ["throughput", "--quick", "--shape", "50x3", "--peers", absent.name]
    assert command.main([*arguments, "--out", str(tmp_path / "t")]) == 1
    assert "nothing could be timed: the table says why" in capsys.readouterr().err
    text = (tmp_path / "t.md").read_text()
    assert "### dim" not in text
    assert absent.missing() in text
    assert not picture.exists()


def test_targets_are_told_even_if_the_throughput_is_interrupted(monkeypatch) -> None:
    def interrupted(planned, settings, budget, shape, section) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(throughput, "throughput", interrupted)
    sections: list[dict] = []
    options = command.parser().parse_args(["throughput", "--quick"])
    with pytest.raises(KeyboardInterrupt):
        command.measure_throughput(options, SETTINGS, 1.0, sections)
    assert sections[-1]["kind"] == "targets"
    assert {line["result"] for line in sections[-1]["lines"]} == {"not measured"}
