"""Inputs that map files which change or shrink while they are read."""

from __future__ import annotations

import copy
import mmap
import os
import pickle
import re
import signal
import sys

import numpy as np
import pytest

import command
from gtn_label import Matching, match, match_approx, match_mixture, match_quantile
from gtn_label.arrays import on_disk
from gtn_label.arrays.on_disk import FileChangedError, Files
from gtn_label.io.checkpoint import Checkpoint
from gtn_label.io.checkpoint_file import read_saved

N, DIM = 12_000, 48
SLOW = {"backend": "cpu:scalar", "threads": 1}


@pytest.fixture
def file(tmp_path):
    """A file of latents that match takes a second or more for."""
    path = tmp_path / "latents.npy"
    np.save(path, command.gaussian(N, DIM))
    return path


def mapped(path):
    return np.load(path, mmap_mode="r")


def change(path, keep_time=False):
    """Negate some rows in place; the size stays."""
    status = path.stat()
    with path.open("r+b") as out:
        out.seek(-DIM * 4 * 100, os.SEEK_END)
        out.write((-command.gaussian(N, DIM)[-100:]).tobytes())
    # File systems keep times in steps of some milliseconds.
    later = status.st_mtime_ns if keep_time else status.st_mtime_ns + 10**9
    os.utime(path, ns=(status.st_atime_ns, later))


class At:
    """A progress callback that does something once, after some sources."""

    def __init__(self, action, least=1):
        self._action, self._least, self.done = action, least, 0

    def __call__(self, done, total, seconds_left):
        if self._action is not None and done >= self._least:
            self._action()
            self._action, self.done = None, done


def message(name, path, what):
    return rf"^{name}: the file '{path}' {what} while it was being read$"


class TestFind:
    def files(self, value):
        return [(each._path, each._memory) for each in Files(latents=value)._maps.values()]

    def test_maps_and_their_views(self, file):
        rows = mapped(file)
        span = rows.ctypes.data, rows.nbytes
        for value in (rows, np.asarray(rows), rows.view()[:]):
            assert self.files(value) == [(str(file), span)]
        last = self.files(rows[::-1, 1:3])
        assert last == [(str(file), (span[0] + 4, span[1] - 4 * (DIM - 2)))]

    def test_memory_of_its_own(self, file):
        rows = np.array(mapped(file))
        for value in (rows, rows[3:], rows.tolist()[:3], None, mapped(file)[:0], np.float32(3)):
            assert not Files(latents=value)

    def test_a_map_without_a_name(self, file):
        with file.open("rb") as opened:
            view = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        array = np.frombuffer(view, np.float32, offset=128)
        path = str(file) if sys.platform == "linux" else None
        assert self.files(array) == [(path, (array.ctypes.data, array.nbytes))]

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
    def test_memory_of_other_libraries(self, tmp_path):
        torch = pytest.importorskip("torch")
        path = tmp_path / "latents.pt"
        torch.save({"rows": torch.zeros(10_000, 32)}, path)
        rows = torch.load(path, mmap=True, weights_only=True)["rows"]
        for value in (rows, rows.numpy(), rows[5:]):
            assert [found for found, _ in self.files(value)] == [str(path)]
        own = torch.zeros(10_000, 32)
        for value in (own, own.numpy(), own.to_sparse(), torch.zeros(10_000, 32, device="meta")):
            assert not self.files(value)

    def test_copies_know_no_files(self, file):
        files = Files(latents=mapped(file))
        assert files
        assert not pickle.loads(pickle.dumps(files))
        assert not copy.deepcopy(files)


