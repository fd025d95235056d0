"""Tables with one column per class: our own form, one-hot tables, CheXpert.

A number does not mean the same in all of them: 0 is unknown in ours and absent in the others; -1 is
absent in ours and uncertain in CheXpert. If the header leaves the form open, nothing is guessed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from pumlc.errors import UserError
from pumlc.files import complete_file
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
from pumlc.vision.data.label_table import CODE, STATES, LabelTable, State
from pumlc.vision.data.table_builder import TableBuilder

_WORDS: dict[str, State] = {state: state for state in STATES}
_ONE_HOT: dict[str, State] = {"1": "present", "0": "absent", "": "unknown"}
_OURS: dict[str, State] = {"1": "present", "-1": "absent", "0": "unknown", "": "unknown"}
_CHEXPERT: dict[str, State] = {**_ONE_HOT, "-1": "uncertain"}
# columns of CheXpert and MIMIC-CXR that are no classes
_NO_CLASSES = ("sex", "age", "frontal/lateral", "ap/pa", "subjectid", "studyid", "dicomid", "split")
_BLANKS = ("nan", "na", "n/a", "null", "none")
_TABLE_OF = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}
_ROBOFLOW = "_classes.csv"


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
        builder = _builder(path, "wide", [require_header(each) for each in tables.values()])
        for folder, file in tables.items():
            _add(builder, require_header(file), options, split=split_of(folder), folder=folder)
        return builder.table()
    header = require_header(path)
    builder = _builder(path, "wide", [header])
    _add(builder, header, options)
    return builder.table()


def read_chexpert(path: Path, options: ReadOptions) -> LabelTable:
    """The table, or the splits of a folder: train.csv, valid.csv and test.csv."""
    options = ReadOptions(values={**_CHEXPERT, **options.values}, group=options.group)
    if not path.is_dir():
        header = require_header(path)
        builder = _builder(path, "chexpert", [header])
        _add(builder, header, options)
        return builder.table()
    headers = {
        split: require_header(path / name)
        for split, name in _TABLE_OF.items()
        if (path / name).is_file()
    }
    if not headers:
        raise UserError(f"{path}: no {', '.join(_TABLE_OF.values())}")
    builder = _builder(path, "chexpert", list(headers.values()))
    for split, header in headers.items():
        _add(builder, header, options, split=split)
    return builder.table()


def _builder(path: Path, name: str, headers: list[Header]) -> TableBuilder:
    """A builder with the classes of the header, which all tables of a folder share.

    Raises:
        UserError: they do not.
    """
    classes = _class_names(headers[0])
    for header in headers[1:]:
        if sorted(_class_names(header)) != sorted(classes):
            raise UserError(
                f"{header.file}: other classes than {headers[0].file}: "
                f"{sorted(set(classes) ^ set(_class_names(header)))}"
            )
    return TableBuilder(path, name, classes)


def _class_names(header: Header) -> list[str]:
    chexpert = _is_chexpert(header)
    names = [
        name
        for position, name in enumerate(header.names)
        if position not in (header.image, header.split)
        and name != "group"
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
    header: Header,
    options: ReadOptions,
    *,
    split: str | None = None,
    folder: str | None = None,
) -> None:
    """Add the rows of one table."""
    classes = _class_names(header)
    if options.group in classes:
        raise UserError(f"{header.file}: data.group {options.group!r} is the column of a class")
    columns = {name: header.names.index(name) for name in classes}
    state_of = _meanings(header, columns, options)
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
                    f"{', '.join(repr(each) for each in sorted(state_of))}",
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


def _meanings(header: Header, columns: Mapping[str, int], options: ReadOptions) -> dict[str, State]:
    """Each spelling in the cells that is a state -> this state; see `form_of`."""
    counts: Counter[str] = Counter()
    for _, cells in rows_of(header, TableBuilder(header.file, "")):
        counts.update(cells[position] for position in columns.values())
    ours = header.split is not None and header.names[header.image] == "image"
    return form_of(counts, options, ours=ours, source=str(header.file))


def form_of(
    counts: Counter[str], options: ReadOptions, *, ours: bool, source: str
) -> dict[str, State]:
    """The state that each cell of a table means.

    Args:
        counts: how often each cell occurs.
        options: what the user says about the file.
        ours: whether the header is that of our own form, ``split,image``.
        source: the table, for messages.

    Returns:
        cell -> state; a cell that is not a state is left out.

    Raises:
        UserError: the table has two possible readings, and the user has not chosen one.
    """
    known: dict[str, State] = {"": "unknown"}
    if options.values:
        numbers: dict[str, State] = {
            number(value): state for value, state in options.values.items()
        }
        known |= {**_WORDS, **numbers, **options.values}
    else:
        known |= {**_form(counts, options, ours, source), **_WORDS}
    found: dict[str, State] = {}
    for cell in counts:
        key = cell if cell in known else number(cell)
        if key in known:
            found[cell] = known[key]
    return found


def number(cell: str) -> str:
    """One spelling for equal numbers, truth values and blanks: pandas writes 1.0 and nan."""
    text = cell.strip().lower()
    if text in _BLANKS or not text:
        return ""
    if text in ("true", "false"):
        return "1" if text == "true" else "0"
    try:
        return f"{float(text) + 0:g}"  # + 0: -0.0 is 0
    except ValueError:
        return cell


def _form(
    counts: Counter[str], options: ReadOptions, ours: bool, source: str
) -> Mapping[str, State]:
    """The meaning of the numbers of a table, if its header and values decide it."""
    seen: Counter[str] = Counter()
    for cell, count in counts.items():
        seen[number(cell)] += count
    as_floats = any("." in cell for cell in counts if number(cell) in _OURS)
    if "-1" in seen:
        told = ours and not as_floats and ("" not in seen or "0" not in seen)
        if not (told or options.said):
            raise UserError(_two_ways(seen, _OURS, _CHEXPERT, source))
        return _OURS
    if "0" in seen and ours:
        raise UserError(_two_ways(seen, _ONE_HOT, _OURS, source))
    return _ONE_HOT


def _two_ways(
    seen: Counter[str], first: Mapping[str, State], second: Mapping[str, State], source: str
) -> str:
    """Both readings with their counts, and what to write for each."""
    lines = [f"{source}: its values can be read in two ways; say which:"]
    for reading in (first, second):
        counts: Counter[str] = Counter()
        for value, count in seen.items():
            if value in reading:
                counts[reading[value]] += count
        said = ", ".join(
            f"{_yaml_key(value)}: {state}" for value, state in reading.items() if value in seen
        )
        found = ", ".join(f"{counts[state]} {state}" for state in STATES)
        lines.append(f"  {found}: write data.values '{{{said}}}'")
    return "\n".join(lines)


def _yaml_key(value: str) -> str:
    return value or '""'


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
    for row, path in enumerate(table.paths):
        codes = table.row_codes(row)
        yield [
            *([splits[row] if splits is not None else "train"] if with_split else []),
            escaped(path, "picture"),
            *([""] if extra else []),
            *(cell_of[int(code)] for code in codes),
            *([escaped(table.groups[row], "group")] if table.groups is not None else []),
        ]


WIDE = LabelFormat("wide", recognises_wide, read_wide, write_wide, EVERY_STATE)
CHEXPERT = LabelFormat(
    "chexpert", recognises_chexpert, read_chexpert, write_chexpert, EVERY_STATE, folder=True
)
