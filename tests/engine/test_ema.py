"""Averaged weights against the formula, integer buffers, warm-up."""

import pytest
import torch
from torch import nn

from pumlc.engine.ema import ExponentialMovingAverage, start_share


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def step(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
        model(torch.randn(5, 3))  # moves the running statistics and the integer counter


def test_follows_the_formula_and_copies_integer_buffers():
    model = network()
    ema = ExponentialMovingAverage(model, 0.9)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(5):
        step(model)
        ema.update(model)
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = 0.9 * expected[name] + 0.1 * value
    for name, value in ema.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name])
    assert ema.state_dict()["1.num_batches_tracked"] == 5
    assert ema.state_dict()["1.num_batches_tracked"].dtype == torch.int64


def test_warm_up_starts_at_the_current_weights():
    model = network()
    ema = ExponentialMovingAverage(model, 0.999, warmup=True)
    before = ema.state_dict()["0.weight"].clone()
    step(model)
    ema.update(model)
    expected = 0.1 * before + 0.9 * model.state_dict()["0.weight"]
    torch.testing.assert_close(ema.state_dict()["0.weight"], expected)


def test_applied_inside_the_context_only():
    model = network()
    ema = ExponentialMovingAverage(model, 0.5)
    step(model)
    own = model.state_dict()["0.weight"].clone()
    weight = model.get_parameter("0.weight")
    with ema.applied_to(model):
        assert torch.equal(weight, ema.state_dict()["0.weight"])
        assert not torch.equal(weight, own)
    assert torch.equal(weight, own)


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize("decay", [0.5, 0.97])
def test_share_of_the_start_in_the_average(decay, warmup):
    """An average that starts at 1 and sees zeros holds the share of its start."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    ema = ExponentialMovingAverage(model, decay, warmup=warmup)
    nn.init.zeros_(model.weight)
    for steps in range(1, 60):
        ema.update(model)
        share = ema.state_dict()["weight"].item()
        assert start_share(decay, warmup, steps) == pytest.approx(share, rel=1e-9)
