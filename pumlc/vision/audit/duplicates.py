"""Pictures of an audit that look alike and have different tags, as a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.audit import STATES
from pumlc.audit.duplicates import near_duplicates
from pumlc.audit.suspects import GIVEN
from pumlc.files import write_csv
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
    labels = np.concatenate([part.part.images.labels for part in audited])
    pairs = near_duplicates(np.concatenate([part.vectors for part in audited]), labels)
    places = [(part.part, row) for part in audited for row in range(len(part.part.images))]
    rows = []
    for rank, pair in enumerate(pairs, 1):
        for column in pair.columns.tolist():
            cells: list[Any] = [rank, f"{pair.similarity:.4f}"]
            cells.append(places[pair.first][0].images.classes[column])
            for number in (pair.first, pair.second):
                part, row = places[number]
                state = _STATE[int(labels[number, column])]
                cells += [part.name, part.images.paths[row].decode(), state]
            rows.append(cells)
    return rows


def write_duplicates(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the rows of `duplicate_rows` as a CSV file."""
    write_csv(path, COLUMNS, rows)
