"""Labels that follow the generator, against fixed pairs and against fitted densities.

Each line of `KINDS` trains one network on one kind of pairs, for the same number of epochs. The
measure is the energy distance per root of the dimension between 10,000 samples and held-out rows,
both in units of the training rows' deviations. Held-out rows choose nothing: all epochs run, and
the last weights count. The median distance of samples to the nearest training row, over that of
held-out rows, shows copies. Beside them stand the floor (training rows themselves), one Gaussian
with full covariance and a mixture of ten, fitted to the same rows. A finished run of images (--run)
adds a Fréchet distance of decoded samples, and its held-out rows are the codes of test images. Each
data set has one file of numbers, written after each run; runs in the file are not repeated. Torch
has one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from latent_sets import DATA, Given, Runs, data_sets, options_of_latents, split
from study import finite, read, sample_of, train_on, training_of

from gtn_label.io.atomic import atomic_file
from gtn_label.quality import norms
from gtn_train.data import SYNTHETIC
from gtn_train.evaluation.latents import Standardizer, energy_distance
from gtn_train.evaluation.neighbours import memorisation
from gtn_train.pairs import Algorithm1, DriftingPairs, Labeling, Optimal
from gtn_train.pairs.optimal import Draw
from gtn_train.pairs.pair_options import one_round
from gtn_train.run.paper import as_in_paper
from gtn_train.seeds import derive, random_numbers

Rows = npt.NDArray[Any]

N_SAMPLES = 10_000
N_NEAREST = 1_000
NETWORK = {"layers": 7, "width": 256, "batch_norm_layers": 0, "slope": 0.1}
TABLE_2 = {"layers": 26, "width": 1200, "batch_norm_layers": 20, "slope": 0.5}  # of CelebA
TITLES = {"fd_lite0": "FD-Lite0", "fd_own": "FD-own"}
MEANS = {  # columns of the tables, and their digits
    "norm_ratio": 3,
    "nearest_ratio": 2,
    "labeling_seconds": 0,
    "training_seconds": 0,
}
LAST_RATE = 0.01  # learning rate of the last epoch, over that of the first


@dataclass(frozen=True)
class Kind:
    """A kind of pairs and what differs from the study's network and training.

    Attributes
    ----------
    labeling : Labeling or None
        Of fixed pairs; None for labels that follow the generator.
    drift : dict
        Options of `DriftingPairs`.
    rounds : float
        Rounds, over those that are asked for.
    decay : str
        Decay of the learning rate: "exponential", to a hundredth; "linear" or "cosine", to 0; or
        "none".
    network : dict
        Changes of `NETWORK`.
    training : dict
        Further options of the training.
    pairs : type
        Class of the pairs, for labels that follow the generator.
    """

    labeling: Labeling | None = None
    drift: dict[str, Any] = field(default_factory=dict)
    rounds: float = 1
    decay: str = "exponential"
    network: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    pairs: type[DriftingPairs] = DriftingPairs


class TwoTransports(DriftingPairs):
    """Labels whose drift is the mean of two, from two divisions into batches."""

    def _drifted(self, drawn: Draw, seed: int) -> Any:
        labels, attracting, extra = super()._drifted(drawn, seed)
        rows = random_numbers(seed, "again").permutation(drawn.rows)
        others, *_ = super()._drifted(replace(drawn, rows=rows), derive(seed, "again"))
        return (labels + others) / 2, attracting, extra


class HalfSteps(DriftingPairs):
    """Labels that are half the drift away from the generator's samples."""

    def _drifted(self, drawn: Draw, seed: int) -> Any:
        labels, attracting, extra = super()._drifted(drawn, seed)
        assert self._generate is not None
        return (labels + self._generate(drawn.sources, drawn.classes)) / 2, attracting, extra


def optimal(**options: Any) -> Labeling:
    """Optimal transport to standardised latents."""
    return Optimal(standardize=True, threads=1, **options)


