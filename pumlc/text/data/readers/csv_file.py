"""Records as rows of a CSV file."""

import csv
import io
from pathlib import Path

from pumlc.errors import UserError
from pumlc.files import long_cells, read_text
from pumlc.progress import MEGABYTES, reached
from pumlc.text.data.readers.records import Record, stripped_labels


def read_csv(path: Path) -> list[Record]:
    """The record of each row of a CSV file with the columns text and labels.

    Labels are separated by a bar; an empty field means no label. The line is the last of the row.

    Raises:
        UserError: the file is missing, not UTF-8 or not CSV (a quote that is not closed), a column
            is missing or occurs twice, or a label is empty or has a line break.
    """
    content = read_text(path)
    stream = io.StringIO(content, newline="")
    reader = csv.DictReader(stream, strict=True)
    records: list[Record] = []
    done = 0
    with long_cells():
        try:
            _check_columns(path, list(reader.fieldnames or ()))
            done = reader.line_num
            for row in reader:
                done = reader.line_num
                reached(stream.tell(), len(content), MEGABYTES)
                where = f"{path}, line {done}"
                if None in row or None in row.values():  # too many, too few
                    raise UserError(f"{where}: wrong number of fields")
                labels = row["labels"].split("|") if row["labels"].strip() else []
                records.append(Record(row["text"], stripped_labels(labels, where), done))
        except csv.Error as error:
            raise UserError(
                f"{path}, line {done + 1}: the row that begins here: {error}"
            ) from error
    return records


def _check_columns(path: Path, names: list[str]) -> None:
    missing = {"text", "labels"} - set(names)
    if missing:
        raise UserError(f"{path}: no column {sorted(missing)}, got {names}")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: a column occurs twice: {names}")
