"""Embeddings of many texts, a chunk of similar lengths at a time."""

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from pumlc.engine.batches import gather_rows, own_rows
from pumlc.text.data.tokens import TokenizedTexts
from pumlc.text.models.encoder import TextEncoder


def length_sorted_chunks(tokens: TokenizedTexts, rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Positions in ``rows`` ordered by the length of the texts, in chunks: little is padding then.

    Example:
        >>> tokens = TokenizedTexts(np.arange(6), np.array([0, 3, 4, 6]), pad_id=0)
        >>> [chunk.tolist() for chunk in length_sorted_chunks(tokens, np.array([0, 2, 1]), 2)]
        [[2, 1], [0]]
    """
    order = np.argsort(tokens.offsets[rows + 1] - tokens.offsets[rows], kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def encode_rows(
    encoder: TextEncoder, tokens: TokenizedTexts, rows: np.ndarray, device: torch.device
) -> Tensor:
    """Embeddings [len(rows), D] of some texts on the device of the encoder, with gradient."""
    batch = tokens.batch(rows)
    return encoder(**{name: value.to(device) for name, value in batch.items()})


@torch.no_grad()
def embed(
    encoder: TextEncoder,
    tokens: TokenizedTexts,
    rows: np.ndarray,
    *,
    chunk_size: int,
    device: torch.device,
) -> np.ndarray:
    """Embeddings of some texts in evaluation mode, float32 [len(rows), D] in their order."""
    embeddings = np.empty((len(rows), encoder.dimension), np.float32)
    was_training = encoder.training
    encoder.eval()
    for chunk in length_sorted_chunks(tokens, rows, chunk_size):
        embeddings[chunk] = encode_rows(encoder, tokens, rows[chunk], device).cpu().numpy()
    encoder.train(was_training)
    return embeddings


def embed_shared_out(
    encoder: TextEncoder,
    tokens: TokenizedTexts,
    rows: np.ndarray,
    accelerator: Accelerator,
    *,
    chunk_size: int,
) -> np.ndarray:
    """`embed`, each process encoding a share; all of them get all embeddings."""
    own = rows[np.array(own_rows(len(rows), accelerator), np.int64)]
    with accelerator.autocast():
        embeddings = embed(encoder, tokens, own, chunk_size=chunk_size, device=accelerator.device)
    return gather_rows(embeddings, len(rows), accelerator)
