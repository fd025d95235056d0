"""Sums, maxima and log-sum-exps, over one process or a process group, with exact gradients.

The convention of the package for process groups: every rank computes the same value, that of the
undivided data, and ``backward`` on every rank gives its own tensors exactly their part of the
gradient of that one value. Two primitives are enough. ``group_sum`` is for a result that all ranks
go on to use alike: its gradient is then already whole on every rank and passes through.
``group_share`` is for a value that every rank goes on to use with its own data: each holds only its
part of the gradient, so the parts are added up.
"""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup


def at_least_float32(values: Tensor) -> Tensor:
    """Half and bfloat16 become float32; float32 and float64 stay what they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class _GroupSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, process_group):
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=process_group)
        return total

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0], None


class _GroupShare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, process_group):
        ctx.process_group = process_group
        return values.view_as(values)

    @staticmethod
    def backward(ctx, *gradients):
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.process_group)
        return total, None


def group_sum(values: Tensor, process_group: ProcessGroup | None) -> Tensor:
    """Sum over the ranks of tensors of one shape; what follows must be the same on every rank."""
    return values if process_group is None else _GroupSum.apply(values, process_group)


def group_share(values: Tensor, process_group: ProcessGroup | None) -> Tensor:
    """A value equal on all ranks, from here on used by each with its own data."""
    return values if process_group is None else _GroupShare.apply(values, process_group)


def group_max(values: Tensor, process_group: ProcessGroup | None) -> Tensor:
    """Maximum over the ranks of tensors of one shape, without gradient."""
    values = values.detach()
    if process_group is not None:
        values = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values, dist.ReduceOp.MAX, group=process_group)
    return values


def group_count(count: int, like: Tensor, process_group: ProcessGroup | None) -> int | Tensor:
    """Sum over the ranks of a number known on the host, without waiting for the device."""
    if process_group is None:
        return count
    return group_sum(torch.full((), count, dtype=like.dtype, device=like.device), process_group)


def group_gather(values: Tensor, process_group: ProcessGroup | None) -> Tensor:
    """Rows of all ranks, of any number, in one tensor, padded with -inf, without gradient."""
    values = values.detach()
    if process_group is None:
        return values
    length = torch.tensor(len(values), device=values.device)
    padding = int(group_max(length, process_group)) - len(values)
    padded = F.pad(values, (0, 0) * (values.dim() - 1) + (0, padding), value=-math.inf)
    parts = [torch.empty_like(padded) for _ in range(process_group.size())]
    dist.all_gather(parts, padded, group=process_group)
    return torch.cat(parts)


def refuse_second_derivative(remedy: str) -> None:
    """Raise in a backward pass by hand whose result would be taken for a constant.

    ``once_differentiable`` does not: it lets a gradient of a scalar pass, and what was to be
    differentiated again (a penalty on gradients, a step of meta-learning) would lack that part.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(f"differentiable once, not with create_graph=True; {remedy}")


def floor_of_share(share: float, counts: Tensor) -> Tensor:
    """floor(share * counts), exact: 0.29 of 100 is 29, although the float product is below it."""
    return (share * counts.double() + 1e-6).long()


def mean_over_rows(losses: Tensor, process_group: ProcessGroup | None) -> Tensor:
    """Losses [B, C] summed over labels and averaged over the rows of all ranks."""
    total = group_sum(losses.sum(), process_group)
    return total / group_count(len(losses), total, process_group)


def lowest(dtype: torch.dtype) -> float:
    """Stands for minus infinity where things are left out of a log-sum-exp.

    Far below every score, yet a number: where everything is left out, differences to it are still
    defined, and so is the gradient.
    """
    return torch.finfo(dtype).min / 4


def log_sum_exp(values: Tensor, dim: int, process_group: ProcessGroup | None) -> Tensor:
    """Log-sum-exp along ``dim``, which may be divided over the ranks."""
    local = torch.logsumexp(values, dim)
    if process_group is None:
        return local
    largest = group_max(local, process_group)
    return largest + group_sum((local - largest).exp(), process_group).log()
