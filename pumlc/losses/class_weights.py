"""Classes that weigh more or less than others in a loss."""

from typing import Any

import torch
from torch import Tensor

from pumlc.losses.checks import check_logits


def weigh_classes(logits: Tensor, weights: Tensor) -> Tensor:
    r"""The same logits, whose gradient is multiplied by a weight of each class.

    Of a loss that is a sum over classes, ``L = sum_c L_c``, the gradient at these logits becomes
    that of the weighted loss, whatever the form of ``L_c``:

    .. math:: \frac{\partial}{\partial s_{ic}} \sum_c w_c L_c

    The value of the loss stays the unweighted one.

    Args:
        logits: [B, C], any floating dtype.
        weights: w, [C], floating, each finite and at least 0.

    Returns:
        [B, C], equal to ``logits``. Differentiable once.

    Raises:
        ValueError: the shapes do not fit.

    >>> logits = torch.zeros(1, 2, requires_grad=True)
    >>> weigh_classes(logits, torch.tensor([1.0, 3.0])).sum().backward()
    >>> logits.grad
    tensor([[1., 3.]])
    """
    check_logits(logits)
    if weights.shape != logits.shape[1:] or not weights.is_floating_point():
        raise ValueError(
            f"weights must be floats [C] = {list(logits.shape[1:])}; got {weights.dtype} "
            f"{list(weights.shape)}"
        )
    return _Weighed.apply(logits, weights)  # pyright: ignore[reportReturnType]


class _Weighed(torch.autograd.Function):
    """The identity; its gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return logits.view_as(logits)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        return gradient * weights.to(gradient.dtype), None
