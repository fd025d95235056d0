"""Hold out a part that has its share of every label and never divides a group."""

import numpy as np
from scipy.sparse import csr_array

from pumlc.errors import UserError
from pumlc.labels.sparse import kept_entries
from pumlc.vision.data.label_table import LabelTable


def group_numbers(table: LabelTable, group: str) -> np.ndarray:
    """[N] int64, equal for pictures of one group.

    Args:
        table: read with the column, if ``group`` names one.
        group: the column, or ``path:2`` for the second folder of the path.

    Raises:
        UserError: the file has no such column, or a path has too few folders.
    """
    if group.startswith("path:"):
        digits = group.removeprefix("path:")
        if not digits.isascii() or not digits.isdecimal() or not 1 <= int(digits[:4]) < 1000:
            raise UserError(f"data.group {group!r}; valid: path:1, path:2, ... or a column")
        names = [_folder(table, row, int(digits)) for row in range(len(table))]
    elif table.groups is None:
        raise UserError(f"data.group {group!r}: {table.source} ({table.format}) has no such column")
    else:
        names = list(table.groups)
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _folder(table: LabelTable, row: int, number: int) -> str:
    """The path of a picture up to its folder with this number: p1/s1 and p2/s1 are two groups."""
    folders = table.paths[row].split("/")[:-1]
    if len(folders) < number:
        raise UserError(
            f"data.group path:{number}: {table.place(row)}: {table.paths[row]!r} has "
            f"{len(folders)} folders"
        )
    return "/".join(folders[:number])


def hold_out(
    labels: csr_array, proportion: float, *, groups: np.ndarray | None, seed: int, what: str
) -> np.ndarray:
    """Rows to hold out, stratified over labels.

    Iterative stratification takes the rarest class first. Each of its groups goes to the part that
    lacks most of its share of the class. Ties go to the part that lacks most rows, then to chance.

    Args:
        labels: [N, C] sparse; positive entries count.
        proportion: share of the rows, in (0, 1).
        groups: [N] numbers; rows of one group stay together. None: every row is its own group.
        seed: seed of the random order.
        what: the setting, for messages.

    Returns:
        The held-out rows, ascending.

    Raises:
        UserError: one of the two parts would be empty.

    Source: Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-Label Data", ECML 2011,
    algorithm 1, with groups in the place of rows.
    """
    number = int(labels.shape[0])  # pyright: ignore[reportOptionalSubscript]
    each = np.arange(number) if groups is None else groups
    unit_of = np.unique(each, return_inverse=True)[1]
    held = _held_units(_summed(labels, unit_of), np.bincount(unit_of), proportion, seed)
    rows = np.flatnonzero(held[unit_of])
    if not 0 < len(rows) < number:
        raise UserError(
            f"{what} {proportion} of {number} pictures in {unit_of.max() + 1} groups leaves the "
            "held-out part or the rest empty; give a share between 0 and 1, such as 0.2"
        )
    return rows


def _summed(labels: csr_array, unit_of: np.ndarray) -> csr_array:
    """Numbers of positive labels of each unit (a group or a row), [U, C]."""
    positive = labels.data > 0
    # of very many labels nothing is copied that can be shared, and a number takes a byte
    positives = labels if positive.all() else kept_entries(labels, positive)
    ones = np.ones(positives.nnz, np.int8)
    counts = csr_array((ones, positives.indices, positives.indptr), shape=labels.shape)
    rows = np.arange(len(unit_of))
    if (unit_of == rows).all():
        return counts
    weights = np.ones(len(unit_of), np.int32)
    return csr_array(csr_array((weights, (unit_of, rows))) @ counts)


def _held_units(counts: csr_array, sizes: np.ndarray, proportion: float, seed: int) -> np.ndarray:
    """Whether each unit is held out, bool [U]."""
    order = np.random.RandomState(seed).permutation(len(sizes))
    by_class = counts.tocsc()
    pairs = zip(by_class.indptr[:-1], by_class.indptr[1:], strict=True)
    totals = np.array([by_class.data[start:end].sum(dtype=np.int64) for start, end in pairs])
    shares = np.array([proportion, 1 - proportion])
    lacking = shares[:, None] * totals[None, :]  # [2, C], labels that each part still needs
    rows_lacking = shares * sizes.sum()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    part = np.full(len(sizes), -1)

    def assign(unit: int, column: int | None) -> None:
        side = int(rows_lacking[0] <= rows_lacking[1] * shares[0] / shares[1])
        if column is not None and lacking[0, column] != lacking[1, column]:
            side = int(lacking[0, column] < lacking[1, column])
        part[unit] = side
        span = slice(counts.indptr[unit], counts.indptr[unit + 1])
        lacking[side, counts.indices[span]] -= counts.data[span]
        rows_lacking[side] -= sizes[unit]

    # a class of which no part would get half a row is left to chance: else its rows, and with many
    # such classes all rows with a label, would go to one part
    shared = np.flatnonzero(totals * shares.min() >= 0.5)
    for column in shared[np.argsort(totals[shared], kind="stable")].tolist():
        units = by_class.indices[by_class.indptr[column] : by_class.indptr[column + 1]]
        for unit in units[np.argsort(place[units])].tolist():
            if part[unit] < 0:
                assign(unit, column)
    for unit in order[part[order] < 0].tolist():  # units without a positive label
        assign(unit, None)
    return part == 0
