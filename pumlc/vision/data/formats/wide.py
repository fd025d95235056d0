"""Tables with one column per class: our own form, one-hot tables, CheXpert.

`cell_states` decides what their cells mean. If the header leaves that open, nothing is guessed. A
column without a state in any cell (age, sex, a view) is no class, and `inspect` says so.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from pumlc.errors import UserError
from pumlc.files import complete_file
from pumlc.progress import counted
from pumlc.vision.data.formats.cell_states import (
    CHEXPERT_CELLS,
    form_of,
    is_score,
    number,
    says_state,
)
from pumlc.vision.data.formats.csv_table import (
    Header,
    escaped,
    header_of,
    is_reserved,
    plain,
    require_header,
    row_split,
    rows_of,
    write_table,
)
from pumlc.vision.data.formats.label_format import (
    EVERY_STATE,
    LabelFormat,
    ReadOptions,
    make_folder,
    split_of,
)
from pumlc.vision.data.formats.openimages import is_image_labels
from pumlc.vision.data.formats.tag_column import tag_column
from pumlc.vision.data.label_table import CODE, LEFT_OUT, LabelTable
from pumlc.vision.data.table_builder import TableBuilder

# columns of CheXpert and MIMIC-CXR that are no classes
_NO_CLASSES = ("sex", "age", "frontal/lateral", "ap/pa", "subjectid", "studyid", "dicomid", "split")
_TABLE_OF = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}
_ROBOFLOW = "_classes.csv"
_FEW_CELLS = 5
_NO_SCORES = "A score is no label: write 1 from a threshold of yours on, and 0 below it"


def recognises_wide(path: Path) -> str | None:
    """A table with states in its cells, or the tables of Roboflow in a folder."""
    if path.is_dir():
        tables = _roboflow_tables(path)
        return f"{', '.join(sorted(tables))} have {_ROBOFLOW}" if tables else None
    header = header_of(path)
    if header is None or _is_chexpert(header) or is_image_labels(header.names):
        return None
    if tag_column(header) is not None or path.name == "metadata.csv":
        return None
    return "one column per class"


def recognises_chexpert(path: Path) -> str | None:
    """Its columns, in a table or in train.csv and valid.csv of a folder."""
    tables = [path / name for name in _TABLE_OF.values()] if path.is_dir() else [path]
    for table in tables:
        header = header_of(table)
        if header is not None and _is_chexpert(header):
            return "the columns of CheXpert"
    return None


def _is_chexpert(header: Header) -> bool:
    spelled = {plain(name) for name in header.names}
    known = {"sex", "age", "frontal/lateral", "ap/pa", "nofinding", "supportdevices"} & spelled
    return plain(header.names[header.image]) == "path" and bool(known)


def _roboflow_tables(folder: Path) -> dict[str, Path]:
    """Name of a folder that means a split -> its table."""
    return {
        each.name: each / _ROBOFLOW
        for each in sorted(folder.iterdir())
        if split_of(each.name) and (each / _ROBOFLOW).is_file()
    }


def read_wide(path: Path, options: ReadOptions) -> LabelTable:
    """The table; see the module."""
    if path.is_dir():
        tables = _roboflow_tables(path)
        if not tables:
            raise UserError(f"{path}: no train/{_ROBOFLOW}")
        named = {
            folder: _Table(require_header(file), options.group) for folder, file in tables.items()
        }
        builder = _builder(path, "wide", list(named.values()), options)
        for folder, table in named.items():
            _add(builder, table, options, split=split_of(folder), folder=folder)
        return builder.table()
    return _read_one(path, "wide", options)


def _read_one(path: Path, name: str, options: ReadOptions) -> LabelTable:
    """One table."""
    table = _Table(require_header(path), options.group)
    builder = _builder(path, name, [table], options)
    _add(builder, table, options)
    return builder.table()


def read_chexpert(path: Path, options: ReadOptions) -> LabelTable:
    """The table, or the splits of a folder: train.csv, valid.csv and test.csv."""
    options = ReadOptions(values={**CHEXPERT_CELLS, **options.values}, group=options.group)
    if not path.is_dir():
        return _read_one(path, "chexpert", options)
    tables = {
        split: _Table(require_header(path / name), options.group)
        for split, name in _TABLE_OF.items()
        if (path / name).is_file()
    }
    if not tables:
        raise UserError(f"{path}: no {', '.join(_TABLE_OF.values())}")
    builder = _builder(path, "chexpert", list(tables.values()), options)
    for split, table in tables.items():
        _add(builder, table, options, split=split)
    return builder.table()


class _Table:
    """A table, and how often each cell occurs in each column that may be a class.

    Args:
        header: its first line.
        group: the column of groups, if the user has named one.
    """

    def __init__(self, header: Header, group: str | None) -> None:
        self.header = header
        self.counts: dict[str, Counter[str]] = {n: Counter() for n in _column_names(header, group)}
        columns = [(header.names.index(name), own) for name, own in self.counts.items()]
        for _, cells in rows_of(header, TableBuilder(header.file, "")):
            for position, own in columns:
                own[cells[position]] += 1


def _builder(path: Path, name: str, tables: list[_Table], options: ReadOptions) -> TableBuilder:
    """A builder with the classes, which all tables of a folder share.

    Raises:
        UserError: they do not; or no column has a state.
    """
    names = list(tables[0].counts)
    for table in tables[1:]:
        if set(table.counts) != set(names):
            raise UserError(
                f"{table.header.file}: other classes than {tables[0].header.file}: "
                f"{sorted(set(names) ^ set(table.counts))}"
            )
    cells = {each: sum((table.counts[each] for table in tables), Counter()) for each in names}
    classes = [each for each in names if says_state(cells[each], options)]
    if names and not classes:
        raise UserError(f"{path}: {_no_state(sum(cells.values(), Counter()), options)}")
    builder = TableBuilder(path, name, classes)
    for each in names:
        if each not in classes:
            shown = next(cell for cell in cells[each] if cell)
            builder.doubt(
                LEFT_OUT, f"column {each!r} is no class: no cell is a state, one is {shown!r}"
            )
    return builder


def _no_state(cells: Counter[str], options: ReadOptions) -> str:
    """What to do about a table without a state in any cell."""
    shown = ", ".join(f"{cell!r} ({count} times)" for cell, count in cells.most_common(3))
    found = f"no cell below the names of classes is a state; they are {shown}"
    if options.values:
        said = ", ".join(map(repr, options.values))
        return f"{found}; data.values says what {said} means, but no cell is that"
    if len(cells) > _FEW_CELLS:
        scores = f". {_NO_SCORES}" if any(map(is_score, cells)) else ""
        valid = "1, 0, present, absent, unknown, uncertain or nothing"
        return f"{found}, ...; valid: {valid}{scores}"
    told = [cell for cell, _ in reversed(cells.most_common()) if number(cell)]
    said = f'{{{told[0]}: present, "": absent}}'
    if "" not in cells:  # what is rare is more often what a column is about
        said = "{" + ", ".join([f"{told[0]}: present", *(f"{e}: absent" for e in told[1:])]) + "}"
    return f"{found}; say what each means, as in data.values '{said}'"


def _column_names(header: Header, group: str | None) -> list[str]:
    """The columns that may be classes."""
    chexpert = _is_chexpert(header)
    names = [
        name
        for position, name in enumerate(header.names)
        if position not in (header.image, header.split)
        and name not in ("group", group)
        and not (chexpert and plain(name) in _NO_CLASSES)
    ]
    if "" in names:
        raise UserError(
            f"{header.file}: column {header.names.index('') + 1} has no name; is it an index "
            "(pandas: to_csv(index=False))?"
        )
    return names


def _add(
    builder: TableBuilder,
    table: _Table,
    options: ReadOptions,
    *,
    split: str | None = None,
    folder: str | None = None,
) -> None:
    """Add the rows of one table."""
    header, classes = table.header, builder.classes
    columns = {name: header.names.index(name) for name in classes}
    ours = header.split is not None and header.names[header.image] == "image"
    told = sum((table.counts[name] for name in classes), Counter[str]())
    state_of = form_of(told, options, ours=ours, source=str(header.file))
    group = "group" if "group" in header.names else options.group
    at_group = None if group is None else header.position(group, "data.group")
    for line, cells in rows_of(header, builder):
        states = {}
        for name, position in columns.items():
            value = cells[position]
            state = state_of.get(value)
            if state is None:
                builder.problem(
                    "value",
                    f"line {line}, column {name!r}: {value!r} is not a state; valid: "
                    f"{', '.join(repr(each) for each in sorted(state_of))}. Say what it means "
                    "with data.values; or take the column out, if it is no class"
                    + (f". {_NO_SCORES}" if is_score(value) else ""),
                )
                break
            states[name] = state
            key = (value, state)
            builder.meanings[key] = builder.meanings.get(key, 0) + 1
        else:
            path = cells[header.image]
            builder.add(
                path if folder is None else f"{folder}/{path}",
                {name: CODE[state] for name, state in states.items() if state != "unknown"},
                rest=CODE["unknown"],
                split=split or row_split(header, cells),
                group=None if at_group is None else cells[at_group],
                place=line,
            )


def write_wide(table: LabelTable, out: Path) -> None:
    """Write 1, -1, nothing and, as a word, ``uncertain``, with the split of each row."""
    cell_of = {CODE["present"]: "1", CODE["absent"]: "-1", CODE["unknown"]: ""}
    cell_of[CODE["uncertain"]] = "uncertain"
    with complete_file(out) as stream:
        write_table(stream, _rows(table, cell_of, "image", with_split=True))


def write_chexpert(table: LabelTable, out: Path) -> None:
    """Write Path, Sex (blank) and the classes, into a folder with a table per split."""
    cell_of = {CODE["present"]: "1.0", CODE["absent"]: "0.0", CODE["uncertain"]: "-1.0"}
    cell_of[CODE["unknown"]] = ""
    for split in table.split_names():
        if table.splits is not None and split not in _TABLE_OF:
            raise UserError(f"split {split!r}: CheXpert has {', '.join(_TABLE_OF)}")
    if table.splits is not None and table.splits != tuple(
        split for split in _TABLE_OF for each in table.splits if each == split
    ):
        raise UserError("the rows of the splits are mixed; CheXpert has a file per split")
    make_folder(out)
    for split in table.split_names():
        with complete_file(out / _TABLE_OF[split]) as stream:
            write_table(stream, _rows(table.subset(table.rows_of(split)), cell_of, "Path"))


def _rows(
    table: LabelTable, cell_of: Mapping[int, str], image: str, *, with_split: bool = False
) -> Iterator[list[str]]:
    """Header and rows of a table with one column per class."""
    for name in table.classes:
        if is_reserved(name, image) or not name or (image == "Path" and plain(name) in _NO_CLASSES):
            raise UserError(f"class {name!r} would be taken for another column of the table")
    splits = table.splits if with_split else None
    extra = ["Sex"] if image == "Path" else []
    yield [
        *(["split"] if with_split else []),
        image,
        *extra,
        *(escaped(name, "class") for name in table.classes),
        *(["group"] if table.groups is not None else []),
    ]
    for row, path in enumerate(counted(table.paths)):
        codes = table.row_codes(row)
        yield [
            *([splits[row] if splits is not None else "train"] if with_split else []),
            escaped(path, "picture"),
            *([""] if extra else []),
            *(cell_of[int(code)] for code in codes),
            *([escaped(table.groups[row], "group")] if table.groups is not None else []),
        ]


WIDE = LabelFormat("wide", recognises_wide, read_wide, write_wide, EVERY_STATE, cells=True)
CHEXPERT = LabelFormat(
    "chexpert",
    recognises_chexpert,
    read_chexpert,
    write_chexpert,
    EVERY_STATE,
    folder=True,
    cells=True,
)
