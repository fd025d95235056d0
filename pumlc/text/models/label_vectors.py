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
            `pumlc.engine.optimizer.create_optimizer`.

    Attributes:
        ids: int64 [count], buffer: the label that each row belongs to, ascending.
        weight: float32 [count, D].

    Source: classifiers that start at the label texts, Dahiya et al., "NGAME: Negative Mining-aware
    Mini-batching for Extreme Classification" (WSDM 2023); trained together with the encoder, Jain
    et al., "Renee: End-to-end training of extreme classification models" (MLSys 2023).
    """

    def __init__(self, count: int, dimension: int, rate_factor: float) -> None:
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

    def forward(self, labels: np.ndarray, others: Tensor) -> Tensor:
        """Embeddings [len(labels), D] of some labels, with gradient.

        Args:
            labels: their numbers.
            others: [L - count, D], what the labels without a vector have, in their order.
        """
        if len(others) == 0 and len(labels) == len(self.ids):
            return self.weight
        wanted = torch.from_numpy(labels).to(self.ids.device)
        before = torch.searchsorted(self.ids, wanted)  # labels with a vector before each
        own = self.ids[before.clamp(max=len(self.ids) - 1)] == wanted
        parts = self.weight[before[own]], others[(wanted - before)[~own]]
        order = torch.cat([own.nonzero(), (~own).nonzero()])[:, 0].argsort()
        return torch.cat(parts)[order]

    def rows_of(self, texts: Sequence[str], trained: Sequence[str]) -> np.ndarray:
        """The row that each text has in ``weight``, -1 for none.

        Args:
            texts: the labels asked for.
            trained: the labels that ``ids`` counts. Of equal texts among them each keeps its own
                row if ``texts`` are these very labels; else the first one's counts. Space around
                a label is no part of it.
        """
        ids: list[int] = self.ids.tolist()
        if tuple(texts) == tuple(trained):
            rows = np.full(len(texts), -1)
            rows[ids] = np.arange(len(ids))
            return rows
        place = {trained[label].strip(): row for row, label in reversed(list(enumerate(ids)))}
        return np.array([place.get(text.strip(), -1) for text in texts], np.int64)


def label_embeddings(
    vectors: LabelVectors | None,
    texts: Sequence[str],
    trained: Sequence[str],
    embed_texts: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Embeddings [L, D] of labels to search among: a vector where there is one, else the text.

    Args:
        vectors: None where every label is its text.
        texts: L labels.
        trained: the labels of the run, see `LabelVectors.rows_of`.
        embed_texts: numbers of some of the labels [n] to the embeddings [n, D] of their texts.
    """
    if vectors is None:
        return embed_texts(np.arange(len(texts)))
    rows = vectors.rows_of(texts, trained)
    learned = vectors.weight.detach().cpu().numpy()
    embeddings = learned[rows]
    embeddings[rows < 0] = embed_texts(np.flatnonzero(rows < 0))
    return embeddings
