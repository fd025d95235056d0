"""What the losses refuse, and how they say it.

Shapes and dtypes are always checked. Values of targets are checked where that is cheap and cannot
make the host wait for a device: for tensors in main memory, outside ``torch.compile``. (The loaders
check every label once, so that nothing unchecked reaches an accelerator in this package.)
"""

import torch
from torch import Tensor

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN


def check_logits(logits: Tensor, name: str = "logits") -> None:
    """Raise ``ValueError`` unless ``logits`` is a floating matrix with a row and a column."""
    if logits.dim() != 2 or logits.numel() == 0:
        raise ValueError(
            f"{name} must have the shape [rows, labels], both at least 1; got {list(logits.shape)}"
        )
    if not logits.is_floating_point():
        raise ValueError(f"{name} must be floating point; got {logits.dtype}")


def check_targets(logits: Tensor, targets: Tensor, name: str = "logits") -> None:
    """Raise ``ValueError`` unless both are [B, C], floats and labels in {1, 0, -1}."""
    check_logits(logits, name)
    if targets.shape != logits.shape:
        raise ValueError(
            f"targets must have the shape of {name}, {list(logits.shape)}; "
            f"got {list(targets.shape)}"
        )
    if targets.dtype not in (torch.int8, torch.int16, torch.int32, torch.int64):
        raise ValueError(
            f"targets must be signed integers, {POSITIVE} positive, {UNKNOWN} unknown, "
            f"{NEGATIVE} negative; got {targets.dtype}"
        )
    if values_can_be_checked(targets):
        lowest, highest = torch.aminmax(targets)
        if lowest.item() < NEGATIVE or highest.item() > POSITIVE:
            row, column = ((targets < NEGATIVE) | (targets > POSITIVE)).nonzero()[0].tolist()
            raise ValueError(
                f"targets must be {POSITIVE}, {UNKNOWN} or {NEGATIVE}; "
                f"got {int(targets[row, column])} in row {row}, column {column}"
            )


def values_can_be_checked(values: Tensor) -> bool:
    """True if looking at the values costs no synchronisation and breaks no compiled graph."""
    return values.is_cpu and not torch.compiler.is_compiling()


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raise ``ValueError`` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be in [{low}, {high}]; got {value}")


def check_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``valid``."""
    if value not in valid:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, valid))}; got {value!r}")
