"""A table of one's own documents: CSV, TSV or JSONL, a document a row, columns by name."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumlc.errors import UserError, closest
from pumlc.files import long_cells, read_text
from pumlc.labels.cells import literal_list, parts_of, refuse_brackets, shares_parts
from pumlc.progress import MEGABYTES, counted, reached
from pumlc.text.data.readers.lines import read_lines
from pumlc.text.data.readers.records import is_unicode, stripped_labels

TEXT, LABELS, SPLIT = "text", "labels", "split"
_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_NOTHING = {"", "none", "nan", "null", "[]"}  # cells that list no label
Row = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """Names of the columns; None takes the usual name, if the table has it.

    Attributes:
        text: of texts, usually ``text``.
        labels: of labels, usually ``labels``.
        name: of names of documents; there is no usual one.
        group: of groups that stay together; there is no usual one.
    """

    text: str | None = None
    labels: str | None = None
    name: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class TextTable:
    """The documents of a table, in its order.

    Attributes:
        source: the file.
        kind: what was read, for a person.
        texts: N texts.
        labels: N lists of labels.
        names: N names of documents; None without such a column.
        groups: N groups; None without such a column.
        splits: N of train, validation and test; None without a column ``split``.
        lines: N lines of the file, from 1: the last of a row.
        list_form: how the cells list labels, for a person.
        separator: what separates labels in a cell that is no list; empty: such a cell is one label.
    """

    source: Path
    kind: str
    texts: list[str]
    labels: list[list[str]]
    names: list[str] | None
    groups: list[str] | None
    splits: list[str] | None
    lines: list[int]
    list_form: str
    separator: str

    def called(self) -> list[str]:
        """The name of each document; without names the number of its row, counted from 1."""
        if self.names is not None:
            return self.names
        return [str(row) for row in range(1, len(self.texts) + 1)]

    def label_texts(self) -> list[str]:
        """All labels, sorted."""
        return sorted({label for row in self.labels for label in row})


def read_table(
    path: Path, columns: Columns, *, separator: str | None = None, labelled: bool = True
) -> TextTable:
    """Read a table of documents.

    Args:
        path: a file; ``.jsonl``, ``.ndjson``, ``.json``: lines of JSON; any other: delimited text.
        columns: names of its columns.
        separator: what separates labels in a cell; None: see `seen_separator`.
        labelled: False: to predict; the labels are not read.

    Raises:
        UserError: no such column, a row that is not whole, or cells that can be read in two ways;
            it names file and line.
    """
    kind, header, rows = _json_rows(path) if is_json(path) else _delimited_rows(path, columns.text)
    if not rows:
        raise UserError(f"{path}: no document in this file")
    text = _column(path, header, columns.text or TEXT, "data.text_column", columns.text is None)
    label = None
    if labelled:
        usual = columns.labels is None
        label = _column(path, header, columns.labels or LABELS, "data.label_column", usual)
    named = {"data.id_column": columns.name, "data.group_column": columns.group}
    for option, name in named.items():
        if name is not None:
            _column(path, header, name, option, False)
    texts = [_text(row.get(text), f"{path}, line {line}", text) for line, row in rows]
    cells = [None if label is None else row.get(label) for _, row in rows]
    form, separator, labels = _labels(path, [line for line, _ in rows], cells, label, separator)
    splits = None
    if labelled and SPLIT in header:
        splits = [_split(row.get(SPLIT), f"{path}, line {line}") for line, row in rows]
    return TextTable(
        path,
        kind,
        texts,
        labels,
        _strings(rows, columns.name),
        _strings(rows, columns.group),
        splits,
        [line for line, _ in rows],
        form,
        separator,
    )


def is_json(path: Path) -> bool:
    """Whether the name of a table says that it has lines of JSON."""
    return path.suffix.lower() in (".jsonl", ".ndjson", ".json")


def seen_separator(cells: Sequence[str], where: str) -> str:
    """What separates the labels in cells of text; nothing, where each cell is one label.

    A bar anywhere decides. A semicolon or a comma separates where a part of one cell is found in
    another cell too; where none is, both are possible. Blanks separate nothing: labels of texts
    are mostly of several words.

    Raises:
        UserError: two readings are possible.

    >>> seen_separator(["a;b", "b"], "x"), seen_separator(["one label", "another"], "x")
    (';', '')
    """
    if any("|" in cell for cell in cells):
        refuse_brackets(cells, "|", where)
        return "|"
    for separator in (";", ","):
        joined = [cell for cell in cells if separator in cell]
        if not joined:
            continue
        if shares_parts(set(cells), separator):
            refuse_brackets(joined, separator, where)
            return separator
        several = {part for cell in cells for part in parts_of(cell, separator)}
        raise UserError(
            f"{where} can be read in two ways, as in {min(joined)[:80]!r}; one label a cell: "
            f"{len(set(cells))} labels, write data.separator '|'; several: {len(several)} labels, "
            f"write data.separator {separator!r}"
        )
    return ""


def _labels(
    path: Path, lines: Sequence[int], cells: Sequence[Any], column: str | None, given: str | None
) -> tuple[str, str, list[list[str]]]:
    """How the cells list labels, what separates them, and the labels."""
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    plain = [text for text in texts if text.lower() not in _NOTHING and literal_list(text) is None]
    separator = given
    if separator is None:
        separator = seen_separator(plain, f"{path}: the cells of {column!r}")
    listed = []
    for line, cell in zip(lines, cells, strict=True):
        listed.append(stripped_labels(listed_labels(cell, separator), f"{path}, line {line}"))
    forms = [f"separated by {separator!r}" if separator else "one a cell"] if plain else []
    forms += ["lists"] if any(map(_is_list, cells)) else []
    return " and ".join(forms) or "none", separator, listed


def _is_list(cell: Any) -> bool:
    if isinstance(cell, str):
        return bool(literal_list(cell.strip()))
    return isinstance(cell, list) and bool(cell)


def listed_labels(cell: Any, separator: str) -> list[Any]:
    """The labels of a cell; those of a list may be of any type, which is checked later."""
    if cell is None:
        return []
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str):
        return [cell]
    text = cell.strip()
    if text.lower() in _NOTHING:
        return []
    literal = literal_list(text)
    return parts_of(text, separator) if literal is None else literal


def _delimited_rows(path: Path, text_column: str | None) -> tuple[str, list[str], list[Any]]:
    """The name of the form, the header, and line and cells of each row."""
    content = read_text(path)
    delimiter = delimiter_of(path, content, text_column)
    stream = io.StringIO(content, newline="")
    reader = csv.DictReader(stream, strict=True, delimiter=delimiter)
    rows: list[Any] = []
    done = 0
    with long_cells():
        try:
            header = [name.strip() for name in reader.fieldnames or ()]
            if len(set(header)) < len(header):
                raise UserError(f"{path}: a column is there twice: {header}")
            reader.fieldnames = header
            done = reader.line_num
            for row in reader:
                if None in row or None in row.values():  # too many, too few
                    raise UserError(f"{path}, line {reader.line_num}: wrong number of fields")
                rows.append((reader.line_num, row))
                reached(stream.tell(), len(content), MEGABYTES)
                done = reader.line_num
        except csv.Error as error:
            raise UserError(
                f"{path}, line {done + 1}: the row that begins here: {error}"
            ) from error
    name = {",": "commas", ";": "semicolons", "\t": "tabs"}[delimiter]
    return f"a table, fields separated by {name}", header, rows


def delimiter_of(path: Path, content: str, text_column: str | None) -> str:
    """What separates the columns: what makes most of the header, one of which is that of texts."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = content.partition("\n")[0]

    def columns(delimiter: str) -> list[str]:
        return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]

    found = {delimiter: columns(delimiter) for delimiter in (",", ";", "\t")}
    wanted = text_column or TEXT
    with_text = [delimiter for delimiter, names in found.items() if wanted in names]
    return max(with_text or found, key=lambda delimiter: len(found[delimiter]))


