"""Tables with a column of labels: our long form, ChestX-ray14, Planet, lists of Python.

The long form has the columns ``split,image,labels`` and may have ``negatives``, ``uncertain``,
``unknown`` and ``group``. A class that it does not list is unknown, and absent in rows of the split
test. In the other tables an unlisted class is absent; so it is where ``labels`` holds lists of
Python, as it is for the same table in memory.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from pumlc.errors import UserError
from pumlc.files import complete_file
from pumlc.labels.cells import literal_list, parts_of, refuse_brackets, shares_parts
from pumlc.progress import counted
from pumlc.vision.data.formats.cell_states import are_answers
from pumlc.vision.data.formats.csv_table import (
    TAG_COLUMNS,
    Header,
    escaped,
    header_of,
    plain,
    require_header,
    row_split,
    rows_of,
    sample,
    write_table,
)
from pumlc.vision.data.formats.label_format import EVERY_STATE, LabelFormat, ReadOptions
from pumlc.vision.data.label_table import (
    ABSENT_CODE,
    CODE,
    LEFT_OUT,
    PRESENT_CODE,
    UNCERTAIN_CODE,
    UNKNOWN_CODE,
    LabelTable,
)
from pumlc.vision.data.table_builder import TableBuilder

# the other columns of the long form, which list labels of another state
_LISTS = {"negatives": ABSENT_CODE, "uncertain": UNCERTAIN_CODE, "unknown": UNKNOWN_CODE}
# columns that say how sure a label is, as in the predictions of a model
_DOUBTS = ("confidence", "score", "probability", "present")
_NOTHING = {"no finding", "none", "nan", "[]"}  # cells that mean no label


def recognises(path: Path) -> str | None:
    """A table with a column of labels, or with one column of text beside that of pictures."""
    header = header_of(path)
    if header is None or path.name == "metadata.csv":  # that is of an imagefolder
        return None
    column = tag_column(header)
    return None if column is None else f"the column {header.names[column]!r} lists labels"


def tag_column(header: Header) -> int | None:
    """Position of the column of labels; None: there is none."""
    rest = [i for i in range(len(header.names)) if i not in (header.image, header.split)]
    rows = sample(header)
    named = [i for i in rest if plain(header.names[i]) in TAG_COLUMNS[:8]]
    named += rest if len(rest) == 1 else []
    named += [i for i in rest if any(row[i].startswith('{"choices"') for row in rows)]
    for i in named:
        cells = [row[i] for row in rows]
        is_listed = plain(header.names[i]) in TAG_COLUMNS[:8]
        if not rows or not (all(map(is_state, cells)) or (not is_listed and are_answers(cells))):
            return i
        if plain(header.names[i]) == "labels":  # all blank: nothing is listed
            return i if all(not row[i] for row in rows) else None
    return None


def is_state(cell: str) -> bool:
    """Whether a cell looks like a state of one class and not like names of classes."""
    if cell.lower() in ("", "nan", "true", "false", *CODE):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table; see the module."""
    header = require_header(path)
    column = tag_column(header)
    if column is None:
        raise UserError(f"{path}: no column of labels; got {list(header.names)}")
    is_long = _is_long(header, column)
    is_studio = any(row[column].startswith('{"choices"') for row in sample(header))
    builder = TableBuilder(path, "labelstudio" if is_studio else "csv")
    of_lists = _list_columns(header, builder) if is_long else {}
    _tell_doubts(header, builder)
    split_cell = _splitter(header, column, options, is_long)
    group = None
    if options.group or (is_long and "group" in header.names):
        group = header.position(options.group or "group", "data.group")
    for line, cells in rows_of(header, builder):
        split = row_split(header, cells)
        if is_long:
            rest = options.unlisted_test if split == "test" else options.unlisted
        else:
            rest = "absent"
        states = [(name, PRESENT_CODE) for name in split_cell(cells[column])]
        for position, code in of_lists.items():
            states += [(name, code) for name in parts_of(cells[position], "|")]
        builder.add(
            cells[header.image],
            states,
            rest=CODE[options.values.get("unlisted", rest)],
            split=split,
            group=None if group is None else cells[group],
            place=line,
        )
    return builder.table()


def _is_long(header: Header, column: int) -> bool:
    """Whether a table has the long form: it lists other states, or has the names of that form."""
    if header.names[column] != "labels":
        return False
    if any(name in _LISTS for name in header.names):
        return True
    has_lists = any(literal_list(row[column]) is not None for row in sample(header))
    return header.names[header.image] == "image" and not has_lists


def _tell_doubts(header: Header, builder: TableBuilder) -> None:
    """Say that a listed label is present, however unsure the file is of it."""
    for name in header.names:
        if plain(name) in _DOUBTS:
            builder.doubt(
                LEFT_OUT,
                f"column {name!r} plays no part: every label that is listed counts as present; "
                "leave out the rows that you do not trust",
            )