class TestChange:
    def test_noticed_during_the_run(self, file):
        notice = At(lambda: change(file))
        with pytest.raises(FileChangedError, match=message("latents", file, "was changed")):
            match(mapped(file), progress=notice, **SLOW)
        assert 0 < notice.done < N

    def test_noticed_by_the_hash_alone(self, file):
        with pytest.raises(FileChangedError, match=message("latents", file, "was changed")):
            match(mapped(file), progress=At(lambda: change(file, keep_time=True)), **SLOW)

    def test_of_the_sources(self, file, tmp_path):
        latents = command.gaussian(N, DIM, seed=1)
        with pytest.raises(FileChangedError, match=message("sources", file, "was changed")):
            match(latents, mapped(file), progress=At(lambda: change(file)), **SLOW)

    def test_of_groups(self, file, tmp_path):
        path = tmp_path / "groups.npy"
        np.save(path, np.zeros(N, np.int64))
        action = At(lambda: os.utime(path, ns=(0, 0)))
        with pytest.raises(FileChangedError, match=message("latent_groups", path, "was changed")):
            match(mapped(file), groups=(np.zeros(N, int), mapped(path)), progress=action, **SLOW)

    def test_explains_other_errors(self, file):
        def damage():
            np.save(file, np.full((N, DIM), np.nan, np.float32))
            raise ValueError("latents row 1 is not finite")

        with pytest.raises(FileChangedError, match="was changed"):
            match(mapped(file), progress=At(damage), **SLOW)

    def test_a_file_that_takes_its_name_is_no_change(self, file, tmp_path):
        expected = match(mapped(file))

        def replace():
            np.save(tmp_path / "other.npy", np.zeros((3, 3)))
            (tmp_path / "other.npy").replace(file)

        m = match(mapped(file), progress=At(replace), **SLOW)
        assert np.array_equal(m.assignment, expected.assignment)
        assert m.meta["latents_sha256"] == expected.meta["latents_sha256"]
        assert np.array_equal(m.pairs()[1], expected.pairs()[1])

    @pytest.mark.parametrize("verb", [match_quantile, match_mixture, match_approx])
    def test_other_verbs_watch_too(self, tmp_path, monkeypatch, verb):
        if verb is match_approx:
            pytest.importorskip("faiss")
        if verb is match_mixture:
            pytest.importorskip("sklearn")
        path = tmp_path / "latents.npy"
        np.save(path, command.gaussian(300, 1 if verb is match_quantile else 4))
        hashed = []
        sha256 = on_disk.sha256

        def hash_and_change(rows):  # the first of two hashes
            digest = sha256(rows)
            if not hashed:
                with path.open("r+b") as out:
                    out.seek(-4, os.SEEK_END)
                    out.write(b"\0\0\0\x40")
            hashed.append(digest)
            return digest

        monkeypatch.setattr(on_disk, "sha256", hash_and_change)
        with pytest.raises(FileChangedError, match="latents"):
            verb(mapped(path))


class TestAfterTheRun:
    def test_the_hash_is_that_of_the_run(self, file):
        m = match(mapped(file))
        right = match(np.array(mapped(file))).meta["latents_sha256"]
        change(file)
        assert m.meta["latents_sha256"] == right

    def test_changed_latents_are_not_gathered(self, file, tmp_path):
        m = match(mapped(file))
        change(file)
        with pytest.raises(FileChangedError, match=message("latents", file, "was changed")):
            m.pairs()
        with pytest.raises(FileChangedError, match=message("latents", file, "was changed")):
            m.save(tmp_path / "pairs.npz")
        assert command.listing(tmp_path) == ["latents.npy"]

    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    def test_the_bytes_saved_are_those_of_an_array_in_memory(self, file, tmp_path, suffix):
        first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        match(mapped(file), mapped(file)).save(first)
        match(np.load(file), np.load(file)).save(second)
        assert first.read_bytes() == second.read_bytes()
        assert np.array_equal(Matching.load(first).sources, np.load(file))

    def test_copies_are_in_memory(self, file, tmp_path):
        m = match(mapped(file), mapped(file))
        sources, labels = m.pairs()
        m.save(tmp_path / "pairs.npz")
        loaded = Matching.load(tmp_path / "pairs.npz", mmap_mode="r")
        copies = [one(each) for each in (m, loaded) for one in (copy.deepcopy, pickled)]
        shallow = copy.copy(m)
        assert np.shares_memory(shallow.sources, m.sources)
        file.write_bytes(b"")
        (tmp_path / "pairs.npz").write_bytes(b"")
        for each in copies:
            assert np.array_equal(each.sources, sources)
            assert np.array_equal(each.pairs()[1], labels)
            assert not each.sources.flags.writeable
            assert each.meta == m.meta
        with pytest.raises(FileChangedError):
            shallow.pairs()

    def test_verify_blames_the_file(self, file):
        m = match(np.load(file))
        with pytest.raises(FileChangedError, match=message("latents", file, "was changed")):
            m.verify(mapped(file), sample=None, progress=At(lambda: change(file)))

    def test_verify_notices_at_once(self, file):
        m, notice = match(np.load(file)), At(lambda: change(file))
        with pytest.raises(FileChangedError):
            m.verify(mapped(file), sample=None, progress=notice, threads=1)
        assert 0 < notice.done < N

    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    def test_bfloat16_is_saved_as_from_memory(self, tmp_path, suffix):
        torch = pytest.importorskip("torch")
        path, first, second = (tmp_path / name for name in ("x.pt", f"a{suffix}", f"b{suffix}"))
        torch.save(torch.from_numpy(command.gaussian(N, DIM)).bfloat16(), path)
        rows = torch.load(path, mmap=True, weights_only=True)
        assert Files(latents=rows)
        match(rows).save(first)
        match(rows.clone()).save(second)
        assert first.read_bytes() == second.read_bytes()


