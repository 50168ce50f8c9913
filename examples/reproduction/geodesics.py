"""Geodesics beside straight lines, with and without a density (Figs. 2 to 4 of the geodesic paper).

The paper (Data Interpolations in Deep Generative Models under Non-Simply-Connected Manifold
Topology) shows pictures and orders, few numbers. Here each pair of ends has three curves: the
straight line of positions, the geodesic (weight 0) and the geodesic with density. Each part has one
file of numbers, geodesics_NAME.json, written after each seed; seeds in the file are not repeated.

- `ring`: 20 pairs on a ring with noise whose straight line crosses the hole (radius below 0.5), on
  the surfaces of a GTN and of a VAE with tanh, both from two dimensions.
- `images`: pairs of a finished run of images (--run): samples through generator and decoder, or
  training rows through the decoder (--space latent). With labels the ends are unlike, and a
  classifier (own_features.py) judges the images between them. Ends of samples are told by it.

Torch has one thread.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from own_features import own_features
from study import (
    circumstances,
    finite,
    network_of,
    options_of,
    read,
    train,
    training_of,
    write_figure,
    write_numbers,
)
from torch import nn

from gtn_label.arrays.sources import draw_sources
from gtn_train.data import ring
from gtn_train.geometry import (
    DataGraph,
    Kernel,
    Paths,
    Pullback,
    Surface,
    along,
    geodesics,
    run_geodesics,
)
from gtn_train.geometry.run_geodesics import REGULAR, SHORTEST, STRAIGHT, common_rows
from gtn_train.models.autoencoder import decode_all
from gtn_train.report import figures
from gtn_train.run.finished_run import FinishedRun
from gtn_train.run.presets import PRESETS
from gtn_train.sampling.sample import generate_latents, sampling_seed
from gtn_train.seeds import derive, random_numbers

Rows = npt.NDArray[Any]

RADIUS = 0.5  # below it is the ring's hole
ON_RING = 0.75  # least radius of an end
CANDIDATES = 4_000
NODES = 5_000  # samples of the graph
SURE = 0.9  # probability of the class of an end
REAL = 10_000  # real images of which the nearest is found


class RingVAE(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A VAE of points in the plane: 2 → 64 → 64 → 2 and back, tanh; σ² of the decoder is fixed."""

    NOISE = 0.05

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _network(2, 4)
        self.decoder = _network(2, 2)

    def loss(self, points: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Half the squared error over σ², plus KL(N(μ, s²) ‖ N(0, I))."""
        mean, log_variance = self.encoder(points).chunk(2, dim=1)
        again = self.decoder(mean + (0.5 * log_variance).exp() * noise)
        error = (again - points).square().sum(dim=1) / (2 * self.NOISE**2)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return (error + kl).mean()


def _network(into: int, out: int) -> Any:
    return nn.Sequential(
        nn.Linear(into, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, out)
    )


def ring_vae(points: Rows, steps: int, seed: int) -> Any:
    """Train the VAE by Adam 2e-3 with cosine decay, batches of 250."""
    rows, chance = torch.from_numpy(points), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        model: Any = RingVAE()
    adam = torch.optim.Adam(model.parameters(), 2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        some = rows[torch.randint(len(rows), (250,), generator=chance)]
        loss = model.loss(some, torch.randn(250, 2, generator=chance))
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        decay.step()
    return model.eval()


def crossing(surface: Surface, seed: int, pairs: int) -> tuple[Rows, Rows]:
    """Choose ends on the ring whose straight line of positions crosses the hole."""
    drawn = draw_sources(CANDIDATES, 2, derive(seed, "ends"))
    radius = norms_of(surface, drawn)
    ends = drawn[radius > ON_RING]
    half = len(ends) // 2
    left, right = ends[:half], ends[half : 2 * half]
    share = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    lines = left[:, None] * (1 - share) + right[:, None] * share
    least = norms_of(surface, lines.reshape(-1, 2)).reshape(half, -1).min(axis=1)
    chosen = np.flatnonzero(least < RADIUS)[:pairs]
    return left[chosen], right[chosen]


def points_of(surface: Surface, positions: Rows) -> Rows:
    """Points of positions, float64 [n, M]."""
    with torch.no_grad():
        return np.asarray(surface.points(surface.tensor(positions)).double())


def norms_of(surface: Surface, positions: Rows) -> Rows:
    """Distances of the points of positions to the origin."""
    return np.asarray(np.linalg.norm(points_of(surface, positions), axis=1))


def of_curves(surface: Surface, curves: Paths) -> dict[str, Any]:
    """Measure curves: lists of one figure for each, and the share of points in the hole."""
    assert curves.surprisals is not None
    inner = curves.positions[:, 1:-1].reshape(-1, surface.dim)
    return {
        "length": curves.length.tolist(),
        "-log density": curves.surprisals.mean(axis=1).tolist(),
        "spacing": curves.spacing.tolist(),
        "converged": float(curves.converged.mean()),
        "in the hole": float((norms_of(surface, inner) < RADIUS).mean()),
    }


def algorithm_1(
    surface: Surface, left: Rows, right: Rows, weight: float, steps: int, rate: float = 0.05
) -> Paths:
    """Algorithm 1 as printed, and steps that raise E + weight · ∫ R are halved.

    v is the unit velocity, a its difference, b = (JᵀJ)⁻¹ Jᵀ a; a step is b - weight · dR/dz, with
    R = ½ log det JᵀJ - log p(z).
    """
    share = np.linspace(0, 1, 35)[:, None]
    lines = left[:, None] * (1 - share) + right[:, None] * share
    pullback = Pullback()

    def objective(z: torch.Tensor) -> torch.Tensor:
        energy = (len(z) - 1) / 2 * (surface.points(z).diff(dim=0)).square().sum()
        return energy + weight * pullback.surprisal(surface.at(z)).mean()

    for line in lines:
        z, step = surface.tensor(line), rate
        value = objective(z).detach()
        for _ in range(steps):
            velocity = nn.functional.normalize(surface.points(z).diff(dim=0), dim=1)
            jacobian = surface.jacobian(z[1:-1])
            pushed = torch.linalg.lstsq(jacobian, velocity.diff(dim=0)[:, :, None]).solution[..., 0]
            inner = z[1:-1].clone().requires_grad_()
            rare = pullback.surprisal(surface.at(inner)).sum()
            (slope,) = torch.autograd.grad(rare, inner)
            moved = z.clone()
            moved[1:-1] += step * (pushed.detach() - weight * slope)
            new = objective(moved).detach()
            if new < value:
                z, value = moved, new
            else:
                step /= 2
                if step < 1e-6:
                    break
        line[:] = z.numpy()
    return along(surface, lines, pullback)


def ring_part(asked: Any) -> None:
    """Run the ring for the seeds that the file lacks."""
    n, epochs, steps, pairs = 10_000, None, 6_000, asked.pairs or 20
    if asked.quick:
        n, epochs, steps, pairs = 1_000, 4, 300, 2
    preset = PRESETS["ring"]
    file = File(asked, "ring", {"n": n, "pairs": pairs, "weight": asked.weight, "radius": RADIUS})
    panels: dict[str, Rows] = {}
    for seed in range(asked.seed, asked.seed + (1 if asked.quick else asked.seeds)):
        rows = ring(n, seed)
        for name in ("GTN", "tanh VAE"):
            if file.has(name, seed):
                continue
            if name == "GTN":
                labeling = preset.pairs.labeling_of(rows, seed)
                options = training_of(preset, seed, epochs)
                trained = train(rows, labeling, network_of(preset), options, seed=seed)
                surface = Surface(None, 2, inner=trained.generator)
                latents = rows
            else:
                vae = ring_vae(rows, steps, seed)
                surface = Surface(vae.decoder, 2)
                with torch.no_grad():
                    latents = vae.encoder(torch.from_numpy(rows))[:, :2].numpy()
            density = Kernel(latents)
            left, right = crossing(surface, seed, pairs)
            if not len(left):
                file.add(name, seed, {"pairs": 0})
                continue
            nodes = draw_sources(NODES, 2, derive(seed, "nodes")) if name == "GTN" else latents
            starts = starts_of(surface, density, latents, nodes, left, right, seed)
            found: dict[str, Any] = {"pairs": len(left)}
            curves = {STRAIGHT: along(surface, np.stack([left, right], axis=1), density)}
            for kind, weight in ((SHORTEST, 0.0), (REGULAR, asked.weight)):
                began = time.perf_counter()
                curves[kind] = geodesics(surface, left, right, density, weight, starts=starts)
                found[f"{kind}, seconds"] = round(time.perf_counter() - began, 1)
            if name == "tanh VAE":
                curves["pullback"] = geodesics(
                    surface, left, right, Pullback(), asked.weight, starts=starts
                )
                few = slice(2 if asked.quick else 5)
                some = algorithm_1(surface, left[few], right[few], 0.0, 50 if asked.quick else 1500)
                found["Algorithm 1, length over straight"] = float(
                    np.mean(some.length / curves[STRAIGHT].length[few])
                )
            for kind, one in curves.items():
                again = along(surface, one.positions, density)
                found[kind] = {
                    **of_curves(surface, again),
                    "converged": float(one.converged.mean()),
                }
                if seed == asked.seed:
                    drawn = points_of(surface, one.positions.reshape(-1, 2))
                    panels[f"{name}, {kind}"] = drawn.astype(np.float32)
            file.add(name, seed, found)
    if panels:
        panels = {"data": rows, **panels}
        write_figure(asked.out / f"geodesics_{asked.name or 'ring'}.png", figures.scatter(panels))


def starts_of(
    surface: Surface, density: Any, real: Rows, nodes: Rows, left: Rows, right: Rows, seed: int
) -> list[Any]:
    """Paths along positions whose latents are no rarer than the real ones are."""
    with torch.no_grad():
        latents, *ends = (
            surface.at(surface.tensor(z)).latents.numpy() for z in (nodes, left, right)
        )
    kept = common_rows(density, surface, real, latents, seed)
    return [DataGraph(nodes[kept], latents[kept]).paths(left, right, *ends)]


def images_part(asked: Any) -> None:
    """Measure curves of a finished run for the seeds that the file lacks."""
    run = FinishedRun(asked.run, accelerator="cpu")
    images = run.images()
    surface = Surface.of_run(run, asked.space)
    judge = None
    if images.labels is not None and images.shape[0] == 1:
        judge = own_features(images, asked.run / "own_features.pt")
    pairs = 2 if asked.quick else asked.pairs or 30
    dim = run.latents.shape[1]
    file = File(
        asked,
        f"{asked.name or asked.run.name}_{asked.space}",
        {"pairs": pairs, "weight": asked.weight, "dim": dim, "density": asked.density},
    )
    real = np.asarray(images.images[: min(REAL, len(images.images))])
    for seed in range(asked.seed, asked.seed + (1 if asked.quick else asked.seeds)):
        if file.has("images", seed):
            continue
        left, right = ends_of(run, images, judge, asked.space, pairs, seed)
        began = time.perf_counter()
        found = run_geodesics(
            run,
            left,
            right,
            density=asked.density,
            weight=asked.weight,
            space=asked.space,
            compare=True,
            seed=seed,
        )
        result: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 1)}
        for kind, lines in found.items():
            assert lines.curves is not None
            result[kind] = of_images(surface, lines.curves, run, judge, real)
        file.add("images", seed, result)
        if not file.path.with_suffix(".png").exists():
            rows: Rows = np.stack([np.asarray(one.images)[:4] for one in found.values()], axis=1)
            sheet = figures.grid(rows.reshape(-1, *rows.shape[3:]), columns=rows.shape[2])
            write_figure(file.path.with_suffix(".png"), sheet)


def ends_of(
    run: FinishedRun, images: Any, judge: Any, space: str, pairs: int, seed: int
) -> tuple[Rows, Rows]:
    """Choose ends: training rows of unlike labels, or samples that the classifier finds unlike."""
    if space == "latent":
        order = random_numbers(seed, "pairs").permutation(len(run.latents))
        positions = np.array(run.latents)
        labels = np.arange(len(positions)) if images.labels is None else images.labels
        if len(np.unique(labels)) == 1:
            labels = np.arange(len(positions))
    else:
        positions = draw_sources(40 * pairs, run.latents.shape[1], sampling_seed(seed))
        labels, order = np.arange(len(positions)), np.arange(len(positions))
        if judge is not None:
            drawn = decode_all(run.autoencoder, generate_latents(run.generator, positions))
            chances = probabilities(judge, drawn)
            labels, order = chances.argmax(axis=1), np.flatnonzero(chances.max(axis=1) > SURE)
    left, right = [], []
    for one, other in zip(order[::2], order[1::2], strict=False):
        if labels[one] != labels[other]:
            left.append(one)
            right.append(other)
    return positions[left[:pairs]], positions[right[:pairs]]


def probabilities(judge: Any, images: Rows) -> Rows:
    """Probability of each class for each image, by the classifier."""
    rows = torch.from_numpy(np.array(images)).expand(-1, 3, -1, -1)
    return np.asarray(judge(rows)[1].softmax(dim=1))


def of_images(
    surface: Surface, curves: Paths, run: FinishedRun, judge: Any, real: Rows
) -> dict[str, Any]:
    """Measure curves of images: one figure for each curve."""
    assert curves.surprisals is not None
    k, m, dim = curves.positions.shape
    points = points_of(surface, curves.positions.reshape(-1, dim)).reshape(k, m, -1)
    tangents = np.diff(points, axis=1)
    chord = (points[:, -1] - points[:, 0])[:, None]
    lengths = np.linalg.norm(tangents, axis=2) * np.linalg.norm(chord, axis=2)
    cosines = (tangents * chord).sum(axis=2) / lengths.clip(1e-12)
    flat = points[:, 1:-1].reshape(-1, points.shape[2])
    scaled = real.reshape(len(real), -1).astype(np.float32) / 127.5 - 1
    found = {
        "length": curves.length.tolist(),
        "over the chord": (curves.length / np.linalg.norm(chord[:, 0], axis=1)).tolist(),
        "-log density": curves.surprisals.mean(axis=1).tolist(),
        "worst": curves.surprisals.max(axis=1).tolist(),
        "cosine dissimilarity": (1 - cosines).mean(axis=1).tolist(),
        "nearest real": _nearest(flat.astype(np.float32), scaled).reshape(k, -1).mean(1).tolist(),
        "spacing": curves.spacing.tolist(),
        "converged": float(curves.converged.mean()),
    }
    if judge is not None:
        shown = np.rint((flat.reshape(-1, *real.shape[1:]) + 1) * 127.5).clip(0, 255)
        top = probabilities(judge, shown.astype(np.uint8)).max(axis=1)
        found["top probability"] = top.reshape(k, -1).mean(axis=1).tolist()
    return found


def _nearest(rows: Rows, real: Rows) -> Rows:
    squares = (rows**2).sum(1)[:, None] + (real**2).sum(1) - 2 * rows @ real.T
    return np.asarray(np.sqrt(squares.min(axis=1).clip(0)))


class File:
    """The numbers of a part: one entry for each model and seed, written as they come."""

    def __init__(self, asked: Any, name: str, settings: dict[str, Any]) -> None:
        self.path = asked.out / f"geodesics_{name}.json"
        self._content = read(self.path)
        if self._content.get("settings") not in (None, settings):
            raise SystemExit(f"{self.path} has other settings: remove it, or name another --out")
        self._content.setdefault("runs", [])
        self._content |= {"study": "geodesics", "part": name, "settings": settings}

    def has(self, model: str, seed: int) -> bool:
        """True if the file has this model and seed."""
        return any((run["model"], run["seed"]) == (model, seed) for run in self._content["runs"])

    def add(self, model: str, seed: int, found: dict[str, Any]) -> None:
        """Write an entry with the means of its figures."""
        entry = {"model": model, "seed": seed, **_rounded(found)}
        self._content["runs"].append(entry)
        self._content |= circumstances()
        write_numbers(self.path, self._content)
        for kind, figures_found in found.items():
            if isinstance(figures_found, dict):
                shown = {name: float(np.mean(value)) for name, value in figures_found.items()}
                print(model, seed, kind, finite(shown), flush=True)
            else:
                print(model, seed, kind, figures_found, flush=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    """Run one part."""
    parser = options_of(__doc__)
    parser.add_argument("--part", choices=("ring", "images"), default="ring")
    parser.add_argument("--run", type=Path, help="finished run of images")
    parser.add_argument("--space", choices=("source", "latent"), default="source")
    parser.add_argument("--density", choices=("auto", "kde", "mixture", "pullback"), default="auto")
    parser.add_argument("--weight", type=float, default=0.2, help="of the density (%(default)s)")
    parser.add_argument("--pairs", type=int, help="pairs of ends (ring: 20, images: 30)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds (%(default)s)")
    parser.add_argument("--name", help="name of the files (the part's or the run's own)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.part == "images":
        if asked.run is None:
            parser.error("--part images needs --run")
        images_part(asked)
    else:
        ring_part(asked)


if __name__ == "__main__":
    main()
