"""`match_mixture`: latents in several clusters, labeled cluster by cluster (Fig. 9 of the paper).

k-means comes from scikit-learn (extra: gtn-label[mixture]), imported on the call. The matching is a
run with groups (run.py). The numeric contract covers the matching, not the clustering.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .arrays import convert
from .arrays.on_disk import Files
from .arrays.on_gpu import in_cpu_memory, locate
from .arrays.sources import check_source_seed, draw_sources, seed_record
from .backend.engines import check_place
from .backend.names import resolve
from .checks import as_integer
from .errors import ArgumentError
from .match_options import MatchOptions, MixtureOptions, takes_options
from .result import Matching
from .run import run

if TYPE_CHECKING:
    from typing_extensions import Unpack

RESTARTS = 4  # k-means++ starts, the best kept: one start often splits a cluster and joins two


@takes_options(MixtureOptions)
def match_mixture(
    latents: Any,
    n_clusters: int = 2,
    *,
    seed: int | np.random.Generator = 0,
    **options: Unpack[MixtureOptions],
) -> Matching:
    """Cluster the latents, draw sources around each cluster and match within clusters.

    Each cluster with mean mu and standard deviation sigma, column by column (divided by the
    count), gets as many sources as it has latents, drawn from N(mu, diag(sigma^2)); Algorithm 1
    runs in each cluster. Source i belongs to the cluster of latent i; it is mu + sigma z_i in
    float64, rounded to float32, with the z that `match` would draw from the same seed. Sources
    are float32 whatever the latents are.

    There is no option `center`: sources lie around the clusters, not around zero, and must be
    compared with the latents where they are. A column without spread in a cluster, and a cluster of
    one latent, give sources equal to the mean there. A cluster of equal latents at the origin has
    no directions and is refused.

    Parameters
    ----------
    latents : array_like [m, dim]
        As in `match`. k-means runs on the CPU, on a copy of latents on a GPU.
    n_clusters : int
        Number of clusters, 1 <= n_clusters <= m.
    seed : int or numpy.random.Generator
        Seed of k-means and of the sources, >= 0. A generator is asked for one: `meta` has it.
    **options
        order, cone, backend, device, threads, memory, progress and checkpoint as in `match`.

    Returns
    -------
    Matching
        Its `groups` are the cluster of each source and of each latent.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        As in `match`; also if the latents have fewer distinct rows than `n_clusters`.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label import match_mixture
    >>> latents = np.array([[5.0, 0.1], [5.1, 0.2], [-5.0, 0.1], [-5.2, 0.0]])
    >>> m = match_mixture(latents, 2)
    >>> bool((m.groups[1][m.assignment] == m.groups[0]).all())
    True
    """
    checked = check_source_seed(seed)
    if isinstance(checked, np.random.Generator):
        checked = int(checked.integers(2**63))
    n_clusters = as_integer(n_clusters, "n_clusters", 1)
    located = locate(latents=latents)  # before k-means takes its time
    asked = MatchOptions(center=False, groups=None, **options)
    check_place(located, resolve(asked.backend, on_gpu=located is not None), choice=True)
    with Files(latents=latents).reading():
        rows = convert.as_rows(in_cpu_memory(latents, "latents"), "latents").rows
        clusters = find_clusters(rows, n_clusters, checked)
        return run(
            latents,
            _draw_around(rows, clusters, n_clusters, checked),
            checked,
            replace(asked, groups=(clusters, clusters)),
            provenance={
                "method": "mixture",
                **seed_record(checked, len(rows)),
                "n_clusters": n_clusters,
            },
        )


def find_clusters(rows: npt.NDArray[Any], n_clusters: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the cluster of each row [m] by k-means on one thread: more sum in a varying order.

    Arguments, errors and clusters are those of `match_mixture`.
    """
    n_clusters = as_integer(n_clusters, "n_clusters", 1)
    if n_clusters > len(rows):
        rule = f"must not exceed the {len(rows)} latents"
        raise ArgumentError("n_clusters", rule, str(n_clusters))
    convert.refuse_non_finite(rows, "latents")
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ImportError(
            "match_mixture needs scikit-learn: pip install 'gtn-label[mixture]'"
        ) from error

    state = int(np.random.SeedSequence(seed).generate_state(1)[0])  # scikit-learn takes 32 bits
    k_means = KMeans(n_clusters=n_clusters, n_init=RESTARTS, random_state=state)
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore")  # too few distinct rows are an error below
        clusters: npt.NDArray[np.int64] = k_means.fit_predict(rows).astype(np.int64)
    found = len(np.unique(clusters))
    if found < n_clusters:
        raise ArgumentError(
            "n_clusters",
            "must not exceed the clusters that latents has",
            f"{n_clusters} for {found} distinct",
        )
    return clusters


def _draw_around(
    rows: npt.NDArray[Any], clusters: npt.NDArray[np.int64], n_clusters: int, seed: int
) -> npt.NDArray[np.float32]:
    """Draw one source a latent from the normal distribution of its cluster, float32 [m, dim]."""
    sources = draw_sources(len(rows), rows.shape[1], seed)
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        for cluster in range(n_clusters):
            inside = clusters == cluster
            members = rows[inside].astype(np.float64)
            mean, std = members.mean(axis=0), members.std(axis=0)
            sources[inside] = (mean + std * sources[inside]).astype(np.float32)
    if not np.isfinite(sources).all():
        raise ArgumentError(
            "latents",
            "must have cluster means and spreads within float32, the dtype of the sources",
            f"a largest value of {np.abs(rows).max():g}",
            "scale the latents down",
        )
    return sources