def pickled(m):
    return pickle.loads(pickle.dumps(m))


class TestCheckpoint:
    def test_holds_nothing_decided_after_the_change_was_noticed(self, file, tmp_path):
        right = match(mapped(file), **SLOW).visited
        path = tmp_path / "checkpoint"
        with pytest.raises(FileChangedError):
            match(mapped(file), progress=At(lambda: change(file)), checkpoint=path, **SLOW)
        visited = read_saved(path).arrays["visited"]
        assert 0 < len(visited) < N
        assert np.array_equal(visited, right[: len(visited)])

    def test_is_taken_back_if_nobody_knows_when_the_file_changed(self, file, tmp_path):
        path = tmp_path / "checkpoint"
        often = Checkpoint(path, every=0)
        action = At(lambda: change(file, keep_time=True))
        with pytest.raises(FileChangedError):
            match(mapped(file), progress=action, checkpoint=often, **SLOW)
        assert not path.exists()

    def test_keeps_what_an_earlier_run_had_decided(self, file, tmp_path):
        path = tmp_path / "checkpoint"

        def stop():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            match(mapped(file), progress=At(stop), checkpoint=path, **SLOW)
        before = read_saved(path).arrays["visited"]
        assert len(before) > 0
        action = At(lambda: change(file, keep_time=True))
        with pytest.raises(FileChangedError):
            match(mapped(file), progress=action, checkpoint=Checkpoint(path, every=0), **SLOW)
        assert np.array_equal(read_saved(path).arrays["visited"], before)


TRUNCATED = """
import copy, os, pickle, sys
import numpy as np
import gtn_label

path, what = sys.argv[1:]
latents = np.load(path, mmap_mode="r")
least = [1]

def progress(done, total, seconds_left):
    if done >= least[0]:
        os.truncate(path, 4096)

try:
    if what == "match":
        gtn_label.match(latents, backend="cpu:scalar", progress=progress, checkpoint="checkpoint")
    if what == "before":
        os.truncate(path, 4096)
        gtn_label.match(latents)
    if what in ("pairs", "save", "pickle", "deepcopy", "verify"):
        m = gtn_label.match(latents)
        os.truncate(path, 4096)
        if what == "pairs": m.pairs()
        if what == "save": m.save("pairs.npz")
        if what == "pickle": pickle.dumps(m)
        if what == "deepcopy": copy.deepcopy(m)
        if what == "verify": m.verify(np.zeros((3, 3)))
    if what in ("verify before", "verify meanwhile"):
        m = gtn_label.match(np.array(latents), backend="cpu:scalar")
        if what == "verify before": os.truncate(path, 4096)
        m.verify(latents, sample=None, progress=progress)
except OSError as error:
    print(error)
"""