KINDS: dict[str, Kind] = {
    "Algorithm 1": Kind(Algorithm1(standardize=True, threads=1)),
    "norm_desc, cone 8": Kind(Algorithm1(standardize=True, threads=1, order="norm_desc", cone=8)),
    "optimal": Kind(optimal(tolerance=1e-2)),
    "drift": Kind(),
    "drift, batches of 256": Kind(drift={"batch": 256}),
    "drift, batches of 1,000": Kind(drift={"batch": 1000}),
    "drift, batches of 1,000, linear decay": Kind(drift={"batch": 1000}, decay="linear"),
    "drift, linear decay": Kind(decay="linear"),
    "drift, batches of 256, linear decay": Kind(drift={"batch": 256}, decay="linear"),
    "drift, rounds of 20,000, linear decay": Kind(
        drift={"batch": 1000, "size": 20_000}, decay="linear", rounds=3
    ),
    "drift, rounds of 8,000 sources, linear decay": Kind(
        drift={"batch": 1000, "size": 8_000}, decay="linear"
    ),
    "drift, 3 layers of 512, slope 0.5, linear decay": Kind(
        drift={"batch": 1000},
        decay="linear",
        network={"layers": 3, "width": 512, "slope": 0.5},
    ),
    "drift, 3 layers of 512, slope 0.5, rounds of 20,000, linear decay": Kind(
        drift={"batch": 1000, "size": 20_000},
        decay="linear",
        rounds=3,
        network={"layers": 3, "width": 512, "slope": 0.5},
    ),
    "drift, 4 layers of 256, slope 0.5, linear decay": Kind(
        drift={"batch": 1000}, decay="linear", network={"layers": 4, "slope": 0.5}
    ),
    "drift, rounds of 20,000, cosine decay": Kind(
        drift={"batch": 1000, "size": 20_000}, decay="cosine", rounds=3
    ),
    "drift, EMA, no decay": Kind(drift={"batch": 1000}, decay="none", training={"ema": 0.998}),
    "drift, EMA, linear decay": Kind(
        drift={"batch": 1000}, decay="linear", training={"ema": 0.998}
    ),
    "drift, EMA makes labels, linear decay": Kind(
        drift={"batch": 1000}, decay="linear", training={"ema": 0.998, "ema_labels": True}
    ),
    "drift, two transports a label, linear decay": Kind(
        drift={"batch": 1000}, decay="linear", pairs=TwoTransports
    ),
    "drift, half steps, linear decay": Kind(drift={"batch": 1000}, decay="linear", pairs=HalfSteps),
    "drift, batches of 1,000, linear decay, a third of the rounds": Kind(
        drift={"batch": 1000}, decay="linear", rounds=1 / 3
    ),
    "drift, 26 layers of 1,200, a third of the rounds": Kind(
        drift={"batch": 1000}, decay="linear", rounds=1 / 3, network=TABLE_2
    ),
    "drift, a third of the rounds": Kind(rounds=1 / 3),
    "drift, twice the rounds": Kind(rounds=2),
    "drift, batches of 1,000, twice the rounds": Kind(drift={"batch": 1000}, rounds=2),
    "drift, 1 epoch a round": Kind(drift={"every": 1}),
    "drift, 10 epochs a round": Kind(drift={"every": 10}),
    "drift, no decay": Kind(decay="none"),
    "drift, batch norm": Kind(network={"batch_norm_layers": 6}),
    "drift, 7 layers of 50": Kind(network={"width": 50}),
    "drift, 4 layers": Kind(network={"layers": 4}),
    "drift, slope 0.5": Kind(network={"slope": 0.5}),
    "drift, width 512": Kind(network={"width": 512}),
}
FIRST = ("Algorithm 1", "norm_desc, cone 8", "optimal", "drift")