def _json_rows(path: Path) -> tuple[str, list[str], list[Any]]:
    rows = []
    for number, line in enumerate(counted(read_lines(path)), start=1):
        if not line.strip():
            continue
        if not rows and line.lstrip().startswith("["):
            raise UserError(
                f"{path}, line {number}: each document must be an object on a line of its own, and "
                f"this is a list; it is written so by: jq -c '.[]' {path.name} > NEW.jsonl"
            )
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: expected an object, got {line[:80]}")
        rows.append((number, record))
    return "lines of JSON", list(dict.fromkeys(name for _, row in rows for name in row)), rows


def _column(path: Path, header: Sequence[str], name: str, option: str, usual: bool) -> str:
    if name in header:
        return name
    hint = f"name it with {option}" if usual else closest(name, header)
    raise UserError(f"{path}: no column {name!r} ({option}); {hint}; columns: {', '.join(header)}")


def _text(value: Any, where: str, column: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {column!r} must be a text, got {value!r:.80}")
    if not is_unicode(value):
        raise UserError(f"{where}: half of a surrogate pair is no character")
    return value


def _strings(rows: Sequence[Any], column: str | None) -> list[str] | None:
    if column is None:
        return None
    return ["" if row.get(column) is None else str(row[column]) for _, row in rows]


def _split(value: Any, where: str) -> str:
    split = _SPLITS.get(str(value).strip().lower())
    if split is None:
        raise UserError(f"{where}: split {value!r:.80}; valid: train, validation, test")
    return split
