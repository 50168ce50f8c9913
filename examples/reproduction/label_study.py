"""Effect of labels on the generator: order, cone, centring, fresh pairs, optimal transport.

One network (MNIST's of Table 2: 7 layers of 50, batch normalisation; --width for latents of many
dimensions) takes the same number of steps with each kind of pairs, one line of `PAIRS` each. The
measures of a trained generator are the spread of its norms over that of the data (1 is right; a
generator that learnt the mean radius is near 0), the same ratio of the mean norms, its energy
distance to fresh data, and the figures of its labels. Latents are divided by the root of their mean
variance first, so that data sets compare. A finished run of images (--run) adds FD-Lite0 of decoded
samples. Each data set has one file of numbers, written after each run; runs in the file are not
repeated. Torch has one thread, which is fastest for a network this small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from latent_sets import DATA, Given, Runs, data_sets, options_of_latents, split
from study import Trained, finite, network_of, read, train, training_of, write_figure

from gtn_label.arrays.sources import draw_sources
from gtn_label.io.atomic import atomic_file
from gtn_label.quality import norms, spearman
from gtn_train.evaluation.latents import energy_distance, norm_statistics
from gtn_train.pairs import Algorithm1, Labeled, Labeling, Optimal
from gtn_train.pairs.labelings import standardized
from gtn_train.pairs.rows import cosines_of
from gtn_train.run.paper import as_in_paper
from gtn_train.seeds import derive, random_numbers

Rows = npt.NDArray[Any]


class Random:
    """Random pairs: a baseline of labels without any structure."""

    conditional = False

    def config(self) -> dict[str, Any]:
        """Name of the labeling."""
        return {"labeling": "random"}

    def check(self, latents: Rows) -> None:
        """Accept any latents."""

    def label(self, latents: Rows, seed: int, progress: Any = None) -> Labeled:
        """Pair source i with latent i of a shuffle."""
        n, dim = latents.shape
        sources = draw_sources(n, dim, derive(seed, "sources"))
        assignment = random_numbers(seed, "shuffle").permutation(n)
        cosine = cosines_of(sources, np.asarray(latents[assignment], np.float32))
        return Labeled(sources, assignment, cosine, None, "random")


class MinibatchTransport:
    """Exact optimal transport (POT's emd) between batches of sources and standardised latents.

    Parameters
    ----------
    batch : int
        Rows of a batch.
    """

    conditional = False

    def __init__(self, batch: int = 1000) -> None:
        self._batch = batch

    def config(self) -> dict[str, Any]:
        """Name and batch."""
        return {"labeling": "minibatch transport", "batch": self._batch}

    def check(self, latents: Rows) -> None:
        """Accept any latents."""

    def label(self, latents: Rows, seed: int, progress: Any = None) -> Labeled:
        """Pair batch by batch, at squared Euclidean cost."""
        import ot

        n, dim = latents.shape
        sources = draw_sources(n, dim, derive(seed, "sources"))
        targets = standardized(latents)
        shuffled = random_numbers(seed, "shuffle").permutation(n)
        assignment = np.empty(n, np.int64)
        for begin in range(0, n, self._batch):
            some = shuffled[begin : begin + self._batch]
            cost = ot.dist(sources[begin : begin + len(some)].astype(np.float64), targets[some])
            # Uniform weights on both sides: the plan is a permutation divided by the rows.
            plan = ot.emd([], [], cost)
            assignment[begin : begin + len(some)] = some[plan.argmax(axis=1)]
            if progress is not None:
                progress(begin + len(some), n, None)
        if len(np.unique(assignment)) != n:
            raise RuntimeError("optimal transport must give a permutation, and has not")
        cosine = cosines_of(sources, targets[assignment].astype(np.float32))
        return Labeled(sources, assignment, cosine, None, "POT")


@dataclass(frozen=True)
class Kind:
    """A kind of pairs: a labeling of a run's seed, and the epochs in a round (0: all)."""

    labeling: Labeling | Callable[[int], Labeling]
    every: int = 0

    def of_seed(self, seed: int) -> Labeling:
        """Give the labeling of a run."""
        return self.labeling(seed) if callable(self.labeling) else self.labeling


def algorithm1(every: int = 0, **options: Any) -> Kind:
    """Algorithm 1 of standardised latents, unless `options` say otherwise."""
    return Kind(Algorithm1(threads=1, **{"standardize": True, **options}), every)


def optimal_by_prices(seed: int) -> Labeling:
    """Optimal transport in the first round, and its semi-discrete map in later ones."""
    return Optimal(standardize=True, threads=1, prices_of=derive(seed, "round", 0))


PAIRS: dict[str, Kind] = {
    "random": Kind(Random()),
    "Algorithm 1 as published": algorithm1(standardize=False),
    "centred": algorithm1(standardize=False, center=True),
    "standardised": algorithm1(),
    "norm_desc": algorithm1(order="norm_desc"),
    "index": algorithm1(order="index"),
    "cone 4": algorithm1(cone=4),
    "cone 16": algorithm1(cone=16),
    "cone 64": algorithm1(cone=64),
    "norm_desc, cone 4": algorithm1(order="norm_desc", cone=4),
    "norm_desc, cone 8": algorithm1(order="norm_desc", cone=8),
    "norm_desc, cone 16": algorithm1(order="norm_desc", cone=16),
    "norm_desc, cone 64": algorithm1(order="norm_desc", cone=64),
    "fresh": algorithm1(1),
    "fresh, norm_desc, cone 4": algorithm1(1, order="norm_desc", cone=4),
    "fresh, norm_desc, cone 8": algorithm1(1, order="norm_desc", cone=8),
    "fresh, norm_desc, cone 16": algorithm1(1, order="norm_desc", cone=16),
    "minibatch transport": Kind(MinibatchTransport()),
    "fresh minibatch transport": Kind(MinibatchTransport(), 10),
    "optimal": Kind(Optimal(standardize=True, threads=1)),
    "optimal, fresh by prices": Kind(optimal_by_prices, 1),
}


def scale_of(rows: Rows) -> float:
    """Root of the mean variance of the columns."""
    return float(np.sqrt(rows.var(axis=0).mean()))


def measures(trained: Trained, test: Rows, seed: int) -> dict[str, float]:
    """Measure a generator, and its first round of labels, standardised."""
    generated = trained.sample(len(test), seed)
    scale = scale_of(test)
    labels = standardized(trained.labels).astype(np.float32)
    learnt = trained.learnability
    norms_found = norm_statistics(generated, test, center=True)
    return finite(
        {
            "spread": norms_found["spread"],
            "norm_ratio": norms_found["mean ratio"],
            "energy_distance": energy_distance(generated / scale, test / scale),
            "train_loss": trained.history[-1]["train_loss"],
            "learnability": 0.0 if learnt is None else learnt,
            "mean_cosine": float(cosines_of(trained.sources, labels).mean()),
            "norm_correlation": spearman(norms(trained.sources), norms(labels)) or 0.0,
            "labeling_seconds": trained.labeling_seconds,
            "training_seconds": trained.training_seconds,
        }
    )


def main() -> None:
    """Run the study of one data set, or draw the figure of all."""
    parser = options_of_latents(__doc__, DATA, width=50, seeds=2, features="lite0")
    parser.add_argument("--pairs", choices=[*PAIRS], action="append", help="default: all")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of training (%(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.quick:
        asked.n, asked.epochs, asked.seeds = 400, 2, 1
    for data in data_sets(asked):
        study(data, asked)
    write_figure(asked.out / "label_study.png", picture(asked.out))
    with atomic_file(asked.out / "label_study.md") as file:
        file.write(tables(asked.out).encode())


def study(data: str, asked: Any) -> None:
    """Run the kinds of pairs that one data set lacks."""
    network = {**network_of(as_in_paper("mnist")), "width": asked.width}
    options = training_of(
        as_in_paper("mnist"), 0, asked.epochs, learning_rate=1e-3, learning_rate_decay=0.95
    )
    settings = {"n": asked.n, "epochs": asked.epochs, "network": network}
    runs = Runs("label_study", data, asked, settings, "pairs")
    given = Given(asked)
    for seed in range(asked.seed, asked.seed + asked.seeds):
        names = [name for name in asked.pairs or PAIRS if not runs.has(name, seed)]
        rows, test, other = split(data, asked.n, seed, given.rows)
        scale = scale_of(test)
        floor = finite({"floor": energy_distance(other / scale, test / scale)})
        floor |= {f"{name}_floor": value for name, value in given.distance(other).items()}
        for name in names:
            kind = PAIRS[name]
            own = replace(options, seed=seed)
            trained = train(rows, kind.of_seed(seed), network, own, every=kind.every, seed=seed)
            found = measures(trained, test, seed)
            found |= given.distance(trained.sample(len(test), seed))
            runs.add(name, seed, **found, **floor, n=len(rows), rounds=trained.rounds)


def found_in(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Runs by data set and kind of pairs, of all files in a folder."""
    result: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for file in sorted(folder.glob("label_study_*.json")):
        content = read(file)
        title = f"{content['data']}, n = {content['runs'][0]['n']:,}"
        by_kind = {
            kind: sorted(
                (run for run in content["runs"] if run["pairs"] == kind),
                key=lambda run: run["seed"],
            )
            for kind in dict.fromkeys([*PAIRS, *(run["pairs"] for run in content["runs"])])
        }
        result[title] = {kind: runs for kind, runs in by_kind.items() if runs}
    return result


def mean(runs: list[dict[str, Any]], name: str) -> float:
    """Mean of a measure over seeds."""
    return float(np.mean([run[name] for run in runs]))


def picture(folder: Path) -> Any:
    """Energy distance against spread, one panel a data set; crosses are fresh pairs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = found_in(folder)
    columns = min(len(results), 2)
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(4.5 * columns + 2.5, 3.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    shown: dict[str, Any] = {}
    for index, (data, kinds) in enumerate(results.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for name, runs in kinds.items():
            if name == "random":  # far away
                continue
            number = list(PAIRS).index(name) if name in PAIRS else len(PAIRS)
            (shown[name],) = axes.plot(
                [run["spread"] for run in runs],
                # Distances up to that of two samples of the data are drawn at 0.0001.
                [max(run["energy_distance"], 1e-4) for run in runs],
                "x" if name.startswith("fresh") else "os^D"[number % 4],
                color=f"C{number % 10}",
                markersize=5,
            )
        axes.axvline(1, color="0.6", linewidth=1)
        axes.set(title=data, xlabel="spread of norms", ylabel="energy distance", yscale="log")
    figure.legend([*shown.values()], [*shown], loc="outside right upper", fontsize=7, frameon=False)
    return figure


def tables(folder: Path) -> str:
    """Markdown tables: means over seeds, energy distances of each seed."""
    lines = []
    for data, kinds in found_in(folder).items():
        any_runs = [run for runs in kinds.values() for run in runs]
        floor = f"{max(abs(run['floor']) for run in any_runs):.4f} at most"
        images = "fd_lite0" in any_runs[0]
        if images:
            floor += f"; of decoded ones FD-Lite0 {mean(any_runs, 'fd_lite0_floor'):.1f}"
        lines += [
            f"### {data}",
            "",
            f"Floor, between two samples of the data: {floor}.",
            "",
            "| pairs | spread | norm ratio | energy distance, each seed | R² | cosine "
            f"| norm corr. | labeling s | training s |{' FD-Lite0, each seed |' if images else ''}",
            f"|---|---|---|---|---|---|---|---|---|{'---|' if images else ''}",
        ]
        for name, runs in kinds.items():
            distances = " ".join(f"{run['energy_distance']:.4f}" for run in runs)
            known = [run for run in runs if "norm_ratio" in run]  # the first runs had none
            ratio = f"{mean(known, 'norm_ratio'):.2f}" if known else ""
            lines.append(
                f"| {name} | {mean(runs, 'spread'):.2f} | {ratio} | {distances} "
                f"| {mean(runs, 'learnability'):.3f} | {mean(runs, 'mean_cosine'):.3f} "
                f"| {mean(runs, 'norm_correlation'):.2f} | {mean(runs, 'labeling_seconds'):.1f} "
                f"| {mean(runs, 'training_seconds'):.1f} |"
                + (" ".join(f" {run['fd_lite0']:.1f}" for run in runs) + " |" if images else "")
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