def fitted(rows: Rows, components: int, seed: int) -> Callable[[int], Rows]:
    """Fit a mixture of Gaussians with full covariances; give a sampler."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(components, random_state=derive(seed, "mixture") % 2**32)
    model.fit(rows.astype(np.float64))
    # scikit-learn's samples come component by component.
    return lambda n: random_numbers(seed, "shuffle").permutation(model.sample(n)[0])


def measured(samples: Rows, rows: Rows, test: Rows) -> dict[str, float]:
    """Energy distance per root of the dimension, mean norm and nearest row, standardised."""
    scale = Standardizer(rows)
    ours, theirs = scale(samples), scale(test)
    copies = memorisation(ours[:N_NEAREST], scale(rows), theirs[:N_NEAREST]).figures()
    return finite(
        {
            "energy_distance": energy_distance(ours, theirs) / np.sqrt(rows.shape[1]),
            "norm_ratio": float(norms(ours).mean() / norms(theirs).mean()),
            "nearest_ratio": copies["ratio"],
        }
    )


def trained(rows: Rows, kind: Kind, asked: Any, seed: int) -> tuple[Any, dict[str, Any]]:
    """Train a generator on pairs of a kind; return it and how long which part took."""
    every = kind.drift.get("every", asked.every)
    rounds = max(round(asked.rounds * kind.rounds * asked.every / every), 1)
    epochs = rounds * every
    decay = LAST_RATE ** (1 / epochs) if kind.decay == "exponential" else 1.0
    options = training_of(
        as_in_paper("mnist"),
        seed,
        epochs,
        learning_rate=1e-3,
        learning_rate_decay=decay,
        schedule="exponential" if kind.decay == "none" else kind.decay,
        batch_size=asked.batch_size,
        **kind.training,
    )
    if kind.labeling is None:
        given = {"every": every, "tolerance": 1e-2, "threads": 1, **kind.drift}
        pairs: Any = kind.pairs(rows, seed=seed, **given)
    else:
        pairs = one_round(rows, kind.labeling, derive(seed, "round", 0))
    network = {**NETWORK, "width": asked.width, **kind.network}
    with pairs:
        generator, result = train_on(pairs, network, options, seed)
    labeling = sum(line.get("labels", {}).get("seconds", 0.0) for line in result.history)
    return generator, {
        "epochs": epochs,
        "rounds": rounds if kind.labeling is None else 1,
        "labeling_seconds": round(labeling, 1),
        "training_seconds": round(max(result.seconds - labeling, 0.0), 1),
    }


def study(data: str, asked: Any) -> None:
    """Run the kinds of pairs that one data set lacks."""
    settings = {
        **{name: getattr(asked, name) for name in ("n", "rounds", "every", "batch_size", "width")},
        "network": NETWORK,
    }
    runs = Runs("drift_study", data, asked, settings, "kind")
    given = Given(asked)

    def judge(kind: str, samples: Rows, **took: float) -> None:
        found = {**measured(samples, rows, test), **given.distance(samples), **took}
        runs.add(kind, seed, n=len(rows), dim=rows.shape[1], **found)

    for seed in range(asked.seed, asked.seed + asked.seeds):
        rows, test = held_out(data, asked.n, seed, given)
        if not runs.has("floor", seed):
            few = rows[random_numbers(seed, "floor").permutation(len(rows))[:N_SAMPLES]]
            judge("floor", few)
        for name, components in (("Gaussian", 1), ("mixture of 10", 10)):
            if not runs.has(name, seed):
                judge(name, fitted(rows, components, seed)(N_SAMPLES))
        for name in asked.kind or FIRST:
            if not runs.has(name, seed):
                generator, took = trained(rows, KINDS[name], asked, seed)
                judge(name, sample_of(generator, N_SAMPLES, seed), **took)


def held_out(data: str, n: int, seed: int, given: Given) -> tuple[Rows, Rows]:
    """Training rows, and rows that nothing but the figures reads: test images, if there are any."""
    if given.rows is None and data in SYNTHETIC:
        made = SYNTHETIC[data](n + N_SAMPLES, derive(seed, "data") % 2**32)
        rows, test = made[:n], made[n:]
    elif given.rows is not None and given.decoded is not None and given.decoded.test is not None:
        chosen = random_numbers(seed, "split").permutation(len(given.rows))[:n]
        rows, test = given.rows[chosen], given.decoded.test
    else:
        rows, one, other = split(data, n, seed, given.rows)
        test = np.concatenate([one, other])
    return np.ascontiguousarray(rows, np.float32), np.asarray(test, np.float32)


def main() -> None:
    """Run the study of one data set, and write the tables of all."""
    names = {**DATA, **SYNTHETIC}
    parser = options_of_latents(__doc__, names, width=256, seeds=3, features="own")
    parser.add_argument(
        "--kind", choices=[*KINDS], action="append", help=f"default: {'; '.join(FIRST)}"
    )
    parser.add_argument("--rounds", type=int, default=30, help="rounds of labels (%(default)s)")
    parser.add_argument("--every", type=int, default=3, help="epochs in a round (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=256, help="pairs a step (%(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.quick:
        asked.n, asked.rounds, asked.every, asked.seeds, asked.width = 300, 2, 1, 1, 8
    for data in data_sets(asked):
        study(data, asked)
    with atomic_file(asked.out / "drift_study.md") as file:
        file.write(tables(asked.out).encode())


def tables(folder: Path) -> str:
    """Markdown tables: energy distances of each seed, other measures as means over seeds."""
    lines = []
    for file in sorted(folder.glob("drift_study_*.json")):
        content = read(file)
        runs, asked = content["runs"], content["settings"]
        figures = sorted({name for run in runs for name in run if name.startswith("fd_")})
        lines += [
            f"### {content['data']}, n = {runs[0]['n']:,}, d = {runs[0]['dim']}",
            "",
            f"{asked['rounds']} rounds of {asked['every']} epochs, batches of "
            f"{asked['batch_size']}, width {asked['width']}. Kinds with rounds of 20,000 sources "
            "have three times as many.",
            "",
            "| samples of | energy distance, each seed | norm ratio | nearest row | labels s "
            "| training s |" + "".join(f" {TITLES[name]}, each seed |" for name in figures),
            "|---|---|---|---|---|---|" + "---|" * len(figures),
        ]
        order = ["floor", "Gaussian", "mixture of 10", *KINDS]
        for kind in sorted(dict.fromkeys(run["kind"] for run in runs), key=order.index):
            some = sorted((run for run in runs if run["kind"] == kind), key=lambda run: run["seed"])
            distances = " ".join(f"{run['energy_distance']:.5f}" for run in some)
            cells = [kind, distances]
            for name, digits in MEANS.items():
                known = [run[name] for run in some if name in run]
                cells.append(f"{np.mean(known):.{digits}f}" if known else "")
            for name in figures:
                cells.append(" ".join(f"{run[name]:.2f}" for run in some if name in run))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
