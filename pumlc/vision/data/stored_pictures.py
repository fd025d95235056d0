"""Pictures inside of tar shards and Parquet files, read in place by an index."""

import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pumlc.errors import UserError
from pumlc.vision.data.parquet_files import as_user_error, image_column, require_pyarrow

_OPEN_FILES = 256
_OPEN_READERS = 16  # of Parquet files, with what their ends say of the groups
_OPEN_BYTES = 2**28  # of groups of rows of Parquet, the last ones of this process


@dataclass(frozen=True)
class StoredPictures:
    """Where the picture of each row is.

    Attributes:
        kind: of the files.
        files: paths of the tar or Parquet files.
        places: [N, 3] int64: the number of a file (-1: the picture is a file of its own), and in a
            tar file the first byte and the number of bytes, in a Parquet file the group of rows and
            the row in it.
    """

    kind: Literal["tar", "parquet"]
    files: tuple[str, ...]
    places: np.ndarray

    def subset(self, rows: np.ndarray) -> "StoredPictures":
        """The given rows, in the given order."""
        return StoredPictures(self.kind, self.files, self.places[rows])

    def insert(self, places: Sequence[int]) -> "StoredPictures":
        """With further rows that have no picture, at the places of `numpy.insert`."""
        return StoredPictures(self.kind, self.files, np.insert(self.places, places, -1, axis=0))

    def has(self, row: int) -> bool:
        """Whether the picture of a row is inside of one of the files."""
        return bool(self.places[row, 0] >= 0)

    def size(self, row: int) -> int:
        """Number of bytes of a picture; of Parquet, which does not say it, -1."""
        return int(self.places[row, 2]) if self.kind == "tar" else -1

    def read(self, row: int) -> bytes:
        """The bytes of a picture that is inside of a file.

        Raises:
            UserError: the file is not there any more, or shorter than it was.
        """
        number, first, second = self.places[row].tolist()
        file = self.files[number]
        read = _read_span if self.kind == "tar" else _read_cell
        try:
            return read(file, first, second)
        except OSError as error:
            raise UserError(f"{file}: {error.strerror or error}") from error


class StoredBuilder:
    """Collects the places of pictures, row by row.

    Args:
        kind: of the files.
    """

    def __init__(self, kind: Literal["tar", "parquet"]) -> None:
        self.kind: Literal["tar", "parquet"] = kind
        self._files: dict[str, int] = {}
        self._places = array("q")

    def add(self, file: str | None, first: int = 0, second: int = 0) -> None:
        """The place of the next row; without a file: the picture is a file of its own."""
        number = -1 if file is None else self._files.setdefault(file, len(self._files))
        self._places.extend((number, first, second))

    def finished(self) -> StoredPictures | None:
        """All places; None if no picture is inside of a file."""
        places = np.frombuffer(self._places, np.int64).reshape(-1, 3)
        return StoredPictures(self.kind, tuple(self._files), places) if self._files else None


class _Recent:
    """What was opened last in this process: each thing is opened once while it is there.

    What drops out is closed when nobody reads of it any more. The last one stays whatever its size.
    """

    def __init__(
        self,
        most: int,
        open_one: Callable[..., Any],
        size_of: Callable[[Any], int] = lambda opened: 1,
    ) -> None:
        self._most, self._open, self._size_of = most, open_one, size_of
        self._there: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._start_again)

    def _start_again(self) -> None:
        """A process that was forked has its own: another thread may have held the lock."""
        self._there, self._lock = OrderedDict(), threading.Lock()

    def get(self, *key: Any) -> Any:
        with self._lock:
            if key not in self._there:
                self._there[key] = self._open(*key)
                total = sum(map(self._size_of, self._there.values()))
                while total > self._most and len(self._there) > 1:
                    total -= self._size_of(self._there.popitem(last=False)[1])
            self._there.move_to_end(key)
            return self._there[key]


def _open_file(file: str) -> Any:
    return open(file, "rb", buffering=0)


def _open_group(file: str, group: int) -> Any:
    """The pictures of a group of rows: a column of Arrow.

    The format has an index of pages inside of a group, but the library gives no access to it.
    """
    arrow = require_pyarrow(file)
    with as_user_error(arrow, file):
        content = _readers.get(file)  # of a thread at a time: `_groups` is locked meanwhile
        name = image_column(content.schema_arrow)
        table = content.read_row_group(group, columns=[f"{name}.bytes"], use_threads=False)
        return table.column(name).combine_chunks().field("bytes")


def _open_reader(file: str) -> Any:
    return require_pyarrow(file).parquet.ParquetFile(file, memory_map=True)


_readers = _Recent(_OPEN_READERS, _open_reader)
_files = _Recent(_OPEN_FILES, _open_file)
_groups = _Recent(_OPEN_BYTES, _open_group, lambda column: column.nbytes)


def _read_span(file: str, first: int, count: int) -> bytes:
    stream = _files.get(file)
    content = os.pread(stream.fileno(), count, first)  # without a place of the file that is shared
    if len(content) < count:
        raise UserError(
            f"{file}: ends before byte {first + count}; it was changed since it was read"
        )
    return content


def _read_cell(file: str, group: int, row: int) -> bytes:
    content = _groups.get(file, group)[row].as_py()
    if content is None:
        raise UserError(f"{file}: row {row} of group {group} has no bytes of a picture")
    return content
