"""Mend a label file: leave out unusable rows, merge duplicates, join classes."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from pumlc.labels.names import similar_names
from pumlc.vision.data.inspection import Inspection
from pumlc.vision.data.label_table import (
    ABSENT_CODE,
    PRESENT_CODE,
    UNCERTAIN_CODE,
    UNKNOWN_CODE,
    LabelTable,
)

# the larger of two states of one label counts
_RANK = np.zeros(5, np.int64)
_RANK[[UNKNOWN_CODE, ABSENT_CODE, UNCERTAIN_CODE, PRESENT_CODE]] = range(4)


def fixed_table(table: LabelTable, inspection: Inspection) -> tuple[LabelTable, list[str]]:
    """Mend the problems of a table that need no decision by a person.

    Rows with a problem that prevents training are left out. Rows of one picture are merged into the
    first of them; a label on which they disagree becomes unknown. Classes whose names differ only
    in case, blanks, hyphens or Unicode form get the spelling with the most present labels.

    Args:
        table: the table as it was read, with the paths of the file.
        inspection: the inspection of this table.

    Returns:
        The table, and a line for each change.
    """
    changes = [f"left out: {problem.message}" for problem in table.problems]
    for group in similar_names(table.classes):  # first, so that rows are compared by one name
        table, change = _joined(table, group)
        changes.append(change)
    dropped: set[int] = set()
    codes: dict[int, np.ndarray] = {}
    for problem in inspection.problems:
        if not problem.blocking or not problem.rows:
            continue
        if problem.kind != "repeated":
            dropped.update(problem.rows)
            changes.append(f"left out: {problem.message}")
            continue
        first, again = problem.rows
        merged, disagreeing = _merged(codes.get(first, table.row_codes(first)), table, again)
        codes[first] = merged
        dropped.add(again)
        changes.append(f"merged, {disagreeing} labels are unknown now: {problem.message}")
    table = _with_codes(table, codes)
    kept = np.array([row for row in range(len(table)) if row not in dropped], np.int64)
    return replace(table.subset(kept), problems=()), changes


def _merged(codes: np.ndarray, table: LabelTable, again: int) -> tuple[np.ndarray, int]:
    """The merged states of two rows of one picture, and the number of labels that disagree."""
    others = table.row_codes(again)
    merged = np.where(codes == UNKNOWN_CODE, others, codes)
    differ = (codes != others) & (codes != UNKNOWN_CODE) & (others != UNKNOWN_CODE)
    return np.where(differ, UNKNOWN_CODE, merged).astype(np.uint8), int(differ.sum())


def _with_codes(table: LabelTable, codes: dict[int, np.ndarray]) -> LabelTable:
    """The table with all states of some rows replaced."""
    if not codes:
        return table
    listed = table.listed.tolil()
    for row, own in codes.items():
        listed[row] = np.where(own == table.rest[row], 0, own)
    return replace(table, listed=csr_array(listed.tocsr(), dtype=np.uint8))


def _joined(table: LabelTable, group: list[str]) -> tuple[LabelTable, str]:
    """The table with several classes joined into the one that has most present labels."""
    columns = [table.classes.index(name) for name in group]
    present = table.counts()["present"]
    best = max(columns, key=lambda column: (present[column], -column))
    rest = table.rest.astype(np.uint8)
    dense = table.listed[:, columns].toarray()
    codes = np.where(dense == 0, rest[:, None], dense)
    strongest = codes[np.arange(len(table)), _RANK[codes].argmax(axis=1)]
    listed = table.listed.tolil()
    listed[:, [best]] = np.where(strongest == rest, 0, strongest)[:, None]
    kept = [c for c in range(len(table.classes)) if c == best or c not in columns]
    joined = csr_array(listed.tocsr()[:, kept], dtype=np.uint8)
    joined.eliminate_zeros()
    names = tuple(table.classes[column] for column in kept)
    others = ", ".join(repr(name) for name in group if name != table.classes[best])
    change = f"class {others} is {table.classes[best]!r} now"
    return replace(table, classes=names, listed=joined), change
