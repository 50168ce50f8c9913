"""One process of gtn-label-cluster: what it writes, prints, refuses and returns.

Several processes are in test_launcher.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import gtn_label
from gtn_label import open_pairs
from gtn_label.cluster import output, plan
from gtn_label.cluster.command import OUTCOME, Command
from gtn_label.cluster.exchange import Solo
from gtn_label.cluster.options import LAUNCH, cli, parse, split

LATENTS = np.random.Generator(np.random.Philox(2)).standard_normal((300, 4)).astype(np.float32)
SOURCES = np.random.Generator(np.random.Philox(3)).standard_normal((200, 4))
GROUPS = ["--source-groups", "s0.npy", "--latent-groups", "l0.npy"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i in range(3):
        np.save(tmp_path / f"l{i}.npy", LATENTS[100 * i : 100 * (i + 1)])
    np.save(tmp_path / "s0.npy", SOURCES[:150])
    np.save(tmp_path / "s1.npy", SOURCES[150:])
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", OUTCOME):
        monkeypatch.setenv(name, "")  # so that what the command sets is taken back
        monkeypatch.delenv(name)
    return tmp_path


def run(*argv: object) -> int:
    return Command([str(each) for each in argv]).run(last=False)


def wrong(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Return the one line of a refusal."""
    assert run(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gtn-label-cluster: error: ")
    assert err.count("\n") == 1
    return err.removeprefix("gtn-label-cluster: error: ").rstrip("\n")


def assignment(out: str) -> np.ndarray:
    pairs = open_pairs(out, check=True)
    return pairs.read(0, len(pairs), ("assignment",))[0]


# ------------------------------------------------------------------------------- what it writes


@pytest.mark.parametrize("drawn", [False, True])
def test_groups(folder: Path, capsys: pytest.CaptureFixture[str], drawn: bool) -> None:
    labels = np.array(["a", "b", "c"])[np.arange(300) % 3]
    np.save("of-latents.npy", labels)
    np.save("of-sources.npy", labels[::-1] if drawn else labels[:200])
    sources = [] if drawn else ["--sources", "s?.npy"]
    groups = ["--source-groups", "of-sources.npy", "--latent-groups", "of-latents.npy"]
    assert run("l*.npy", *sources, *groups, "--out", "pairs", "--journal", "j") == 0
    assert not Path("j").exists()
    whole = gtn_label.match(
        LATENTS, None if drawn else SOURCES, groups=(np.load("of-sources.npy"), labels), seed=0
    )
    np.testing.assert_array_equal(assignment("pairs"), whole.assignment)
    assert "3, 0 by all processes together" in capsys.readouterr().out
    np.save("of-latents.npy", np.sort(labels)[::-1].repeat(2)[:300])
    text = wrong(capsys, "l*.npy", *sources, *groups, "--out", "other")
    assert text.startswith(
        "--source-groups and --latent-groups: a group must have at least as many"
    )


def test_pairs_are_those_of_match(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--", "l*.npy", "--out", "pairs", "--seed", 5) == 0  # as torchrun hands it on
    whole = gtn_label.match(LATENTS, seed=5)
    pairs = open_pairs("pairs", check=True)
    np.testing.assert_array_equal(pairs.read(0, 300)[0], whole.pairs()[0])
    np.testing.assert_array_equal(pairs.read(0, 300)[1], whole.pairs()[1])
    np.testing.assert_array_equal(pairs.read(0, 300, ("cosine",))[0], whole.cosine)
    assert [each["rows"] for each in pairs.manifest["latent_files"]] == [100, 100, 100]
    out, err = capsys.readouterr()
    assert err == ""
    names = [line.split("  ")[0] for line in out.splitlines()]
    assert names == [
        *("n", "dim", "processes", "time", "of the match", "pairs a second", "mean cosine"),
        *("windows", "exchanged", "pairs"),
    ]
    assert f"{whole.cosine.mean():.4f}" in out


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        (["--order", "norm_desc"], {"order": "norm_desc"}),
        (["--cone", "3"], {"cone": 3}),
        (["--center"], {"center": True}),
        (["--backend", "cpu:avx2", "--threads", "1", "--memory", "1GB"], {}),
    ],
)
def test_options_are_those_of_match(folder: Path, argv: list[str], options: dict[str, Any]) -> None:
    assert run("l*.npy", "--out", "p", "--quiet", *argv) == 0
    np.testing.assert_array_equal(assignment("p"), gtn_label.match(LATENTS, **options).assignment)


