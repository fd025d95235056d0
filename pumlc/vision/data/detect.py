"""Recognise the format of a label file by its content, and never guess."""

import contextlib
import dataclasses
from pathlib import Path

from pumlc.errors import UserError
from pumlc.vision.data.formats import FORMATS, find_format, recognised
from pumlc.vision.data.formats.csv_table import TABLE_ENDINGS, require_header
from pumlc.vision.data.formats.label_format import IMAGE_ENDINGS, LabelFormat, ReadOptions
from pumlc.vision.data.label_table import STATES, LabelTable

_SPREADSHEET = "save the sheet as CSV in UTF-8"
_ADVICE = {  # files that people try, and what to do about each
    ".jsonl": "JSON lines are read from a file metadata.jsonl, with file_name and labels in a line",
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), _SPREADSHEET),
    **dict.fromkeys((".pkl", ".pickle"), "no pickle is opened: it may run code; save a CSV file"),
    **dict.fromkeys((".npy", ".npz"), "an array has no names: save a CSV file with its classes"),
}


def read_table(
    path: Path, *, format: str | None = None, options: ReadOptions | None = None
) -> tuple[LabelTable, str]:
    """Read a label file or its folder.

    Args:
        path: the file or folder.
        format: its format; None: recognised by its content.
        options: what else the user says about it.

    Returns:
        The table, and the evidence for its format.

    Raises:
        UserError: the file has no known format, has two possible readings, or cannot be read.
    """
    options = options or ReadOptions()
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if format is not None:
        found = find_format(format)
        _refuse_unused(path, found, options)
        return found.read(path, dataclasses.replace(options, said=True)), "as was said"
    evidence = recognised(path)
    if not evidence:
        raise UserError(f"{path}: its content has no known format{_hint(path)}")
    if len(evidence) == 1:
        (name,) = evidence
        _refuse_unused(path, FORMATS[name], options)
        return FORMATS[name].read(path, options), evidence[name]
    return _agreed(path, evidence, options)


def _refuse_unused(path: Path, form: LabelFormat, options: ReadOptions) -> None:
    """Refuse a meaning of cells for a file without such cells: it would change nothing."""
    for value in options.values:
        if form.cells and value == "unlisted":
            raise UserError(
                f"{path}: data.values: a table with one column per class lists every label, so "
                "unlisted changes nothing; say what its cells mean, as in "
                "'{1: present, 0: unknown}'"
            )
        if not form.cells and value != "unlisted":
            raise UserError(
                f"{path}: data.values: {value!r} changes nothing, since the format {form.name} has "
                "no cells with states; say what the labels are that it does not list, as in "
                "'{unlisted: unknown}'"
            )


def _hint(path: Path) -> str:
    """What to do about a file of no known format."""
    if path.is_dir():
        inside = [file for file in sorted(path.iterdir()) if file.is_file() and recognised(file)]
        if inside:
            return f"; but {inside[0]} has one: name that file"
        if pictures := _pictures_of_classes(path):
            return (
                f"; it has folders of pictures, such as {pictures[0]!r}. Write a table: a row "
                "image,labels for each picture, its labels separated by |"
            )
        if any(file.suffix.lower() in IMAGE_ENDINGS for file in path.iterdir()):
            return "; it has pictures: name the file of their labels, and this folder as the root"
    elif path.suffix.lower() in IMAGE_ENDINGS:
        return "; it is a picture: name the file of its labels"
    elif path.suffix.lower() in TABLE_ENDINGS:
        try:
            require_header(path)
        except UserError as error:
            return f". As a table: {error}"
    elif path.suffix.lower() in _ADVICE:
        return f"; {_ADVICE[path.suffix.lower()]}"
    return (
        f"; valid formats: {', '.join(FORMATS)} (data.format NAME, if it is one of them). Their "
        "layouts: docs/label_formats.md"
    )


def _pictures_of_classes(folder: Path) -> list[str]:
    """The first picture of each folder in a folder."""
    inside = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    pictures = (_first_picture(each) for each in inside)
    return [f"{picture.parent.name}/{picture.name}" for picture in pictures if picture]


def _first_picture(folder: Path) -> Path | None:
    files = (each for each in sorted(folder.iterdir()) if each.suffix.lower() in IMAGE_ENDINGS)
    return next(files, None)


def _agreed(path: Path, evidence: dict[str, str], options: ReadOptions) -> tuple[LabelTable, str]:
    """The table, if all formats that fit give the same table.

    Raises:
        UserError: they differ; the message has the counts of each.
    """
    tables: dict[str, LabelTable] = {}
    for name in evidence:
        with contextlib.suppress(UserError):
            tables[name] = FORMATS[name].read(path, options)
    if not tables:  # the first one says what is wrong
        return FORMATS[next(iter(evidence))].read(path, options), ""
    first, *others = tables.values()
    _refuse_unused(path, FORMATS[first.format], options)
    if all(_same(first, other) for other in others):
        return first, evidence[first.format]
    lines = [f"{path}: can be read in two ways; say which:"]
    for name, table in tables.items():
        counts = table.counts()
        found = ", ".join(f"{int(counts[state].sum())} {state}" for state in STATES)
        lines.append(f"  {found} ({evidence[name]}): write data.format {name}")
    raise UserError("\n".join(lines))


def _same(first: LabelTable, second: LabelTable) -> bool:
    """Whether two tables have the same pictures, classes, splits and states."""
    if (first.paths, first.classes, first.splits) != (second.paths, second.classes, second.splits):
        return False
    return all((first.row_codes(row) == second.row_codes(row)).all() for row in range(len(first)))
