"""Label vectors that update themselves chunk by chunk: no gradient of all of them exists."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.text.models.label_vectors import LabelVectors
from pumlc.text.training.sharding import shard_of

Moments = Literal["compact", "full"]
FUSED_FROM = 2**27
"""Numbers in the vectors from which on they are fused by default: 349,526 vectors of 384."""
_BLOCK = 2**19  # numbers updated at a time: they stay in the cache of a core
_STATE = ("steps", "first", "second")


class FusedLabelVectors(LabelVectors):
    r"""`LabelVectors` with Adam built in, for very many labels.

    The gradient :math:`g_l` of a vector is used up as soon as it is known. With ``full`` moments,

    .. math::
        m_l \leftarrow \beta_1 m_l + (1 - \beta_1) g_l, \quad
        u_l \leftarrow \beta_2 u_l + (1 - \beta_2) g_l^2, \quad
        v_l \leftarrow v_l - \eta\, \frac{m_l / (1 - \beta_1^t)}
            {\sqrt{u_l / (1 - \beta_2^t)} + \epsilon}

    is Adam. With ``compact`` moments both are kept in bfloat16: 8 bytes a number in all, where
    vectors, gradient and moments of Adam take 16. Rounding to the nearest does no harm to
    :math:`m_l`, of which a tenth is new in every step. In :math:`u_l`, of which a thousandth is
    new, it would lose the new part, which is below half the distance of two neighbours: so
    :math:`u_l` is rounded up or down at random, right on average.

    Each process updates a share of the vectors, whose moments it alone has. Then all processes get
    all vectors.

    Args:
        count: number of labels that have a vector.
        dimension: D.
        rate_factor: how many times faster than the encoder they learn.
        moments: compact or full.

    Attributes:
        own: the rows that this process updates.

    Source: Adam, Kingma & Ba (ICLR 2015); stochastic rounding, Gupta et al., "Deep Learning with
    Limited Numerical Precision" (ICML 2015); updates inside the loop over chunks of labels, as in
    Renee (Jain et al., MLSys 2023) and ELMO (ICML 2025).
    """

    def __init__(self, count: int, dimension: int, rate_factor: float, moments: Moments) -> None:
        super().__init__(count, dimension, rate_factor)
        self.weight.requires_grad_(False)  # DDP would reserve a gradient
        self.moments = moments
        self.own = slice(0, count)
        self.steps = 0
        self._group: Callable[[], dict[str, Any]] | None = None
        # no buffers: they are neither saved with the weights nor shared by the processes
        self._first: Tensor | None = None
        self._second: Tensor | None = None
        self._noise_of: tuple[int, Tensor] | None = None

    def follow(self, group: Callable[[], dict[str, Any]]) -> None:
        """Take learning rate and decays from a group of the optimizer, now and later."""
        self._group = group

    def divide(self, rank: int, world_size: int) -> None:
        """Let this process update its share of the vectors."""
        self.own = shard_of(len(self.ids), rank, world_size)

    def update(self, rows: slice, gradient: Tensor) -> None:
        """Take the step of some vectors.

        Args:
            rows: among those of this process, `own`.
            gradient: [n, D].
        """
        size = max(1, _BLOCK // self.weight.shape[1])
        for start in range(rows.start, rows.stop, size):
            block = slice(start, min(start + size, rows.stop))
            self._update(block, gradient[block.start - rows.start : block.stop - rows.start])

    def _update(self, rows: slice, gradient: Tensor) -> None:
        first, second = self._moments()
        rate, (keep_first, keep_second), epsilon = self._rates()
        step = self.steps + 1
        weight = self.weight.detach()[self.own][rows]
        mean = first[rows].to(weight.dtype).lerp_(gradient, 1 - keep_first)
        first[rows] = mean
        squares = second[rows].to(weight.dtype).mul_(keep_second)
        squares.addcmul_(gradient, gradient, value=1 - keep_second)
        if self.moments == "compact":  # with full moments it is no copy
            second[rows] = rounded_at_random(squares, self._noise(weight)[: len(squares)])
        scale = (squares / (1 - keep_second**step)).sqrt_().add_(epsilon)
        weight.addcdiv_(mean, scale, value=-rate / (1 - keep_first**step))

    def _noise(self, weight: Tensor) -> Tensor:
        """Random bits for a block, those of this step; all blocks may have the same."""
        if self._noise_of is None or self._noise_of[0] != self.steps:
            shape = (max(1, _BLOCK // weight.shape[1]), weight.shape[1])
            generator = torch.Generator(weight.device).manual_seed(self.steps)
            options = {"dtype": torch.int32, "device": weight.device}
            bits = torch.randint(2**16, shape, generator=generator, **options)
            self._noise_of = self.steps, bits
        return self._noise_of[1]

    def _moments(self) -> tuple[Tensor, Tensor]:
        """First and second moments [own, D], zero before the first step."""
        if self._first is None or self._second is None:
            weight = self.weight[self.own]
            dtype = torch.bfloat16 if self.moments == "compact" else weight.dtype
            self._first = torch.zeros_like(weight, dtype=dtype)
            self._second = torch.zeros_like(weight, dtype=dtype)
        return self._first, self._second

    def _rates(self) -> tuple[float, tuple[float, float], float]:
        assert self._group is not None, "no optimizer has been created for these vectors"
        group = self._group()
        return float(group["lr"]), group["betas"], group["eps"]

    def exchange(self, process_group: ProcessGroup | None) -> None:
        """End a step: every process gets the vectors that the others have updated."""
        self.steps += 1
        if process_group is not None:
            self._from_all(self.weight.detach(), process_group)

    def _from_all(self, whole: Tensor, process_group: ProcessGroup) -> None:
        """Fill the rows of the other processes, in place."""
        for rank in range(process_group.size()):
            part = whole[shard_of(len(whole), rank, process_group.size())]
            dist.broadcast(part, rank, group=process_group)

    def moments_state(self, process_group: ProcessGroup | None) -> dict[str, Tensor]:
        """What resuming needs beside the vectors, the same on all processes."""
        state = {"steps": torch.tensor(self.steps)}
        for name, own in zip(_STATE[1:], self._moments(), strict=True):
            whole = own
            if process_group is not None:
                whole = own.new_empty(self.weight.shape)
                whole[self.own] = own
                self._from_all(whole, process_group)
            state[name] = whole.cpu()
        return state

    def load_moments(self, state: dict[str, Tensor]) -> None:
        """Go on from a `moments_state`, on any number of processes.

        Raises:
            ValueError: it is that of other vectors or other ``moments``.
        """
        for name, own in zip(_STATE[1:], self._moments(), strict=True):
            saved = state.get(name)
            if saved is None or saved.dtype != own.dtype or saved.shape != self.weight.shape:
                raise ValueError(f"no {name} moments for label vectors with {self.moments} moments")
            own.copy_(saved[self.own])
        self.steps = int(state["steps"])


def rounded_at_random(values: Tensor, noise: Tensor) -> Tensor:
    """Numbers of bfloat16 next to float32 numbers, the nearer one the more often.

    Args:
        values: not negative, of any shape.
        noise: int32 of the same shape, drawn uniformly from 0 to 2^16 - 1.

    Returns:
        float32, without the 16 bits that bfloat16 does not have; the mean over the noise is the
        value, up to its last bit.

    Example:
        >>> rounded_at_random(torch.tensor([1.0, 1.001, 1.001]), torch.tensor([9, 9, 65000]).int())
        tensor([1.0000, 1.0000, 1.0078])
    """
    return ((values.view(torch.int32) + noise) & -(2**16)).view(torch.float32)


class StackedRows:
    """The rows of two matrices, one after the other, of which no copy is made.

    Args:
        first: [n, D].
        second: [m, D].

    Example:
        >>> rows = StackedRows(torch.eye(2), torch.zeros(3, 2))
        >>> len(rows), rows[1:3].tolist()
        (5, [[0.0, 1.0], [0.0, 0.0]])
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, rows: slice) -> Tensor:
        border = len(self.first)
        parts = (
            self.first[rows],
            self.second[max(0, rows.start - border) : max(0, rows.stop - border)],
        )
        if rows.stop <= border:
            return parts[0]
        return parts[1] if rows.start >= border else torch.cat(parts)
