"""The speed of sampling at the sizes of CelebA (version 2 of the paper: 4.07 s for 1,000 images).

The vanilla autoencoder has images of 3 x 64 x 64 and 100 latents. The generators are Table 2's of
26 layers of 1,200, and the preset's. Weights are random, because time does not depend on them. Each
figure is the median of several calls of `sample_images`, after one that is not counted. Seconds of
CPU stand beside seconds, which other programs on the machine prolong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from study import circumstances, network_of, options_of, write_numbers

from gtn_train.models.autoencoder import decode_all
from gtn_train.models.registry import make_model
from gtn_train.run.paper import as_in_paper
from gtn_train.run.presets import PRESETS
from gtn_train.sampling.sample import sample_images, sample_latents

PRESET = "celeba"
SHAPE = (3, 64, 64)
REPEATS = 3


def timed(call: Callable[[], object]) -> dict[str, float]:
    """Median of wall and CPU seconds of a call."""
    call()
    wall, cpu = [], []
    for _ in range(REPEATS):
        began = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    return {"seconds": round(median(wall), 4), "cpu_seconds": round(median(cpu), 4)}


def main() -> None:
    """Run the study."""
    parser = options_of(__doc__)
    parser.add_argument("--n", type=int, default=1000, help="images in a call (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (%(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    n, shape = asked.n, SHAPE
    presets = {"paper's network": as_in_paper(PRESET), "preset's network": PRESETS[PRESET]}
    dim = PRESETS[PRESET].latent_dim
    if asked.quick:
        n, shape = 8, (3, 16, 16)
    decoder = make_model("vanilla", {"image_shape": shape, "latent_dim": dim}, asked.seed)
    results: dict[str, Any] = {}
    for name, preset in presets.items():
        network: dict[str, Any] = network_of(preset)
        generator = make_model("generator", {"dim": dim, **network}, asked.seed).eval()
        latents = sample_latents(generator, n, asked.seed)
        results[name] = {
            "network": network,
            "latents": timed(partial(sample_latents, generator, n, asked.seed)),
            "decoder": timed(partial(decode_all, decoder, latents)),
            "images": timed(partial(sample_images, generator, decoder, n, asked.seed)),
        }
        print(name, results[name], flush=True)
    settings = {"n": n, "image_shape": [*shape], "latent_dim": dim, "repeats": REPEATS}
    write_numbers(
        asked.out / "sampling_speed.json",
        {"study": "sampling_speed", "settings": settings, "results": results, **circumstances()},
    )


if __name__ == "__main__":
    main()
