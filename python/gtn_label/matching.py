"""`match`: Algorithm 1, exact to the bit, and the description of its options. run.py runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .match_options import MatchOptions
from .progress import ProgressCallback
from .result import Matching
from .run import run

if TYPE_CHECKING:
    from .io.checkpoint import Checkpoint


def match(
    latents: Any,
    sources: Any = None,
    *,
    seed: int | np.random.Generator = 0,
    order: str = "norm",
    cone: int = 1,
    center: bool = False,
    groups: tuple[Any, Any] | None = None,
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    memory: int | str | None = None,
    progress: bool | ProgressCallback | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
) -> Matching:
    """Give every source a latent of its own: Algorithm 1 of the GTN paper, exact to the bit.

    Sources are visited by ascending norm; each takes the free latent of largest cosine. Scores
    are float64 in a fixed order of summation, so the assignment is the same for every backend,
    instruction set, thread count and machine.

    Parameters
    ----------
    latents : array_like [m, dim]
        Rows of float16, float32, float64 or integers, or of bfloat16 and the floats of 8, 6 and
        4 bits that ml_dtypes, JAX and torch have: NumPy (memory maps are not copied), torch
        tensors, objects with `__dlpack__`, nested lists. Never modified. Arrays on a GPU need the
        backend "cuda", which reads them there, tensors on torch's current stream.
    sources : array_like [n, dim], n <= m, optional
        Rows to label. Left out, m rows of N(0, I) are drawn in float32 by NumPy's Philox
        generator from `seed`: the same on every machine. Each block of 65,536 rows has a generator
        of its own, `Philox(seed).jumped(block)`.
    seed : int or numpy.random.Generator
        Seed of the sources, >= 0; unused when they are given. A generator is drawn from as it
        stands, in float32 and row by row, and `meta` has its state before.
    order : {"norm", "norm_desc", "index"}
        Order in which sources choose: small norms first, large norms first, or as given.
    cone : int
        Number of free latents of largest cosine from which a source takes the one of smallest norm
        (largest, under "norm_desc"). 1 is Algorithm 1.
    center : bool
        Subtract the latents' column mean before matching. Labels stay the rows as given.
    groups : (source_groups, latent_groups), optional
        Labels, [n] and [m], integers or strings: a source takes only latents of its own group.
    backend : str
        "auto", or a name that `backends()` lists. "auto" is "cuda" for inputs that lie on a GPU
        and "cpu" for all others.
    device : str, optional
        Device of a backend that can use a GPU: "cuda" or "cuda:N" for "cuda" (by default the GPU
        of the inputs, or the first); "cpu" (the default), "cuda" or "cuda:N" for "faiss" with a
        FAISS package built for GPUs.
    threads : int, optional
        Number of CPU threads. By default the environment variable GTN_NUM_THREADS says the number,
        else OMP_NUM_THREADS, else there is one for each CPU that the process may use by its
        affinity and its container's CPU quota. At most 64, or four a CPU if that is more, are
        started. `stats["threads_from"]` says what decided. The pairs do not depend on the number.
    memory : int or str, optional
        Largest number of bytes for the engine's own work, beside the inputs, or a size such as
        "2GB"; by default no limit. With the backend "cuda" they are bytes of the GPU, by default
        all that are free. Inputs on the GPU do not count, nor copies of inputs that had to be
        converted.
    progress : None, True or callable
        True shows a bar on stderr; a callable is called with (done, total, seconds_left),
        seconds_left being None at first.
    checkpoint : path, optional
        File for the progress of a long run, saved every 30 seconds and when the run is stopped. If
        the file exists, the run continues from it: latents, sources and all options that decide the
        pairs must be the same, backend, device, threads and memory need not. It is deleted when the
        matching ends: a process that is killed before it has saved the pairs has lost the run.
        (`gtn-label --checkpoint` deletes the file after its pairs are written.)

    Returns
    -------
    Matching
        Its arrays are of the latents' kind and on their device: NumPy arrays or torch tensors.

    Raises
    ------
    TypeError
        If an argument is of the wrong type, or an array of a dtype that is not listed above.
    ValueError
        If shapes or values do not fit: NaN or infinity, rows without a direction, norms outside
        float64, more sources than latents (in all or in a group), options out of range, a backend
        or device that is not available, inputs on a GPU for a backend that reads CPU memory, a
        checkpoint of another run. TypeError and ValueError about an argument are
        `ArgumentTypeError` and `ArgumentError`, which hold its name and the rule.
    MemoryError
        If the GPU has too little free memory; the run does not move to the CPU.
    OSError
        If the checkpoint cannot be read or written, or a file that `latents`, `sources` or `groups`
        map is changed or truncated during the run.
    RuntimeError
        If CUDA fails.
    KeyboardInterrupt
        On Ctrl-C, within a second.

    Examples
    --------
    >>> import numpy as np
    >>> from gtn_label import match
    >>> latents = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> match(latents, np.array([[0.1, 2.0], [1.0, 0.2]])).assignment
    array([1, 0])
    """
    options = MatchOptions(
        order=order,
        cone=cone,
        center=center,
        groups=groups,
        backend=backend,
        device=device,
        threads=threads,
        memory=memory,
        progress=progress,
        checkpoint=checkpoint,
    )
    return run(latents, sources, seed, options)
