"""Documents and labels of a step in chunks, and the backward pass through their encoders."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from pumlc.text.data.tokens import TokenizedTexts
from pumlc.text.models.embedding import encode_rows, length_sorted_chunks
from pumlc.text.models.encoder import TextEncoder
from pumlc.text.training.gradcache import Side, cached_backward


@dataclass(frozen=True)
class TextSide:
    """Texts of a step that go through one encoder.

    Attributes:
        encoder: of these texts.
        tokens: of all texts, in and out of the step.
        rows: those of the step.
        chunk_size: texts encoded at a time.
    """

    encoder: TextEncoder
    tokens: TokenizedTexts
    rows: np.ndarray
    chunk_size: int


def backward_through(
    sides: list[TextSide],
    loss: Callable[..., Tensor],
    accelerator: Accelerator,
    *,
    gradient_cache: bool,
) -> Tensor:
    """Run the loss of the embeddings of all sides and its backward pass.

    Args:
        sides: the texts.
        loss: takes one tensor [len(rows), D] per side, in the order of its rows.
        accelerator: precision and device.
        gradient_cache: encode chunk by chunk, twice; False: once, in one graph.

    Returns:
        The loss, detached. Gradients are added to ``.grad`` of the weights.
    """

    def encode(side: TextSide, chunk: np.ndarray) -> Tensor:
        with accelerator.autocast():
            return encode_rows(side.encoder, side.tokens, side.rows[chunk], accelerator.device)

    chunked, inverses = [], []
    for side in sides:
        # chunks in one graph, too: texts of similar lengths need little padding
        chunks = length_sorted_chunks(side.tokens, side.rows, side.chunk_size)
        chunked.append(Side(partial(encode, side), chunks))
        inverse = torch.from_numpy(np.argsort(np.concatenate(chunks)))
        inverses.append(inverse.to(accelerator.device))

    def ordered(*embeddings: Tensor) -> Tensor:
        return loss(*(e[inverse] for e, inverse in zip(embeddings, inverses, strict=True)))

    if gradient_cache:
        return cached_backward(
            chunked, ordered, device=accelerator.device, backward=accelerator.backward
        )
    value = ordered(*(torch.cat([side.encode(c) for c in side.chunks]) for side in chunked))
    accelerator.backward(value)
    return value.detach()
