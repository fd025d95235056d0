"""Example data for the guides: small, generated from a seed, and with the truth beside it.

======  ===========================================================================================
kind    files
======  ===========================================================================================
photos  ``photos/*.jpg``; ``tags.csv`` as careless people write it; ``truth.csv`` with every tag
xrays   ``CheXpert-v1.0-small`` with ``train.csv`` and ``valid.csv``: 1, 0, -1 and empty cells
texts   ``docs.csv`` with ``name,text,labels``; ``encoder``, an untrained text encoder
======  ===========================================================================================

The pictures are drawings, not photos. They make every command run in seconds. No figure measured
on them says anything about photos.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pumlc.cli.demo_drawings import THINGS, draw_scene, draw_xray
from pumlc.errors import UserError
from pumlc.files import complete_file

PHOTOS = {"train": 240, "test": 80}
MISSED, INVENTED = 0.25, 0.02
"""Of the training tags, the share of the present ones that is left out, and of the absent given."""

FINDINGS = {"Cardiomegaly": 0.35, "Edema": 0.3, "Pleural Effusion": 0.3}
"""Observations of the X-rays, with the share of studies that have them."""
XRAYS = {"train": 160, "valid": 40}

Random = np.random.RandomState
MARKER = "made_by_pumlc_demo.txt"


def write(kind: str, out: Path) -> None:
    """Write example data.

    Args:
        kind: photos, xrays or texts.
        out: the folder, which is made.

    Raises:
        UserError: There is no such kind.
    """
    writers = {"photos": write_photos, "xrays": write_xrays, "texts": write_texts}
    if kind not in writers:
        raise UserError(f"--data {kind!r}: no such example data; valid: {', '.join(writers)}")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text(f"pumlc demo --data {kind}\n")
    writers[kind](out)


def write_photos(out: Path) -> None:
    """Write drawings of up to four things, the tags of careless people, and the truth."""
    random = Random(0)
    (out / "photos").mkdir()
    tags, truth = [], []
    for split, count in PHOTOS.items():
        for _ in range(count):
            name = f"photos/{len(truth):04d}.jpg"
            present = {thing for thing in THINGS if random.rand() < 0.4} or {"tree"}
            _save(out / name, draw_scene(present, random))
            given = present if split == "test" else _careless(present, random)
            truth.append([split, name, _bars(present)])
            tags.append([split, name, _bars(given)])
    header = ["split", "image", "labels"]
    _write_table(out / "tags.csv", [header, *tags])
    _write_table(out / "truth.csv", [header, *truth])
    print(
        f"{out}: {len(truth)} pictures, {len(THINGS)} classes. tags.csv has the tags of careless "
        "people in its training rows, truth.csv every tag"
    )


def _careless(present: set[str], random: Random) -> set[str]:
    return {
        thing
        for thing in THINGS
        if (random.rand() >= MISSED if thing in present else random.rand() < INVENTED)
    }


def _bars(things: set[str]) -> str:
    return "|".join(sorted(things))


def write_xrays(out: Path) -> None:
    """Write grey pictures in the layout of CheXpert: a patient has one or two studies."""
    root = out / "CheXpert-v1.0-small"
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", *FINDINGS]
    random, count_all = Random(0), 0
    for split, count in XRAYS.items():
        rows = []
        while len(rows) < count:
            patient = f"{root.name}/{split}/patient{len(rows):05d}"
            for study in range(1, 2 + random.randint(2)):
                path = f"{patient}/study{study}/view1_frontal.jpg"
                present = {name for name, share in FINDINGS.items() if random.rand() < share}
                (out / path).parent.mkdir(parents=True)
                _save(out / path, draw_xray(present, random))
                cells = _report(present, random, certain=split == "valid")
                person = [["Male", "Female"][random.randint(2)], random.randint(20, 90)]
                rows.append([path, *person, "Frontal", "AP", *cells])
        count_all += len(rows)
        _write_table(root / f"{split}.csv", [header, *rows])
    print(f"{root}: {count_all} pictures with the labels 1, 0, -1 and empty cells")


def _report(present: set[str], random: Random, *, certain: bool) -> list[str]:
    """The cells that a labeller reads out of a report: it names few absences, and doubts."""
    cells = ["1.0" if not present else ("0.0" if certain else "")]
    for name in FINDINGS:
        draw = random.rand()
        if certain:
            cells.append("1.0" if name in present else "0.0")
        elif draw < 0.15:
            cells.append("-1.0")
        elif name in present:
            cells.append("1.0" if draw < 0.9 else "")
        else:
            cells.append("0.0" if draw < 0.4 else "")
    return cells


def write_texts(out: Path) -> None:
    """Write the documentation of the installed libraries as one table, and a small encoder."""
    from pumlc.cli.demo_texts import docstring_records, write_encoder

    records = [
        (name, text, [label.replace("|", "/") for label in labels])  # a bar separates labels
        for name, text, labels in docstring_records()
    ]
    rows = [[name, text, "|".join(labels)] for name, text, labels in records]
    _write_table(out / "docs.csv", [["name", "text", "labels"], *rows])
    write_encoder(out / "encoder", [text for _, text, _ in records])
    labels = {label for _, _, listed in records for label in listed}
    print(f"{out}: {len(rows)} documents, {len(labels)} labels in docs.csv; encoder, untrained")


def _save(path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))


def _write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with complete_file(path) as file:
        file.write(text.getvalue())
