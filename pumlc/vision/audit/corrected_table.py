"""Apply corrections to a label file of any format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from pumlc.audit.corrections import Applied, Correction
from pumlc.errors import UserError
from pumlc.vision.data.convert import write_table
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.formats import FORMATS, find_format
from pumlc.vision.data.formats.label_format import ReadOptions
from pumlc.vision.data.label_file import refuse
from pumlc.vision.data.label_table import STATES, LabelTable, State


def correct_table(
    labels: Path,
    corrections: Sequence[Correction],
    out: Path,
    *,
    format: str | None = None,
    values: Mapping[str, State] | None = None,
) -> Applied:
    """Write ``labels`` with the corrections to ``out``, in the same format.

    Args:
        labels: a label file, or the folder of one.
        corrections: one for each label, without contradictions.
        out: the file or folder to write.
        format: the format of ``labels``; None: recognised by its content.
        values: spelling in the file -> state.

    Raises:
        UserError: the file cannot be read; its format does not have a state that is needed (the
            message names formats that do); or no correction is about one of its labels.
    """
    options = ReadOptions(values=values or {}, said=format is not None)
    table, _ = read_table(labels, format=format, options=options)
    refuse(table.source, table.problems)
    applied = _judged(table, corrections)
    applied.require_some(labels, table.paths)
    changed: list[tuple[str, str, State]] = [
        (c.image, c.class_name, cast(State, c.corrected)) for c in applied.changed
    ]
    corrected = table.replace_states(changed)
    _refuse_unsayable(labels, corrected)
    write_table(corrected, out, table.format)
    return applied


def _refuse_unsayable(labels: Path, corrected: LabelTable) -> None:
    """Refuse a state that the format cannot hold, and say how to write one that can."""
    for state, counts in corrected.counts().items():
        if counts.any() and state not in find_format(corrected.format).holds:
            able = [each.name for each in FORMATS.values() if state in each.holds]
            raise UserError(
                f"{labels}: {corrected.format} cannot hold {state} labels, and with the decisions "
                f"there are {int(counts.sum()):,}; write the file first in a format that can: "
                f"{', '.join(able)} (pumlc convert {labels} NEW.csv --to {able[0]}), "
                "and correct NEW.csv"
            )


def _judged(table: LabelTable, corrections: Sequence[Correction]) -> Applied:
    applied = Applied.nothing()
    row_of = {path: row for row, path in enumerate(table.paths)}
    column_of = {name: column for column, name in enumerate(table.classes)}
    for correction in corrections:
        row, column = row_of.get(correction.image), column_of.get(correction.class_name)
        state = None
        if row is not None and column is not None:
            state = STATES[table.row_codes(row)[column] - 1]
        applied.judge(correction, state)
    return applied
