"""FID, Inception Score, precision and recall of images, by torch-fidelity's own functions.

This module chooses the images to compare, and computes features in batches, with a cache. The
figures are torch-fidelity's (Fréchet distance, Inception Score, precision and recall by balls of
the third nearest neighbour); they come out as from its `calculate_metrics`. They depend on how many
images are compared, so that number, the extractor and the distance of real images from real images
stand beside them always. Not here: networks (extractors.py).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gtn_label.arrays.convert import sha256
from gtn_label.checks import as_integer, check_seed
from gtn_label.io.files import read_npz, write_npz

from ..data.images import check_images
from ..progress import progress_bar
from ..seeds import derive, random_numbers
from .extractors import Extractor, figure_names

__all__ = [
    "LEAST",
    "Features",
    "evaluate_images",
    "extract",
    "frechet_distance",
    "inception_score",
    "seconds_an_image",
]

BATCH = 64
TIMED = 8  # images by which `seconds_an_image` measures
NEIGHBOURS = 3  # of precision and recall, torch-fidelity's default
LEAST = NEIGHBOURS + 2  # images of each kind
ROWS = 1000  # of the matrix of distances at a time: 40 MB at n = 10,000

Bytes = npt.NDArray[np.uint8]


class Features(NamedTuple):
    """A network's output for n images: float32 features [n, f] and logits [n, classes]."""

    features: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


