"""Table 2 of the GTN paper: the generator's size and training for each of its data sets.

Plain numbers, which need no torch. Not here: the network itself (generator.py) and whole
runs (run/presets.py).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GENERATORS", "GeneratorPreset"]


@dataclass(frozen=True)
class GeneratorPreset:
    """One row of Table 2 of the GTN paper; the optimizer is always Adam without weight decay.

    Attributes
    ----------
    layers : int
        Number of linear layers, including the output layer, as in the published numbers.
    width : int
        Units in each hidden layer.
    batch_norm_layers : int
        Number of hidden layers, from the first, with batch normalisation. Table 2 says yes or no;
        the authors' code has it on 20 layers of the 26.
    learning_rate : float
    batch_size : int
    """

    layers: int
    width: int
    batch_norm_layers: int
    learning_rate: float
    batch_size: int


GENERATORS = {
    "swiss-roll": GeneratorPreset(4, 6, 0, 1e-3, 250),
    "uniform": GeneratorPreset(6, 6, 0, 1e-3, 250),
    "mnist": GeneratorPreset(7, 50, 6, 1e-3, 128),
    "celeba": GeneratorPreset(26, 1200, 20, 5e-5, 200),
    "hap": GeneratorPreset(26, 3000, 20, 5e-5, 200),
    "cifar10": GeneratorPreset(26, 1500, 20, 5e-5, 200),
}
