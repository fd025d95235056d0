"""Mixtures of the two halves of a batch."""

import numpy as np
import torch
from torch import Tensor


def mix_halves(
    inputs: Tensor,
    beta: float,
    *,
    generator: torch.Generator | None = None,
    random: np.random.RandomState | None = None,
) -> tuple[Tensor, Tensor, float]:
    """Mix the first half of a batch, permuted, with its second half.

    The middle row of an odd batch is not mixed.

    Args:
        inputs: pictures [B, 3, H, W] or features [B, D].
        beta: the coefficient is drawn from Beta(beta, beta).
        generator: draws the permutation; None: torch's global one.
        random: draws the coefficient; None: torch's global generator.

    Returns:
        The mixtures [B // 2, ...], the permutation [B // 2] of the first half, and the coefficient
        ``lam`` of that half.
    """
    half = len(inputs) // 2
    permutation = torch.randperm(half, generator=generator)
    if random is None:
        lam = float(torch.distributions.Beta(beta, beta).sample())
    else:
        lam = float(random.beta(beta, beta))
    permutation = permutation.to(inputs.device)
    mixed = lam * inputs[:half][permutation] + (1 - lam) * inputs[len(inputs) - half :]
    return mixed, permutation, lam