def evaluate_images(
    generated: Bytes,
    real: Bytes,
    extractor: Extractor,
    *,
    n: int,
    seed: int = 0,
    reconstructions: Bytes | None = None,
    others: Mapping[str, Bytes] | None = None,
    splits: int = 10,
    batch_size: int = BATCH,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Compare n generated with n real images.

    Parameters
    ----------
    generated, real : uint8 [m, c, h, w]
        At least n each, c 1 or 3; of each, n are chosen by `seed`. Grey becomes three channels.
    extractor : Extractor
        Its figures bear its name; Inception's are FID and IS.
    n : int
        Number of images of each kind, >= 2, and > 3 for precision and recall. The paper has 10,000
        for FID and 200 for IS.
    seed : int
        Random seed of the choice.
    reconstructions : uint8 [m, c, h, w], optional
        At least n images decode(encode(real)), of which n are compared with the same real ones:
        recon-FID and recon-IS, the loss of the autoencoder alone.
    others : dict of name to uint8 [m, c, h, w], optional
        Images of other methods, at least n each. Their features are not cached.
    splits : int
        Parts over which an Inception Score is averaged.
    batch_size : int
        Images at a time.
    cache : path, optional
        Folder for features, one file for each set of images and network (made if missing).
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    dict
        JSON types. "extractor", "n", "seed", "splits"; with Inception "FID", "IS", "IS std" (over
        the splits), otherwise "FD-<name>" and so on; "precision" and "recall"; the same of the
        reconstructions with "recon-"; and of real images "real IS" (the most there is to reach)
        and "real FID", the floor: between n real images and n others, or as many as there are,
        which "real n" says. "others", if given: Fréchet distance, score, precision and recall of
        each.

    Raises
    ------
    TypeError, ValueError
        If images are no such arrays or fewer than n, or an option is out of range.
    RuntimeError
        If the extractor gives NaN or infinity.
    """
    n = as_integer(n, "n", LEAST)
    splits = as_integer(splits, "splits", 1)
    seed = check_seed(seed)
    if splits > n:
        raise ValueError(f"splits must not exceed n = {n}, got {splits}")
    sets = {"generated": generated, "real": real}
    if reconstructions is not None:
        sets["reconstructions"] = reconstructions
    sets |= others or {}
    for name, images in sets.items():
        check_pictures(images, name)
        if len(images) < n:
            raise ValueError(f"{name} must have at least n = {n} images, got {len(images)}")

    def features(name: str, rows: npt.NDArray[np.int64], cache: Any = cache) -> Features:
        return extract(
            sets[name][np.sort(rows)],
            extractor,
            batch_size=batch_size,
            cache=cache,
            progress=progress,
            desc=f"features of {name}",
        )

    distance, score = figure_names(extractor)
    order = _permutation(len(real), seed, "real")
    reference = features("real", order[:n])
    fake = features("generated", _permutation(len(generated), seed, "generated")[:n])
    out: dict[str, Any] = {"extractor": extractor.name, "n": n, "seed": seed, "splits": splits}
    out |= _figures(fake, reference, distance, score, "", splits, seed)
    out |= _precision_and_recall(fake, reference)
    if reconstructions is not None:
        rows = _permutation(len(reconstructions), seed, "reconstructions")[:n]
        out |= _figures(
            features("reconstructions", rows), reference, distance, score, "recon-", splits, seed
        )
    if others is not None:
        out["others"] = {}
        for name in others:
            theirs = features(name, _permutation(len(sets[name]), seed, "generated")[:n], None)
            found = _figures(theirs, reference, distance, score, "", splits, seed)
            del found[f"{score} std"]
            out["others"][name] = {**found, **_precision_and_recall(theirs, reference)}
    out |= {f"real {k}": v for k, v in _score(reference.logits, score, "", splits, seed).items()}
    if len(real) >= 2 * n:
        here, there = reference, features("real", order[n : 2 * n])
    else:  # too few for two sets of n: two halves, which are farther apart
        half = len(real) // 2
        here, there = features("real", order[:half]), features("real", order[half : 2 * half])
    out[f"real {distance}"] = frechet_distance(here.features, there.features)
    out["real n"] = len(here.features)
    return out


def extract(
    images: Bytes,
    extractor: Extractor,
    *,
    batch_size: int = BATCH,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
    desc: str = "features",
) -> Features:
    """Compute features of all images, or read them from the cache.

    Parameters
    ----------
    images : uint8 [n, c, h, w]
        As in `evaluate_images`, as are the options.
    desc : str
        Name of the work beside its progress.

    Raises
    ------
    RuntimeError
        If a feature is NaN or infinite; it says of which image.
    """
    check_pictures(images, "images")
    batch_size = as_integer(batch_size, "batch_size", 1)
    stored = None if cache is None else _cache_file(Path(cache), images, extractor)
    if stored is not None and stored.is_file():
        arrays, _ = read_npz(stored, name="cache")
        return Features(arrays["features"], arrays["logits"])
    out: list[npt.NDArray[np.float32]] = []
    with progress_bar(progress, total=len(images), unit=" images", desc=desc) as bar:
        for begin in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.array(images[begin : begin + batch_size]))
            with torch.no_grad():
                found = extractor(batch.expand(-1, 3, -1, -1))
            arrays_found = [part.float().cpu().numpy() for part in found]
            if not out:
                out = [np.empty((len(images), a.shape[1]), np.float32) for a in arrays_found]
            for whole, part in zip(out, arrays_found, strict=True):
                finite = np.isfinite(part).all(axis=1)
                if not finite.all():
                    row = begin + int(np.argmin(finite))
                    raise RuntimeError(
                        f"extractor {extractor.name} gave NaN or infinity for image {row}"
                    )
                whole[begin : begin + len(part)] = part
            bar.update(len(batch))
    features = Features(out[0], out[1])
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        meta = {"extractor": extractor.name, "key": extractor.key, "n": len(images)}
        write_npz(stored, features._asdict(), meta)
    return features


def seconds_an_image(images: Bytes, extractor: Extractor) -> float:
    """Measure how long an extractor takes for an image, on a few of these.

    Parameters
    ----------
    images : uint8 [n, c, h, w]
    extractor : Extractor
    """
    some = images[:TIMED]
    extract(some, extractor)  # the first call of a network takes longer
    began = time.perf_counter()
    extract(some, extractor)
    return (time.perf_counter() - began) / len(some)


def inception_score(
    images: Bytes,
    extractor: Extractor,
    *,
    splits: int = 1,
    seed: int = 0,
    batch_size: int = BATCH,
) -> float:
    """Inception Score of these images alone, by any extractor: something to stop training by.

    Parameters
    ----------
    images, extractor, batch_size
        As in `evaluate_images`.
    splits : int
        Parts over which it is averaged; 1 suits the few images (200 in the paper) that a running
        training can afford.
    seed : int
        Random seed of the division into parts.
    """
    splits, seed = as_integer(splits, "splits", 1), check_seed(seed)
    if splits > len(images):
        raise ValueError(f"splits must not exceed the {len(images)} images, got {splits}")
    found = extract(images, extractor, batch_size=batch_size)
    return _score(found.logits, "IS", "", splits, seed)["IS"]


def frechet_distance(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Fréchet distance of the normal distributions fitted to two sets of features [n, f]."""
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    statistics = [fid_features_to_statistics(torch.from_numpy(part)) for part in (a, b)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def check_pictures(images: Any, name: str) -> None:
    """Refuse images other than uint8 [n >= 1, 1 or 3, h, w]."""
    check_images(images, name)
    if images.shape[1] not in (1, 3):
        raise ValueError(f"{name} must have 1 or 3 channels, got shape {images.shape}")


def _figures(
    some: Features,
    reference: Features,
    distance: str,
    score: str,
    prefix: str,
    splits: int,
    seed: int,
) -> dict[str, float]:
    return {
        f"{prefix}{distance}": frechet_distance(some.features, reference.features),
        **_score(some.logits, score, prefix, splits, seed),
    }


def _score(
    logits: npt.NDArray[np.float32], score: str, prefix: str, splits: int, seed: int
) -> dict[str, float]:
    from torch_fidelity.metric_isc import (
        KEY_METRIC_ISC_MEAN,
        KEY_METRIC_ISC_STD,
        isc_features_to_metric,
    )

    shuffle = derive(seed, "inception score") % 2**32  # NumPy's old generator takes 32 bits
    found = isc_features_to_metric(torch.from_numpy(logits), splits=splits, rng_seed=shuffle)
    return {
        f"{prefix}{score}": float(found[KEY_METRIC_ISC_MEAN]),
        f"{prefix}{score} std": float(found[KEY_METRIC_ISC_STD]),
    }


def _precision_and_recall(fake: Features, real: Features) -> dict[str, float]:
    from torch_fidelity.metric_prc import (
        KEY_METRIC_PRECISION,
        KEY_METRIC_RECALL,
        prc_features_to_metric,
    )

    found = prc_features_to_metric(
        torch.from_numpy(fake.features),
        torch.from_numpy(real.features),
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=ROWS,
        save_cpu_ram=True,
        verbose=False,
    )
    return {
        "precision": float(found[KEY_METRIC_PRECISION]),
        "recall": float(found[KEY_METRIC_RECALL]),
    }


def _permutation(m: int, seed: int, name: str) -> npt.NDArray[np.int64]:
    generator = random_numbers(seed, "evaluate", name)
    return generator.permutation(m)


def _cache_file(folder: Path, images: Bytes, extractor: Extractor) -> Path:
    words = "\n".join((extractor.name, extractor.key, sha256(images)))
    return folder / f"features-{hashlib.sha256(words.encode()).hexdigest()[:32]}.npz"
