"""The rules that a file of pairs obeys, checked when it is loaded.

A file can be damaged, made by hand, or the work of another program. Its labels would be trained on.
Not here: formats (files.py), and the comparison with the latents (verification.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arrays.narrow import NarrowRows, is_narrow
from ..arrays.row_blocks import Array, RowsLike

__all__ = ["APART", "ROWS", "check_pairs"]

ROWS = ("sources", "labels")
APART = "apart"  # entry "prices" of the meta: the folder has them in a file of their own
CONTRACT = 1  # version of the numeric contract, where a file names one
LARGEST_ROW = 2**31 - 1  # the engine's limit of latents
LARGEST_COSINE = 1 + 1e-12  # rounding takes a cosine a little above 1
_CERTIFIED = ("tolerance", "gap", "cost", "lower_bound")  # of optimal transport, in the meta
_LARGEST = float(np.finfo(np.float64).max)


def check_pairs(
    arrays: Mapping[str, RowsLike], meta: Mapping[str, Any], shown: str, most: int = LARGEST_ROW
) -> None:
    """Check arrays and meta of a file; rows are not read, only their shape and dtype.

    `most` is the largest row of a latent: many machines hold more than one.

    Raises
    ------
    ValueError
        If they are no pairs, with the rule and the value found.
    """

    def refuse(what: str) -> ValueError:
        return ValueError(f"{shown} is not a file of pairs: {what}")

    _check_meta(meta, refuse)
    optimal = meta.get("method") == "optimal"
    apart = optimal and meta.get("prices") == APART and "prices" not in arrays
    dtypes = {"assignment": np.int64, "cosine": np.float64}
    if optimal and not apart:
        dtypes["prices"] = np.float64
    elif not optimal and "prices" in arrays:
        method = meta.get("method", "")
        raise refuse(f"it has 'prices', and its meta the method {method!r:.60}, not 'optimal'")
    for name, dtype in dtypes.items():
        if name not in arrays:
            raise refuse(f"it has no {name!r}")
        array = arrays[name]
        if len(array.shape) != 1 or array.dtype != dtype or isinstance(array, NarrowRows):
            raise refuse(
                f"{name!r} is {array.dtype} of shape {array.shape}, and must be "
                f"{np.dtype(dtype)} [{'m' if name == 'prices' else 'n'}]"
            )
    of_sources = {
        name: array for name, array in arrays.items() if not (optimal and name == "prices")
    }
    lengths = {name: array.shape[0] if array.shape else 0 for name, array in of_sources.items()}
    if len(set(lengths.values())) != 1 or ("sources" in arrays) != ("labels" in arrays):
        raise refuse(f"rows are {lengths}")
    if lengths["assignment"] == 0:
        raise refuse("it has no pairs, and must have at least one")
    _check_rows(arrays, meta.get("method") == "quantile", refuse)
    _check_dtypes(arrays, meta.get("dtypes", {}), refuse)
    _check_assignment(np.asarray(arrays["assignment"]), refuse, most)
    cosine = np.asarray(arrays["cosine"])
    bad = np.flatnonzero(~(np.abs(cosine) <= LARGEST_COSINE))
    if len(bad):
        raise refuse(f"'cosine' must be within -1 and 1, and row {bad[0]} is {cosine[bad[0]]}")
    if optimal:
        _check_certified(meta, refuse)
    if optimal and not apart:
        _check_prices(
            np.asarray(arrays["prices"]), int(np.asarray(arrays["assignment"]).max()), refuse
        )


def _check_meta(meta: Mapping[str, Any], refuse: Any) -> None:
    form = meta.get("format", "gtn-label pairs")
    if form != "gtn-label pairs":
        raise refuse(f"its meta names the format {form!r:.60}")
    contract = meta.get("contract", CONTRACT)
    if contract != CONTRACT or isinstance(contract, bool):
        raise refuse(
            f"its numeric contract has version {contract!r:.60}, and this gtn-label has {CONTRACT}"
        )
    method = meta.get("method", "")
    if not isinstance(method, str):  # gtn-train has names of its own
        raise refuse(f"its meta has the method {method!r:.60}, and must have a name")
    seed = meta.get("seed")
    if seed is not None and (type(seed) is not int or seed < 0):
        raise refuse(f"its meta has the seed {seed!r:.60}, and must have an integer >= 0 or null")


def _check_rows(arrays: Mapping[str, RowsLike], one_column: bool, refuse: Any) -> None:
    """Check shapes and dtypes of sources and labels; those of `match_quantile` can be 1-D."""
    shapes = {name: arrays[name].shape for name in ROWS if name in arrays}
    for name, shape in shapes.items():
        dtype = arrays[name].dtype
        if not (dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize <= 8)):
            raise refuse(f"{name!r} must hold numbers, and is {dtype}")
        wide = len(shape) == 2 and shape[1] >= 1
        if one_column and not (len(shape) == 1 or (wide and shape[1] == 1)):
            raise refuse(f"{name!r} must have shape [n] or [n, 1], and has {shape}")
        if not one_column and not wide:
            raise refuse(f"{name!r} must have shape [n, dim], and has {shape}")
    if len({shape[1:] for shape in shapes.values()}) > 1 and not one_column:
        raise refuse(f"sources and labels must have one dim, and have the shapes {shapes}")


def _check_dtypes(arrays: Mapping[str, RowsLike], dtypes: Any, refuse: Any) -> None:
    """Check the types that NumPy lacks: rows are float32 then, or hold the bits of that type."""
    if not isinstance(dtypes, Mapping):
        raise refuse(f"its meta has the dtypes {dtypes!r:.60}, and must have names by array")
    for name, dtype in dtypes.items():
        if name not in ROWS or not is_narrow(dtype):
            raise refuse(
                f"its meta names the dtype {dtype!r:.60} of {name!r:.60}, and may name bfloat16 "
                "and narrower floats of sources and labels"
            )
        if name not in arrays:  # indices only
            continue
        rows = arrays[name]
        found = rows.name if isinstance(rows, NarrowRows) else rows.dtype.name
        if found not in (dtype, "float32"):
            raise refuse(f"its meta names the dtype {dtype} of {name!r}, which is {found}")


def _check_assignment(assignment: Array, refuse: Any, most: int) -> None:
    out = np.flatnonzero((assignment < 0) | (assignment > most))
    if len(out):
        rule = f"'assignment' must be rows of latents, 0 to {most}"
        raise refuse(f"{rule}, and row {out[0]} is {assignment[out[0]]}")
    order = np.argsort(assignment, kind="stable")
    twice = np.flatnonzero(assignment[order[1:]] == assignment[order[:-1]])
    if len(twice):
        first, second = order[twice[0]], order[twice[0] + 1]
        raise refuse(
            f"'assignment' must name no latent twice, and rows {first} and {second} are "
            f"{assignment[first]}"
        )


def _check_prices(prices: Array, largest: int, refuse: Any) -> None:
    """Check that there is a finite price of each latent [m]."""
    if len(prices) <= largest:
        raise refuse(
            f"'prices' must be one of each latent, and there are {len(prices)} where 'assignment' "
            f"names row {largest}"
        )
    bad = np.flatnonzero(~np.isfinite(prices))
    if len(bad):
        raise refuse(f"'prices' must be finite, and row {bad[0]} is {prices[bad[0]]}")
    least, most = float(prices.min()), float(prices.max())
    if most - least > _LARGEST:
        raise refuse(f"'prices' must differ by a finite number, and are {least:g} to {most:g}")


def _check_certified(meta: Mapping[str, Any], refuse: Any) -> None:
    """Check the certified figures of optimal transport."""
    for name in _CERTIFIED:
        value: Any = meta.get(name)
        if type(value) not in (int, float) or not 0 <= value <= _LARGEST:
            raise refuse(f"its meta has the {name} {value!r:.60}, and must have a number >= 0")
