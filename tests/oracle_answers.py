"""The oracle's answers to the differential tests, stored for a machine whose time is short.

    python tests/oracle_answers.py FILE.npz

computes all of them, which takes minutes. `find` looks them up in the file that the environment
variable GTN_ORACLE_ANSWERS names. Without the variable the tests ask the oracle themselves.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import numpy as np

import oracle

UNKNOWN = object()  # the file has no answer, or there is no file


@functools.lru_cache(maxsize=1)
def _stored(path: str):
    with np.load(path) as file:
        return dict(file)


def find(key):
    """Return the stored answer to a case: an outcome, None if the input is refused, or UNKNOWN."""
    path = os.environ.get("GTN_ORACLE_ANSWERS", "")
    if not path:
        return UNKNOWN
    stored, name = _stored(path), repr(key)
    if f"{name} refused" in stored:
        return None
    if f"{name} assignment" not in stored:
        return UNKNOWN
    return oracle.Outcome(
        *(stored[f"{name} {part}"] for part in ("assignment", "cosine", "visited"))
    )


def store(cases, path: Path) -> None:
    """Compute and write the answers to all cases; `cases` are pairs of a key and the inputs."""
    found = {}
    for key, (latents, sources, options) in cases:
        try:
            outcome = oracle.solve(latents, sources, **options)
        except oracle.Refused:
            found[f"{key!r} refused"] = np.array(True)
            continue
        for part in ("assignment", "cosine", "visited"):
            found[f"{key!r} {part}"] = getattr(outcome, part)
    np.savez_compressed(path, **found)


def main() -> None:
    """Store the answers to the covering design of test_differential.py."""
    sys.path.insert(0, str(Path(__file__).parent / "label"))
    import test_differential as tests

    from cases import inputs

    store(
        ((tests.key_of(case), inputs(case)) for case in tests.CASES),
        Path(sys.argv[1]),
    )


if __name__ == "__main__":
    main()
