"""Labels divided over the ranks of a process group: each rank scores all rows against its own."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from pumlc.losses.numerics import group_share, group_sum


def shard_of(count: int, rank: int, world_size: int) -> slice:
    """The half-open range of a rank when ``count`` rows are divided; sizes differ by at most 1.

    Example:
        >>> [shard_of(7, rank, 3) for rank in range(3)]
        [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    size, longer = divmod(count, world_size)
    start = rank * size + min(rank, longer)
    return slice(start, start + size + (rank < longer))


def gather_embeddings(
    own: Tensor, shard: slice, count: int, process_group: ProcessGroup | None
) -> Tensor:
    """The embeddings of all ranks, with gradient.

    Each rank uses all of them with labels of its own. So the backward pass adds up the gradients of
    the ranks, and each rank receives the part of its own rows.

    Args:
        own: [n, D], the rows ``shard`` of the whole.
        shard: where they belong.
        count: number of rows of the whole.
        process_group: None for a single process.

    Returns:
        [count, D], the same on all ranks.
    """
    if process_group is None:
        return own
    placed = F.pad(own, (0, 0, shard.start, count - shard.stop))
    return group_share(group_sum(placed, process_group), process_group)


def sum_gradients(parameters: Iterable[nn.Parameter], process_group: ProcessGroup | None) -> None:
    """Add up the gradients of all ranks, in place.

    A weight without a gradient counts as zero if another rank has one. It stays without if no rank
    has one (a layer that is not used).
    """
    if process_group is None:
        return
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        return
    device = trainable[0].device
    used = torch.tensor([float(p.grad is not None) for p in trainable], device=device)
    dist.all_reduce(used, dist.ReduceOp.MAX, group=process_group)
    for parameter, anywhere in zip(trainable, used.tolist(), strict=True):
        if anywhere and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in trainable if p.grad is not None]
    # one message for each dtype instead of one for each weight
    for dtype in {gradient.dtype for gradient in gradients}:
        same = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.flatten() for gradient in same])
        dist.all_reduce(flat, group=process_group)
        for gradient, total in zip(same, flat.split([g.numel() for g in same]), strict=True):
            gradient.copy_(total.view_as(gradient))
