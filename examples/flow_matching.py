"""Flow matching on optimal pairs, beside independent pairs and minibatch transport.

Trains the same velocity network on straight paths three times, with other pairs of noise and data
each time, and measures samples after few and many steps of Euler's method. Prints a table and
writes a figure and the numbers. Needs matplotlib, POT, torch and torchcfm. torchcfm's other
requirements are for its own examples: pip install --no-deps torchcfm
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torchcfm import ConditionalFlowMatcher, ExactOptimalTransportConditionalFlowMatcher
from torchcfm.models import MLP

from gtn_label import match_optimal

HERE = Path(__file__).resolve().parent
KINDS = ("independent", "minibatch transport", "optimal transport")
STEPS = (1, 2, 4, 100)
BATCH = 256


def batches(
    kind: str, data: torch.Tensor, seed: int, count: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Sources and data of each training step; ``data`` [n, dim], ``count`` steps."""
    if kind == "optimal transport":
        matching = match_optimal(data.numpy(), seed=seed)
        pairs = [torch.from_numpy(np.ascontiguousarray(side)).float() for side in matching.pairs()]
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(count):
        if len(order) < BATCH:  # the next epoch
            order = torch.randperm(len(data))
        rows, order = order[:BATCH], order[BATCH:]
        if kind == "optimal transport":
            yield pairs[0][rows], pairs[1][rows]
        else:
            yield torch.randn(BATCH, data.shape[1]), data[rows]


def train(kind: str, data: torch.Tensor, seed: int, count: int, width: int) -> torch.nn.Module:
    """Train a velocity network v(x, t) on one kind of pairs; ``data`` [n, dim]."""
    torch.manual_seed(seed)
    network: torch.nn.Module = MLP(data.shape[1], w=width, time_varying=True)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, count)
    if kind == "minibatch transport":
        path = ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)
    else:
        path = ConditionalFlowMatcher(sigma=0.0)
    for sources, targets in batches(kind, data, seed, count):
        t, x, velocity = path.sample_location_and_conditional_flow(sources, targets)
        loss = ((network(torch.cat([x, t[:, None]], dim=1)) - velocity) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        decay.step()
    return network


def sample(
    network: torch.nn.Module, sources: torch.Tensor, steps: int
) -> tuple[torch.Tensor, float]:
    """Follow the velocity from ``sources`` [n, dim] by Euler's method.

    Returns
    -------
    samples : [n, dim]
    curvature : float
        Mean of ∫ |v(x_t, t) - (x_1 - x_0)|² dt over the paths, the "straightness" of Liu et al.
        (2023): 0 if every path is straight and has one speed.
    """
    x, velocities = sources, []
    with torch.no_grad():
        for step in range(steps):
            t = torch.full((len(x), 1), step / steps)
            velocities.append(network(torch.cat([x, t], dim=1)))
            x = x + velocities[-1] / steps
    chord = x - sources
    bends = [((velocity - chord) ** 2).sum(dim=1).mean() for velocity in velocities]
    return x, float(torch.stack(bends).mean())


def energy_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Energy distance of two samples per root of the dimension, unbiased; ``a``, ``b`` [n, dim]."""

    def mean(x: torch.Tensor, y: torch.Tensor, pairs: int) -> float:
        return float(torch.cdist(x, y).double().sum() / pairs)

    within = sum(mean(x, x, len(x) * (len(x) - 1)) for x in (a, b))
    return float((2 * mean(a, b, len(a) * len(b)) - within) / a.shape[1] ** 0.5)


def measure(
    kind: str, data: torch.Tensor, held_out: torch.Tensor, seed: int, count: int, width: int
) -> dict[str, Any]:
    """Train on one kind of pairs and measure its samples."""
    began = time.perf_counter()
    network = train(kind, data, seed, count, width)
    seconds = time.perf_counter() - began
    sources = torch.randn(held_out.shape, generator=torch.Generator().manual_seed(1000 + seed))
    distances = {n: energy_distance(sample(network, sources, n)[0], held_out) for n in STEPS}
    curvature = sample(network, sources, 100)[1]
    found = {"pairs": kind, "seed": seed, "energy distance": distances, "curvature": curvature}
    return {**found, "seconds": seconds}


def table(results: list[dict[str, Any]], floor: float) -> str:
    """Means over seeds, as Markdown."""
    lines = [
        f"| pairs | {' | '.join(f'{n} steps' for n in STEPS)} | curvature | seconds |",
        f"|---|{'---|' * (len(STEPS) + 2)}",
    ]
    for kind in KINDS:
        mine = [result for result in results if result["pairs"] == kind]
        cells = [f"{np.mean([r['energy distance'][n] for r in mine]):.4f}" for n in STEPS]
        cells += [f"{np.mean([r[name] for r in mine]):.2f}" for name in ("curvature", "seconds")]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines.append(f"| two real samples | {' | '.join([f'{floor:.4f}'] * len(STEPS))} | | |")
    return "\n".join(lines).replace("1 steps", "1 step")


def draw(results: list[dict[str, Any]], floor: float) -> Figure:
    """Energy distance against steps, and curvature."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    for number, kind in enumerate(KINDS):
        mine = [result for result in results if result["pairs"] == kind]
        rows = np.array([[r["energy distance"][n] for n in STEPS] for r in mine])
        left.plot(STEPS, rows.mean(axis=0), color=f"C{number}", label=kind)
        for row in rows:
            left.plot(STEPS, row, ".", color=f"C{number}")
        right.bar(kind.replace(" ", "\n"), np.mean([r["curvature"] for r in mine]))
    if floor > 0:
        left.axhline(floor, color="grey", linestyle=":", label="two real samples")
    left.set(xscale="log", yscale="log", xlabel="Euler steps", ylabel="energy distance / √d")
    left.set_xticks(STEPS, [str(n) for n in STEPS])
    left.minorticks_off()
    left.legend()
    right.set(ylabel="curvature of the paths")
    return figure


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("latents", type=Path, nargs="?", default=HERE / "latents.npy")
    parser.add_argument("--steps", type=int, default=6000, help="training steps (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (%(default)s)")
    parser.add_argument("--width", type=int, default=256, help="units a layer (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for figure and numbers")
    parser.add_argument("--quick", action="store_true", help="run a form of seconds, a mere test")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.seeds, options.width = 60, 1, 32
    torch.set_num_threads(1)  # fastest for a network this small

    rows = np.load(options.latents).astype(np.float32)
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    if options.quick:
        rows = rows[:2000]
    test, rows = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    data, held_out = (torch.from_numpy((part - mean) / deviation) for part in (rows, test))
    floor = energy_distance(data[: len(held_out)], held_out)

    results: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for kind in KINDS:
            results.append(measure(kind, data, held_out, seed, options.steps, options.width))
            print(results[-1], flush=True)
    print(table(results, floor))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(results, floor).savefig(options.out / "flow_matching.png", dpi=110)
        content = {
            "command": shlex.join(["python", *sys.argv]),
            "settings": {"steps": options.steps, "width": options.width, "batch": BATCH},
            "rows": {"training": len(data), "held out": len(held_out), "dim": data.shape[1]},
            "two real samples": floor,
            "versions": {name: version(name) for name in ("torch", "torchcfm", "POT", "numpy")},
            "results": results,
        }
        text = json.dumps(content, indent=1, allow_nan=False)
        (options.out / "flow_matching.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
