"""The review page of an audit: thumbnails of the suspects, and of pictures to compare them with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pumlc.audit import STATES
from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.report import Item, Review, Suspect, thumbnail
from pumlc.report.thumbnails import SIDE
from pumlc.vision.audit.suspects import AuditedPart, suspicion_of
from pumlc.vision.data.decode import load_row

TYPICAL, SIMILAR = 4, 3
OTHERS = 1000
"""At most this many pictures are on the page only for comparison, so that it stays small."""
_BLOCK = 2**25  # entries of a block of similarities


@dataclass(frozen=True)
class _Pool:
    """The pictures of all parts, one below the other."""

    audited: Sequence[AuditedPart]
    vectors: np.ndarray
    starts: np.ndarray

    @staticmethod
    def of(audited: Sequence[AuditedPart]) -> "_Pool":
        vectors = np.concatenate([part.vectors for part in audited]).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        sizes = [len(part.part.images) for part in audited]
        return _Pool(
            audited,
            vectors / np.maximum(lengths, np.finfo(np.float32).tiny),
            np.cumsum([0, *sizes]),
        )

    def tagged(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """The pictures that have a class, and their probabilities of it."""
        each = [part.tagged(column) for part in self.audited]
        rows = [rows + start for (rows, _), start in zip(each, self.starts[:-1], strict=True)]
        return np.concatenate(rows), np.concatenate([probabilities for _, probabilities in each])

    def place(self, row: int) -> tuple[int, int]:
        """The number of the part of a picture, and its row there."""
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return part, row - int(self.starts[part])


@dataclass(frozen=True)
class _Asked:
    """A suspected label; ``row`` counts the pictures of all parts."""

    row: int
    column: int
    given: str
    probability: float
    wrong: float | None
    rank: int


def review_of(audited: Sequence[AuditedPart], *, title: str, command: str) -> Review:
    """The suspects of all parts with their thumbnails, typical and similar pictures.

    A suspect is compared with the pictures with the tag that have the highest probability, and with
    those that are nearest to it by the cosine of their vectors. If this takes more than `OTHERS`
    pictures, the less suspicious labels are compared only with pictures already on the page.

    Args:
        audited: the parts of an audit.
        title: the title of the page.
        command: the command that made the page, as it was typed.

    Raises:
        UserError: a picture can no longer be read.
    """
    pool = _Pool.of(audited)
    asked = sorted(_asked(audited, pool), key=lambda suspect: suspect.rank)
    typical = {
        column: _typical(pool, column, TYPICAL + 1)
        for column in sorted({suspect.column for suspect in asked})
    }
    rows = dict.fromkeys(suspect.row for suspect in asked)
    most = len(rows) + OTHERS
    similar = []
    for suspect, near in zip(asked, _near(pool, asked), strict=True):
        found = near[:SIMILAR] if len(rows) < most else [r for r in near if r in rows][:SIMILAR]
        similar.append(found)
        rows.update(dict.fromkeys(found))
        if len(rows) < most + TYPICAL * len(typical):
            rows.update(dict.fromkeys(typical[suspect.column]))
    place = {row: number for number, row in enumerate(rows)}
    return Review(
        title=title,
        command=command,
        classes=audited[0].part.images.classes,
        items=[_item(audited, pool, row) for row in rows],
        suspects=[
            Suspect(
                item=place[suspect.row],
                column=suspect.column,
                given=STATES[suspect.given],  # pyright: ignore[reportArgumentType]
                suspicion=suspicion_of(suspect.given, suspect.probability),
                wrong=suspect.wrong,
                similar=[place[row] for row in found],
            )
            for suspect, found in zip(asked, similar, strict=True)
        ],
        typical={
            column: [place[row] for row in found if row in place]
            for column, found in typical.items()
        },
    )


def _asked(audited: Sequence[AuditedPart], pool: _Pool) -> Iterator[_Asked]:
    for number, part in enumerate(audited):
        for given, suspects in part.suspects.items():
            for rank, (row, column, probability, _) in enumerate(zip(*suspects, strict=True)):
                place = int(pool.starts[number] + row)
                wrong = part.wrong_at(row, column)
                yield _Asked(place, int(column), given, float(probability), wrong, rank)


def _typical(pool: _Pool, column: int, number: int) -> list[int]:
    """The pictures with the tag that have the highest probability."""
    present, probabilities = pool.tagged(column)
    order = np.argsort(-probabilities, kind="stable")
    return present[order[:number]].tolist()


def _near(pool: _Pool, asked: Sequence[_Asked]) -> list[list[int]]:
    """For each suspect, the nearest other pictures with the tag, the nearest first."""
    near: list[list[int]] = [[] for _ in asked]
    columns = np.array([suspect.column for suspect in asked])
    rows = np.array([suspect.row for suspect in asked])
    for column in np.unique(columns):
        present, _ = pool.tagged(column)
        own = np.flatnonzero(columns == column)
        for block in np.array_split(own, 1 + len(own) * len(present) // _BLOCK):
            similarity = pool.vectors[rows[block]] @ pool.vectors[present].T
            for number, order in zip(block, np.argsort(-similarity, axis=1), strict=True):
                nearest = present[order[:50]]
                near[number] = nearest[nearest != rows[number]].tolist()
    return near


def _item(audited: Sequence[AuditedPart], pool: _Pool, place: int) -> Item:
    number, row = pool.place(place)
    part = audited[number].part
    images = part.images
    labels = images.row_labels(row)
    picture = load_row(images, row, at_least=SIDE)
    return Item(
        name=images.paths[row].decode(),
        part=part.name,
        picture=thumbnail(picture),
        present=np.flatnonzero(labels == POSITIVE).tolist(),
        absent=np.flatnonzero(labels == NEGATIVE).tolist(),
    )
