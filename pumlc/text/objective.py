"""The loss of a text run: embeddings and positives in, a scalar out, on any number of ranks."""

import warnings

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.losses import LOSSES, chunked_decoupled_softmax_loss
from pumlc.losses.numerics import group_sum
from pumlc.text.config import LossConfig
from pumlc.text.data import SparseMatrix

# these couple the labels of a row, which the ranks divide; the others are sums over labels
COUPLE_LABELS = ("softmax", "decoupled_softmax", "soft_topk")


def contrastive_loss(
    documents: Tensor,
    labels: Tensor,
    positives: SparseMatrix,
    config: LossConfig,
    *,
    process_group: ProcessGroup | None,
) -> Tensor:
    r"""Loss of the scores :math:`s_{il} = \langle x_i, y_l \rangle / \tau + b`.

    The losses that couple labels do not change with b.

    Args:
        documents: float32 [B, D], the same on all ranks.
        labels: float32 [l, D], the labels of this rank.
        positives: bool CSR [B, l].
        config: which loss, its temperature, bias and parameters.
        process_group: ranks that hold different labels.

    Returns:
        Scalar: on every rank that of all labels; backward gives each rank its slice.
    """
    if config.score_chunk is not None:
        return chunked_decoupled_softmax_loss(
            documents,
            labels,
            _torch_csr(positives, documents.device),
            temperature=config.temperature,
            chunk_size=config.score_chunk,
            process_group=process_group,
        )
    with torch.autocast(documents.device.type, enabled=False):
        scores = documents @ labels.T / config.temperature + config.bias
    dense = torch.from_numpy(positives.toarray()).to(documents.device)
    loss = LOSSES[config.name]
    if config.name in COUPLE_LABELS:
        return loss(scores, dense, **config.parameters, process_group=process_group)
    return group_sum(loss(scores, dense.to(torch.int8), **config.parameters), process_group)


def _torch_csr(matrix: SparseMatrix, device: torch.device) -> Tensor:
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
