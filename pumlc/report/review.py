"""The review page: suspected label errors, looked at and decided in a browser."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pumlc.report.page import safe_json, write_page

Given = Literal["unknown", "absent", "present"]
GIVEN: tuple[Given, ...] = ("unknown", "absent", "present")


@dataclass(frozen=True, kw_only=True)
class Item:
    """A picture or a document of the page.

    Attributes:
        name: as the label file spells it.
        part: the part of the data that it belongs to.
        picture: a JPEG file; None for a document.
        text: the document; None for a picture.
        present: columns of the classes that the labels say are present.
        absent: columns of those that they say are absent.
    """

    name: str
    part: str
    picture: bytes | None = None
    text: str | None = None
    present: Sequence[int] = ()
    absent: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A label that is probably wrong.

    Attributes:
        item: its place in `Review.items`.
        column: its class, a place in `Review.classes`.
        given: what the label file says.
        suspicion: the higher, the more suspicious; comparable within a list.
        wrong: estimated probability that the label is wrong, in [0, 1]; None: not estimated.
        similar: places of the most similar items that have the class.
    """

    item: int
    column: int
    given: Given
    suspicion: float
    wrong: float | None = None
    similar: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Review:
    """What the page shows.

    Attributes:
        title: a line.
        command: what made the page, as it was typed.
        classes: C names.
        items: pictures or documents, also those that are only shown beside others.
        suspects: in any order; each list of the page sorts its own.
        typical: column -> places of items that show the class best.
        apply: the command that applies the decisions to the label file; None: there is none.
    """

    title: str
    command: str
    classes: Sequence[str]
    items: Sequence[Item]
    suspects: Sequence[Suspect]
    typical: Mapping[int, Sequence[int]] = field(default_factory=dict)
    apply: str | None = "pumlc correct LABELS corrections.csv --out NEW"


def write_review(path: Path | str, review: Review) -> None:
    """Write the page: one file, no network, every picture in it once.

    Decisions are kept in the storage of the browser under a key that follows from the suspects, so
    that the same page made again finds them. The button "Download corrections" gives a CSV file
    with the columns image, class, given, corrected; `pumlc.audit.read_corrections` reads it.

    Args:
        path: the HTML file.
        review: what it shows. Names and texts are shown as text, whatever they hold.

    Raises:
        ValueError: a suspect names an item or a class that is not there.
    """
    _check(review)
    content = _content(review)
    pictures = [
        None if item.picture is None else base64.b64encode(item.picture).decode()
        for item in review.items
    ]
    write_page(
        path,
        "review.html",
        script="review.js",
        style="review.css",
        title=review.title,
        data=safe_json(content),
        pictures=pictures,
    )


def _check(review: Review) -> None:
    items, classes = len(review.items), len(review.classes)
    for suspect in review.suspects:
        if not 0 <= suspect.item < items or not 0 <= suspect.column < classes:
            raise ValueError(
                f"suspect of item {suspect.item}, class {suspect.column}: the page has {items} "
                f"items and {classes} classes"
            )
        if suspect.given not in GIVEN:
            raise ValueError(f"given is {suspect.given!r}; valid: {', '.join(GIVEN)}")


def _content(review: Review) -> dict[str, Any]:
    suspects = [
        {
            "item": suspect.item,
            "column": suspect.column,
            "given": suspect.given,
            "suspicion": round(float(suspect.suspicion), 6),
            "wrong": None if suspect.wrong is None else round(float(suspect.wrong), 4),
            "similar": [int(place) for place in suspect.similar],
        }
        for suspect in review.suspects
    ]
    items = [
        {
            "name": item.name,
            "part": item.part,
            "text": item.text,
            "present": [int(column) for column in item.present],
            "absent": [int(column) for column in item.absent],
        }
        for item in review.items
    ]
    identity = safe_json(
        [[review.items[s["item"]].name, review.classes[s["column"]], s["given"]] for s in suspects]
    )
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "title": review.title,
        "command": review.command,
        "apply": review.apply,
        "classes": list(review.classes),
        "items": items,
        "suspects": suspects,
        "typical": {str(k): [int(place) for place in v] for k, v in review.typical.items()},
    }
