"""RunLock: one process at a time writes into a run's folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from command_cases import (
    files,
    write_folder,
)

from gtn_label.io.lock import FileLock
from gtn_train.run.lock import LOCK_FILE

ALL = ("autoencoder", "latents", "pairs", "generator", "samples")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be another process that is at work in the folder."""
    lock = FileLock(folder / LOCK_FILE, remove=False)
    assert lock.acquire()
    yield
    lock.release()


def test_one_process_at_a_time_works_in_a_folder(gtn_train, vectors):
    with locked(vectors):
        before = files(vectors)
        refusal = gtn_train.refused("fit", "--out", vectors, "--width", 9, "--resume")
        assert f"'{vectors}' is in use: another gtn-train is at work there" in refusal
        assert files(vectors) == before
        (vectors / "generator" / "stage.json").rename(vectors / "kept.json")
        refusal = gtn_train.refused("fit", "--out", vectors)
        assert "is in use" in refusal, "and not: unfinished, to be deleted"
        (vectors / "kept.json").rename(vectors / "generator" / "stage.json")
        again = gtn_train.ok("fit", "--out", vectors)
        assert set(again.stages.values()) == {"reused"}, "what is finished may be read meanwhile"
    gtn_train.ok("fit", "--out", vectors, "--width", 9, "--resume")
    gtn_train.ok("fit", "--out", vectors, "--width", 8, "--resume")  # it was given back


def test_images_are_decoded_by_one_process_at_a_time(gtn_train, tmp_path):
    """With two at once, an interrupted one would remove the other's images from the cache."""
    data, out = write_folder(tmp_path / "faces"), tmp_path / "new" / "run"
    given = ("encode", "--preset", "hap", "--data", data, "--size", 8, "--out", out)
    out.mkdir(parents=True)
    with locked(out):
        assert "is in use" in gtn_train.refused(*given)
        assert [path.name for path in out.iterdir()] == [LOCK_FILE]
    (out / LOCK_FILE).unlink()
    out.rmdir()
    out.parent.rmdir()
    gtn_train.ok(*given, "--autoencoder-epochs", 1, "--latent-dim", 2)
    cached = [path.name for path in (out / "images").iterdir()]
    with locked(out):
        refusal = gtn_train.refused("encode", "--out", out, "--size", 9, "--resume")
        assert "is in use" in refusal
    assert "is no longer valid" in gtn_train.refused("encode", "--out", out, "--size", 9)
    assert [path.name for path in (out / "images").iterdir()] == cached
    gtn_train.ok("encode", "--out", out, "--size", 9, "--resume")
    (newer,) = (path.name for path in (out / "images").iterdir())
    assert newer not in cached, "the smaller ones are of no more use"
    shutil.rmtree(out.parent)
    (data / "cats" / "000.png").write_bytes(b"no image")
    gtn_train.refused(*given)
    assert not out.parent.exists(), "folders that were made for nothing are gone"
