"""A text file of tags beside each picture, as of Danbooru and kohya: ``a.jpg`` and ``a.txt``.

An unlisted class is unknown, since taggers leave out much. Our own folders also have
``pictures.csv`` (split and image, in order) and ``classes.txt``.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pumlc.errors import UserError
from pumlc.files import complete_file, read_cells, read_text, write_text
from pumlc.progress import counted
from pumlc.vision.data.formats.csv_table import escaped, unescaped, write_table
from pumlc.vision.data.formats.label_format import (
    IMAGE_ENDINGS,
    LabelFormat,
    ReadOptions,
    make_folder,
    split_of_path,
)
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder

_ORDER, _CLASSES = "pictures.csv", "classes.txt"


def recognises(path: Path) -> str | None:
    """Pictures with text files of the same name, or our own list of them."""
    if not path.is_dir():
        return None
    if (path / _ORDER).is_file() and (path / _CLASSES).is_file():
        return f"{_ORDER} and {_CLASSES}"
    first = next(_pictures(path), None)
    return None if first is None else f"{first} has a text file of its name"


def _pictures(folder: Path) -> Iterator[str]:
    """Pictures that have a text file beside them, sorted."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        there = set(names)
        for name in sorted(names):
            stem, ending = os.path.splitext(name)
            if ending.lower() in IMAGE_ENDINGS and f"{stem}.txt" in there:
                yield Path(place, name).relative_to(folder).as_posix()


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table."""
    rest = CODE[options.values.get("unlisted", "unknown")]
    if (path / _ORDER).is_file():
        classes = [line for line in _lines(path / _CLASSES) if line]
        builder = TableBuilder(path, "tags", classes)
        rows = _ordered(path / _ORDER)
    else:
        builder = TableBuilder(path, "tags")
        rows = ((image, split_of_path(image)) for image in _pictures(path))
    for image, split in counted(list(rows)):
        name = PurePosixPath(f"{os.path.splitext(image)[0]}.txt")
        if name.is_absolute() or ".." in name.parts or not (path / name).is_file():
            builder.problem("entry", f"{image}: no text file {name}")
            continue
        names = [part.strip() for line in _lines(path / name) for part in line.split(",")]
        states = dict.fromkeys((part for part in names if part), PRESENT_CODE)
        builder.add(image, states, rest=rest, split=split)
    return builder.table()


def _lines(file: Path) -> list[str]:
    return read_text(file).split("\n")


def _ordered(file: Path) -> Iterator[tuple[str, str | None]]:
    """Picture and split of each row of our own list."""
    rows = read_cells(file)
    header = next(rows, (1, []))[1]
    if "image" not in header:
        raise UserError(f"{file}: no column 'image'; got {header}")
    for line, cells in rows:
        if len(cells) != len(header):
            raise UserError(f"{file}, line {line}: {len(cells)} cells, expected {len(header)}")
        row = dict(zip(header, cells, strict=True))
        yield unescaped(row["image"]), row.get("split")


def write(table: LabelTable, out: Path) -> None:
    """Write a text file per picture, and the order of the pictures and classes."""
    files = [_text_file(path) for path in table.paths]
    if len({*files, PurePosixPath(_CLASSES)}) <= len(files):
        raise UserError("two text files would have one name: pictures differ in their ending alone")
    for name in table.classes:
        if not name or name != name.strip() or any(char in name for char in ",\n\r"):
            raise UserError(f"class {name!r}: files of tags separate them by commas")
    make_folder(out)
    for row, file in enumerate(counted(files)):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        write_text(out / file, ", ".join(table.names_with(row, PRESENT_CODE)) + "\n")
    write_text(out / _CLASSES, "".join(f"{name}\n" for name in table.classes))
    splits = table.splits
    with complete_file(out / _ORDER) as stream:
        write_table(stream, [["image"] if splits is None else ["split", "image"]])
        write_table(
            stream,
            (
                [*([] if splits is None else [splits[row]]), escaped(path, "picture")]
                for row, path in enumerate(table.paths)
            ),
        )


def _text_file(path: str) -> PurePosixPath:
    file = PurePosixPath(path)
    if file.is_absolute() or ".." in file.parts or file.suffix.lower() not in IMAGE_ENDINGS:
        raise UserError(f"picture {path!r}: files of tags need pictures below the root, as a.jpg")
    return file.with_suffix(".txt")


FORMAT = LabelFormat(
    "tags", recognises, read, write, frozenset({"present", "unknown"}), folder=True
)
