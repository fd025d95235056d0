"""A vector of its own for each label that training documents have, beside the encoder of texts."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn


class LabelVectors(nn.Module):
    r"""Learned vectors :math:`v_l`, which take the place of :math:`f(t_l)`, the embedded text.

    They start there, :math:`v_l = f(t_l)`, and are of any length: how long says how common the
    label is. A label without one keeps its text.

    Args:
        count: number of labels that have one.
        dimension: D, that of the embeddings.
        rate_factor: they learn so many times faster than the encoder, see
            `pumlc.engine.loop.create_optimizer`.

    Attributes:
        ids: int64 [count], buffer: the label that each row belongs to, ascending.
        weight: float32 [count, D].

    Source: classifiers that start at the label texts, Dahiya et al., "NGAME: Negative Mining-aware
    Mini-batching for Extreme Classification" (WSDM 2023); trained together with the encoder, Jain
    et al., "Renee: End-to-end training of extreme classification models" (MLSys 2023).
    """

    def __init__(self, count: int, dimension: int, rate_factor: float = 1.0) -> None:
        super().__init__()
        self.rate_factor = rate_factor
        self.ids: Tensor
        self.register_buffer("ids", torch.zeros(count, dtype=torch.int64))
        self.weight = nn.Parameter(torch.zeros(count, dimension))

    @torch.no_grad()
    def start(self, ids: np.ndarray, embeddings: np.ndarray) -> None:
        """Belong to the labels ``ids`` from now on, and start at the embeddings of their texts."""
        self.ids.copy_(torch.from_numpy(ids))
        self.weight.copy_(torch.from_numpy(embeddings))

    def forward(self, rows: np.ndarray) -> Tensor:
        """The vectors [len(rows), D] of some rows, with gradient."""
        return self.weight[torch.from_numpy(rows).to(self.weight.device)]

    def rows_of(self, texts: Sequence[str], trained: Sequence[str]) -> np.ndarray:
        """The row that each text has here, -1 for none.

        Args:
            texts: the labels asked for.
            trained: the labels that ``ids`` counts. Of equal texts among them each keeps its own
                row if ``texts`` are these very labels; else the first one's counts.
        """
        ids = self.ids.tolist()
        if tuple(texts) == tuple(trained):
            rows = np.full(len(texts), -1)
            rows[ids] = np.arange(len(ids))
            return rows
        place = {trained[label]: row for row, label in reversed(list(enumerate(ids)))}
        return np.array([place.get(text, -1) for text in texts], np.int64)


@torch.no_grad()
def fill_in(
    vectors: LabelVectors | None,
    rows: np.ndarray,
    embed_texts: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Label embeddings [L, D]: vectors where there are some, else the embedded texts.

    Args:
        vectors: None where every label is its text.
        rows: int64 [L], the row of each label among the vectors, -1 for none.
        embed_texts: label numbers [n] to embeddings [n, D].
    """
    if vectors is None:
        return embed_texts(np.arange(len(rows)))
    embeddings = np.empty((len(rows), vectors.weight.shape[1]), np.float32)
    own = rows >= 0
    embeddings[own] = vectors(rows[own]).cpu().numpy()
    embeddings[~own] = embed_texts(np.flatnonzero(~own))
    return embeddings
