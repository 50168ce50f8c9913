"""Fixtures of the tests of gtn_train."""

from __future__ import annotations

import pytest


@pytest.fixture
def gtn_train(capfd):
    """gtn-train in this process: gtn_train(*args) -> how it ended."""
    from command_cases import Runner  # here: other tests need no command

    return Runner(capfd)
