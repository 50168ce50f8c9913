"""Derived seeds: fixed values, since runs resumed elsewhere rely on them."""

from __future__ import annotations

import hashlib

from gtn_train.seeds import derive


def test_the_formula() -> None:
    digest = hashlib.sha256(b"int:7\x1fstr:epoch\x1fint:3").hexdigest()
    assert derive(7, "epoch", 3) == int(digest[:16], 16) // 2
    assert 0 <= derive(7, "epoch", 3) < 2**63


def test_uses_do_not_run_into_each_other() -> None:
    seeds = {derive(0), derive(1), derive(0, "a"), derive(0, "a", 1), derive(0, "a", "1")}
    seeds |= {derive(0, "a1"), derive(0, 1), derive(10), derive(1, 0)}
    assert len(seeds) == 9
