"""Open Images: a line per verified label, ``ImageID,Source,LabelName,Confidence``.

An unlisted class is unknown. If the verifications of a label disagree, it is present. The names of
pictures have no ending.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pumlc.errors import UserError
from pumlc.files import complete_file, read_cells
from pumlc.progress import counted
from pumlc.vision.data.formats.csv_table import escaped, header_of, unescaped, write_table
from pumlc.vision.data.formats.label_format import (
    IMAGE_ENDINGS,
    LabelFormat,
    ReadOptions,
    make_folder,
    split_of,
)
from pumlc.vision.data.label_table import ABSENT_CODE, CODE, PRESENT_CODE, LabelTable
from pumlc.vision.data.scattered import ScatteredPictures
from pumlc.vision.data.table_builder import TableBuilder

_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
_CODES = {"1": PRESENT_CODE, "1.0": PRESENT_CODE, "0": ABSENT_CODE, "0.0": ABSENT_CODE}
_DESCRIPTIONS = ("oidv7-class-descriptions.csv", "class-descriptions.csv")


def is_image_labels(names: Sequence[str]) -> bool:
    """Whether a header is that of a table of Open Images."""
    return set(_COLUMNS) - {"Source"} <= set(names)


def recognises(path: Path) -> str | None:
    """Its columns, in a table or in the tables of a folder."""
    if path.is_dir():
        tables = _tables(path)
        return f"the columns of Open Images in {len(tables)} tables" if tables else None
    header = header_of(path)
    if header is not None and is_image_labels(header.names):
        return "the columns of Open Images"
    return None


def _tables(folder: Path) -> dict[str, Path]:
    """Split -> table, of those whose names have a split in them."""
    tables = {}
    for file in sorted(folder.glob("*imagelabels*.csv")):
        header = header_of(file)
        split = next((s for part in file.stem.split("-") if (s := split_of(part))), None)
        if header is not None and is_image_labels(header.names) and split is not None:
            tables[split] = file
    return {split: tables[split] for split in ("train", "val", "test") if split in tables}


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table of a file, or of the files of a folder as splits."""
    tables = _tables(path) if path.is_dir() else {None: path}
    if not tables:
        raise UserError(f"{path}: no table of Open Images")
    builder = TableBuilder(path, "openimages")
    names = _display_names(path if path.is_dir() else path.parent)
    rest = CODE[options.values.get("unlisted", "unknown")]
    for split, file in tables.items():
        _add(file, names, builder, split, rest)
    return builder.table()


def _add(
    file: Path, name_of: dict[str, str], builder: TableBuilder, split: str | None, rest: int
) -> None:
    """Add the pictures of one table."""
    lines = read_cells(file)
    header = next(lines, (1, []))[1]
    if not is_image_labels(header):
        raise UserError(f"{file}: the columns are {header}, expected {', '.join(_COLUMNS)}")
    names = ("ImageID", "LabelName", "Confidence")
    at_image, at_label, at_code = (header.index(name) for name in names)
    pictures, column_of = ScatteredPictures(), dict[str, int]()
    column_as_spelled: dict[str, int] = {}
    last, row = None, 0
    for line, cells in lines:
        if len(cells) != len(header):
            builder.problem("cells", f"line {line}: {len(cells)} cells, expected {len(header)}")
            continue
        image, label, confidence = cells[at_image], cells[at_label], cells[at_code]
        if image != last:  # else it is spelled as in the line above
            last, row = image, pictures.number(unescaped(image.strip()), line)
        column, code = column_as_spelled.get(label), _CODES.get(confidence)
        if column is not None and code is not None:
            pictures.labels.add(row, column, code)
            continue
        label, confidence = unescaped(label.strip()), unescaped(confidence.strip())
        if not label and not confidence:
            continue  # a picture without a label, as `write` writes it
        code = _CODES.get(confidence)
        if code is None:
            builder.problem(
                "value",
                f"line {line}: confidence {confidence!r}; verified labels have 1 or 0",
            )
            continue
        column = column_of.setdefault(name_of.get(label, label), len(column_of))
        column_as_spelled[cells[at_label]] = column
        pictures.labels.add(row, column, code)
    images, first_lines = pictures.finished()
    # present is the smallest code: it counts where verifications of a label disagree
    listed = pictures.labels.matrix(len(images), len(column_of))
    builder.add_rows(images, listed, list(column_of), rest=rest, split=split, places=first_lines)


def _display_names(folder: Path) -> dict[str, str]:
    """Identifier -> English name, if that is unique and the file of names is beside the tables."""
    for name in _DESCRIPTIONS:
        if (folder / name).is_file():
            pairs = [
                (cells[0], cells[1]) for _, cells in read_cells(folder / name) if len(cells) == 2
            ]
            count = Counter(display for _, display in pairs)
            return {key: display for key, display in pairs if count[display] == 1}
    return {}


def write(table: LabelTable, out: Path) -> None:
    """Write a table for each split, named by it."""
    counts = table.counts()
    if not counts["present"].sum() + counts["absent"].sum():
        raise UserError("Open Images lists known labels, and there is none")
    make_folder(out)
    for split in table.split_names():
        if table.splits is not None and split_of(split) is None:
            raise UserError(f"split {split!r}: Open Images has train, val and test")
        with complete_file(out / f"{split}-imagelabels.csv") as stream:
            write_table(stream, _rows(table.subset(table.rows_of(split))))


def _rows(table: LabelTable) -> Iterator[tuple[str, ...]]:
    """Header, and a row for each label that is known."""
    yield _COLUMNS
    confidence = {PRESENT_CODE: "1", ABSENT_CODE: "0"}
    for row, path in enumerate(counted(table.paths)):
        image = without_ending(path, IMAGE_ENDINGS[:1])
        codes = table.row_codes(row).tolist()
        known = [column for column, code in enumerate(codes) if code in confidence]
        if not known:
            yield escaped(image, "picture"), "", "", ""
        for column in known:
            name = escaped(table.classes[column], "class")
            yield escaped(image, "picture"), "verification", name, confidence[codes[column]]


def without_ending(path: str, endings: Sequence[str] = IMAGE_ENDINGS) -> str:
    """The path without the ending of a picture.

    Raises:
        UserError: it has another one, which a format without endings would lose.
    """
    for ending in endings:
        if path.endswith(ending) and path != ending:
            return path[: -len(ending)]
    raise UserError(
        f"picture {path!r}: the format holds names without their ending, of {', '.join(endings)}"
    )


FORMAT = LabelFormat(
    "openimages", recognises, read, write, frozenset({"present", "absent", "unknown"}), folder=True
)
