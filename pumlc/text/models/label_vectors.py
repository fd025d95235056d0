"""A learned vector for each label that training documents have, in place of its embedded text."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class LabelVectors(nn.Module):
    r"""Learned vectors :math:`v_l`, which take the place of :math:`f(t_l)`, the embedded text.

    They start at the embedded texts, :math:`v_l = f(t_l)`. Their length is learned too and comes to
    say how common the label is. A label without a vector keeps its text.

    Args:
        count: number of labels that have a vector.
        dimension: D, that of the embeddings.
        rate_factor: how many times faster than the encoder they learn, see
            `pumlc.engine.optimizer.create_optimizer`.

    Attributes:
        ids: int64 [count], buffer: the label of each row, ascending.
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
        """Set the labels that have a vector, and the vectors to the embeddings of their texts.

        Args:
            ids: [count], ascending.
            embeddings: [count, D].
        """
        self.ids.copy_(torch.from_numpy(ids))
        self.weight.copy_(torch.from_numpy(embeddings))

    def forward(self, labels: np.ndarray, others: Tensor) -> Tensor:
        """Embeddings [len(labels), D] of some labels, with gradient.

        Args:
            labels: their numbers.
            others: [L - count, D], the embeddings of the labels without a vector, in their order.
        """
        if len(others) == 0 and len(labels) == len(self.ids):
            return self.weight
        wanted = torch.from_numpy(labels).to(self.ids.device)
        before = torch.searchsorted(self.ids, wanted)  # labels with a vector before each
        learned = self.ids[before.clamp(max=len(self.ids) - 1)] == wanted
        parts = self.weight[before[learned]], others[(wanted - before)[~learned]]
        order = torch.cat([learned.nonzero(), (~learned).nonzero()])[:, 0].argsort()
        return torch.cat(parts)[order]

    def rows_of(self, texts: Sequence[str], trained: Sequence[str]) -> np.ndarray:
        """The row that each text has in ``weight``, -1 for none.

        Args:
            texts: the labels asked for.
            trained: the labels of the run, which ``ids`` number. Where several of them
                have the same text, each keeps its own row if ``texts`` equals ``trained``;
                otherwise the text means the first of them. Space around a label does not count.
        """
        ids: list[int] = self.ids.tolist()
        if tuple(texts) == tuple(trained):
            rows = np.full(len(texts), -1)
            rows[ids] = np.arange(len(ids))
            return rows
        row_of = {trained[label].strip(): row for row, label in reversed(list(enumerate(ids)))}
        return np.array([row_of.get(text.strip(), -1) for text in texts], np.int64)
