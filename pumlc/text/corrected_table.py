"""Apply corrections to a table of documents; all other cells and the order of rows stay."""

import codecs
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pumlc.audit.corrections import Applied, Correction
from pumlc.errors import UserError, warn_user
from pumlc.files import complete_file, long_cells, read_text
from pumlc.labels.cells import BLANK, literal_list
from pumlc.text.data.readers.records import is_unicode
from pumlc.text.data.readers.table import (
    LABELS,
    Columns,
    TextTable,
    delimiter_of,
    is_json,
    listed_labels,
    read_table,
)


def correct_documents(
    labels: Path,
    corrections: Sequence[Correction],
    out: Path,
    *,
    columns: Columns,
    separator: str | None = None,
) -> Applied:
    """Write a table of documents with the corrections to ``out``, in the same form.

    A table lists labels, and what it does not list is unknown. So a label that is said to be absent
    is taken out if it is there. If it is not, the table stays as it is.

    Args:
        labels: the table.
        corrections: one for each label, without contradictions.
        out: the file to write.
        columns: names of its columns, as in the run that was audited.
        separator: what separates the labels in a cell, if the run was told.

    Raises:
        UserError: the table cannot be read; two documents have the name of a correction; no
            correction is about a document of the table; or a label cannot be written into its cell.
    """
    if is_json(labels) != is_json(out):
        raise UserError(f"out: {labels} keeps its form, so name a file *{labels.suffix}, not {out}")
    table = read_table(labels, columns, separator=separator)
    called, known = table.called(), set(table.label_texts())
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(called):
        rows_of.setdefault(name, []).append(row)
    applied = Applied.nothing()
    now: dict[int, list[str]] = {}
    for correction in corrections:
        rows = rows_of.get(correction.image, [])
        if len(rows) > 1:
            lines = ", ".join(str(table.lines[row]) for row in rows[:5])
            raise UserError(
                f"{correction.place}: {len(rows)} documents of {labels} are called "
                f"{correction.image!r} (lines {lines}); give each a name of its own and audit again"
            )
        if not rows or correction.class_name not in known:
            applied.judge(correction, None)
            continue
        own = now.get(rows[0], table.labels[rows[0]])
        if correction.class_name not in own and correction.corrected != "present":
            applied.confirmed.append(correction)
            continue
        state = "present" if correction.class_name in own else "unknown"
        if applied.judge(correction, state):
            rest = [label for label in own if label != correction.class_name]
            added = [correction.class_name] if correction.corrected == "present" else []
            now[rows[0]] = rest + added
    applied.require_some(labels, called)
    column = columns.labels or LABELS
    write = _write_json if is_json(labels) else _write_delimited
    write(table, out, column, columns.text, now)
    _check_reading(table, out, columns, separator, now)
    return applied


def _write_json(
    table: TextTable, out: Path, column: str, _: str | None, now: Mapping[int, list[str]]
) -> None:
    changed = {table.lines[row]: (row, labels) for row, labels in now.items()}
    lines = read_text(table.source).split("\n")
    for number, (row, labels) in changed.items():
        record = json.loads(lines[number - 1])
        record[column] = _spelled(record.get(column), labels, table, row)
        text = json.dumps(record, ensure_ascii=False)
        lines[number - 1] = text if is_unicode(text) else json.dumps(record)
    with complete_file(out) as file:
        file.write("\n".join(lines))


def _write_delimited(
    table: TextTable, out: Path, column: str, text: str | None, now: Mapping[int, list[str]]
) -> None:
    content = read_text(table.source)
    delimiter = delimiter_of(table.source, content, text)
    with long_cells():
        stream = io.StringIO(content, newline="")
        header, *rows = filter(None, csv.reader(stream, strict=True, delimiter=delimiter))
    place = [name.strip() for name in header].index(column)
    for row, labels in now.items():
        rows[row][place] = _spelled(rows[row][place], labels, table, row)
    ending = "\r\n" if content.partition("\n")[0].endswith("\r") else "\n"
    with table.source.open("rb") as file:
        has_mark = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    with complete_file(out) as file:
        if has_mark:  # by which a spreadsheet knows UTF-8
            file.write("\ufeff")
        csv.writer(file, delimiter=delimiter, lineterminator=ending).writerows([header, *rows])


def _spelled(cell: Any, labels: list[str], table: TextTable, row: int) -> Any:
    """The cell with other labels, in its own form or, if it is empty, in that of the others."""
    text = cell.strip() if isinstance(cell, str) else ""
    if isinstance(cell, list) or (not text and table.list_form == "lists"):
        return labels if is_json(table.source) else json.dumps(labels, ensure_ascii=False)
    if literal_list(text) is not None:
        return json.dumps(labels, ensure_ascii=False) if text[-2:] == '"]' else repr(labels)
    separator = table.separator or "|"  # a bar anywhere separates
    cell = (" " if separator == BLANK else separator).join(labels)
    if listed_labels(cell, separator) != labels:
        raise UserError(
            f"{table.source}, line {table.lines[row]}: {labels!r:.80} cannot be written into a "
            f"cell in which {separator!r} separates labels; write this row by hand"
        )
    return cell


def _check_reading(
    table: TextTable,
    out: Path,
    columns: Columns,
    separator: str | None,
    now: Mapping[int, list[str]],
) -> None:
    """Warn if other cells let labels be divided otherwise than before."""
    expected = [now.get(row, labels) for row, labels in enumerate(table.labels)]
    try:
        same = read_table(out, columns, separator=separator).labels == expected
    except UserError:
        same = False
    if not same:
        said = table.separator or "|"
        warn_user(f"{out}: its cells can now be read in two ways; write data.separator {said!r}")
