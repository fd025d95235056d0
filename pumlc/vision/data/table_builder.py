"""A label table is built row by row; what is wrong with a row is noted, and the row left out."""

from array import array
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from pumlc.errors import UserError, closest
from pumlc.vision.data.label_table import STATES, LabelTable, Problem
from pumlc.vision.data.packed_names import NamesBuilder


class TableBuilder:
    """Collects the rows of a file one by one, in a few arrays and not in an object per row.

    Args:
        source: the file, for messages.
        format: name of its format.
        classes: the names if the file declares them; otherwise the mentioned ones, sorted.

    Raises:
        UserError: a class occurs twice.
    """

    def __init__(self, source: object, format: str, classes: Iterable[str] | None = None) -> None:
        self.source, self.format = str(source), format
        self._declared = classes is not None
        self._column_of: dict[str, int] = {}
        for name in classes or ():
            if name in self._column_of:
                raise UserError(f"{source}: class {name!r} occurs twice")
            self._column_of[name] = len(self._column_of)
        self._paths = NamesBuilder()
        self._splits: list[str] | None = None
        self._groups: list[str] | None = None
        self._rest, self._places = array("B"), array("q")
        self._indptr, self._indices, self._codes = array("q", [0]), array("i"), array("B")
        self._problems: list[Problem] = []
        self.meanings: dict[tuple[str, str], int] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes so far, in their order."""
        return tuple(self._column_of)

    def __len__(self) -> int:
        return len(self._paths)

    def _check(self, name: str) -> None:
        """Refuse an unknown class, if the file declares its classes."""
        if self._declared and name not in self._column_of:
            raise UserError(f"unknown class {name!r}; {closest(name, self._column_of)}")

    def problem(self, kind: str, message: str) -> None:
        """Note an error in a row, which is left out."""
        self._problems.append(Problem(kind, f"{self.source}: {message}"))

    def doubt(self, kind: str, message: str) -> None:
        """Note what a person should know; training is not refused for it."""
        self._problems.append(Problem(kind, f"{self.source}: {message}", blocking=False))

    def add(
        self,
        path: str,
        states: Mapping[str, int] | Sequence[tuple[str, int]],
        *,
        rest: int,
        split: str | None = None,
        group: str | None = None,
        place: int | None = None,
    ) -> bool:
        """Add a picture.

        Args:
            path: as the file spells it.
            states: class -> code of the listed labels; pairs may repeat if they agree.
            rest: code of the unlisted labels.
            split, group, place: see `LabelTable`; None in all rows, or in none.

        Returns:
            Whether it has a row; a picture with a problem has none.
        """
        where = f"entry {len(self._paths)}" if place is None else f"entry {place}"
        if not path or "\0" in path or not _is_text(path):
            self.problem("name", f"{where}: {path!r} is not the name of a picture")
            return False
        own: dict[str, int] = {}
        try:
            pairs = states if isinstance(states, Sequence) else states.items()
            for name, code in pairs:
                self._check(name)
                if own.setdefault(name, code) != code:
                    both = sorted({STATES[own[name] - 1], STATES[code - 1]})
                    raise UserError(f"{name!r} is {' and '.join(both)}")
        except UserError as error:
            self.problem("label", f"{where} ({path}): {error}")
            return False
        columns = [self._column(name) for name in own]
        self._paths.append(path)
        self._indices.extend(columns)
        self._codes.extend(own.values())
        self._indptr.append(len(self._indices))
        self._rest.append(rest)
        self._places.append(len(self._paths) - 1 if place is None else place)
        self._splits = _extended(self._splits, split, len(self._paths))
        self._groups = _extended(self._groups, group, len(self._paths))
        return True

    def add_rows(
        self,
        paths: Sequence[str],
        listed: csr_array,
        names: Sequence[str],
        *,
        rest: int,
        split: str | None,
        places: np.ndarray,
    ) -> None:
        """Add many pictures at once; a picture with a problem has no row.

        Args:
            paths: [n], as the file spells them.
            listed: [n, k] uint8 CSR of the codes of listed labels.
            names: of its columns, k.
            rest, split: see `add`.
            places: [n].
        """
        right = np.ones(len(paths), bool)
        for row, path in enumerate(paths):
            if not path or "\0" in path:
                right[row] = False
                where = f"entry {int(places[row])}"
                self.problem("name", f"{where}: {path!r} is not the name of a picture")
            else:
                self._paths.append(path)
        if not right.all():
            listed, places = csr_array(listed[right]), places[right]
        columns = np.array([self._column(name) for name in names] or [0], np.int32)
        self._indices.frombytes(columns[listed.indices].tobytes())
        self._codes.frombytes(listed.data.tobytes())
        ends = self._indptr[-1] + listed.indptr[1:].astype(np.int64)
        self._indptr.frombytes(ends.tobytes())
        self._rest.frombytes(np.full(len(places), rest, np.uint8).tobytes())
        self._places.frombytes(places.astype(np.int64).tobytes())
        if split is not None or self._splits is not None:
            added = len(places)
            before = len(self._paths) - added
            self._splits = (self._splits or [""] * before) + [split or ""] * added
        if self._groups is not None:
            self._groups += [""] * len(places)

    def _column(self, name: str) -> int:
        self._check(name)
        return self._column_of.setdefault(name, len(self._column_of))

    def table(self) -> LabelTable:
        """The finished table.

        Raises:
            UserError: it has no picture or no class.
        """
        if not len(self._paths):
            found = f"; the first problem: {self._problems[0].message}" if self._problems else ""
            raise UserError(f"{self.source}: no picture{found}")
        names = list(self._column_of)
        if not names:
            raise UserError(f"{self.source}: no class")
        indices = np.frombuffer(self._indices, np.int32)
        if not self._declared:  # until here in the order of first mention
            order = sorted(range(len(names)), key=names.__getitem__)
            new_column = np.empty(len(names), np.int32)
            new_column[order] = np.arange(len(names), dtype=np.int32)
            names, indices = [names[column] for column in order], new_column[indices]
        codes = np.frombuffer(self._codes, np.uint8)
        shape = (len(self._paths), len(names))
        listed = csr_array((codes, indices, np.frombuffer(self._indptr, np.int64)), shape=shape)
        listed = listed.sorted_indices()  # a copy: the arrays of the builder cannot be sorted
        return LabelTable(
            self.source,
            self.format,
            self._paths.finished(),
            tuple(names),
            listed,
            np.frombuffer(self._rest, np.uint8),
            None if self._splits is None else tuple(self._splits),
            None if self._groups is None else tuple(self._groups),
            np.frombuffer(self._places, np.int64),
            self.meanings,
            tuple(self._problems),
        )


def _extended(names: list[str] | None, name: str | None, length: int) -> list[str] | None:
    """A column with one more name; the column begins with the first row that has a name."""
    if names is None:
        if name is None:
            return None
        names = [""] * (length - 1)
    names.append(name or "")
    return names


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False  # JSON may hold halves of surrogate pairs, which no file name can have
    return True
