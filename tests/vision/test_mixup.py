"""Mixtures of the two halves of a batch, as networks and heads on features draw them."""

import numpy as np
import pytest
import torch

from pumlc.vision.data.mixup import mix_halves


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_a_mixture_is_of_the_permuted_first_half_and_the_second(size):
    inputs = torch.randn(size, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    mixed, permutation, lam = mix_halves(inputs, 0.3)
    half = size // 2
    assert mixed.shape == (half, 3, 2, 2)
    assert sorted(permutation.tolist()) == list(range(half))
    for place, first in enumerate(permutation.tolist()):
        second = size - half + place
        expected = lam * inputs[first] + (1 - lam) * inputs[second]
        assert torch.equal(mixed[place], expected)


def test_the_draws_of_a_network():
    """Bit for bit: from torch's global generator, the permutation first."""
    inputs = torch.randn(9, 4)
    torch.manual_seed(5)
    mixed, permutation, lam = mix_halves(inputs, 0.3)
    torch.manual_seed(5)
    expected = torch.randperm(4)
    coefficient = float(torch.distributions.Beta(0.3, 0.3).sample())
    assert torch.equal(permutation, expected)
    assert lam == coefficient
    halves = coefficient * inputs[:4][expected] + (1 - coefficient) * inputs[-4:]
    assert torch.equal(mixed, halves)


def test_the_draws_of_heads_leave_the_global_generator_alone():
    inputs = torch.randn(8, 4)
    generator, random = torch.Generator().manual_seed(3), np.random.RandomState(3)
    state = torch.get_rng_state()
    mixed, permutation, lam = mix_halves(inputs, 0.3, generator=generator, random=random)
    assert torch.equal(torch.get_rng_state(), state)
    expected = torch.randperm(4, generator=torch.Generator().manual_seed(3))
    coefficient = np.random.RandomState(3).beta(0.3, 0.3)
    assert torch.equal(permutation, expected)
    assert lam == coefficient
    halves = coefficient * inputs[:4][expected] + (1 - coefficient) * inputs[-4:]
    assert torch.equal(mixed, halves)
