"""Labels that a file lists in any order: gathered by picture in a few arrays."""

from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array

from pumlc.vision.data.packed_names import NamesBuilder, PackedNames

_RUNS = 2**22  # of one picture's lines, before those of equal names are put together


class ScatteredLabels:
    """Row, class and code of each label that was listed, 9 bytes a label."""

    def __init__(self) -> None:
        self._rows, self._columns, self._codes = array("i"), array("i"), array("B")

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, row: int, column: int, code: int) -> None:
        """A label, by numbers of its row and of its class."""
        self._rows.append(row)
        self._columns.append(column)
        self._codes.append(code)

    def extend(self, rows: np.ndarray, columns: np.ndarray, code: int) -> None:
        """Several labels of one code."""
        self._rows.frombytes(rows.astype(np.int32).tobytes())
        self._columns.frombytes(columns.astype(np.int32).tobytes())
        self._codes.frombytes(np.full(len(rows), code, np.uint8).tobytes())

    def renumber(self, row_of: np.ndarray) -> None:
        """Give each row another number."""
        rows = np.frombuffer(self._rows, np.int32)
        if len(rows):
            rows[:] = row_of[rows]

    def matrix(self, number: int, width: int) -> csr_array:
        """[N, C] uint8 CSR of codes; where codes of a label differ, the smallest.

        The labels themselves are given up: this can be called once.

        Args:
            number: of rows, N.
            width: number of classes, C.
        """
        rows, columns = (np.frombuffer(each, np.int32) for each in (self._rows, self._columns))
        codes = np.frombuffer(self._codes, np.uint8)
        self._rows, self._columns, self._codes = array("i"), array("i"), array("B")
        if (np.diff(rows) < 0).any():
            order = np.argsort(rows, kind="stable")
            rows, columns, codes = rows[order], columns[order], codes[order]
        ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=number))])
        listed = csr_array((codes, columns, ends), shape=(number, max(1, width)))
        listed.sort_indices()
        return _with_smallest(listed)

    def by_row(self, number: int, names: Sequence[str]) -> Iterator[list[tuple[str, int]]]:
        """Name and code of the labels of each row, as in `matrix`.

        Args:
            number: of rows.
            names: of the classes.
        """
        listed = self.matrix(number, len(names))
        for start, end in zip(listed.indptr[:-1], listed.indptr[1:], strict=True):
            columns: list[int] = listed.indices[start:end].tolist()
            codes: list[int] = listed.data[start:end].tolist()
            yield [(names[column], code) for column, code in zip(columns, codes, strict=True)]


def _with_smallest(listed: csr_array) -> csr_array:
    """The matrix with one entry, the smallest, where sorted columns of a row repeat."""
    first = np.ones(listed.nnz, bool)
    first[1:] = listed.indices[1:] != listed.indices[:-1]
    first[listed.indptr[:-1][np.diff(listed.indptr) > 0]] = True
    if first.all():
        return listed
    codes = np.minimum.reduceat(listed.data, np.flatnonzero(first))
    ends = np.concatenate([[0], np.cumsum(first)])[listed.indptr]
    return csr_array((codes, listed.indices[first], ends), shape=listed.shape)


class ScatteredPictures:
    """Pictures with their labels; the lines of a picture need not be together in the file.

    Consecutive lines of one picture are a run; runs of equal names are put together now and then.
    So no table of all names as objects is in memory.
    """

    def __init__(self) -> None:
        self.labels = ScatteredLabels()
        self._names, self._lines = NamesBuilder(), array("q")
        self._last, self._most = "", _RUNS

    def number(self, name: str, line: int) -> int:
        """The row of a picture, for a label that ``line`` lists."""
        if name != self._last or not len(self._names):
            if len(self._names) >= self._most:
                self._unite()
                self._most = 2 * len(self._names) + _RUNS
            self._names.append(name)
            self._lines.append(line)
            self._last = name
        return len(self._names) - 1

    def finished(self) -> tuple[PackedNames, np.ndarray]:
        """The names in the order of their first lines, and these lines."""
        self._unite()
        return self._names.packed(), np.frombuffer(self._lines, np.int64)

    def _unite(self) -> None:
        names = self._names.packed()
        row_of, first = _first_of_equal(names)
        if len(first) == len(names):
            self._names = NamesBuilder(names)
            return
        self.labels.renumber(row_of)
        self._lines = array("q", np.frombuffer(self._lines, np.int64)[first].tobytes())
        self._names = NamesBuilder(names.subset(first))
        self._last = ""


def _first_of_equal(names: PackedNames) -> tuple[np.ndarray, np.ndarray]:
    """For each name the row that it gets, [N] int32; and the place of each row's first name."""
    number = len(names)
    hashes = np.fromiter((hash(name) for name in names), np.int64, number)
    order = np.argsort(hashes, kind="stable")
    same = np.zeros(number, bool)
    same[1:] = hashes[order[1:]] == hashes[order[:-1]]
    same[:-1] |= same[1:]
    place_of, is_first = np.arange(number), np.ones(number, bool)
    seen: dict[str, int] = {}
    for place in np.sort(order[same]).tolist():
        earlier = seen.setdefault(names[place], place)
        if earlier != place:
            place_of[place], is_first[place] = earlier, False
    new = np.cumsum(is_first, dtype=np.int32) - 1
    return new[place_of].astype(np.int32), np.flatnonzero(is_first)
