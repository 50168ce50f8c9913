"""The readers under test: how each is called, what its values must obey, and its first inputs.

First inputs are written by the package's own writers and by those of NumPy, safetensors and torch,
so they never age. Inputs that once showed a fault are in corpus/TARGET. Not here: what holds for
every reader alike, such as the exceptions it may raise (harness.py).
"""

from __future__ import annotations

import io
import json
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gtn_label import Matching, match, match_optimal
from gtn_label.arrays.sources import draw_sources
from gtn_label.io import files
from gtn_label.io.checkpoint import Checkpoint, fingerprint
from gtn_label.io.checkpoint_file import digest_of
from gtn_label.io.npy import read_npz, write_npz

from . import mutations, train_readers
from .mutations import Mutation

__all__ = ["TARGETS", "Target", "seeds"]

ROWS = np.random.Generator(np.random.Philox(3)).standard_normal((7, 3)).astype(np.float32)
MANY = np.random.Generator(np.random.Philox(4)).standard_normal((40, 3)).astype(np.float32)


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes
    ----------
    file
        Name of the input in an otherwise empty folder.
    read
        Reads that file.
    inspect
        Called with the file's bytes and the value read; AssertionError if the value is wrong.
    make_seeds
        First inputs by name.
    mutate
        Mutation that knows the format.
    needs
        Package without which there is nothing to test.
    keeps
        False for a reader that may change or remove its file.
    """

    file: str
    read: Callable[[Path], Any]
    inspect: Callable[[bytes, Any], None]
    make_seeds: Callable[[], Mapping[str, bytes]]
    mutate: Mutation
    needs: str = ""
    keeps: bool = True


# ------------------------------------------------------------------------- arrays of gtn-label


def read_array(path: Path) -> np.ndarray:
    """Read the only array, or that of the key "z"."""
    try:
        return files.read_array(path, name="LATENTS", key_name="--key")
    except ValueError as error:
        if not str(error).startswith("--key is needed"):
            raise
    return files.read_array(path, "z", name="LATENTS", key_name="--key")


def inspect_array(value: Any) -> None:
    assert isinstance(value, np.ndarray), f"not an array but a {type(value).__name__}"
    assert not value.dtype.hasobject, "an array of Python objects"
    value.tobytes()  # every byte can be read


def same_array(ours: np.ndarray, theirs: Any) -> None:
    """Bits, shape and dtype as another reader has them."""
    theirs = np.asarray(theirs)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), (
        f"shape and dtype {ours.shape} {ours.dtype}, and the reference reads "
        f"{theirs.shape} {theirs.dtype}"
    )
    assert ours.tobytes() == theirs.tobytes(), "other values than the reference reads"


def inspect_npy(data: bytes, value: Any) -> None:
    inspect_array(value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = np.load(io.BytesIO(data), allow_pickle=False)
        except Exception:  # NumPy raises anything; it also refuses long headers that are sound
            return
    same_array(value, theirs)


def inspect_npz(data: bytes, value: Any) -> None:
    inspect_array(value)


def inspect_safetensors(data: bytes, value: Any) -> None:
    inspect_array(value)
    import safetensors

    try:
        entries = dict(safetensors.deserialize(data))
    except Exception as error:
        raise AssertionError(f"read, though the reference refuses it: {error}") from None
    entry = entries["z"] if len(entries) > 1 else next(iter(entries.values()))
    assert list(value.shape) == entry["shape"], "another shape than the reference reads"
    if entry["dtype"] != "BF16":
        assert value.tobytes() == bytes(entry["data"]), "other values than the reference reads"


def inspect_torch(data: bytes, value: Any) -> None:
    inspect_array(value)


def npy_bytes(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=True)
    return buffer.getvalue()


def npy_seeds() -> dict[str, bytes]:
    return {
        "float32": npy_bytes(ROWS),
        "version2": npy_bytes(ROWS, (2, 0)),
        "version3": npy_bytes(ROWS, (3, 0)),
        "fortran": npy_bytes(np.asfortranarray(ROWS)),
        "big_endian": npy_bytes(ROWS.astype(">f8")),
        "labels": npy_bytes(np.arange(7)),
        "scalar": npy_bytes(np.array(1.5)),
        "empty": npy_bytes(np.empty((0, 3))),
        "fields": npy_bytes(np.zeros(3, [("a", "<f4"), ("b", "<i2")])),
        "objects": npy_bytes(np.array([{}], object)),
        "python2": npy_bytes(ROWS).replace(b"(7, 3)", b"(7L,3)"),
    }


def npz_bytes(compressed: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def promising(archive: bytes) -> bytes:
    """Let a header and the zip directory promise terabytes (keras-team/keras #23016)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        content = old.read("z.npy").replace(b"(7, 3), }" + b" " * 12, b"(9999999999999, 3), }")
        with new.open(zipfile.ZipInfo("z.npy"), "w", force_zip64=True) as member:
            member.write(content)
        new.infolist()[0].file_size = 10**15
    return buffer.getvalue()


def npz_seeds() -> dict[str, bytes]:
    return {
        "one": npz_bytes(z=ROWS),
        "two": npz_bytes(z=ROWS, labels=np.arange(7)),
        "compressed": npz_bytes(True, z=np.zeros((50, 3))),
        "objects": npz_bytes(z=np.array([{}], object)),
        "none": npz_bytes(),
        "promising": promising(npz_bytes(z=ROWS)),
        "pairs": pairs_bytes(".npz"),
    }


def safetensors_bytes(header: Any, data: bytes) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return struct.pack("<Q", len(text)) + text + data


def safetensors_seeds() -> dict[str, bytes]:
    z = {"dtype": "F32", "shape": [7, 3], "data_offsets": [0, 84]}
    other = {"dtype": "I64", "shape": [2], "data_offsets": [84, 100]}
    bfloat16 = {"dtype": "BF16", "shape": [7, 3], "data_offsets": [0, 42]}
    nothing = {"dtype": "F64", "shape": [0, 3], "data_offsets": [0, 0]}
    rows = ROWS.tobytes()
    return {
        "one": safetensors_bytes({"z": z}, rows),
        "two": safetensors_bytes(
            {"z": z, "y": other, "__metadata__": {"a": "b"}}, rows + bytes(16)
        ),
        "bfloat16": safetensors_bytes({"z": bfloat16}, rows[:42]),
        "nothing": safetensors_bytes({"z": nothing}, b""),
        "none": safetensors_bytes({}, b""),
        "pairs": pairs_bytes(".safetensors"),
    }


def torch_seeds() -> dict[str, bytes]:
    import torch

    tensor = torch.from_numpy(ROWS.copy())
    contents: dict[str, Any] = {
        "tensor": tensor,
        "dict": {"z": tensor, "labels": torch.arange(7), "epoch": 3, "name": "x"},
        "bfloat16": tensor.bfloat16(),
        "float8": tensor.to(torch.float8_e4m3fn),
        "transposed": tensor.T,
        "sparse": tensor.to_sparse(),
        "list": [1, tensor],
        "number": 3,
        "objects": {"z": Path("x")},
    }
    found = {}
    for zipped in (True, False):
        for name, content in contents.items():
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
            found[name if zipped else f"old_{name}"] = buffer.getvalue()
    return found


# --------------------------------------------------------------------------------------- pairs


@cache
def pairs_bytes(suffix: str, indices_only: bool = False, center: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"pairs{suffix}"
        match(ROWS, center=center).save(path, indices_only=indices_only)
        return path.read_bytes()


def pairs_seeds(suffix: str) -> dict[str, bytes]:
    return {
        "pairs": pairs_bytes(suffix),
        "indices": pairs_bytes(suffix, indices_only=True),
        "centred": pairs_bytes(suffix, center=True),
        "other": npz_seeds()["two"] if suffix == ".npz" else safetensors_seeds()["two"],
    }


def inspect_pairs(data: bytes, value: Any) -> None:
    assert isinstance(value, Matching), f"not a Matching but a {type(value).__name__}"
    assignment, cosine = value.assignment, value.cosine
    assert assignment.dtype == np.int64
    assert assignment.ndim == 1, f"assignment of shape {assignment.shape}"
    assert len(assignment) > 0, "no pairs at all"
    assert assignment.min() >= 0, "a negative assignment"
    assert len(np.unique(assignment)) == len(assignment), "a latent taken twice"
    assert cosine.dtype == np.float64
    assert cosine.shape == assignment.shape, f"cosines of shape {cosine.shape}"
    assert np.isfinite(cosine).all(), "a cosine that is not finite"
    assert (np.abs(cosine) <= 1 + 1e-9).all(), "a cosine beyond 1"
    assert isinstance(value.meta, dict)
    repr(value)
    if value.sources is None:
        return
    sources, labels = value.pairs()
    assert len(sources) == len(labels) == len(assignment), "rows that are not one a pair"
    assert sources.shape == labels.shape, f"sources {sources.shape} and labels {labels.shape}"
    for name, rows in (("sources", sources), ("labels", labels)):
        assert rows.dtype.kind in "fiu", f"{name} of dtype {rows.dtype}"


# ---------------------------------------------------------------------------------- checkpoint


@cache
def finished_run() -> tuple[dict[str, Any], np.ndarray, Matching]:
    """Fingerprint, visiting order and result of the run that checkpoints belong to."""
    result = match(MANY)
    options = {"seed": 0, "order": "norm", "cone": 1, "center": False}
    fields = fingerprint(MANY, draw_sources(*MANY.shape, 0), None, **options)
    return fields, result.visited, result


def checkpoint_seeds() -> dict[str, bytes]:
    """Checkpoints of the run of `finished_run`, as an interrupted match leaves them."""
    fields, visited, _ = finished_run()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.ckpt"
        for done in (0, 1, 23, 40):
            state = Checkpoint(path)
            state.open(fields, visited.copy(), len(MANY))
            for state.done in (done // 2, done):
                state.save()
            found[f"done{done}"] = path.read_bytes()
            path.unlink()
            arrays = {"visited": visited[:done]}
            write_npz(path, arrays, {**fields, "run": "00", "digest": digest_of(fields, arrays)})
            found[f"archive{done}"] = path.read_bytes()
            path.unlink()
        write_npz(path, {"visited": visited[:5]}, {**fields, "--cone": 2})
        found["other_cone"] = path.read_bytes()
    return found


def read_checkpoint(path: Path) -> Matching:
    """Continue a run; a warning of a spoilt end is as it should be."""
    state = Checkpoint(path, warn=lambda message: None)
    try:
        return match(MANY, checkpoint=state, threads=1)
    finally:
        state.release()


def inspect_continued(data: bytes, value: Any) -> None:
    _, _, whole = finished_run()
    assert np.array_equal(value.assignment, whole.assignment), "continued to another assignment"
    assert value.cosine.tobytes() == whole.cosine.tobytes(), "continued to other cosines"


# ------------------------------------------------------------------------ checkpoint of an auction

AUCTION_ROWS = np.random.Generator(np.random.Philox(5)).standard_normal((400, 3), np.float32)
AUCTION_GROUPS = (np.arange(300) % 2, np.arange(400) % 2)


def auction(checkpoint: Path | Checkpoint | None = None, **options: Any) -> Matching:
    return match_optimal(
        *(AUCTION_ROWS, -AUCTION_ROWS[:300]),
        groups=AUCTION_GROUPS,
        tolerance=0.0,
        threads=1,
        checkpoint=checkpoint,
        **options,
    )


@cache
def finished_auction() -> Matching:
    return auction()


def auction_seeds() -> dict[str, bytes]:
    """Checkpoints of an auction at its beginning, between its groups and at its end."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.ckpt"
        state = Checkpoint(path, remove_at_end=False)
        auction(state)
        state.save()
        state.release()
        found["end"] = path.read_bytes()
        arrays, fields = read_npz(path)
        fields = {name: value for name, value in fields.items() if name != "digest"}
        for groups, name in enumerate(("begun", "between")):
            part = {key: array.copy() for key, array in arrays.items()}
            part["auction"][0] = groups
            part["holds"][groups::2] = -1
            if groups == 0:
                part["holds"][:] = -1
                part["prices"] = part["prices"][:0]
            fields["run"] = "00"
            signed = {key: value for key, value in fields.items() if key != "run"}
            write_npz(path, part, {**fields, "digest": digest_of(signed, part)})
            found[name] = path.read_bytes()
    return found


def inspect_auction(data: bytes, value: Any) -> None:
    whole = finished_auction()
    assert np.array_equal(value.assignment, whole.assignment), "continued to another assignment"
    assert value.prices.tobytes() == whole.prices.tobytes(), "continued to other prices"
    assert 0.0 <= value.gap < 1e-9, f"a gap of {value.gap}"


TARGETS: dict[str, Target] = {
    "npy": Target("rows.npy", read_array, inspect_npy, npy_seeds, mutations.npy),
    "npz": Target(
        "rows.npz", read_array, inspect_npz, npz_seeds, mutations.zip_file(mutations.npy)
    ),
    "safetensors": Target(
        "rows.safetensors",
        read_array,
        inspect_safetensors,
        safetensors_seeds,
        mutations.safetensors,
        needs="safetensors",
    ),
    "pt": Target(
        "rows.pt", read_array, inspect_torch, torch_seeds, mutations.torch_file, needs="torch"
    ),
    "pairs_npz": Target(
        "pairs.npz",
        Matching.load,
        inspect_pairs,
        lambda: pairs_seeds(".npz"),
        mutations.zip_file(mutations.npy_or_meta),
    ),
    "pairs_safetensors": Target(
        "pairs.safetensors",
        Matching.load,
        inspect_pairs,
        lambda: pairs_seeds(".safetensors"),
        mutations.safetensors,
    ),
    "checkpoint": Target(
        "run.ckpt",
        read_checkpoint,
        inspect_continued,
        checkpoint_seeds,
        mutations.zip_file(mutations.npy_or_meta),
        keeps=False,
    ),
    "auction": Target(
        "run.ckpt",
        auction,
        inspect_auction,
        auction_seeds,
        mutations.zip_file(mutations.npy_or_meta),
        keeps=False,
    ),
    "run_json": Target(
        "run.json",
        train_readers.read_run_settings,
        train_readers.inspect_run_settings,
        train_readers.run_settings_seeds,
        mutations.json_text,
        needs="gtn_train.run.settings",
    ),
    "manifest": Target(
        "stage.json",
        train_readers.read_manifest,
        train_readers.inspect_manifest,
        train_readers.manifest_seeds,
        mutations.json_text,
        needs="gtn_train.run.verdict",
    ),
    "metrics": Target(
        "metrics.jsonl",
        train_readers.read_metrics,
        train_readers.inspect_metrics,
        train_readers.metrics_seeds,
        mutations.any_bytes,
        needs="gtn_train.run.store",
    ),
    "training_checkpoint": Target(
        "checkpoint.ckpt",
        train_readers.read_training_checkpoint,
        train_readers.inspect_training_checkpoint,
        train_readers.training_checkpoint_seeds,
        mutations.torch_file,
        needs="gtn_train.training.checkpoint",
    ),
    "model": Target(
        "weights.safetensors",
        train_readers.read_model,
        train_readers.inspect_model,
        train_readers.model_seeds,
        mutations.safetensors,
        needs="gtn_train.models.registry",
    ),
    "mixture": Target(
        "mixture.json",
        train_readers.read_mixture,
        train_readers.inspect_mixture,
        train_readers.mixture_seeds,
        mutations.json_text,
        needs="gtn_train.pairs.mixture",
    ),
    "classes": Target(
        "pairs.npz",
        train_readers.read_classes,
        train_readers.inspect_classes,
        train_readers.classes_seeds,
        mutations.zip_file(mutations.npy_or_meta),
        needs="gtn_train.pairs.classes",
    ),
}


def seeds(name: str) -> dict[str, bytes]:
    """Return the first inputs of a target, and the inputs that once showed a fault."""
    found = dict(TARGETS[name].make_seeds())
    corpus = Path(__file__).parent / "corpus" / name
    known: Iterable[Path] = sorted(corpus.iterdir()) if corpus.is_dir() else ()
    return found | {f"corpus/{path.name}": path.read_bytes() for path in known}
