"""Pictures of an audit that look alike and have different tags, as a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.audit import STATES
from pumlc.audit.duplicates import near_duplicates
from pumlc.audit.suspects import GIVEN
from pumlc.files import write_csv
from pumlc.labels import SparseLabels
from pumlc.labels.sparse import label_row
from pumlc.vision.audit.known_cells import stacked_labels
from pumlc.vision.audit.suspects import AuditedPart

COLUMNS = (
    *("rank", "similarity", "class"),
    *("part", "image", "given", "other_part", "other_image", "other_given"),
)
"""The columns of the CSV file; the similarity is the cosine of pooled features."""
_STATE = {value: STATES[name] for name, value in GIVEN.items()}


def duplicate_rows(audited: Sequence[AuditedPart]) -> list[list[Any]]:
    """A row for each class in which two near-duplicates differ; all parts are compared.

    Args:
        audited: parts whose ``vectors`` are pooled features.

    Returns:
        rows of `COLUMNS`, the most alike first; a pair has one rank.
    """
    matrices = [part.part.images.matrix for part in audited]
    sparse = [each for each in matrices if isinstance(each, SparseLabels)]
    labels = stacked_labels(sparse) if sparse else np.concatenate(matrices)  # pyright: ignore
    pairs = near_duplicates(np.concatenate([part.vectors for part in audited]), labels)
    places = [(part.part, row) for part in audited for row in range(len(part.part.images))]
    rows = []
    for rank, pair in enumerate(pairs, 1):
        for column in pair.columns.tolist():
            cells: list[Any] = [rank, f"{pair.similarity:.4f}"]
            cells.append(places[pair.first][0].images.classes[column])
            for number in (pair.first, pair.second):
                part, row = places[number]
                state = _STATE[int(label_row(labels, number)[column])]
                cells += [part.name, part.images.paths[row].decode(), state]
            rows.append(cells)
    return rows


def write_duplicates(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the rows of `duplicate_rows` as a CSV file."""
    write_csv(path, COLUMNS, rows)
