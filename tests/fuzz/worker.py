"""One target in one process: executes inputs until the time is over, and prints faults as JSON.

atheris chooses inputs by the coverage they reach, where it is installed; elsewhere the loop is our
own, over the same first inputs and mutations. The input is on disk while it is read, so that the
parent (__main__.py) finds it there after a crash. Run by the parent:
python -m tests.fuzz.worker TARGET SECONDS SEED FOLDER ENGINE
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import random
import resource
import sys
import threading
import time
import traceback
from pathlib import Path

HANG_SECONDS = 10.0  # the slowest sound input takes a few milliseconds
SPARE_BYTES = 64 << 20  # beyond the memory at the start; inputs have at most 64 kB
INSTRUMENTED = ("gtn_label.io", "gtn_label.result", "gtn_train.run", "gtn_train.files", "zipfile")


class Worker:
    """Counts executions, keeps one input for each fault, and prints it."""

    def __init__(self, name: str, seconds: float, seed: int, folder: Path) -> None:
        from .harness import Harness
        from .targets import TARGETS, seeds

        self.target = TARGETS[name]
        self.seeds = list(seeds(name).values())
        self.seed = seed
        self.folder = folder
        work = folder / "work"
        work.mkdir()
        self.harness = Harness(self.target, work)
        self.known: dict[str, int] = {}
        self.executions = 0
        self.ends = time.monotonic() + seconds

    def run_seeds(self) -> None:
        """Load everything that is imported late, then limit the memory and begin."""
        for data in self.seeds:
            self.harness.check(data)
        threading.stack_size(1 << 18)  # of the watchdog
        if sys.platform == "linux":
            # Writable memory: address space that other libraries merely reserve does not count.
            status = Path("/proc/self/status").read_text()
            kilobytes = int(status.split("VmData:")[1].split()[0])
            limit = kilobytes * 1024 + SPARE_BYTES
            resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        for data in self.seeds:
            self.execute(data)

    def execute(self, data: bytes) -> None:
        """Feed one input, and report a fault that is new."""
        # The memory limit is meant for the reader. As the fuzzer's own corpus grows, too little may
        # be left for the watchdog's stack.
        with contextlib.suppress(RuntimeError):
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        finding = self.harness.check(data)
        self.executions += 1
        if finding is not None:
            self.report(finding)
        faulthandler.cancel_dump_traceback_later()
        if self.executions % 64 == 0:
            gc.collect()
            self.say(executions=self.executions, values=self.harness.values)

    def report(self, finding: object) -> None:
        from .harness import Finding, minimised

        assert isinstance(finding, Finding)
        if len(finding.data) >= self.known.get(finding.key, 1 << 62):
            return
        if finding.key not in self.known:
            faulthandler.dump_traceback_later(60, exit=True)
            finding = minimised(self.harness, finding)
        self.known[finding.key] = len(finding.data)
        name = f"fault-{list(self.known).index(finding.key)}-{self.target.file}"
        (self.folder / name).write_bytes(finding.data)
        self.say(key=finding.key, detail=finding.detail, saved=name)

    def say(self, **line: object) -> None:
        os.write(1, json.dumps(line).encode() + b"\n")

    def loop(self) -> None:
        """Mutate the first inputs until the time is over."""
        rng = random.Random(self.seed)
        while time.monotonic() < self.ends:
            self.execute(self.mutated(rng.choice(self.seeds), rng))
        self.finish()

    def mutated(self, data: bytes, rng: random.Random) -> bytes:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data = self.target.mutate(data, rng)
        return data

    def guided(self, corpus: Path) -> None:
        """Let atheris choose until the time is over; libFuzzer then ends the process."""
        import atheris

        for at, data in enumerate(self.seeds):
            (corpus / f"seed{at}").write_bytes(data)

        def one(data: bytes) -> None:
            try:
                self.execute(bytes(data))
            except BaseException:  # of the fuzzer itself, of which atheris shows little
                traceback.print_exc()
                os._exit(1)
            if time.monotonic() >= self.ends:
                self.finish()

        def custom(data: bytes, size: int, seed: int) -> bytes:
            rng = random.Random(seed)
            if rng.random() < 0.1:
                return bytes(atheris.Mutate(data, size))
            if (
                rng.random() < 0.3
            ):  # most of what coverage keeps is damaged beyond a reader's middle
                data = rng.choice(self.seeds)
            return self.mutated(bytes(data), rng)[:size]

        options = (f"-seed={self.seed}", "-max_len=65536", "-rss_limit_mb=0", "-timeout=600")
        quiet = ("-mutate_depth=1", "-verbosity=0", f"-artifact_prefix={self.folder}/")
        atheris.Setup(["fuzz", *options, *quiet, str(corpus)], one, custom_mutator=custom)
        atheris.Fuzz()

    def finish(self) -> None:
        self.say(executions=self.executions, values=self.harness.values, done=True)
        os._exit(0)  # libFuzzer takes any other end for a crash


def main() -> None:
    """Run one target."""
    name, seconds, seed, folder, engine = sys.argv[1:]
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
            from .harness import missing

            missing(name)  # imports what the target needs
    worker = Worker(name, float(seconds), int(seed), Path(folder))
    worker.run_seeds()
    if engine == "atheris":
        corpus = Path(folder) / "corpus"
        corpus.mkdir(exist_ok=True)
        worker.guided(corpus)
    else:
        worker.loop()


if __name__ == "__main__":
    main()