def test_a_folder_in_use_is_refused_before_the_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("l*.npy", "--out", "p", "-q") == 0
    before = sorted(each.name for each in Path("p").iterdir())
    with output.locked(Solo(), "p"):
        text = wrong(capsys, "l*.npy", "--out", "p", "--journal", "run.journal")
    assert text.startswith("--out must be a folder that no other run writes to, and 'p' is in use")
    assert sorted(each.name for each in Path("p").iterdir()) == before
    assert not Path("run.journal").exists()
    assert run("l*.npy", "--out", "p", "-q") == 0


@pytest.mark.parametrize("grouped", [False, True])
def test_optimal(folder: Path, capsys: pytest.CaptureFixture[str], grouped: bool) -> None:
    np.save("groups.npy", np.arange(300) % 3)
    labels = np.load("groups.npy") if grouped else None
    groups = ["--source-groups", "groups.npy", "--latent-groups", "groups.npy"]
    argv = ["l*.npy", "--out", "p", "--optimal", "--tolerance", 0.1, "--center", "--journal", "j"]
    argv += groups if grouped else []
    assert run(*argv) == 0
    expected = gtn_label.match_optimal(
        LATENTS, tolerance=0.1, center=True, groups=(labels, labels) if grouped else None
    )
    np.testing.assert_array_equal(assignment("p"), expected.assignment)
    assert open_pairs("p").prices.tobytes() == expected.prices.tobytes()
    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [
        *("n", "dim", "processes", "time", "of the match", "pairs a second", "mean cosine"),
        *(["groups"] if grouped else []),
        *("cost", "lower bound", "gap", "auction", "exchanged", "pairs", "journal"),
    ]
    assert run(*argv, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("cost", "lower_bound", "gap"):
        assert found["optimal"][name] == getattr(expected, name)
    assert found["optimal"]["tolerance"] == 0.1
    assert not (folder / "j").exists()


def test_sources_of_several_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["l*.npy", "--sources", "s0.npy", "--sources", "s1.npy", "--out", "p", "--json"]
    assert run(*argv, "--indices-only", "--shard-rows", 90) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["latents"], found["shards"], found["seed"]) == (200, 300, 3, None)
    assert found["seconds"]["total"] > 0
    expected = gtn_label.match(LATENTS, SOURCES)
    np.testing.assert_array_equal(assignment("p"), expected.assignment)
    assert open_pairs("p").dim is None


