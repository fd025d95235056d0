"""Pairs of row and label that take no part in a loss, as if the row did not have the label."""

import warnings
from typing import Any

import torch
from torch import Tensor

from pumlc.losses.positives import check_positives, positive_entries


def check_excluded(excluded: Tensor | None, num_rows: int, num_labels: int) -> None:
    """Raise ``ValueError`` unless ``excluded`` is None or a dense bool mask of the right shape."""
    if excluded is None:
        return
    if not isinstance(excluded, Tensor) or excluded.layout != torch.strided:
        form = excluded.layout if isinstance(excluded, Tensor) else type(excluded).__name__
        raise ValueError(f"excluded must be a dense bool tensor; got {form}")
    if excluded.dtype != torch.bool:
        raise ValueError(f"excluded must be bool, True for a pair left out; got {excluded.dtype}")
    if excluded.shape != (num_rows, num_labels):
        raise ValueError(
            f"excluded must have the shape [rows, labels] = {[num_rows, num_labels]}; "
            f"got {list(excluded.shape)}"
        )


def excluded_pairs(
    excluded: Any, num_rows: int, num_labels: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The mask as it is if it is dense, or rows and columns of its entries if it is sparse.

    Args:
        excluded: None, a dense bool tensor, a torch sparse CSR tensor, or a matrix of scipy.sparse.
        num_rows: B.
        num_labels: L.
        device: where a matrix of scipy goes.

    Returns:
        dense mask [B, L], rows [N], columns [N] (-1 for a stored zero); what is not used is None.

    Raises:
        ValueError: another form, type or shape.
    """
    if excluded is None:
        return None, None, None
    if hasattr(excluded, "tocsr"):  # scipy.sparse, which this module need not import
        excluded = _torch_csr(excluded.tocsr()).to(device)
    if isinstance(excluded, Tensor) and excluded.layout == torch.sparse_csr:
        check_positives(excluded, num_rows, num_labels, name="excluded")
        return None, *positive_entries(excluded)
    check_excluded(excluded, num_rows, num_labels)
    return excluded, None, None


def without_excluded(
    rows: Tensor,
    columns: Tensor,
    num_labels: int,
    mask: Tensor | None,
    excluded_rows: Tensor | None,
    excluded_columns: Tensor | None,
) -> Tensor:
    """Columns of entries, -1 where an entry is excluded; no value is looked at.

    Args:
        rows: of the entries, [N].
        columns: of the entries, [N], -1 for one that does not count.
        num_labels: L.
        mask: of `excluded_pairs`, as are the next two.
        excluded_rows: [M].
        excluded_columns: [M].

    Returns:
        [N].
    """
    if mask is not None:
        return columns.masked_fill(mask[rows, columns.clamp(min=0)], -1)
    if excluded_rows is None or excluded_columns is None or not len(excluded_rows):
        return columns
    keys = rows * num_labels + columns
    excluded_keys = excluded_rows * num_labels + excluded_columns
    excluded_keys = excluded_keys.masked_fill(excluded_columns < 0, -1).sort().values
    places = torch.searchsorted(excluded_keys, keys).clamp(max=len(excluded_keys) - 1)
    return columns.masked_fill(excluded_keys[places] == keys, -1)


def _torch_csr(matrix: Any) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch announces with every process that its CSR tensors are in beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr).long(),
            torch.from_numpy(matrix.indices).long(),
            torch.from_numpy(matrix.data != 0),
            matrix.shape,
            check_invariants=False,
        )
