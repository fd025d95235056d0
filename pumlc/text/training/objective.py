"""The loss of a text run: embeddings and positives in, a scalar out, on any number of ranks."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.errors import UserError
from pumlc.losses import chunked_decoupled_softmax_loss, find_loss
from pumlc.losses.numerics import group_sum
from pumlc.text.config import LossConfig
from pumlc.text.data.matrix import SparseMatrix


class Objective:
    r"""Loss of the scores :math:`s_{il} = \langle x_i, y_l \rangle / \tau + b`.

    The losses that couple labels do not change with b.

    Args:
        config: which loss, its temperature, bias and parameters. A loss of the user's own,
            ``package.module:function``, is imported here.

    Raises:
        UserError: there is no such loss.
    """

    def __init__(self, config: LossConfig) -> None:
        self.config = config
        self.loss = find_loss(config.name, imports=True)
        self.loss.check(config.parameters)

    def check(self, *, excluded: bool, world_size: int) -> None:
        """Refuse what the loss cannot do.

        Args:
            excluded: whether there are pairs that take no part.
            world_size: number of processes, which divide the labels.

        Raises:
            UserError: a loss of the user's own takes no ``excluded``, or its `pumlc.losses.Loss`
                does not say that its labels may be divided.
        """
        if excluded and not self.loss.supports_excluded:
            raise UserError(
                f"loss.name: {self.config.name} takes no argument excluded, but this data set has "
                "pairs that take no part (filter_labels_train.txt)"
            )
        if world_size > 1 and self.config.own and self.loss.couples == "rows":
            raise UserError(
                f"loss.name: {self.config.name} trains in one process, got {world_size}: it does "
                "not say that its labels may be divided; let the name mean a pumlc.losses.Loss "
                "whose couples is 'nothing', or 'labels' if it takes a process_group"
            )

    def __call__(
        self,
        documents: Tensor,
        labels: Tensor,
        positives: SparseMatrix,
        *,
        process_group: ProcessGroup | None,
        excluded: SparseMatrix | None = None,
    ) -> Tensor:
        """The loss of a step.

        Args:
            documents: float32 [B, D], the same on all ranks.
            labels: float32 [l, D], the labels of this rank.
            positives: bool CSR [B, l].
            process_group: ranks that hold different labels.
            excluded: bool CSR [B, l] or None, on all ranks alike: pairs, none of them positive,
                that take no part, as if the row did not have this label at all.

        Returns:
            Scalar: the loss over all labels, on every rank; backward gives each rank its slice.
        """
        config = self.config
        if config.score_chunk is not None:
            return chunked_decoupled_softmax_loss(
                documents,
                labels,
                torch_csr(positives, documents.device),
                temperature=config.temperature,
                chunk_size=config.score_chunk,
                excluded=excluded,
                process_group=process_group,
            )
        with torch.autocast(documents.device.type, enabled=False):
            scores = documents @ labels.T / config.temperature + config.bias
        dense = _dense(positives, scores)
        if self.loss.takes == "targets" and self.loss.parameters is not None:
            dense = dense.to(torch.int8)  # a plain function gets what it is told: positives
        options: dict[str, Any] = dict(config.parameters)
        if excluded is not None:
            options["excluded"] = _dense(excluded, scores)
        if self.loss.couples == "labels":
            return self.loss(scores, dense, **options, process_group=process_group)
        # the loss is a sum over labels: each rank has the terms of its own
        return group_sum(self.loss(scores, dense, **options), process_group)


def _dense(matrix: SparseMatrix, like: Tensor) -> Tensor:
    return torch.from_numpy(matrix.toarray()).to(like.device)


def torch_csr(matrix: SparseMatrix, device: torch.device) -> Tensor:
    """The matrix as a bool CSR tensor on a device."""
    with warnings.catch_warnings():
        # PyTorch announces with every process that its CSR tensors are in beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr).long(),
            torch.from_numpy(matrix.indices).long(),
            torch.ones(matrix.nnz, dtype=torch.bool),
            matrix.shape,
            check_invariants=True,
        ).to(device)
