"""The splits of a table of one's own: those of its column, or drawn in whole groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pumlc.errors import UserError
from pumlc.text.config import DataConfig
from pumlc.text.data.matrix import pairs_to_matrix
from pumlc.text.data.readers.table import Columns, TextTable, read_table
from pumlc.text.data.text_split import TextSplit


@dataclass(frozen=True)
class OwnTable:
    """A table as a run takes it.

    Attributes:
        source: the documents to train on and to hold out for validation.
        test: the test split.
        units: [N] of the source; documents of one unit stay on one side.
        validation: rows of the source that the table itself holds out; None: it does not.
    """

    source: TextSplit
    test: TextSplit
    units: np.ndarray
    validation: np.ndarray | None


def columns_of(config: DataConfig) -> Columns:
    """The names of columns in the settings."""
    return Columns(config.text_column, config.label_column, config.id_column, config.group_column)


def read_own_table(config: DataConfig, *, seed: int) -> OwnTable:
    """Read ``data.labels`` and split it.

    Documents with the same text, but for case and blanks, or of the same group are one unit.

    Args:
        config: the settings.
        seed: of the test split, where the table has no column ``split``.

    Raises:
        UserError: see `pumlc.text.data.readers.table.read_table`; a row is a label of a document,
            and not a document; or a split would be empty.
    """
    path = Path(config.source)
    table = read_table(path, columns_of(config), separator=config.separator)
    said = a_row_per_label(table)
    if said is not None:
        raise UserError(f"{path}: {said}")
    units = units_of(table)
    if table.splits is None:
        held = hold_out_units(units, config.test, seed=seed, what=f"data.test {config.test}")
        parts = np.where(held, "test", "train")
    else:
        parts = np.array(table.splits)
        for part in ("train", "test"):
            if part not in parts:
                raise UserError(f"{path}: its column split has no row of {part}")
    rows = np.flatnonzero(parts != "test")
    label_texts = table.label_texts()
    if not label_texts:
        raise UserError(f"{path}: no document has a label")
    own = np.flatnonzero(parts[rows] == "validation") if "validation" in parts else None
    return OwnTable(
        _split_of(table, rows, label_texts),
        _split_of(table, np.flatnonzero(parts == "test"), label_texts),
        units[rows],
        own,
    )


def a_row_per_label(table: TextTable) -> str | None:
    """What to do about a table whose rows are labels of documents; None: they are documents.

    Such a table has one label in every row, and most rows repeat a text that another row has with
    another label. Read as documents, each would lack the labels of its other rows.
    """
    if any(len(labels) != 1 for labels in table.labels):
        return None
    labels_of: dict[str, set[str]] = {}
    lines_of: dict[str, list[int]] = {}
    for text, (label,), line in zip(table.texts, table.labels, table.lines, strict=True):
        labels_of.setdefault(text, set()).add(label)
        lines_of.setdefault(text, []).append(line)
    several = [text for text, labels in labels_of.items() if len(labels) > 1]
    if 2 * sum(len(lines_of[text]) for text in several) <= len(table.texts):
        return None
    lines = ", ".join(map(str, lines_of[several[0]][:5]))
    return (
        f"a row seems to be a label of a document, and not a document: {len(several)} texts are in "
        f"several rows with a label each (the first in lines {lines}). Put the labels of a "
        "document into one cell, such as a|b; with pandas: "
        "table.groupby('TEXT', sort=False)['LABEL'].agg('|'.join).reset_index()"
    )


def units_of(table: TextTable) -> np.ndarray:
    """[N] numbers, equal for documents that may not be on two sides of a split."""
    keys: list[Sequence[str]] = [[" ".join(text.lower().split()) for text in table.texts]]
    if table.groups is not None:
        # a document without a group is one of its own
        keys.append([group or f"\0{row}" for row, group in enumerate(table.groups)])
    count = len(table.texts)
    rows, firsts = [], []
    for key in keys:
        seen: dict[str, int] = {}
        firsts += [seen.setdefault(value, row) for row, value in enumerate(key)]
        rows += range(count)
    graph = coo_array((np.ones(len(rows), bool), (rows, firsts)), (count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def hold_out_units(units: np.ndarray, proportion: float, *, seed: int, what: str) -> np.ndarray:
    """bool [N]: the documents of units drawn until they are a part of all.

    Args:
        units: [N].
        proportion: of the documents, in (0, 1).
        seed: of the order.
        what: setting and value, for the message.

    Raises:
        UserError: one of both sides would be empty.
    """
    numbers, place, sizes = np.unique(units, return_inverse=True, return_counts=True)
    order = np.random.RandomState(seed).permutation(len(numbers))
    before = np.cumsum(sizes[order]) - sizes[order]
    held = np.zeros(len(numbers), bool)
    # a unit is taken where that comes nearer to the part that was asked for
    held[order] = before + sizes[order] / 2 <= proportion * len(units)
    rows = held[place]
    if rows.all() or not rows.any():
        raise UserError(
            f"{what} of {len(units)} documents in {len(numbers)} groups leaves none on one side"
        )
    return rows


def _split_of(table: TextTable, rows: np.ndarray, label_texts: list[str]) -> TextSplit:
    column_of = {label: column for column, label in enumerate(label_texts)}
    pairs = [
        (place, column_of[label]) for place, row in enumerate(rows) for label in table.labels[row]
    ]
    called = table.called()
    return TextSplit(
        [table.texts[row] for row in rows],
        label_texts,
        pairs_to_matrix(pairs, (len(rows), len(label_texts))),
        names=[called[row] for row in rows],
    )
