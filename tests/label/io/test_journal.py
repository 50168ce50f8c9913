"""Journals: what is appended stays, a spoilt end is cut off, and nothing else is believed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gtn_label.io.journal import CHOICES, Journal, is_journal

FIELDS = {"format": "f", "--order": "norm", "none": None}


def filled(path: Path, *lengths: int) -> np.ndarray:
    """Write a journal in several parts; return its records."""
    records = np.arange(sum(lengths), dtype=np.int64) * 7
    journal, done = Journal.create(path, FIELDS, records[: lengths[0]]), lengths[0]
    for length in lengths[1:]:
        journal.append(records[done : done + length])
        done += length
    assert journal.count == done
    return records


def test_records_come_back(tmp_path: Path) -> None:
    for lengths in ((0,), (5,), (0, 3), (4, 1, 2)):
        path = tmp_path / "j"
        records = filled(path, *lengths)
        assert is_journal(path)
        journal, found = Journal.read(path)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, records)
        assert (journal.fields, journal.count, journal.spoilt) == (FIELDS, len(records), 0)


def test_an_append_leaves_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path, 4, 3)
    before, inode = path.read_bytes(), path.stat().st_ino
    Journal.read(path)[0].append(np.arange(2))
    assert path.read_bytes()[: len(before)] == before
    assert path.stat().st_ino == inode
    assert len(path.read_bytes()) == len(before) + 8 * (1 + 2) + 32


def test_any_torn_end_is_cut_to_whole_blocks(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path, 3)
    first = path.stat().st_size
    records = filled(path, 3, 2, 4)
    whole = path.read_bytes()
    ends = [first, first + 8 * 3 + 32, len(whole)]
    for size in range(first, len(whole)):
        path.write_bytes(whole[:size])
        journal, found = Journal.read(path)
        blocks = sum(end <= size for end in ends)
        np.testing.assert_array_equal(found, records[: (0, 3, 5, 9)[blocks]])
        assert journal.spoilt == size - ends[blocks - 1]
        journal.append(records[journal.count :])
        np.testing.assert_array_equal(Journal.read(path)[1], records)
        assert Journal.read(path)[0].spoilt == 0


def test_no_flipped_bit_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    records = filled(path, 2, 2)
    whole = path.read_bytes()
    header = len(whole) - 2 * (8 * 3 + 32)
    for at in range(len(b"gtn-label journal 1\n"), len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        if at < header:
            with pytest.raises(ValueError, match="its header is not what was saved"):
                Journal.read(path)
            continue
        journal, found = Journal.read(path)
        assert len(found) == (0 if at < header + 56 else 2)
        np.testing.assert_array_equal(found, records[: len(found)])
        assert journal.spoilt == len(whole) - header - 28 * len(found)


def test_blocks_of_another_journal_are_not_believed(tmp_path: Path) -> None:
    """The hash of a block covers the header and all blocks before."""
    filled(tmp_path / "a", 2, 3)
    Journal.create(tmp_path / "b", FIELDS | {"--order": "index"}, np.arange(2))
    theirs = (tmp_path / "a").read_bytes()
    with (tmp_path / "b").open("ab") as file:
        file.write(theirs[-(8 * 4 + 32) :])
    journal, found = Journal.read(tmp_path / "b")
    assert (len(found), journal.spoilt) == (2, 64)


def test_a_failed_append_keeps_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    records = filled(path, 3)
    journal, before = Journal.read(path)[0], path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            journal.append(np.arange(5))
    assert path.read_bytes() == before
    journal.append(np.arange(2))
    np.testing.assert_array_equal(Journal.read(path)[1], [*records, 0, 1])


def test_a_killed_process_loses_no_append(tmp_path: Path) -> None:
    """Each number is printed when it is on the disk."""
    path = tmp_path / "j"
    script = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from gtn_label.io.journal import Journal\n"
        "journal = Journal.create(Path(sys.argv[1]), {}, np.arange(0))\n"
        "for i in range(10**6):\n"
        "    journal.append(np.arange(i * 50, i * 50 + 50)); print(i, flush=True)\n"
    )
    for stop in (0, 3, 40):
        command = [sys.executable, "-c", script, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= stop:
                    break
            process.send_signal(signal.SIGKILL)
            last = [line, *process.stdout][-1]
        journal, found = Journal.read(path)
        assert journal.count >= 50 * (int(last) + 1)
        np.testing.assert_array_equal(found, np.arange(journal.count))


def test_records_of_two_numbers_are_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "j"
    records = np.array([(3, 0.5), (1, -1.0), (2, 1e-300)], CHOICES.record)
    Journal.create(path, FIELDS, records[:1], CHOICES).append(records[1:])
    assert is_journal(path, CHOICES)
    assert not is_journal(path)
    journal, found = Journal.read(path, CHOICES)
    np.testing.assert_array_equal(found, records)
    assert journal.fields == FIELDS
    journal = Journal.open(path, CHOICES)
    assert [block["latent"].tolist() for block in journal.blocks()] == [[3], [1, 2]]
    assert (journal.count, journal.spoilt) == (3, 0)
    path.write_bytes(path.read_bytes()[:-1])
    journal = Journal.open(path, CHOICES)
    assert [block["cosine"].tolist() for block in journal.blocks()] == [[0.5]]
    assert journal.spoilt == 8 + 2 * 16 + 31
    journal.append(records[1:])
    np.testing.assert_array_equal(Journal.read(path, CHOICES)[1], records)