def test_parquet_in_and_out(folder: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    flat = pa.array(LATENTS.reshape(-1))
    table = pa.table({"id": range(300), "z": pa.FixedSizeListArray.from_arrays(flat, 4)})
    parquet.write_table(table, folder / "latents.parquet", row_group_size=64)
    argv = ["latents.parquet", "--key", "z", "--out", "p", "--format", "parquet", "-q"]
    assert run(*argv) == 0
    pairs, whole = open_pairs("p", check=True), gtn_label.match(LATENTS)
    np.testing.assert_array_equal(pairs.read(0, 300)[1], whole.pairs()[1])


def test_a_default_folder_is_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("l*.npy", "-q") == 0
    assert len(open_pairs("pairs")) == 300
    assert wrong(capsys, "l*.npy") == (
        "--out is not given, and 'pairs' exists already: name it with --out to replace it, or name "
        "another folder"
    )
    assert run("l*.npy", "-q", "--out", "pairs", "--seed", 1) == 0
    np.testing.assert_array_equal(assignment("pairs"), gtn_label.match(LATENTS, seed=1).assignment)


def test_a_default_folder_that_is_not_finished_is_replaced(folder: Path) -> None:
    """A run that is killed leaves the folder, and the same command continues."""
    (folder / "pairs").mkdir()
    (folder / "pairs" / "pairs-0123abcd-r00000-00000.npz").write_text("half")
    assert run("l*.npy", "-q", "--journal", "j") == 0
    assert len(open_pairs("pairs", check=True)) == 300


def test_pairs_that_are_the_input_are_not_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    assert run("l*.npy", "--out", "p", "--format", "parquet", "-q") == 0
    text = wrong(capsys, "p/*.parquet", "--key", "labels", "--out", f"{folder}/p")
    assert text.startswith("--out must not hold the input, got ")
    assert len(open_pairs("p", check=True)) == 300


def test_a_refusal_leaves_no_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong(capsys, "l*.npy", "--out", "p", "--backend", "abc")
    assert not (folder / "p").exists()
    (folder / "p").mkdir()  # a folder of the user's stays
    wrong(capsys, "l*.npy", "--out", "p", "--backend", "abc")
    assert (folder / "p").exists()


def test_a_plan_of_the_launcher_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's RANK, as Kubeflow sets it, is not that of the launcher's only process."""
    monkeypatch.setenv("RANK", "1")
    Command(["l*.npy", "--plan"], world=2, local=2).work()
    assert "processes  2 on 1 machine" in capsys.readouterr().out


def test_a_journal_is_removed_at_the_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("l*.npy", "--out", "p", "--journal", "j") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("j (removed)")
    assert not (folder / "j").exists()


def test_a_journal_outlives_a_full_disk(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        full = mock.Mock(side_effect=OSError(28, "No space left on device"))
        patch.setattr(output, "write_npz_to", full)
        assert run("l*.npy", "--out", "p", "--journal", "j", "--journal-every", 0) == 1
    err = capsys.readouterr().err
    assert "No space left on device; 'j' holds what was decided" in err
    assert run("l*.npy", "--out", "p", "--journal", "j") == 0
    assert "j (continued at 300, removed)" in capsys.readouterr().out
    np.testing.assert_array_equal(assignment("p"), gtn_label.match(LATENTS).assignment)


def test_a_journal_of_optimal_transport_outlives_a_full_disk(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["l*.npy", "--out", "p", "--optimal", "--journal", "j"]
    with monkeypatch.context() as patch:
        full = mock.Mock(side_effect=OSError(28, "No space left on device"))
        patch.setattr(output, "write_npz_to", full)
        assert run(*argv) == 1
    err = capsys.readouterr().err
    assert "No space left on device; 'j' holds what was decided" in err
    assert "--journal 'j' belongs to another run: --tolerance was 0.001 and is 0.5" in wrong(
        capsys, *argv, "--tolerance", 0.5
    )
    assert run(*argv) == 0
    assert re.search(r"j \(continued after [\d,]+ rounds, removed\)", capsys.readouterr().out)
    np.testing.assert_array_equal(assignment("p"), gtn_label.match_optimal(LATENTS).assignment)


# ---------------------------------------------------------------------------------------- plans


def test_a_plan_runs_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["l*.npy", "--sources", "s*.npy", "--plan"]
    assert Command(argv, world=8, local=4).run(last=False) == 0
    text = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert text["n"].strip() == "200"
    assert text["processes"].strip().startswith("8 on 2 machines, ")
    assert not (folder / "pairs").exists()
    assert Command([*argv, "--json"], world=8, local=4).run(last=False) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["m"], found["ranks"], found["machines"]) == (300, 8, 2)


def test_a_plan_refuses_what_does_not_fit(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "available_memory", lambda: 1000)
    assert run("l*.npy", "--plan") == 2
    out, err = capsys.readouterr()
    assert out.startswith("n ")
    assert "error: the run does not fit: 1 process on this machine would need" in err


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        ([], "LATENTS is missing"),
        (["no*.npy"], "LATENTS 'no*.npy' matches no file"),
        (["l*.npy", "--cone", "0"], "Invalid value for '--cone': must be an integer >= 1, got '0'"),
        (["l*.npy", "--seed", "1", "--sources", "s0.npy"], "--seed draws the sources, and"),
        (["l*.npy", "--sources-key", "a"], "--sources-key needs --sources"),
        (["l*.npy", "--out", "-"], "'-' is no folder"),
        (["l*.npy", "--out", "l0.npy"], "--out 'l0.npy' must be a folder, and is a file"),
        (["l*.npy", "--out", "."], "--out must not hold the input, got '.'"),
        (["l*.npy", "--out", "a/b"], "must be in a folder that exists"),
        (["l*.npy", "--journal", "l0.npy"], "--journal 'l0.npy'"),
        (["l*.npy", "--out", "p", "--journal", "p/j"], "--journal must not be in the folder of"),
        (["l*.npy", "--key", "a"], "--key 'a' has no meaning for LATENTS 'l0.npy'"),
        (["l*.npy", "--memory", "1kB"], "--memory must be at least "),
        (["l*.npy", "--backend", "faiss"], "--backend must be 'auto', 'cpu' or 'cuda'"),
        (["l0.npy", "--sources", "s*.npy"], "must not exceed the 100 latents, got 200 sources"),
        (["l*.npy", "--approx", "Flat"], "--approx searches on one machine. Use gtn-label."),
        (["l*.npy", "--source-groups", "s0.npy"], "--source-groups needs --latent-groups beside"),
        (["l*.npy", *GROUPS, "--plan"], "--plan must be left out: a run with groups has no plan."),
        (
            ["l*.npy", *GROUPS],
            "--source-groups must be 1-D with one label for each of the 300 sources, got shape",
        ),
        (["l*.npy", "--optimal", "--cone", "1"], "--cone has no meaning with --optimal."),
        (["l*.npy", "--optimal", "--order", "norm"], "--order has no meaning with --optimal."),
        (["l*.npy", "--optimal", "--plan"], "--plan must be left out: a run with --optimal has no"),
        (["l*.npy", "--tolerance", "1"], "--tolerance needs --optimal."),
        (["l*.npy", "--optimal", "--memory", "9"], "--memory must be at least "),
        (["l*.npy", "--no-labels"], "--no-labels is called --indices-only."),
        (["l*.npy", "--checkpoint", "a"], "use --journal."),
        (["l*.npy", "--nproc-per-node", "2"], "--nproc-per-node is for gtn-label-cluster, which"),
    ],
)
def test_refusals_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], what: str
) -> None:
    assert what in wrong(capsys, *argv)


def test_bad_rows_are_named_by_their_place_among_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = LATENTS[200:].copy()
    rows[7] = np.nan
    np.save(folder / "l2.npy", rows)
    text = wrong(capsys, "l*.npy", "--out", "p")
    assert text.startswith("LATENTS 'l*.npy' must be finite")
    assert "row 207" in text


def test_other_processes_are_silent(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each process finds in its command line is said by the first alone."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run("l*.npy", "--cone", 0) == 2
    assert run("--help") == 0
    assert run("l*.npy", "--plan") == 0
    assert capsys.readouterr() == ("", "")


def test_restarts_that_cannot_succeed_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    variables = {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_MAX_RESTARTS": "3"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", raising=False)
    text = wrong(capsys, "l*.npy", "--out", "p")
    assert text.startswith("--max-restarts needs the environment variable TORCH_DISABLE_SHARE")


def test_the_launcher_hears_the_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent would start processes again that end with another code than 0."""
    (folder / "outcome").mkdir()
    monkeypatch.setenv(OUTCOME, str(folder / "outcome"))
    assert run("no*.npy") == 0
    assert (folder / "outcome" / "code-0").read_text() == "2"
    with monkeypatch.context() as patch:
        patch.setattr(output, "write_npz_to", mock.Mock(side_effect=OSError(28, "full")))
        assert run("l*.npy", "--out", "p") == 0
    assert (folder / "outcome" / "code-0").read_text() == "1"


# ------------------------------------------------------------------------------ the command line


def test_the_command_line_is_divided() -> None:
    argv = ["--nproc-per-node", "2", "a.npy", "--nnodes=1", "--out", "p", "--", "--nnodes", "b"]
    launch, rest = split(argv)
    assert launch == ["--nproc-per-node", "2", "--nnodes=1"]
    assert rest == ["a.npy", "--out", "p", "--nnodes", "b"]
    asked = parse(["--nproc-per-node", "2", "a.npy"])
    assert asked is not None
    assert asked.launch == {"--nproc-per-node": 2}


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--help"]) is None
    text = capsys.readouterr().out
    for param in cli.params:
        if not getattr(param, "hidden", False) and param.opts[0].startswith("-"):
            assert param.opts[0] in text
    assert set(LAUNCH) <= {param.opts[0] for param in cli.params}
    assert "torchrun --nproc-per-node 8 --max-restarts 3 -m gtn_label.cluster --" in text
    assert "\n  Exit codes:\n    0 done\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"gtn-label-cluster {gtn_label.__version__}\n"