LOADED = """
import copy, os, pickle, sys
import numpy as np
from gtn_label import Matching

path, what, latents = sys.argv[1:]
m = Matching.load(path, mmap_mode="r")
os.truncate(path, 4096)
try:
    if what == "pairs": m.pairs()
    if what == "save": m.save("other.npz")
    if what == "pickle": pickle.dumps(m)
    if what == "deepcopy": copy.deepcopy(m)
    if what == "verify": m.verify(np.load(latents))
    if what == "sources": m.sources
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be truncated there")
class TestTruncation:
    @pytest.mark.parametrize(
        "what",
        [
            *("match", "before", "pairs", "save", "pickle", "deepcopy"),
            *("verify", "verify before", "verify meanwhile"),
        ],
    )
    def test_is_an_error_instead_of_sigbus(self, file, tmp_path, what):
        right = match(mapped(file), **SLOW).visited
        ended = command.child(TRUNCATED, file, what, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(f"latents: the file '{file}' was truncated"), ended.stderr
        assert ended.stdout.endswith("while it was being read\n")
        left = ["checkpoint", "latents.npy"] if what == "match" else ["latents.npy"]
        assert command.listing(tmp_path) == left
        if what == "match":
            visited = read_saved(tmp_path / "checkpoint").arrays["visited"]
            assert 0 < len(visited) < N
            assert np.array_equal(visited, right[: len(visited)])

    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    @pytest.mark.parametrize("what", ["pairs", "save", "pickle", "deepcopy", "verify", "sources"])
    def test_of_pairs_that_were_loaded(self, file, tmp_path, what, suffix):
        path = tmp_path / f"pairs{suffix}"
        match(np.load(file)).save(path)
        ended = command.child(LOADED, path, what, file, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert re.match(
            rf"(sources|labels): the file '{path}' was truncated.* while it was being read\n$",
            ended.stdout,
        )
        assert command.listing(tmp_path) == ["latents.npy", path.name]

    def test_other_sigbus_still_ends_the_process(self, file, tmp_path):
        script = (
            "import os, signal, sys, numpy as np\n"
            "from gtn_label.arrays.on_disk import Files\n"
            "mapped = np.load(sys.argv[1], mmap_mode='r')\n"
            "np.save('other.npy', mapped)\n"
            "other = np.load('other.npy', mmap_mode='r')\n"
            "os.truncate('other.npy', 0)\n"
            "with Files(latents=mapped).reading():\n"
            "    if sys.argv[2] == 'sent': os.kill(os.getpid(), signal.SIGBUS)\n"
            "    print(other[-1])\n"
        )
        for how in ("sent", "fault"):
            ended = command.child(script, file, how, cwd=tmp_path)
            assert ended.returncode == -signal.SIGBUS
            assert ended.stdout == ""

    @pytest.mark.parametrize("how", ["truncated", "changed"])
    def test_of_the_command(self, file, tmp_path, how):
        action = "os.truncate(path, 4096)" if how == "truncated" else "os.utime(path, ns=(0, 0))"
        script = (
            "import os, sys, threading, time\n"
            "from gtn_label.cli.main import main\n"
            "path = sys.argv[1]\n"
            "def spoil():\n"
            "    while not os.path.exists('checkpoint'): time.sleep(0.01)\n"
            f"    {action}\n"
            "threading.Thread(target=spoil, daemon=True).start()\n"
            "main([path, '-o', 'pairs.npz', '--backend', 'cpu:scalar', '--checkpoint',\n"
            "      'checkpoint', '--checkpoint-every', '0'])\n"
        )
        ended = command.child(script, file, cwd=tmp_path)
        assert ended.returncode in (1, 2)
        assert f"the file '{file}' was {how}" in command.one_line(ended.stderr)
        assert command.listing(tmp_path) == ["checkpoint", "latents.npy"]


def test_a_path_in_the_error_steers_no_terminal(tmp_path):
    path = tmp_path / "a\x1b[2Jb.npy"
    np.save(path, command.gaussian(300, 4))
    files = Files(latents=mapped(path))
    shown = r"the file '.*a\\x1b\[2Jb.npy' was changed"
    with pytest.raises(FileChangedError, match=shown), files.reading():
        os.utime(path, ns=(0, 0))
