"""Files that are complete or absent, and text that is read in one way.

A file is written under an unpredictable name in the folder of its place, flushed to the disk and
then renamed. So a kill, a full disk or a power cut leaves the old file or the new one. A link that
lies in the place of either file is replaced and never followed. Nor is a link to a folder.
"""

import csv
import io
import json
import os
import secrets
import shutil
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

from pumlc.errors import UserError
from pumlc.progress import MEGABYTES, reached

DAMAGED_ARRAY = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    RuntimeError,  # zipfile, of an entry that says it is encrypted
    EOFError,
    OSError,  # an offset before the start of the file
    MemoryError,  # an array that claims to be larger than the memory
    SyntaxError,
    TokenError,  # numpy's reader of headers, over a bracket that is not closed
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile, numpy and scipy raise over a file of arrays that is damaged or something else."""

COUNTED_LINES = 4096
"""Lines of a file between two calls of `reached`, which take longer than a line."""

_CELL_LIMIT = threading.Lock()  # held while the limit of the csv module is raised


@contextmanager
def complete_file(path: Path | str, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A file to write to that takes the place of ``path`` when the block ends without an error.

    Args:
        path: the place; its folder exists. What is there is replaced.
        binary: bytes instead of text (UTF-8, line feeds as they are written).

    Raises:
        OSError: the folder may not be written, or the disk is full; ``path`` is then as before.
    """
    path = Path(path)
    temporary = _beside(path)
    # O_EXCL: a file or link that is already there is an error, not a target
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(temporary, flags, 0o666)
        encoding, newline = (None, None) if binary else ("utf-8", "")
        with open(descriptor, "wb" if binary else "w", encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # it is not there, or the folder may not be written
            temporary.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            # the error of a full disk names no file, that of renaming names two
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    sync_folder(path.parent)


def link_file(source: Path, path: Path) -> None:
    """Give a complete file a second name, so that its content is stored once.

    To replace one of them leaves the other. Without hard links (FAT) the content is copied.

    Raises:
        OSError: see `complete_file`; or ``source`` cannot be read.
    """
    temporary = _beside(path)
    try:
        os.link(source, temporary)
    except OSError:
        with source.open("rb") as content, complete_file(path, binary=True) as file:
            shutil.copyfileobj(content, file)
        return
    try:
        os.replace(temporary, path)
    finally:  # it is still there if both were names of the same file already
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _beside(path: Path) -> Path:
    """A name that nobody can predict, in the folder of a place."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")


@contextmanager
def complete_folder(path: Path | str) -> Iterator[Path]:
    """A folder to write into that becomes ``path`` when the block ends without an error.

    Args:
        path: a place where nothing is; the folder that it is in exists.

    Raises:
        UserError: something is there already.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise UserError(f"{path} is there already; name a new folder")
    building = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}-", dir=path.parent))
    try:
        yield building
        building.chmod(0o755)  # temporary folders are readable by their owner alone
        building.rename(path)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can (not on Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some file systems cannot
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder below one that may be anyone's, unless it is there.

    Raises:
        UserError: a link lies in its place. What is written to it would be written elsewhere.
    """
    refuse_link(folder)
    folder.mkdir(exist_ok=True)


def refuse_link(folder: Path) -> None:
    """Refuse to write into a folder that is a link to another one.

    Raises:
        UserError: it is one.
    """
    if folder.is_symlink():
        raise UserError(
            f"{folder} is a link to {os.readlink(folder)}: nothing is written through a link; put "
            "the folder itself in its place"
        )


def copy_files(source: Path, folder: Path) -> None:
    """Copy the files below a folder into another one, each complete or not at all.

    Args:
        source: written a moment ago by a library that follows links and flushes nothing.
        folder: created unless it is there; other files in it stay.

    Raises:
        UserError: a link lies in the place of the folder, or of one below it.
    """
    make_folder(folder)
    for path in sorted(source.rglob("*")):
        place = folder / path.relative_to(source)
        if path.is_dir():
            make_folder(place)
        else:
            with complete_file(place, binary=True) as file:
                file.write(path.read_bytes())


def write_text(path: Path | str, content: str) -> None:
    """Write a text file, complete or not at all."""
    with complete_file(path) as file:
        file.write(content)


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON, complete or not at all.

    Raises:
        ValueError: a number is nan or infinite, which JSON cannot say.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path | str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file for people and spreadsheets, row by row, complete or not at all."""
    with complete_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([spreadsheet_cell(value) for value in row] for row in rows)


def spreadsheet_cell(value: Any) -> Any:
    """A cell that a spreadsheet shows and does not run: text that looks like a formula gets a '.

    A number stays a number, also where it is text. Half of a surrogate pair stands for a byte of a
    file name that is not UTF-8: it is written as an escape.
    """
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file, without its byte order mark if it has one.

    Raises:
        UserError: the file does not exist, is no regular file, or is not UTF-8 (with the line).
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise UserError(f"{path}: {'not a file' if os.path.exists(path) else 'no such file'}")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1  # counted after the byte order mark
        raise UserError(
            f"{path}, line {line}: not UTF-8 ({error.reason}); save it in UTF-8"
        ) from error


def read_json(path: Path | str) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: see `read_text`; or the file is not JSON, or nested too deeply to be read.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # of a number of thousands of digits, too
        raise UserError(f"{path}: not JSON ({error})") from error


def read_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line of a UTF-8 file, without the line's end.

    A byte order mark is no part of the first line. The file is never in memory as a whole.

    Raises:
        UserError: the file does not exist, is no regular file, or is not UTF-8 (with the line).
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise UserError(f"{path}: {'not a file' if os.path.exists(path) else 'no such file'}")
    with path.open("rb") as file, io.TextIOWrapper(file, encoding="utf-8-sig") as stream:
        size = os.fstat(file.fileno()).st_size
        try:
            for number, line in enumerate(stream, 1):
                if not number % COUNTED_LINES:
                    reached(file.tell(), size, MEGABYTES)
                yield number, line.removesuffix("\n")
        except UnicodeDecodeError as error:
            line = _undecodable_line(path)
            raise UserError(
                f"{path}, line {line}: not UTF-8 ({error.reason}); save it in UTF-8"
            ) from error


def read_cells(path: Path | str, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row of a CSV file in UTF-8; empty lines are left out.

    Blanks after a comma, or after another ``delimiter``, are dropped. A cell may be of any length.

    Raises:
        UserError: see `read_lines`; or the file is not CSV; or a cell has a line break or a
            NUL. A quote that is not closed makes one cell of the lines below it.
    """
    lines = read_lines(path)
    for number, line in lines:
        if '"' in line or "\0" in line:
            yield number, _quoted_cells(path, number, line, lines, delimiter)
        elif line:  # what the csv module does without a quote, at a third of its price
            cells = line.split(delimiter)
            if " " in line and delimiter != "\t":
                cells = [cell.lstrip(" ") for cell in cells]
            yield number, cells


def _quoted_cells(
    path: Path | str, number: int, line: str, rest: Iterator[tuple[int, str]], delimiter: str
) -> list[str]:
    """The cells of a line with quotes; one that is not closed takes lines of the rest."""
    reader = csv.reader(
        (f"{each}\n" for each in chain([line], (text for _, text in rest))),
        delimiter=delimiter,
        skipinitialspace=delimiter != "\t",  # a blank cell there is whitespace alone
        strict=True,
    )
    try:
        row = _next_row(reader)
        if reader.line_num > 1:
            raise csv.Error("a cell has a line break")
    except csv.Error as error:
        raise UserError(
            f"{path}, line {number}: not CSV ({error}); is a quote not closed?"
        ) from error
    if "\0" in "".join(row or ()):
        raise UserError(f"{path}, line {number}: a NUL character; save the table as CSV in UTF-8")
    return row or []


def _undecodable_line(path: Path) -> int:
    """The first line that is not UTF-8; a stream decodes many at once."""
    with path.open("rb") as stream:
        lines = enumerate(stream, 1)
        return next(n for n, line in lines if line.decode(errors="ignore").encode() != line)


def _next_row(reader: Iterator[list[str]]) -> list[str] | None:
    """The next row, however long its cells are; None at the end."""
    with long_cells():
        return next(reader, None)


@contextmanager
def long_cells() -> Iterator[None]:
    """Inside the block, a cell of a CSV file may be of any length.

    The limit of Python's csv module belongs to the process: keep the block short, and never hold it
    across a ``yield``.
    """
    with _CELL_LIMIT:
        limit = csv.field_size_limit(2**31 - 1)
        try:
            yield
        finally:
            csv.field_size_limit(limit)
