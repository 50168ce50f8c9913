"""Settings of the whole test suite.

Hypothesis draws the same examples on every run and keeps no database, so that CI is reproducible;
set HYPOTHESIS_PROFILE=search to look for new ones.

Tests marked gpu are skipped, with the reason, where no CUDA device can be used. Where one can,
`-m gpu` is a failure if none of them ran: a GPU on which all are skipped has tested nothing.
"""

from __future__ import annotations

import os
import re
import signal

import pytest
from hypothesis import HealthCheck, settings

# Read when NumPy is imported, which is later: the oracle's products are small, and threads that
# wait for the next one take the processors from the engine under test.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile(
    "reproducible",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", database=None, deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "reproducible"))

_ran_on_gpu = pytest.StashKey[int]()
NONE_RAN = "a CUDA device is here, -m gpu was asked for, and no test marked gpu ran"


SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@pytest.fixture(autouse=True)
def signals_as_before():
    """Fail a test that keeps a signal's handler: Ctrl-C would not reach the tests after it."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    after = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.fixture
def two_devices(monkeypatch):
    """Two emulated devices (GTN_CUDA=EMULATED)."""
    monkeypatch.setenv("GTN_EMULATOR_DEVICES", "2")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import engine  # here: tests that need no engine do not load it

        if reason := engine.gpu_missing():
            pytest.skip(f"needs a CUDA device: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and not report.skipped and item.get_closest_marker("gpu"):
        item.config.stash[_ran_on_gpu] = item.config.stash.get(_ran_on_gpu, 0) + 1
    return report


def pytest_sessionfinish(session):
    if _missed_the_gpu(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if _missed_the_gpu(config):
        terminalreporter.write_line(f"FAILED: {NONE_RAN}", red=True)


def _missed_the_gpu(config) -> bool:
    # Other selections may leave these tests out, and so may a look at the list of tests.
    asked = re.search(r"(?<!not )\bgpu\b", config.option.markexpr)
    if not asked or config.option.collectonly or config.stash.get(_ran_on_gpu, 0):
        return False
    import engine

    return not engine.gpu_missing()
