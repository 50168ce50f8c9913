"""OTT-JAX on the CPU: Sinkhorn with its plan rounded to pairs, and its semi-discrete solver.

Sinkhorn runs with ε of 1 % of the standard deviation of the costs: the default, 5 %, is faster, and
its pairs are longer. The largest entries of the plan become pairs (benchmarks/pairs.py).

The semi-discrete solver finds a potential of the latents by stochastic gradients, without sources
of its own: it draws Gaussians. Step size, decay and batch are the best of five settings that were
tried on 3,000 × 5, clustered. float32, as JAX has it.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

import numpy as np

from benchmarks import maps
from benchmarks.pairs import complete, largest_first
from benchmarks.peer import Answer, Budget, Cost, Peer, Rows, needs

EPSILON = 0.01  # of the standard deviation of the costs
ITERATIONS = 2_000
BATCH = 1_024


def match(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Solve the regularised problem, and make pairs of the plan."""
    jax: Any = importlib.import_module("jax")
    clouds: Any = importlib.import_module("ott.geometry.pointcloud")
    linear: Any = importlib.import_module("ott.solvers.linear")

    def solve(y: Any, x: Any) -> Any:
        geometry = clouds.PointCloud(y, x, epsilon=EPSILON, relative_epsilon="std")
        found = linear.solve(geometry, max_iterations=ITERATIONS)
        return found.matrix, found.converged

    plan, converged = jax.jit(solve)(np.float32(sources), np.float32(latents))
    assignment, lonely = complete(latents, sources, largest_first(np.asarray(plan)))
    note = "" if converged else f"not converged in {ITERATIONS:,} iterations"
    return Answer(assignment, note=note, stats={"left_to_scipy": lonely})


def transport_map(latents: Rows, sources: Rows, budget: Budget) -> Answer:
    """Find a potential of the latents, and label the further sources of a map by it."""
    jax: Any = importlib.import_module("jax")
    optax: Any = importlib.import_module("optax")
    clouds: Any = importlib.import_module("ott.geometry.semidiscrete_pointcloud")
    linear: Any = importlib.import_module("ott.solvers.linear")
    start = time.perf_counter()
    geometry = clouds.SemidiscretePointCloud(jax.random.normal, np.float32(latents), epsilon=0.0)
    decay = optax.cosine_decay_schedule(float(len(latents)), ITERATIONS)
    steps = {"num_iterations": ITERATIONS, "batch_size": BATCH, "optimizer": optax.sgd(decay)}
    potential = linear.solve_semidiscrete(geometry, rng=jax.random.key(0), **steps).g
    wide = latents.astype(np.float64)
    prices = (np.square(wide).sum(axis=1) - np.asarray(potential, dtype=np.float64)) / 2
    solved = time.perf_counter()
    labels = maps.by_prices(latents, prices, maps.fresh_sources(latents))
    stats = {"solve_seconds": solved - start, "label_seconds": time.perf_counter() - solved}
    return Answer(labels, stats=stats, prices=prices)


def cost(n: int, dim: int, seconds: float) -> Cost:
    """Some hundred passes over n² float32 costs, and a few copies of them: 8 s at 3,000 rows."""
    return Cost(8 * (n / 3_000) ** 2, 24.0 * n * n)


def map_cost(n: int, dim: int, seconds: float) -> Cost:
    """Batches against all latents: 75 s at 3,000 rows."""
    return Cost(25e-3 * n, 24.0 * BATCH * n)


PEERS = (
    Peer(
        name="ott_sinkhorn",
        title="OTT-JAX Sinkhorn, rounded to pairs",
        kind="pairing",
        match=match,
        what="entropic optimal transport on the CPU, the largest entries of its plan as pairs",
        advice="when a soft plan is wanted, or a derivative of the cost",
        missing=needs("ott", "ott-jax", "transport"),
        cost=cost,
    ),
    Peer(
        name="ott_semidiscrete",
        title="OTT-JAX semi-discrete",
        kind="map",
        match=transport_map,
        what="a potential of the latents by stochastic gradients, and labels by it",
        missing=needs("ott", "ott-jax", "transport"),
        cost=map_cost,
    ),
)
