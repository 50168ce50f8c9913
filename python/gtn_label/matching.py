"""match: Algorithm 1, exact to the bit. Not here: how it runs (run.py)."""

from __future__ import annotations

from typing import Any

from .progress import ProgressCallback
from .result import Matching
from .run import run


def match(
    latents: Any,
    sources: Any = None,
    *,
    seed: int = 0,
    order: str = "norm",
    cone: int = 1,
    center: bool = False,
    groups: tuple[Any, Any] | None = None,
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    memory: int | None = None,
    progress: bool | ProgressCallback | None = None,
) -> Matching:
    """Give every source a latent of its own: Algorithm 1 of the GTN paper, exact to the bit.

    Sources are visited by ascending norm; each takes the free latent of largest cosine. Scores
    are float64 in a fixed order of summation, so the assignment is the same for every backend,
    instruction set, thread count and machine.

    Parameters
    ----------
    latents : array_like [m, dim]
        Rows of float16, float32, float64, bfloat16 or integers: NumPy (memory maps are not
        copied), torch tensors, objects with `__dlpack__`, nested lists. Never modified. What lies
        on a GPU needs the backend "cuda", which reads it there, on torch's current stream if it is
        a tensor.
    sources : array_like [n, dim], n <= m, optional
        Rows to label. Left out, m rows of N(0, I) are drawn in float32 by NumPy's Philox
        generator from `seed`: the same on every machine.
    seed : int
        Seed of the sources, >= 0; unused when they are given.
    order : {"norm", "norm_desc", "index"}
        Which sources choose first: small norms, large norms, or as given.
    cone : int
        Among this many free latents of largest cosine take the one of smallest norm (largest,
        under "norm_desc"). 1 is Algorithm 1.
    center : bool
        Subtract the latents' column mean before matching. Labels stay the rows as given.
    groups : (source_groups, latent_groups), optional
        Integer labels, [n] and [m]: a source takes only latents of its own group.
    backend : str
        "auto", or a name that `backends()` lists. "auto" is "cuda" for inputs that lie on a GPU
        and "cpu" for all others.
    device : str, optional
        Where a backend that can use a GPU shall compute: "cuda" or "cuda:N" for "cuda" (by default
        the inputs' GPU, or the first); "cpu" (the default), "cuda" or "cuda:N" for "faiss" with a
        FAISS package built for GPUs.
    threads : int, optional
        Threads of the CPU to use; by default as many as CPUs this process may run on. At most 64,
        or four a CPU if that is more, are started; the answer does not depend on it.
    memory : int, optional
        Most bytes the engine may use for its own work, beside the inputs: with the backend "cuda"
        of the GPU's memory, by default what is free there. Inputs that lie there already do not
        count, nor their copies where they had to be converted.
    progress : None, True or callable
        True shows a bar on stderr; a callable is called with (done, total, seconds_left),
        seconds_left being None at first.

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
        or device that is not available, inputs on a GPU for a backend that reads CPU memory.
    MemoryError
        If the GPU has too little free memory; nothing then moves to the CPU.
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
    return run(
        latents,
        sources,
        seed=seed,
        order=order,
        cone=cone,
        center=center,
        groups=groups,
        backend=backend,
        device=device,
        threads=threads,
        memory=memory,
        progress=progress,
    )
