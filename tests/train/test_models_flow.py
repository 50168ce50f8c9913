"""The flow: Heun's method against integrals, its weights, its classes, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gtn_train.models.flow import Flow
from gtn_train.models.registry import load_model, make_model, save_model
from gtn_train.sampling.sample import sample_latents


class Velocity(nn.Module):
    """A velocity in place of the network's: of position and time."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs[:, :-1], inputs[:, -1:])


def following(function, steps, dim=2):
    flow = Flow(dim, layers=2, width=3, steps=steps)
    flow.net = Velocity(function)
    return flow


def test_a_constant_velocity_needs_one_step():
    sources = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    flow = following(lambda x, t: torch.ones_like(x), 1)
    torch.testing.assert_close(flow(sources), sources + 1)
    flow.set_scale(np.array([[1.0, 2.0], [3.0, 12.0]]))
    torch.testing.assert_close(
        flow(sources), torch.tensor([2.0, 7.0]) + (sources + 1) * flow.label_scale
    )


def test_a_velocity_linear_in_time_is_integrated_exactly():
    sources = torch.zeros(3, 2)
    for steps in (1, 3):
        found = following(lambda x, t: 6 * t.expand_as(x), steps)(sources)
        torch.testing.assert_close(found, sources + 3)


def test_the_error_falls_with_the_square_of_the_steps():
    sources = torch.ones(1, 2, dtype=torch.float64)
    errors = []
    for steps in (4, 8, 16):
        found = following(lambda x, t: x, steps).normalized(sources)  # x' = x: e after time 1
        errors.append(abs(float(found[0, 0]) - np.e))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.2)


def test_weights_and_steps_come_back(tmp_path):
    flow = make_model("flow", {"dim": 3, "layers": 3, "width": 8, "steps": 2, "classes": 4}, seed=1)
    assert [type(part) for part in flow.net] == [nn.Linear, nn.SiLU, nn.Linear, nn.SiLU, nn.Linear]
    assert flow.net[0].in_features == 3 + 4 + 1
    save_model(flow, tmp_path / "flow.safetensors")
    loaded = load_model(tmp_path / "flow.safetensors", expected="flow")
    assert loaded.config() == flow.config()
    drawn = [sample_latents(model, 7, 1, classes=[0, 1, 2, 3, 0, 1, 2]) for model in (flow, loaded)]
    np.testing.assert_array_equal(*drawn)
    with pytest.raises(ValueError, match="must be of kind generator, and is of kind 'flow'"):
        load_model(tmp_path / "flow.safetensors", expected="generator")


@pytest.mark.parametrize("steps", [0, -1])
def test_a_flow_has_steps(steps):
    with pytest.raises(ValueError, match=f"steps must be >= 1, got {steps}"):
        Flow(3, layers=2, width=4, steps=steps)
