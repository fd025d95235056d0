"""Which labels of a row are positive: dense [B, L] (bool or 0/1 integers) or torch sparse CSR.

(``torch.compile`` takes no sparse tensors: give it dense ones.)
"""

import torch
from torch import Tensor

from pumlc.labels import POSITIVE, UNKNOWN
from pumlc.losses.checks import values_can_be_checked

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_positives(
    positives: Tensor, num_rows: int, num_labels: int, *, name: str = "positives"
) -> None:
    """Raise ``ValueError`` unless ``positives`` is [num_rows, num_labels] in one of the forms."""
    if tuple(positives.shape) != (num_rows, num_labels):
        raise ValueError(
            f"{name} must have the shape [rows, labels] = {[num_rows, num_labels]}; "
            f"got {list(positives.shape)}"
        )
    if positives.layout == torch.sparse_csr:
        columns = positives.col_indices()
        if values_can_be_checked(columns) and columns.numel():
            lowest, highest = (bound.item() for bound in torch.aminmax(columns))
            if lowest < 0 or highest >= num_labels:
                raise ValueError(
                    f"column indices of {name} must be in [0, {num_labels - 1}]; "
                    f"got {lowest} to {highest}"
                )
        return
    if positives.layout != torch.strided or positives.dtype not in (torch.bool, *INTEGERS):
        raise ValueError(
            f"{name} must be a dense tensor of bool or 0/1 integers, or a torch sparse CSR "
            f"tensor; got {positives.dtype}, {positives.layout}"
        )
    if positives.dtype != torch.bool and values_can_be_checked(positives):
        lowest, highest = (bound.item() for bound in torch.aminmax(positives))
        if lowest < UNKNOWN or highest > POSITIVE:
            raise ValueError(f"integer {name} must be 0 or 1; got {lowest} to {highest}")


def positive_mask(positives: Tensor) -> Tensor:
    """Positives as a dense bool tensor, [B, L]."""
    if positives.layout == torch.strided:
        return positives if positives.dtype == torch.bool else positives == POSITIVE
    rows, columns, stored = _stored_entries(positives)
    num_rows, num_labels = positives.shape
    mask = torch.zeros(num_rows * num_labels, dtype=torch.int8, device=rows.device)
    mask.scatter_reduce_(0, rows * num_labels + columns, stored.to(torch.int8), "amax")
    return mask.view(torch.bool).view(num_rows, num_labels)


def positive_entries(positives: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the positives, [N] each; column -1 stands for an entry not to be counted.

    A label listed twice counts once and a stored zero is no positive. Such entries stay in the list
    so that its length needs no look at the values. (Dense positives do need one.)
    """
    if positives.layout == torch.strided:
        rows, columns = positive_mask(positives).nonzero(as_tuple=True)
        return rows, columns
    rows, columns, stored = _stored_entries(positives)
    num_rows, num_labels = positives.shape
    keys = rows * num_labels + columns
    keys = torch.where(stored, keys, num_rows * num_labels).sort().values
    counted = keys < num_rows * num_labels
    counted[1:] &= keys[1:] != keys[:-1]
    return (keys // num_labels).clamp(max=num_rows - 1), torch.where(counted, keys % num_labels, -1)


def _stored_entries(positives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and "is not zero" of every stored entry of a sparse CSR tensor, [N] each."""
    per_row = positives.crow_indices().diff()
    columns, values = positives.col_indices(), positives.values()
    rows = torch.arange(len(per_row), device=columns.device)
    return rows.repeat_interleave(per_row, output_size=len(columns)), columns, values != 0
