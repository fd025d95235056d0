"""Means over the steps of an epoch, read from the device once."""

from collections import defaultdict
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor


class Means:
    """Means of named numbers over steps; numbers on a device are summed there, in float64."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Count one more step of each name."""
        for name, value in values.items():
            self._totals[name] = self._totals.get(name, 0.0) + _exact(value)
            self._counts[name] += 1

    def state(self) -> dict[str, tuple[float, int]]:
        """Total and count of each name, exactly: what `load` goes on from."""
        return {name: (float(total), self._counts[name]) for name, total in self._totals.items()}

    def load(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Go on from the `state` of other means."""
        for name, (total, count) in state.items():
            self._totals[name], self._counts[name] = total, count

    def read(self) -> dict[str, float]:
        """The mean of each name over the steps that had it."""
        return {name: float(total) / self._counts[name] for name, total in self._totals.items()}

    def shared(self, accelerator: Accelerator) -> dict[str, float]:
        """The same over the steps of all processes, each of which has had the same names."""
        means = self.read()
        if accelerator.num_processes == 1:
            return means
        values = torch.tensor(list(means.values()), device=accelerator.device)
        torch.distributed.all_reduce(values)
        return dict(zip(means, (values / accelerator.num_processes).tolist(), strict=True))


def _exact(value: Tensor | float) -> Tensor | float:
    if not isinstance(value, Tensor):
        return value
    # a device without float64 is read in each step instead
    return value.item() if value.device.type == "mps" else value.detach().double()
