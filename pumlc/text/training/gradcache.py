"""Gradient caching: the exact step of a contrastive loss over more texts than fit in memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """One side of the loss: its texts in chunks, and what encodes a chunk.

    Args:
        encode: chunk -> [n, D] embeddings with gradient. It is called twice for each chunk.
        chunks: what is encoded, at least one chunk.
    """

    encode: Callable[[Any], Tensor]
    chunks: Sequence[Any]


def cached_backward(
    sides: Sequence[Side],
    loss: Callable[..., Tensor],
    *,
    device: torch.device,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Tensor:
    r"""Loss and gradients as if every side were encoded at once; one chunk's graph lives at a time.

    With the embeddings :math:`e = f_\theta(x)`, the loss depends on the weights through e alone:

    .. math:: \nabla_\theta L = \sum_{\text{chunks } c}
        \Big(\frac{\partial e_c}{\partial \theta}\Big)^{\!\top} \nabla_{e_c} L

    So (1) all chunks of all sides are encoded without a graph, (2) the loss gives the gradient of
    every embedding, (3) each chunk is encoded again, with a graph, and passes its part on. Dropout
    draws the same numbers in (3) as in (1), and afterwards the random state is that after (1).

    Args:
        sides: documents and labels, say; they may share an encoder.
        loss: takes one tensor [n, D] per side, its chunks in order, and returns a scalar.
        device: where the encoders run; the random state of its kind's current device and the
            CPU's are replayed.
        backward: runs the backward pass of the loss; replace it to scale the loss (fp16).

    Returns:
        The loss, detached. Gradients are added to ``.grad`` of the weights.

    Raises:
        ValueError: a side has no chunk.

    Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"
    (RepL4NLP 2021).

    Example:
        >>> weight = torch.ones(2, 2, requires_grad=True)
        >>> rows = torch.arange(8.0).view(4, 2)
        >>> side = Side(lambda chunk: chunk @ weight, rows.split(3))
        >>> cached_backward([side], lambda e: e.square().mean(), device=torch.device("cpu"))
        tensor(69.)
        >>> weight.grad
        tensor([[31., 31.],
                [38., 38.]])
    """
    embeddings, states = [], []
    for number, side in enumerate(sides):
        if not side.chunks:
            raise ValueError(f"side {number} has no chunk to encode")
        parts, before = [], []
        with torch.no_grad():
            for chunk in side.chunks:
                before.append(_RandomState(device))
                parts.append(side.encode(chunk))
        embeddings.append(torch.cat(parts).requires_grad_())
        states.append([(state, len(part)) for state, part in zip(before, parts, strict=True)])
    # inside a caller's autocast, PyTorch before 2.10 would use casts made without a graph again
    torch.clear_autocast_cache()
    value = loss(*embeddings)
    backward(value)
    for side, whole, chunk_states in zip(sides, embeddings, states, strict=True):
        gradient = torch.zeros_like(whole) if whole.grad is None else whole.grad
        pieces = gradient.split([length for _, length in chunk_states])
        for chunk, (state, _), piece in zip(side.chunks, chunk_states, pieces, strict=True):
            with state.replayed():
                encoded = side.encode(chunk)
            encoded.backward(piece)
    return value.detach()


class _RandomState:
    """The state of the random generators at one moment."""

    def __init__(self, device: torch.device) -> None:
        self.cpu = torch.get_rng_state()
        self.device = None if device.type == "cpu" else device
        self.own = None if self.device is None else torch.get_device_module(device).get_rng_state()

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Inside the context, random numbers are those that followed this moment."""
        after = torch.get_rng_state()
        module = None if self.device is None else torch.get_device_module(self.device)
        own_after = None if module is None else module.get_rng_state()
        try:
            torch.set_rng_state(self.cpu)
            if module is not None:
                module.set_rng_state(self.own)
            yield
        finally:
            torch.set_rng_state(after)
            if module is not None:
                module.set_rng_state(own_after)
