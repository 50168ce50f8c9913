"""Fuzz the readers: python -m tests.fuzz [--seconds N] [--target NAME ...] [--seed S] [--out DIR].

Each target gets its share of the time, in a process of its own. A fault is printed with a
minimised input, which is saved in DIR; a crash, a hang and an early exit are faults too. The exit
code is 1 if there was any. With --corpus DIR, inputs that atheris found worth keeping are kept from
one run to the next.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .harness import missing
from .targets import TARGETS
from .worker import HANG_SECONDS

MOST_CRASHES = 5  # of one target; then it is given up


class Session:
    """All processes of one target."""

    def __init__(self, name: str, engine: str, out: Path, corpus: Path | None) -> None:
        self.name, self.engine, self.out, self.corpus = name, engine, out, corpus
        self.executions = self.values = 0
        self.faults: dict[str, str] = {}

    def run(self, seconds: float, seed: int) -> None:
        """Fuzz for `seconds`, with a new process after each crash."""
        ends = time.monotonic() + seconds
        crashes = 0
        while (left := ends - time.monotonic()) > 0 and crashes < MOST_CRASHES:
            crashes += not self._process(left, seed + crashes)

    def _process(self, seconds: float, seed: int) -> bool:
        """Run one process to its end; return False if it was not a proper one."""
        with tempfile.TemporaryDirectory(prefix="gtn-fuzz-") as name:
            folder = Path(name)
            if self.corpus is not None:
                (self.corpus / self.name).mkdir(parents=True, exist_ok=True)
                (folder / "corpus").symlink_to((self.corpus / self.name).resolve())
            arguments = (self.name, str(seconds), str(seed), name, self.engine)
            command = [sys.executable, "-m", "tests.fuzz.worker", *arguments]
            with (
                (folder / "stderr").open("wb") as stderr,
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process,
            ):
                assert process.stdout is not None
                before, last = self.executions, {}
                for text in process.stdout:
                    if not text.startswith(b"{"):  # libFuzzer speaks on stdout as well
                        continue
                    last = json.loads(text)
                    if "executions" in last:
                        self.executions = before + last["executions"]
                        self.values = last["values"]
                    else:
                        self._fault(last["key"], last["detail"], folder / last["saved"])
            if "done" in last:
                return True
            code = process.returncode
            why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            told = (folder / "stderr").read_text(errors="replace")
            if "Timeout" in told:
                why = f"no answer within {HANG_SECONDS:g} s"
            self._fault(f"ends: {why}", told[-1500:], folder / "work" / TARGETS[self.name].file)
            return False

    def _fault(self, key: str, detail: str, saved: Path) -> None:
        kept = self.out / f"{self.name}-{len(self.faults):02}-{saved.name}"
        if key in self.faults:
            kept = self.out / self.faults[key]
        else:
            self.faults[key] = kept.name
            print(f"FAULT {self.name}: {key}\n  {detail}\n  input: {kept}", flush=True)
        if saved.exists():
            shutil.copyfile(saved, kept)


def main() -> int:
    """Fuzz every target asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split(":")[0])
    parser.add_argument("--seconds", type=float, default=180, help="time in all [180]")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="default: all")
    parser.add_argument("--seed", type=int, default=1, help="seed of all choices [1]")
    parser.add_argument("--out", type=Path, default=Path("fuzz-faults"), help="inputs of faults")
    parser.add_argument("--corpus", type=Path, help="keep what atheris found between runs")
    parser.add_argument(
        "--engine", choices=("atheris", "own"), help="default: atheris if installed"
    )
    options = parser.parse_args()
    found = importlib.util.find_spec("atheris") is not None
    engine = options.engine or ("atheris" if found else "own")
    print(f"engine {engine}, seed {options.seed}, {options.seconds:g} s in all", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    names = []
    for name in options.target or TARGETS:
        if why := missing(name):
            print(f"{name}: skipped, {why}")
        else:
            names.append(name)
    faults = 0
    for name in names:
        began = time.monotonic()
        session = Session(name, engine, options.out, options.corpus)
        session.run(options.seconds / len(names), options.seed)
        faults += len(session.faults)
        print(
            f"{name}: {session.executions:,} executions in {time.monotonic() - began:.0f} s, "
            f"{session.values:,} read, {len(session.faults)} faults",
            flush=True,
        )
    print(f"{faults} faults" + (f", inputs in {options.out}" if faults else ""))
    if not faults and not any(options.out.iterdir()):
        options.out.rmdir()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
