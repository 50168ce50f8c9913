"""Words that the files of unfinished runs share, in refusals and warnings.

Of checkpoints (checkpoint.py) and of journals of sharded runs (cluster/journal.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..text import brief, visible

__all__ = ["contract_difference", "not_written", "of_another_run", "option_differences"]


def not_written(shown: str, error: OSError) -> str:
    """Say that a save failed and the run goes on; `shown` is the argument and its file."""
    return f"{shown} could not be written ({error.strerror or error}); the run goes on without"


def of_another_run(shown: str, differences: Sequence[str]) -> str:
    """Refuse a file whose run differs in this from the one that was given it."""
    return (
        f"{shown} belongs to another run: {'; '.join(differences)}. Give that run's input and "
        "options to continue it, another file, or delete this one to start over"
    )


def contract_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """List the version of the contract that a file follows, if that is another one."""
    if theirs.get("contract") == ours["contract"]:
        return []
    contract = _value(theirs.get("contract"))
    return [f"it follows numeric contract {contract}, this is {ours['contract']}"]


def option_differences(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], word: Callable[[str], str]
) -> list[str]:
    """List the options ("--cone") with another value in a file than in this run.

    `word` spells the name of an argument ("cone") as the caller knows it.
    """
    return [
        f"{word(entry.removeprefix('--'))} was {_value(theirs.get(entry))} and is {_value(now)}"
        for entry, now in ours.items()
        if entry.startswith("--") and theirs.get(entry) != now
    ]


def _value(value: Any) -> str:
    """Show an option's value, which may come from anybody's file."""
    return "not given" if value is None else brief(visible(str(value)), 60)
