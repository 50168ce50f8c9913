"""Measures of shape: of a map between sources and outputs, and of two sets of rows.

float64 throughout. NumPy alone at import; scikit-learn, SciPy, torch and POT are imported by the
function that needs them. Not here: energy distance, norms and coverage (latents.py), which sizes a
run is measured with (run_geometry.py).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from gtn_label.arrays import convert
from gtn_label.checks import as_integer, check_seed

from ..seeds import random_numbers

__all__ = ["bilipschitz", "gromov_wasserstein", "mmd", "orientation"]

Rows = npt.NDArray[Any]

BLOCK_VALUES = 1 << 22  # numbers at a time: 32 MB
MEDIAN_ROWS = 2_000  # whose distances give the kernel's width
MOST_DIMENSIONS = 128  # of a Jacobian: one backward pass for each


def bilipschitz(
    sources: Rows, outputs: Rows, *, k: int = 20, classes: Any = None
) -> dict[str, float]:
    """Measure how much a map stretches and shrinks, from each source to its k nearest sources.

    The constant of a source is the least K with 1/K <= |x - x'| / |z - z'| <= K over its k nearest
    sources z' and their outputs x' (bilip_k of Li et al., Variational Diffusion Autoencoders with
    Random Walk Sampling, whose Table 1 has its median). The paper gives no k. K depends on the
    units of sources and outputs, so the root of the largest ratio over the least is given too.

    Parameters
    ----------
    sources : [n >= 2, dim]
        Equal sources of one class count once.
    outputs : [n, out_dim]
        Output of each source.
    k : int
        Neighbours of each source, >= 1; fewer where there are not as many.
    classes : int array [n], optional
        Class of each source. Neighbours are then sources of the same class, because each class has
        a map of its own.

    Returns
    -------
    dict
        "median": the median of K; "scale-free median": the median of the root, 1 for a similarity.
        inf where most sources have a neighbour with the same output.

    Raises
    ------
    ValueError
        If the rows are not as many, or no class has two distinct sources.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(50, 2))
    >>> found = bilipschitz(z, 4 * z)
    >>> round(found["median"], 6), round(found["scale-free median"], 6)
    (4.0, 1.0)
    """
    z, x = _rows(sources, "sources"), _rows(outputs, "outputs")
    k = as_integer(k, "k", 1)
    if len(z) != len(x):
        raise ValueError(f"sources and outputs must be as many, got {len(z)} and {len(x)}")
    if classes is None:
        groups = [np.arange(len(z))]
    else:
        labels = convert.as_labels(classes, "classes", len(z), "sources")
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    least: list[npt.NDArray[np.float64]] = []
    largest: list[npt.NDArray[np.float64]] = []
    for group in groups:
        distinct = group[np.unique(z[group], axis=0, return_index=True)[1]]
        if len(distinct) > 1:
            ratios = _ratios(z[distinct], x[distinct], min(k, len(distinct) - 1))
            least.append(ratios.min(axis=1))
            largest.append(ratios.max(axis=1))
    if not least:
        raise ValueError(f"sources must have two distinct rows of one class, got {len(z)} rows")
    low, high = np.concatenate(least), np.concatenate(largest)
    with np.errstate(divide="ignore", invalid="ignore"):
        constant = np.maximum(high, 1 / low)
        free = np.where(low > 0, np.sqrt(high / low), np.inf)
    return {"median": float(np.median(constant)), "scale-free median": float(np.median(free))}


def _ratios(
    z: npt.NDArray[np.float64], x: npt.NDArray[np.float64], k: int
) -> npt.NDArray[np.float64]:
    """Distances of outputs over those of sources, to the k nearest sources: [n, k]."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    ratios = np.empty(nearest.shape)
    step = max(1, BLOCK_VALUES // (k * max(z.shape[1], x.shape[1])))
    for begin in range(0, len(z), step):
        some = slice(begin, begin + step)
        # Differences, because a search by inner products rounds small distances to 0.
        apart = np.linalg.norm(z[some, None] - z[nearest[some]], axis=2)
        ratios[some] = np.linalg.norm(x[some, None] - x[nearest[some]], axis=2) / apart
    return ratios


def orientation(generator: Any, sources: Rows, *, classes: Any = None) -> float:
    """Share of sources where det J of the generator has another sign than at most sources.

    J is the generator's Jacobian at a source, in float64. A homeomorphism keeps its orientation
    everywhere, so that the share is 0 (GTN paper, Theorem 2.1). A map that folds has sources of
    both signs. A Jacobian that is exactly singular counts as a change of sign. This measure is this
    project's own.

    Parameters
    ----------
    generator : torch.nn.Module
        Maps sources [n, dim] to outputs [n, dim], each row by itself. A copy in float64 is
        measured. A conditional one is called with (sources, classes).
    sources : [n >= 1, dim <= 128]
    classes : int array [n], optional
        Class of each source; the sign of most sources is that within the class.

    Returns
    -------
    float
        0 to 0.5, or more where Jacobians are singular.

    Raises
    ------
    ValueError
        If outputs have not the dimension of the sources, a dimension is above 128, or the generator
        cannot be differentiated.

    Examples
    --------
    >>> import torch
    >>> orientation(torch.nn.Linear(2, 2), np.random.default_rng(0).normal(size=(9, 2)))
    0.0
    """
    import torch

    from ..models.autoencoder import evaluating

    rows = _rows(sources, "sources")
    n, dim = rows.shape
    if dim > MOST_DIMENSIONS:
        raise ValueError(f"sources must have at most {MOST_DIMENSIONS} columns, got {dim}")
    labels = None if classes is None else convert.as_labels(classes, "classes", n, "sources")
    doubled = copy.deepcopy(generator)
    first = next(doubled.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    if device.type == "mps":  # which has no float64
        device = torch.device("cpu")
    doubled = doubled.to(device).to(torch.float64)
    given = [torch.tensor(rows, device=device, requires_grad=True)]
    if labels is not None:
        given.append(torch.tensor(labels, device=device))
    jacobians = np.empty((n, dim, dim))
    try:
        with torch.enable_grad(), evaluating(doubled):
            outputs = doubled(*given)
            if outputs.shape != (n, dim):
                raise ValueError(
                    f"generator must keep the dimension of its sources, {dim}, got outputs "
                    f"{tuple(outputs.shape)}"
                )
            for column in range(dim):
                (gradient,) = torch.autograd.grad(
                    outputs[:, column].sum(), given[0], retain_graph=True
                )
                jacobians[:, column] = gradient.cpu().numpy()
    except RuntimeError as error:
        raise ValueError(f"generator must be differentiable in float64: {error}") from error
    convert.refuse_non_finite(jacobians.reshape(n, -1), "the generator's Jacobians")
    signs = np.linalg.slogdet(jacobians)[0]
    groups = np.zeros(n, np.int64) if labels is None else labels
    changed = 0
    for group in np.unique(groups):
        own = signs[groups == group]
        changed += len(own) - max(int((own > 0).sum()), int((own < 0).sum()))
    return float(changed / n)


def mmd(a: Rows, b: Rows) -> float:
    """Squared maximum mean discrepancy of two samples; 0 on average for one distribution.

    The unbiased estimate of Gretton et al. (A Kernel Two-Sample Test, JMLR 2012, Eq. 3), which may
    come out slightly below 0. The kernel is exp(-|u - v|² / (2 s²)). s is the median distance of
    two distinct rows of b's first 2,000; 1 if all are equal.

    Parameters
    ----------
    a : [n >= 2, dim]
        Generated rows.
    b : [m >= 2, dim]
        Real rows, which give the kernel's width.

    Raises
    ------
    ValueError
        If the columns differ, or a sample has fewer than two rows.

    Examples
    --------
    >>> round(mmd(np.array([[0.0], [2.0]]), np.array([[100.0], [102.0]])), 6)
    1.213061
    """
    from scipy.spatial.distance import pdist

    a, b = _pair(a, b)
    distances = pdist(b[:MEDIAN_ROWS])
    distances = distances[distances > 0]
    width = float(np.median(distances)) if len(distances) else 1.0
    n, m = len(a), len(b)
    within: float = sum(
        (_kernel_sum(rows, rows, width) - len(rows)) / (len(rows) * (len(rows) - 1))
        for rows in (a, b)
    )
    return within - 2 * _kernel_sum(a, b, width) / (n * m)


def _kernel_sum(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], width: float) -> float:
    """Sum of the kernel over all pairs, a block of rows at a time."""
    from scipy.spatial.distance import cdist

    step = max(1, BLOCK_VALUES // len(b))
    blocks = (a[begin : begin + step] for begin in range(0, len(a), step))
    return float(
        sum(np.exp(cdist(rows, b, "sqeuclidean") / (-2 * width**2)).sum() for rows in blocks)
    )


def gromov_wasserstein(a: Rows, b: Rows, *, starts: int = 3, seed: int = 0) -> float:
    """Gromov-Wasserstein discrepancy of two sets: how unlike their distances are; 0 if isometric.

    The least sum of (D_a[i, j] - D_b[k, l])² T[i, k] T[j, l] over couplings T with uniform weights
    (Mémoli, Gromov-Wasserstein Distances and the Metric Approach to Object Matching, 2011, of order
    2 and squared; Table 1 of Li et al., Variational Diffusion Autoencoders with Random Walk
    Sampling, has 1,000 times this figure). D are Euclidean distances over their largest, so that
    scale does not count. POT's solver ends in a local minimum. The least of several starts is an
    upper bound, and two samples of one distribution do not reach 0: compare with such a pair.

    Parameters
    ----------
    a, b : [n, dim] and [m, dim']
        Two distinct rows at least. 500 rows take about a second a start.
    starts : int
        Starts of the solver, >= 1: the product of the weights, optimal transport between sorted
        distances, and this with noise from the third on.
    seed : int
        Random seed of the noise, >= 0.

    Raises
    ------
    ImportError
        If POT is missing.
    ValueError
        If all rows of a set are equal.

    Examples
    --------
    >>> points = np.random.default_rng(0).normal(size=(8, 2))
    >>> round(gromov_wasserstein(points, 3 * points[::-1, ::-1]), 12)  # doctest: +SKIP
    0.0
    """
    sets = _rows(a, "a"), _rows(b, "b")
    starts, seed = as_integer(starts, "starts", 1), check_seed(seed)
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            "gromov_wasserstein needs POT: pip install 'gtn-label[geometry]'"
        ) from error
    from scipy.spatial.distance import cdist

    ours, theirs = (
        _over_largest(cdist(rows, rows), name) for rows, name in zip(sets, "ab", strict=True)
    )
    weights = [np.full(len(rows), 1 / len(rows)) for rows in sets]
    levels = np.linspace(0, 1, min(len(ours), len(theirs)))
    profiles = [np.quantile(rows, levels, axis=1).T for rows in (ours, theirs)]
    noise = random_numbers(seed, "gromov-wasserstein")
    found = []
    for start in range(starts):
        coupling = None  # POT's own: the product of the weights
        if start > 0:
            cost = cdist(*profiles, "sqeuclidean")
            if start > 1:
                cost += noise.uniform(0, cost.mean(), size=cost.shape)
            coupling = ot.emd(*weights, cost)
        found.append(
            ot.gromov.gromov_wasserstein2(
                ours, theirs, *weights, loss_fun="square_loss", G0=coupling
            )
        )
    return max(0.0, float(min(found)))  # rounding may end below 0


def _over_largest(distances: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    largest = float(distances.max())
    if largest == 0:
        raise ValueError(f"{name} must have two distinct rows, got {len(distances)} equal ones")
    return distances / largest


def _rows(values: Any, name: str) -> npt.NDArray[np.float64]:
    rows = convert.as_rows(values, name).rows.astype(np.float64)
    convert.refuse_non_finite(rows, name)
    return rows


def _pair(a: Any, b: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    a, b = _rows(a, "a"), _rows(b, "b")
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"a and b must have the same columns and two rows at least, got shapes {a.shape} "
            f"and {b.shape}"
        )
    return a, b