def _list_columns(header: Header, builder: TableBuilder) -> dict[int, int]:
    """Position -> code of the other lists of the long form."""
    known = {"split", "image", "labels", "group", *_LISTS}
    unknown = [name for name in header.names if name not in known]
    if unknown and header.split is not None:
        builder.problem(
            "column",
            f"line 1: the column {unknown[0]!r} plays no part; valid: {', '.join(sorted(known))}",
        )
    return {i: _LISTS[name] for i, name in enumerate(header.names) if name in _LISTS}


def _splitter(
    header: Header, column: int, options: ReadOptions, is_long: bool
) -> Callable[[str], list[str]]:
    """The function that divides a cell of the column into names.

    Raises:
        UserError: the cells have two possible readings, and the user has not chosen one.
    """
    separator = options.separator
    if separator is None:
        separator = _seen_separator(header, column)

    def split(cell: str) -> list[str]:
        if cell.lower() in _NOTHING and not is_long:
            return []
        listed = literal_list(cell) if separator != "|" else None
        return parts_of(cell, separator) if listed is None else listed

    return split


def _seen_separator(header: Header, column: int) -> str:
    """What separates the labels in the cells of a column; empty if each cell has one label.

    A bar in any cell decides. A comma, semicolon or blank separates labels if parts of one cell are
    also found in other cells. Otherwise, and for a blank in a column ``labels``, both readings are
    possible.
    """
    cells: set[str] = set()
    for _, row in rows_of(header, TableBuilder(header.file, "")):
        cell = row[column]
        if "|" in cell and literal_list(cell) is None:
            return "|"
        cells.add(cell)
    texts = {cell for cell in cells if literal_list(cell) is None and cell.lower() not in _NOTHING}
    for separator, char in ((",", ","), (";", ";"), ("blank", " ")):
        joined = [cell for cell in texts if char in cell]
        if not joined:
            continue
        shared = shares_parts(texts, separator)
        if shared and (separator != "blank" or plain(header.names[column]) != "labels"):
            where = f"{header.file}: the cells of {header.names[column]!r}"
            refuse_brackets(joined, separator, where)
            return separator
        if not shared and separator == "blank" and plain(header.names[column]) == "labels":
            return ""  # names of two words, without a common word
        several = {part for cell in texts for part in parts_of(cell, separator)}
        raise UserError(
            f"{header.file}: the cells of {header.names[column]!r} can be read in two ways, as in "
            f"{min(joined)!r}; one class a cell: {len(texts - {''})} classes, write "
            f"data.separator '|'; several labels a cell: {len(several)} classes, write "
            f"data.separator {separator!r}"
        )
    return ""


def write(table: LabelTable, out: Path) -> None:
    """Write the long form, with further columns for labels that must be listed."""
    _refuse_bars(table)
    bar = "|" if any(char in name for name in table.classes for char in " ,;[{") else ""
    with complete_file(out) as stream:
        write_table(stream, _written_rows(table, bar))


def _refuse_bars(table: LabelTable) -> None:
    for name in table.classes:
        escaped(name, "class")
        if "|" in name or not name:
            raise UserError(f"class {name!r}: the long CSV form separates classes by |")


def _written_rows(table: LabelTable, bar: str) -> Iterator[list[str]]:
    """Header and rows."""
    pairs = {pair for row in range(len(table)) for pair in _listed(table, row)}
    mentioned = {column for column, _ in pairs}
    # the classes of a file are those that it mentions, so the first row lists the others
    first = [
        (c, int(table.row_codes(0)[c])) for c in range(len(table.classes)) if c not in mentioned
    ]
    needed = {code for _, code in (*pairs, *first)}
    columns = {name: code for name, code in _LISTS.items() if code in needed}
    has = [table.splits is not None, table.groups is not None]
    yield [
        *(["split"] if has[0] else []),
        "image",
        "labels",
        *columns,
        *(["group"] if has[1] else []),
    ]
    for row, path in enumerate(counted(table.paths)):
        split = table.splits[row] if table.splits is not None else None
        codes_of = dict([*_listed(table, row), *(first if row == 0 else ())])
        cells = []
        for code in (PRESENT_CODE, *columns.values()):
            names = [table.classes[column] for column, own in codes_of.items() if own == code]
            cells.append(escaped("|".join(names) + (bar if names else ""), "labels"))
        yield [
            *([split or ""] if has[0] else []),
            escaped(path, "picture"),
            *cells,
            *([escaped(table.groups[row], "group")] if table.groups is not None else []),
        ]


def _listed(table: LabelTable, row: int) -> Iterator[tuple[int, int]]:
    """Column and code of the labels that must be written, since unlisted means another state."""
    is_test = table.splits is not None and table.splits[row] == "test"
    silent = ABSENT_CODE if is_test else UNKNOWN_CODE
    span = slice(table.listed.indptr[row], table.listed.indptr[row + 1])
    own = dict(
        zip(table.listed.indices[span].tolist(), table.listed.data[span].tolist(), strict=True)
    )
    rest = int(table.rest[row])
    columns = own if rest == silent else range(len(table.classes))
    for column in columns:
        code = own.get(column, rest)
        if code != silent:
            yield column, code


FORMAT = LabelFormat("csv", recognises, read, write, EVERY_STATE)
