"""A case of a comparison with the oracle, which is a dictionary: its name and its arrays."""

from __future__ import annotations

from datasets import make, make_groups


def label(case) -> str:
    """Test id of a case."""
    flags = [f"{key}={value}" for key, value in case.items() if key not in ("data", "dim", "n")]
    return f"{case['data']}, {case['n']}x{case['dim']}, {' '.join(flags)}"


def inputs(case):
    """Latents, sources and the options that change the answer."""
    latents, sources = make(case["data"], case["n"], case["dim"])
    sources = sources[: max(1, int(case["share"] * len(sources)))]
    options = {key: case[key] for key in ("order", "cone", "center")}
    options["groups"] = make_groups(case["groups"], len(sources), len(latents))
    return latents, sources, options
