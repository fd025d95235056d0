"""Exponential moving average of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def start_share(decay: float, warmup: bool, steps: int) -> float:
    r"""Share of the weights it started from in an average after ``steps`` updates.

    :math:`\prod_t d_t`, with the decays :math:`d_t` of `ExponentialMovingAverage`.
    """
    share = 1.0
    for step in range(steps if warmup else 0):
        if (1 + step) / (10 + step) >= decay:
            return share * decay ** (steps - step)
        share *= (1 + step) / (10 + step)
    return share if warmup else decay**steps


class ExponentialMovingAverage:
    r"""Average of the weights over the steps of a run.

    :math:`\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta`, with the constant decay ``d`` of
    the published run or, with ``warmup``, :math:`d_t = \min(d, (1 + t) / (10 + t))`. Floating-point
    parameters and buffers are averaged; integer buffers (``num_batches_tracked``) are copied.

    Args:
        model: the bare model (not a distributed wrapper).
        decay: ``d`` in (0, 1).
        warmup: see above.
    """

    def __init__(self, model: nn.Module, decay: float, *, warmup: bool = False) -> None:
        self.decay, self.warmup, self.step = decay, warmup, 0
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step of the average towards ``model``."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step)) if self.warmup else self.decay
        self.step += 1
        current = model.state_dict()
        floating = [name for name, value in current.items() if value.is_floating_point()]
        averages = [self.average[name] for name in floating]
        # one call for all tensors: a loop over hundreds of them would cost more than the step
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            averages, [current[name] for name in floating], 1 - decay
        )
        for name in current.keys() - set(floating):
            self.average[name].copy_(current[name])

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Inside the context ``model`` holds the averaged weights; afterwards its own again."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights under the model's names."""
        return self.average

    def load_state_dict(self, state: dict[str, Tensor], step: int) -> None:
        """Continue from the averaged weights of an interrupted run after ``step`` updates."""
        for name, value in self.average.items():
            value.copy_(state[name])
        self.step = step
