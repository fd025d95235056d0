"""The content of a label file, in one form for all formats: four states, stored sparse.

A file lists some labels of a picture and leaves out the others. The table has the listed labels
(CSR) and, for each row, the state of the unlisted ones. So memory grows with the number of listed
labels, not with pictures x classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from pumlc.errors import UserError, closest
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.vision.data.packed_names import subset_names
from pumlc.vision.data.stored_pictures import StoredPictures

State = Literal["present", "absent", "unknown", "uncertain"]
Policy = Literal["unknown", "present", "absent"]
STATES: tuple[State, ...] = ("present", "absent", "unknown", "uncertain")
# codes in the matrix; 0 is for unlisted labels
PRESENT_CODE, ABSENT_CODE, UNKNOWN_CODE, UNCERTAIN_CODE = 1, 2, 3, 4
CODE: dict[State, int] = {state: code for code, state in enumerate(STATES, 1)}
LEFT_OUT = "column that is no class"
"""The kind of a problem: there is such a column, which a user may have meant as a class."""
_LABEL = {"present": POSITIVE, "absent": NEGATIVE, "unknown": UNKNOWN}


@dataclass(frozen=True)
class Problem:
    """One error or doubt in a label file or its pictures.

    Attributes:
        kind: a short name, shared by all problems of this kind.
        message: what was found, where, and what is valid.
        blocking: whether training on the file is refused; otherwise it is only a doubt.
        rows: the rows of the table that it is about.
    """

    kind: str
    message: str
    blocking: bool = True
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class LabelTable:
    """Pictures and the states of their labels, in the order of the file.

    Attributes:
        source: the file or folder, for messages.
        format: name of its format.
        paths: N paths, as the file spells them.
        classes: C names.
        listed: [N, C] uint8 CSR of `CODE`; 0: the file does not list the class for the picture.
        rest: [N] uint8, the state of the unlisted labels of each row.
        splits: N names of splits; None: the file has none.
        groups: N names (of patients, scenes); None: the file has none.
        places: [N] numbers, the line or entry of each row in the file; None: the row number.
        meanings: (value, state) -> how often the file has it, for people.
        problems: errors in single rows; these rows are left out.
        root: the folder of the pictures, if it is known.
        stored: where the pictures are that are inside of the label file itself, or None.
    """

    source: str
    format: str
    paths: Sequence[str]
    classes: tuple[str, ...]
    listed: csr_array
    rest: np.ndarray
    splits: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    places: np.ndarray | None = None
    meanings: Mapping[tuple[str, str], int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    root: Path | None = None
    stored: StoredPictures | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def split_names(self) -> tuple[str, ...]:
        """The splits, in the order of their first rows; a file without splits is all ``train``."""
        return tuple(dict.fromkeys(self.splits)) if self.splits is not None else ("train",)

    def rows_of(self, split: str) -> np.ndarray:
        """Ascending rows of a split."""
        if self.splits is None:
            return np.arange(len(self) if split == "train" else 0)
        return np.flatnonzero(np.array([name == split for name in self.splits], bool))

    def place(self, row: int) -> str:
        """The place of a row in the file, for messages."""
        if self.places is None:
            return f"{self.source}, row {row}"
        return f"{self.source}, {_PLACE.get(self.format, 'entry')} {self.places[row]}"

    def subset(self, rows: np.ndarray) -> "LabelTable":
        """The given rows, in the given order."""
        if len(rows) == len(self) and (rows == np.arange(len(rows))).all():
            return self
        chosen = rows.tolist()
        return replace(
            self,
            paths=subset_names(self.paths, rows),
            listed=csr_array(self.listed[rows]),
            rest=self.rest[rows],
            splits=None if self.splits is None else tuple(self.splits[row] for row in chosen),
            groups=None if self.groups is None else tuple(self.groups[row] for row in chosen),
            places=None if self.places is None else self.places[rows],
            stored=None if self.stored is None else self.stored.subset(rows),
        )

    def has_inside(self, row: int) -> bool:
        """Whether the picture of a row is inside of the label file."""
        return self.stored is not None and self.stored.has(row)

    def codes(self) -> np.ndarray:
        """All states as dense [N, C] uint8 of `CODE`, for small tables and for one batch."""
        dense = self.listed.toarray()
        return np.where(dense == 0, self.rest[:, None], dense)

    def with_classes(self, classes: Sequence[str]) -> "LabelTable":
        """The table with other columns; a new class is unlisted in every row."""
        column_of = {name: column for column, name in enumerate(classes)}
        new_column = np.array([column_of[name] for name in self.classes], np.int64)
        indices: np.ndarray = self.listed.indices
        arrays = (self.listed.data, new_column[indices], self.listed.indptr)
        listed = csr_array(arrays, shape=(len(self), len(classes))).sorted_indices()
        return replace(self, classes=tuple(classes), listed=csr_array(listed))

    def row_codes(self, row: int) -> np.ndarray:
        """The states of one row, [C] uint8 of `CODE`."""
        codes = np.full(len(self.classes), self.rest[row], np.uint8)
        span = slice(self.listed.indptr[row], self.listed.indptr[row + 1])
        codes[self.listed.indices[span]] = self.listed.data[span]
        return codes

    def names_with(self, row: int, code: int) -> list[str]:
        """The classes of one row that have this state."""
        return [self.classes[column] for column in np.flatnonzero(self.row_codes(row) == code)]

    def labels(self, uncertain: Policy | Mapping[str, Policy] = "unknown") -> np.ndarray:
        """The labels of a run, dense.

        Args:
            uncertain: what uncertain labels become: a state for all classes, or class -> state,
                the others unknown.

        Returns:
            [N, C] int8 in {1, 0, -1}.

        Raises:
            UserError: there is no such class or state.
        """
        of_code = np.array([0, POSITIVE, NEGATIVE, UNKNOWN, UNKNOWN], np.int8)
        dense = self.listed.toarray()
        uncertain_at = dense == UNCERTAIN_CODE
        labels: np.ndarray = of_code[dense]
        silent = of_code[self.rest]
        np.copyto(labels, silent[:, None], where=dense == 0)
        policy = uncertain_labels(uncertain, self.classes)
        np.copyto(labels, policy[None, :], where=uncertain_at)
        return labels

    def sparse_labels(self, uncertain: Policy | Mapping[str, Policy] = "unknown") -> csr_array:
        """The same as int8 CSR of 1 and -1; unknown is not stored.

        A row whose unlisted labels are absent stores each of them.

        Args:
            uncertain: see `labels`.

        Returns:
            [N, C] int8 CSR.

        Raises:
            UserError: see `labels`.
        """
        policy = uncertain_labels(uncertain, self.classes)
        of_code = np.array([0, POSITIVE, NEGATIVE, UNKNOWN, UNKNOWN], np.int8)
        codes: np.ndarray = self.listed.data
        data: np.ndarray = of_code[codes]
        at = codes == UNCERTAIN_CODE
        data[at] = policy[self.listed.indices[at]]
        labels = csr_array((data, self.listed.indices, self.listed.indptr), shape=self.listed.shape)
        silent = np.flatnonzero(self.rest == ABSENT_CODE)
        if len(silent):
            labels = csr_array(labels + self._silent(silent))
        labels.eliminate_zeros()
        return labels

    def counts(self, rows: np.ndarray | None = None) -> dict[State, np.ndarray]:
        """For each state the number of labels of each class, [C], over all or the given rows."""
        listed = self.listed if rows is None else csr_array(self.listed[rows])
        rest = self.rest if rows is None else self.rest[rows]
        counts: dict[State, np.ndarray] = {}
        for state, code in CODE.items():
            at = listed.data == code
            counts[state] = np.bincount(listed.indices[at], minlength=len(self.classes))
        row_of = np.repeat(np.arange(len(rest)), np.diff(listed.indptr))
        for state, code in CODE.items():  # unlisted: all rows with this rest, minus listed labels
            of_rest = rest == code
            silent = int(of_rest.sum()) - np.bincount(
                listed.indices[of_rest[row_of]], minlength=len(self.classes)
            )
            counts[state] = counts[state] + silent
        return counts

    def states_of(self, row: int) -> dict[str, State]:
        """The states of the listed classes of a row."""
        span = slice(self.listed.indptr[row], self.listed.indptr[row + 1])
        columns, codes = self.listed.indices[span].tolist(), self.listed.data[span].tolist()
        pairs = zip(columns, codes, strict=True)
        return {self.classes[column]: STATES[code - 1] for column, code in pairs}

    def replace_states(self, entries: Iterable[tuple[str, str, State]]) -> "LabelTable":
        """The table with some labels changed; rows and classes keep their order.

        Args:
            entries: picture (a path as the file spells it), class, new state; the last entry for a
                label counts.

        Raises:
            UserError: there is no such picture, class or state, or a picture has several rows.
        """
        rows: dict[str, list[int]] = {}
        for row, path in enumerate(self.paths):
            rows.setdefault(path, []).append(row)
        column_of = {name: column for column, name in enumerate(self.classes)}
        changed: dict[int, dict[int, int]] = {}
        for image, class_name, state in entries:
            if len(rows.get(image, ())) != 1:
                found = "has several rows" if image in rows else "is not one of its pictures"
                raise UserError(f"{self.source}: {image!r} {found}")
            if class_name not in column_of:
                raise UserError(
                    f"{self.source}: unknown class {class_name!r}; "
                    f"{closest(class_name, self.classes)}"
                )
            if state not in CODE:
                raise UserError(f"unknown state {state!r}; valid: {', '.join(STATES)}")
            changed.setdefault(rows[image][0], {})[column_of[class_name]] = CODE[state]
        return replace(self, listed=self._with(changed))

    def _with(self, changed: Mapping[int, Mapping[int, int]]) -> csr_array:
        """The matrix with the given codes, row -> column -> code; other rows are not changed."""
        indptr, indices, codes = [0], [], []
        for row in range(len(self)):
            span = slice(self.listed.indptr[row], self.listed.indptr[row + 1])
            if row not in changed:
                indices.append(self.listed.indices[span])
                codes.append(self.listed.data[span])
            else:
                own = dict(zip(self.listed.indices[span], self.listed.data[span], strict=True))
                own.update(changed[row])
                columns = np.array(sorted(own), np.int32)
                indices.append(columns)
                codes.append(np.array([own[column] for column in columns], np.uint8))
            indptr.append(indptr[-1] + len(indices[-1]))
        arrays = (np.concatenate(codes), np.concatenate(indices), np.array(indptr))
        return csr_array(arrays, shape=self.listed.shape)

    def _silent(self, rows: np.ndarray) -> csr_array:
        """A matrix that is NEGATIVE at the unlisted labels of the given rows."""
        width = len(self.classes)
        columns = [
            np.delete(np.arange(width), self.listed.indices[start:end])
            for start, end in zip(
                self.listed.indptr[rows], self.listed.indptr[rows + 1], strict=True
            )
        ]
        lengths = np.zeros(len(self), np.int64)
        lengths[rows] = [len(each) for each in columns]
        indices = np.concatenate(columns).astype(np.int32)
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        data = np.full(len(indices), NEGATIVE, np.int8)
        return csr_array((data, indices, indptr), shape=self.listed.shape)


_PLACE: dict[str, str] = dict.fromkeys(("csv", "wide", "chexpert", "openimages"), "line")


def uncertain_labels(policy: Policy | Mapping[str, Policy], classes: Sequence[str]) -> np.ndarray:
    """The label that an uncertain label of each class becomes, [C] int8 in {1, 0, -1}.

    Args:
        policy: a state for all classes, or class -> state, the others unknown.
        classes: C names.

    Raises:
        UserError: there is no such class or state.
    """
    named = policy if isinstance(policy, Mapping) else dict.fromkeys(classes, policy)
    labels = np.full(len(classes), UNKNOWN, np.int8)
    column_of = {name: column for column, name in enumerate(classes)}
    for name, state in named.items():
        if name not in column_of:
            raise UserError(f"data.uncertain: no class {name!r}; {closest(name, classes)}")
        if state not in _LABEL:
            raise UserError(f"data.uncertain: {state!r}; valid: {', '.join(_LABEL)}")
        labels[column_of[name]] = _LABEL[state]
    return labels
