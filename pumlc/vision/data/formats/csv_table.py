"""Text tables as spreadsheets and other programs write them: separator, header and rows."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from pumlc.errors import UserError, closest
from pumlc.files import read_cells
from pumlc.vision.data.formats.label_format import IMAGE_ENDINGS, first_bytes, split_of
from pumlc.vision.data.table_builder import TableBuilder

TABLE_ENDINGS = (".csv", ".tsv", ".txt")
_DELIMITERS = (",", ";", "\t")
# names of the column of pictures, the clearest first; compared without case, blanks and _
_IMAGE_NAMES = (
    *("image", "filename", "imagename", "path", "imagepath", "imageindex", "imageid", "filepath"),
    *("file", "img", "imgpath", "picture", "imagefile", "id"),
)
# names of the column of labels, compared in the same way
TAG_COLUMNS = (
    *("labels", "tags", "findinglabels", "label", "tag", "categories", "classes", "keywords"),
    *("negatives", "uncertain", "unknown", "group"),
)
_FORMULA = ("=", "+", "-", "@")
_SPLIT_NAMES = ("split", "subset", "set", "fold")


@dataclass(frozen=True)
class Header:
    """The first line of a table.

    Attributes:
        file: the table.
        delimiter: what separates its cells.
        names: names of its columns.
        image: position of the column of pictures.
        split: position of the column of splits; None: there is none.
    """

    file: Path
    delimiter: str
    names: tuple[str, ...]
    image: int
    split: int | None

    def position(self, name: str, what: str) -> int:
        """The position of a column that the user has named; ``what`` is the setting."""
        if name not in self.names:
            raise UserError(f"{self.file}: {what}: no column {name!r}; {closest(name, self.names)}")
        return self.names.index(name)


def plain(name: str) -> str:
    """A column's name without case, blanks, underscores and hyphens."""
    return "".join(char for char in name.casefold() if char not in " _-")


def header_of(file: Path) -> Header | None:
    """The header of a table that has a column of pictures; None for any other file.

    That is the column with the clearest name, else the only one with names of picture files.
    """
    if not file.is_file() or file.suffix.lower() not in TABLE_ENDINGS:
        return None
    if b"\0" in first_bytes(file):
        return None
    unreadable = None  # the rows, with the first separator that fits the header
    readable = False
    for delimiter in _DELIMITERS:
        try:
            cells = next(read_cells(file, delimiter=delimiter), (1, []))[1]
        except UserError:
            continue
        names = tuple(unescaped(name.strip()) for name in cells)
        if len(names) < 2:
            continue
        image = _first(names, _IMAGE_NAMES)
        if image is None:
            try:
                image = _column_of_pictures(file, delimiter, names)
            except UserError as error:  # quotes around cells of another separator look broken
                unreadable = unreadable or error
                continue
        if image is not None:
            return Header(file, delimiter, names, image, _first(names, _SPLIT_NAMES))
        readable = True
    if unreadable is not None and not readable:
        raise unreadable
    return None


def _column_of_pictures(file: Path, delimiter: str, names: Sequence[str]) -> int | None:
    """The only column of which the first cells are names of picture files; None: there is none."""
    rows = [cells for _, cells in islice(read_cells(file, delimiter=delimiter), 1, 21)]
    found = [
        column
        for column, name in enumerate(names)
        if rows
        and not _is_picture(name)
        and all(column < len(cells) and _is_picture(cells[column].strip()) for cells in rows)
    ]
    return found[0] if len(found) == 1 else None


def _is_picture(cell: str) -> bool:
    return cell.lower().endswith(IMAGE_ENDINGS)


def require_header(file: Path) -> Header:
    """The header of a table.

    Raises:
        UserError: the file is not a table, or has no column of pictures.
    """
    header = header_of(file)
    if header is None:
        first = next(iter(read_cells(file)), (1, []))[1]  # says what is wrong with the file itself
        raise UserError(
            f"{file}: the first line must name a column of pictures (image, filename, image_name, "
            f"Path, ...) and one beside it; got {', '.join(map(repr, first))}"
        )
    for name in header.names:
        if header.names.count(name) > 1:
            raise UserError(f"{file}: column {name!r} occurs twice")
    return header


def rows_of(header: Header, builder: TableBuilder) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row as long as the header; other rows become problems."""
    lines = read_cells(header.file, delimiter=header.delimiter)
    next(lines)
    for line, cells in lines:
        if len(cells) == len(header.names):
            yield line, [unescaped(cell.strip()) for cell in cells]
        else:
            builder.problem(
                "cells",
                f"line {line}: {len(cells)} cells, the header has {len(header.names)}; a cell with "
                f"{header.delimiter!r} needs quotes",
            )


def sample(header: Header, count: int = 50) -> list[list[str]]:
    """The first complete rows, which show what kind of cells there are."""
    rows = []
    try:
        for _, cells in rows_of(header, TableBuilder(header.file, "")):
            rows.append(cells)
            if len(rows) == count:
                break
    except UserError:
        pass  # the reader reports it
    return rows


def write_table(stream: IO[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows of cells, which `escaped` has made safe, one line a row."""
    csv.writer(stream, lineterminator="\n").writerows(rows)


def escaped(cell: str, what: str) -> str:
    """A cell that a spreadsheet shows and does not run, and that `unescaped` reads back.

    Raises:
        UserError: a cell cannot hold this name.
    """
    if cell != cell.strip() or any(char in cell for char in "\n\r\0"):
        raise UserError(f"{what} {cell!r}: a table cannot hold blanks around a name or line breaks")
    return f"'{cell}" if cell[:1] in (*_FORMULA, "'") else cell


def unescaped(cell: str) -> str:
    """The text of a cell without the quote that keeps a spreadsheet from running it."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in (*_FORMULA, "'") else cell


def is_reserved(name: str, image: str) -> bool:
    """Whether a column of this name would be taken for another one than that of a class.

    Args:
        name: name of the class.
        image: name of the column of pictures; a clearer name than this would be taken for it.
    """
    telling = _IMAGE_NAMES[: _IMAGE_NAMES.index(plain(image)) + 1]
    return plain(name) in (*telling, *_SPLIT_NAMES, *TAG_COLUMNS)


def row_split(header: Header, cells: Sequence[str]) -> str | None:
    """The split of a row; None if the table has no column of splits."""
    if header.split is None:
        return None
    name = cells[header.split].strip()
    return split_of(name) or name


def find_image_column(names: Sequence[str]) -> str | None:
    """The name of the column of pictures, if there is one."""
    position = _first(names, _IMAGE_NAMES)
    return None if position is None else names[position]


def _first(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    spelled = [plain(name) for name in names]
    return next((spelled.index(name) for name in wanted if name in spelled), None)
