"""The loss of a step over all labels, whose vectors are updated while it is computed."""

import numpy as np
import scipy.sparse as sp
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.losses.softmax_gradients import decoupled_softmax_gradients
from pumlc.text.config import LossConfig
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.models.fused_vectors import FusedLabelVectors, StackedRows
from pumlc.text.training.objective import torch_csr
from pumlc.text.training.sharding import shard_of


class FusedStep:
    """All labels of a process: its share of the vectors, then its share of the other texts.

    Args:
        vectors: updated in every step.
        others: [L - count, D], the embeddings of the labels without a vector, in their order.
        config: of the loss, the decoupled softmax in chunks.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        vectors: FusedLabelVectors,
        others: Tensor,
        config: LossConfig,
        rank: int,
        world_size: int,
    ) -> None:
        self.vectors, self.config = vectors, config
        share = shard_of(len(others), rank, world_size)
        self.labels = StackedRows(vectors.weight.detach()[vectors.own], others[share])
        ids = vectors.ids.cpu().numpy()
        without = np.ones(len(ids) + len(others), bool)
        without[ids] = False
        own = np.concatenate([ids[vectors.own], np.flatnonzero(without)[share]])
        # the column of each label among those of this process, -1 for none
        self._columns = np.full(len(without), -1)
        self._columns[own] = np.arange(len(own))

    def loss(
        self,
        documents: Tensor,
        positives: SparseMatrix,
        excluded: SparseMatrix | None,
        process_group: ProcessGroup | None,
    ) -> Tensor:
        """The loss over all labels, on every process; the vectors of this one are updated.

        No vector is, where the loss is not finite.

        Args:
            documents: [B, D], the same on all processes.
            positives: bool CSR [B, L], as is ``excluded``.
            excluded: pairs that take no part, or None.
            process_group: of the processes.

        Returns:
            Scalar; backward gives the documents their gradient from these labels.
        """
        value, by_documents = decoupled_softmax_gradients(
            documents.detach(),
            self.labels,
            torch_csr(self._among_own(positives), documents.device),
            temperature=self.config.temperature,
            chunk_size=self.config.score_chunk or len(self.labels),
            take=self._update,
            excluded=None if excluded is None else self._among_own(excluded),
            process_group=process_group,
        )
        # adds 0, and the gradient
        return value + ((documents - documents.detach()) * by_documents).sum()

    def _update(self, rows: slice, gradient: Tensor) -> None:
        stop = min(rows.stop, len(self.labels.first))
        if rows.start < stop:
            self.vectors.update(slice(rows.start, stop), gradient[: stop - rows.start])

    def _among_own(self, matrix: SparseMatrix) -> SparseMatrix:
        """The columns of the labels of this process, bool CSR [B, l]."""
        columns = self._columns[matrix.indices]
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        kept = columns >= 0
        shape = (matrix.shape[0], len(self.labels))
        ones = np.ones(int(kept.sum()), bool)
        return sp.csr_array((ones, (rows[kept], columns[kept])), shape)
