"""Embeddings of many texts and labels, a chunk of similar lengths at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from pumlc.engine.batches import gather_rows, own_rows
from pumlc.progress import ShowProgress
from pumlc.text.data.tokens import TokenizedTexts
from pumlc.text.models.encoder import DualEncoder, TextEncoder


def length_sorted_chunks(tokens: TokenizedTexts, rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Positions in ``rows`` in chunks of similar text lengths, which need little padding.

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
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Embeddings of some texts in evaluation mode, float32 [len(rows), D] in their order.

    ``progress`` is called with the texts done and their number.
    """
    done = 0
    embeddings = np.empty((len(rows), encoder.dimension), np.float32)
    was_training = encoder.training
    encoder.eval()
    for chunk in length_sorted_chunks(tokens, rows, chunk_size):
        embeddings[chunk] = encode_rows(encoder, tokens, rows[chunk], device).cpu().numpy()
        done += len(chunk)
        if progress is not None:
            progress(done, len(rows))
    encoder.train(was_training)
    return embeddings


class Embedder:
    """Embeds documents and labels by the current weights of a dual encoder.

    Args:
        model: the encoders.
        document_chunk: documents encoded at a time.
        label_chunk: labels encoded at a time.
        accelerator: each of its processes embeds a shard of the texts in its precision, and all
            get all embeddings; None: this process alone, in float32, where the model is.
        progress: called with what is embedded, the texts done and their number, in the main
            process alone.
    """

    def __init__(
        self,
        model: DualEncoder,
        *,
        document_chunk: int,
        label_chunk: int,
        accelerator: Accelerator | None = None,
        progress: ShowProgress | None = None,
    ) -> None:
        self.model, self.accelerator = model, accelerator
        main = accelerator is None or accelerator.is_main_process
        self.progress = progress if main else None
        self.document_chunk, self.label_chunk = document_chunk, label_chunk

    def documents(self, tokens: TokenizedTexts, rows: np.ndarray | None = None) -> np.ndarray:
        """Embeddings of documents, float32 [len(rows), D]; of all without ``rows``."""
        return self._embed("documents", self.model.documents, tokens, rows, self.document_chunk)

    def label_texts(self, tokens: TokenizedTexts, rows: np.ndarray | None = None) -> np.ndarray:
        """Embeddings of the texts of labels, float32 [len(rows), D]; of all without ``rows``."""
        return self._embed("labels", self.model.labels, tokens, rows, self.label_chunk)

    def labels(
        self, tokens: TokenizedTexts, texts: Sequence[str], trained: Sequence[str]
    ) -> np.ndarray:
        """Embeddings of labels to search among, float32 [L, D].

        A label is its learned vector where the model has one, otherwise its embedded text.

        Args:
            tokens: of the L label texts.
            texts: the L label texts.
            trained: those of the run, see `LabelVectors.rows_of`.
        """
        vectors = self.model.label_vectors
        if vectors is None:
            return self.label_texts(tokens)
        rows = vectors.rows_of(texts, trained)
        embeddings = vectors.weight.detach().cpu().numpy()[rows]
        embeddings[rows < 0] = self.label_texts(tokens, np.flatnonzero(rows < 0))
        return embeddings

    def _embed(
        self,
        what: str,
        encoder: TextEncoder,
        tokens: TokenizedTexts,
        rows: np.ndarray | None,
        size: int,
    ) -> np.ndarray:
        if rows is None:
            rows = np.arange(len(tokens))
        progress = None if self.progress is None else partial(self.progress, what)
        options: dict[str, Any] = {"chunk_size": size, "progress": progress}
        accelerator = self.accelerator
        if accelerator is None:
            device = next(encoder.parameters()).device
            return embed(encoder, tokens, rows, device=device, **options)
        shard = rows[np.array(own_rows(len(rows), accelerator), np.int64)]
        with accelerator.autocast():
            own = embed(encoder, tokens, shard, device=accelerator.device, **options)
        return gather_rows(own, len(rows), accelerator)
