"""Labels that a file lists in any order: gathered by picture in a few arrays."""

from array import array
from collections.abc import Iterator, Sequence

import numpy as np


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

    def by_row(self, number: int, names: Sequence[str]) -> Iterator[list[tuple[str, int]]]:
        """Name and code of the labels of each row; where codes of a label differ, the smallest.

        The labels themselves are given up: this can be called once.

        Args:
            number: of rows.
            names: of the classes.
        """
        width = max(1, len(names))
        keys = np.frombuffer(self._rows, np.int32).astype(np.int64) * width
        keys += np.frombuffer(self._columns, np.int32)
        codes = np.frombuffer(self._codes, np.uint8)
        self._rows, self._columns = array("i"), array("i")
        order = np.argsort(keys, kind="stable")
        keys, codes = keys[order], codes[order]
        del order
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        codes = np.minimum.reduceat(codes, first) if len(first) else codes
        keys = keys[first]
        ends = np.searchsorted(keys, np.arange(1, number + 1) * width)
        start = 0
        for end in ends:
            columns: list[int] = (keys[start:end] % width).tolist()
            own: list[int] = codes[start:end].tolist()
            yield [(names[column], code) for column, code in zip(columns, own, strict=True)]
            start = end
