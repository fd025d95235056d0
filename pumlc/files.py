"""Files that are complete or absent, and text that is read in one way.

A file is written under an unpredictable name in the folder of its place, flushed to the disk and
then renamed. So a kill, a full disk or a power cut leaves the old file or the new one; and a link
that lies in the place, or in that of the temporary file, is replaced and never followed.
"""

import csv
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pumlc.errors import UserError


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
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
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
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.filename in (None, temporary, str(temporary)):  # a full disk names no file
            error.filename, error.filename2 = str(path), None
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
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
        pass  # a file system that cannot
    finally:
        os.close(descriptor)


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
    """Write a CSV file row by row, complete or not at all."""
    with complete_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file, without its byte order mark if it has one.

    Raises:
        UserError: the file does not exist, is no regular file, or is not UTF-8 (with the line).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1  # the object has no byte order mark
        raise UserError(f"{path}, line {line}: not UTF-8 ({error.reason})") from error


def read_json(path: Path | str) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: see `read_text`; or the file is not JSON, or nested too deeply to be read.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise UserError(f"{path}: not JSON ({error})") from error
