"""Means over the steps of an epoch, read from the device once."""

from collections import defaultdict
from collections.abc import Mapping

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

    def read(self) -> dict[str, float]:
        """The mean of each name over the steps that had it."""
        return {name: float(total) / self._counts[name] for name, total in self._totals.items()}


def _exact(value: Tensor | float) -> Tensor | float:
    if not isinstance(value, Tensor):
        return value
    # a device without float64 is read in each step instead
    return value.item() if value.device.type == "mps" else value.detach().double()
