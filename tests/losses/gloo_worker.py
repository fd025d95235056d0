"""What each of three processes computes for test_process_groups; imported there, run in spawn."""

from pathlib import Path

import scipy.sparse as sp
import torch
import torch.distributed as dist
from loss_cases import (
    CASES,
    EXCLUDING,
    ExcludingCase,
    LossCase,
    make_excluded_inputs,
    make_inputs,
)
from torch import Tensor

from pumlc.losses import chunked_decoupled_softmax_loss, pu_mixup_loss

NUM_RANKS = 3
# Sizes of the ranks' shares, uneven: rows for losses of targets, labels for losses of positives.
ROW_SHARES = {2: [5, 2], 3: [1, 4, 2]}
LABEL_SHARES = {2: [3, 8], 3: [4, 1, 6]}
MIXUP_SHARES = {2: [2, 5], 3: [4, 3, 2]}


def case_inputs(case: LossCase) -> tuple[Tensor, Tensor]:
    if case.takes == "labels":
        return make_inputs(case, rows=7, columns=6)
    logits, positives = make_inputs(case, rows=5, columns=11)
    for boundary in (0, 2, 3, 4, 5, 10):  # the first and the last label of every share
        positives[boundary % 5, boundary] = True
    return logits, positives


def shares(case: LossCase, num_ranks: int) -> list[tuple[slice, slice]]:
    """Rows and columns of each rank."""
    sizes = (ROW_SHARES if case.takes == "labels" else LABEL_SHARES)[num_ranks]
    parts = [slice(sum(sizes[:r]), sum(sizes[: r + 1])) for r in range(num_ranks)]
    everything = slice(None)
    return [(p, everything) if case.takes == "labels" else (everything, p) for p in parts]


def embeddings() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    labels = torch.randn(11, 4, generator=generator, dtype=torch.float64)
    positives = torch.zeros(5, 11, dtype=torch.bool)
    for boundary in (0, 2, 3, 4, 5, 10):
        positives[boundary % 4, boundary] = True
    return queries, labels, positives


def chunked(queries: Tensor, labels: Tensor, positives: Tensor, group) -> list[Tensor]:
    queries, labels = queries.clone().requires_grad_(), labels.clone().requires_grad_()
    value = chunked_decoupled_softmax_loss(
        queries, labels, positives, temperature=0.5, chunk_size=2, process_group=group
    )
    return [value.detach(), *torch.autograd.grad(value, (queries, labels))]


def mixup(rank: int, num_ranks: int, group) -> list[Tensor]:
    rows = MIXUP_SHARES[num_ranks][rank]
    generator = torch.Generator().manual_seed(rank)
    logits = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    mixed = torch.randn(rows // 2, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(-1, 2, (rows, 3), generator=generator)
    logits, mixed = logits.requires_grad_(), mixed.requires_grad_()
    value = pu_mixup_loss(
        logits,
        targets,
        mixed,
        permutation=torch.arange(rows // 2).flip(0),
        lam=0.3,
        process_group=group,
    )
    return [value.detach(), *torch.autograd.grad(value, (logits, mixed))]


def one_case(case: LossCase, part: tuple[slice, slice], group) -> list[Tensor]:
    logits, targets = case_inputs(case)
    own = logits[part].clone().requires_grad_()
    value = case.loss(own, targets[part], process_group=group)
    return [value.detach(), *torch.autograd.grad(value, own)]


EXCLUDED_ROW_SHARES = {2: [5, 3], 3: [1, 4, 3]}
EXCLUDED_LABEL_SHARES = {2: [4, 9], 3: [5, 1, 7]}  # the one label of a share is nobody's


def excluded_parts(case: ExcludingCase, num_ranks: int) -> list[tuple[slice, slice]]:
    """Rows and columns of each rank."""
    by_rows, everything = case.takes == "labels", slice(None)
    sizes = (EXCLUDED_ROW_SHARES if by_rows else EXCLUDED_LABEL_SHARES)[num_ranks]
    parts = [slice(sum(sizes[:r]), sum(sizes[: r + 1])) for r in range(num_ranks)]
    return [(part, everything) if by_rows else (everything, part) for part in parts]


def one_excluding_case(case: ExcludingCase, part: tuple[slice, slice], group) -> list[Tensor]:
    logits, second, excluded = make_excluded_inputs(case)
    own = logits[part].clone().requires_grad_()
    value = case.loss(own, second[part], excluded=excluded[part], process_group=group)
    return [value.detach(), *torch.autograd.grad(value, own)]


def excluding_chunked(part: slice, sparse: bool, group) -> list[Tensor]:
    queries, labels, positives = embeddings()
    excluded = torch.zeros_like(positives)
    excluded[0, :4] = excluded[1, 1:] = excluded[2, 3:6] = True
    queries, own = queries.clone().requires_grad_(), labels[part].clone().requires_grad_()
    mask = excluded[:, part]
    value = chunked_decoupled_softmax_loss(
        queries,
        own,
        positives[:, part],
        temperature=0.5,
        chunk_size=2,
        excluded=sp.csr_array(mask.numpy()) if sparse else mask,
        process_group=group,
    )
    return [value.detach(), *torch.autograd.grad(value, (queries, own))]


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=NUM_RANKS
    )
    groups = {2: dist.new_group([0, 1]), 3: dist.group.WORLD}
    found = {}
    for num_ranks, group in groups.items():
        if rank >= num_ranks:
            continue
        for case in CASES:
            found[case.name, num_ranks] = one_case(case, shares(case, num_ranks)[rank], group)
        queries, labels, positives = embeddings()
        sizes = LABEL_SHARES[num_ranks]
        own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        found["chunked", num_ranks] = chunked(queries, labels[own], positives[:, own], group)
        for case in EXCLUDING:
            part = excluded_parts(case, num_ranks)[rank]
            found["excluding", case.name, num_ranks] = one_excluding_case(case, part, group)
        for sparse in (True, False):
            found["excluding chunked", sparse, num_ranks] = excluding_chunked(own, sparse, group)
        found["mixup", num_ranks] = mixup(rank, num_ranks, group)
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()
