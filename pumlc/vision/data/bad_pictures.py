"""Pictures that cannot be read: when to skip them, and the list of them in the run folder.

A run that skips a picture records its place and its true labels. So its row may be removed from the
data set later: `restored` puts it back, and a resumed run sees the same rows and masks as before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.errors import UserError, warn_user
from pumlc.files import read_json, write_json
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelMatrix, SparseLabels
from pumlc.labels.sparse import label_row
from pumlc.vision.data.images import LabelledImages

LIST_FILE = "bad_pictures.json"
"""The list in the run folder."""
_NAMED = 5  # at most this many pictures get a warning each


class BadPictures:
    """The pictures of a part that could not be read, by ``data.bad_pictures`` and its limit.

    Args:
        images: the part.

    Attributes:
        reasons: row of the part -> the error of its picture, in the order of discovery.
    """

    def __init__(self, images: LabelledImages) -> None:
        self.images = images
        self.reasons: dict[int, str] = {}

    def add(self, row: int, reason: str) -> None:
        """Note that a picture cannot be read, and warn of the first ones.

        Raises:
            UserError: bad pictures are errors, or there are too many. The picture is noted first.
        """
        if row in self.reasons:
            return
        self.reasons[row] = reason
        if not self.images.may_skip(row):
            raise UserError(reason)
        if len(self.reasons) > allowed_bad(self.images) or len(self.reasons) == len(self.images):
            raise UserError(
                f"{self.images.source}: more than data.bad_share {self.images.bad_share:g} of "
                f"{len(self.images)} pictures cannot be read, the last: {reason}; mend them, or "
                "give a larger data.bad_share"
            )
        if len(self.reasons) <= _NAMED:
            warn_user(f"skipped: {reason}")

    def merge(self, noted: Iterable[dict[int, str]]) -> None:
        """Add the ``reasons`` that other processes have noted."""
        for reasons in noted:
            for row, reason in reasons.items():
                self.add(row, reason)

    def rest(self) -> np.ndarray:
        """The rows of the part whose pictures could be read, ascending."""
        return np.setdiff1d(np.arange(len(self.images)), list(self.reasons))

    def named(self) -> list[dict[str, str]]:
        """Plain JSON in row order: ``image``, as the data set spells it, and ``reason``."""
        return [
            {"image": self.images.paths[row].decode(), "reason": self.reasons[row]}
            for row in sorted(self.reasons)
        ]


def allowed_bad(images: LabelledImages) -> int:
    """How many pictures of a part may be bad, at least one; only for parts that skip them."""
    return max(1, int(images.bad_share * len(images)))


@dataclass(frozen=True)
class BadRow:
    """A picture in the list of a run.

    Attributes:
        split: the split that lists it.
        row: its row there, counted from 0.
        image: its path, as the data set spells it.
        present: numbers of the classes that are known to be present.
        absent: numbers of the classes that are known to be absent.
        reason: why it could not be read.
    """

    split: str
    row: int
    image: str
    present: tuple[int, ...]
    absent: tuple[int, ...]
    reason: str


def bad_rows(
    split: str, bad: BadPictures, rows: np.ndarray, true_labels: LabelMatrix
) -> Iterable[BadRow]:
    """The entries of a part's bad pictures in the list of a run.

    Args:
        split: the split that the part belongs to.
        bad: the bad pictures of the part.
        rows: rows of the split that the part holds, in its order.
        true_labels: [N, C] of the split, before a protocol hides some.
    """
    for row, reason in sorted(bad.reasons.items()):
        labels = label_row(true_labels, rows[row])
        present, absent = (np.flatnonzero(labels == sign).tolist() for sign in (POSITIVE, NEGATIVE))
        image = bad.images.paths[row].decode()
        yield BadRow(split, int(rows[row]), image, tuple(present), tuple(absent), reason)


def write_bad_rows(run: Path, rows: Iterable[BadRow]) -> None:
    """Write the list of a run; without bad pictures there is no file."""
    listed = [asdict(row) for row in rows]
    if listed or (run / LIST_FILE).exists():
        write_json(run / LIST_FILE, listed)


def read_bad_rows(run: Path) -> list[BadRow]:
    """Read the list of a run, which may come from anyone; it is empty if there is no file.

    Args:
        run: the run folder.

    Raises:
        UserError: the file holds something else.
    """
    file = run / LIST_FILE
    if not file.is_file():
        return []
    content = read_json(file)
    names = {field.name for field in fields(BadRow)}
    if not isinstance(content, list):
        raise UserError(f"{file}: expected a list of pictures, got {type(content).__name__}")
    for number, entry in enumerate(content):
        if not (isinstance(entry, dict) and set(entry) == names and _is_valid(entry)):
            raise UserError(f"{file}: entry {number} is not that of a bad picture: {entry!r:.200}")
    return [
        BadRow(**{**entry, "present": tuple(entry["present"]), "absent": tuple(entry["absent"])})
        for entry in content
    ]


def _is_valid(entry: dict[str, Any]) -> bool:
    return (
        all(isinstance(entry[name], str) for name in ("split", "image", "reason"))
        and all(isinstance(entry[name], list) for name in ("present", "absent"))
        and all(
            type(number) is int and number >= 0
            for number in (entry["row"], *entry["present"], *entry["absent"])
        )
    )


def restored(images: LabelledImages, rows: Sequence[BadRow]) -> LabelledImages:
    """Put back the rows that a run has skipped and that were removed from the split since.

    Args:
        images: the present split.
        rows: the entries of this split in the list of the run.

    Returns:
        The split as it was, if nothing else has changed. Restored pictures are never decoded.
    """
    listed = {row.image.encode() for row in rows}
    removed = listed - set(images.paths[np.isin(images.paths, list(listed))].tolist())
    if not removed:
        return images
    gone = sorted((row for row in rows if row.image.encode() in removed), key=lambda row: row.row)
    # np.insert counts in the present rows; someone else's list may count beyond them
    places = [min(row.row - before, len(images)) for before, row in enumerate(gone)]
    names = np.array([row.image.encode() for row in gone])
    paths = images.paths.astype(np.promote_types(images.paths.dtype, names.dtype))
    labels = np.full((len(gone), images.matrix.shape[1]), UNKNOWN, np.int8)
    for own, row in zip(labels, gone, strict=True):
        for value, columns in ((POSITIVE, row.present), (NEGATIVE, row.absent)):
            own[[column for column in columns if column < len(own)]] = value
    own_groups = -1 - np.arange(len(gone))  # the source no longer says their groups
    return replace(
        images,
        paths=np.insert(paths, places, names),
        matrix=(
            images.matrix.insert(places, labels)
            if isinstance(images.matrix, SparseLabels)
            else np.insert(images.matrix, places, labels, axis=0)
        ),
        removed=frozenset(removed),
        groups=None if images.groups is None else np.insert(images.groups, places, own_groups),
        stored=None if images.stored is None else images.stored.insert(places),
    )
