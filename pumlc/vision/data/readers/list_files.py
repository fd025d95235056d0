"""Readers of the benchmarks that come as list files: Visual Genome, NUS-WIDE, Open Images.

They return `LabelledImages` as the readers of `pumlc.vision.data.readers.coco_voc` do. Layouts:

============  =====================================================  ==========================
name          labels under ``root``                                  pictures under ``root``
============  =====================================================  ==========================
vg500, vg200  {train,test}_list_500.txt,                             VG_100K/, VG_100K_2/
              vg_category_500_labels_index.json
nuswide       ConceptsList/Concepts81.txt,                           Flickr/
              ImageList/{Train,Test}Imagelist.txt,
              Groundtruth/TrainTestLabels/Labels_*.txt
openimages    oidv6-classes-trainable.txt,                           {train,validation,test}/
              oidv7-class-descriptions.csv,
              oidv7-{train,val,test}-annotations-human-imagelabels.csv
============  =====================================================  ==========================
"""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from pumlc.errors import UserError
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.vision.data.images import (
    LabelledImages,
    checked_images,
    read_json,
    read_text,
    refuse_duplicates,
    require_file,
)
from pumlc.vision.data.readers.csv_file import read_cells

# split of pumlc -> folder of the pictures, name in the label file
_OPEN_IMAGES = {"train": ("train", "train"), "val": ("validation", "val"), "test": ("test", "test")}


def read_visual_genome(root: Path, split: str, *, num_classes: Literal[200, 500]) -> LabelledImages:
    """Read VG-500 or VG-200 as SSGRL and HCP-MLR-PL define them: what is not listed is negative.

    The classes of VG-200 are the first 200 of VG-500. The files give them by number, without names:
    they are called "0", "1", ...

    Args:
        split: "train" or "test".

    Raises:
        UserError: a file or picture is missing, a picture has no labels in the index, or the index
            is no JSON object of lists of class numbers.
    """
    _require_split(split, ("train", "test"))
    list_file = root / f"{split}_list_500.txt"
    index_file = root / "vg_category_500_labels_index.json"
    names = _lines(list_file, f"data.root {root} is not the root of Visual Genome")
    refuse_duplicates(names, f"{list_file}: picture")
    index = read_json(index_file, "the labels of Visual Genome are missing")
    if not isinstance(index, dict):
        raise UserError(f"{index_file}: {str(index)[:80]} is no object of pictures")
    labels = np.full((len(names), num_classes), NEGATIVE, np.int8)
    for row, name in enumerate(names):
        if name not in index:
            raise UserError(f"{index_file}: no entry for {name!r}, row {row} of {list_file.name}")
        numbers = index[name]
        if not isinstance(numbers, list) or not all(
            type(number) is int and 0 <= number < 500 for number in numbers
        ):
            raise UserError(
                f"{index_file}: {name!r} has the classes {numbers!r}; valid: 0 to 499, as a list "
                "of integers"
            )
        labels[row, [number for number in numbers if number < num_classes]] = POSITIVE
    second = _listing(root / "VG_100K_2")
    paths = [f"VG_100K_2/{name}" if name in second else f"VG_100K/{name}" for name in names]
    classes = tuple(str(number) for number in range(num_classes))
    return checked_images(list_file, root, paths, labels, classes)


def read_nus_wide(
    root: Path, split: str, *, unannotated: Literal["keep", "drop"] = "keep"
) -> LabelledImages:
    """Read NUS-WIDE with its 81 concepts: 1 is positive, 0 negative.

    Args:
        split: "train" (161,789 pictures) or "test" (107,859).
        unannotated: pictures without any of the 81 concepts, about a fifth: "keep" or "drop".

    Raises:
        UserError: a file or picture is missing, a picture or concept is listed twice, a label file
            has another number of lines than the picture list, or a label is neither 0 nor 1.
    """
    _require_split(split, ("train", "test"))
    part = split.capitalize()
    list_file = root / "ImageList" / f"{part}Imagelist.txt"
    names = _lines(list_file, f"data.root {root} is not the root of NUS-WIDE")
    paths = [name.replace("\\", "/") for name in names]  # the list was written on Windows
    refuse_duplicates(paths, f"{list_file}: picture")
    classes = _lines(
        root / "ConceptsList" / "Concepts81.txt", "the concepts of NUS-WIDE are missing"
    )
    refuse_duplicates(classes, f"{root / 'ConceptsList' / 'Concepts81.txt'}: concept")
    labels = np.empty((len(paths), len(classes)), np.int8)
    for column, name in enumerate(classes):
        file = root / "Groundtruth" / "TrainTestLabels" / f"Labels_{name}_{part}.txt"
        values = np.array(_lines(file, "the labels of NUS-WIDE are incomplete"))
        if len(values) != len(paths):
            raise UserError(
                f"{file}: {len(values)} labels for {len(paths)} pictures of {list_file}"
            )
        wrong = (values != "0") & (values != "1")
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UserError(f"{file}: label {str(values[row])!r} of picture {row}; valid: 0, 1")
        labels[:, column] = np.where(values == "1", POSITIVE, NEGATIVE)
    found = checked_images(list_file, root / "Flickr", paths, labels, tuple(classes))
    if unannotated == "drop":
        return found.subset(np.flatnonzero((labels == POSITIVE).any(axis=1)))
    return found


def read_open_images(
    root: Path, split: str, *, classes_file: str = "oidv6-classes-trainable.txt"
) -> LabelledImages:
    """Read the human-verified image labels of Open Images: 1 positive, 0 negative, else unknown.

    The pictures are those in the folder of the split, sorted by name, so that a part of the
    download is a data set too. Where the verifications of a label disagree, it is positive. The
    labels take N x C bytes: name fewer classes than the 9,605 trainable ones for many pictures.

    Args:
        split: "train", "val" or "test".
        classes_file: the classes under ``root``, one identifier (``/m/...``) a line.

    Raises:
        UserError: a file is missing, the folder has no picture, a class has no description, or a
            line of the labels is malformed.
    """
    _require_split(split, tuple(_OPEN_IMAGES))
    folder, label_name = _OPEN_IMAGES[split]
    problem = f"data.root {root} is not the root of Open Images"
    identifiers = _lines(root / classes_file, problem)
    refuse_duplicates(identifiers, f"{root / classes_file}: class")
    names = sorted(name for name in _listing(root / folder) if name.lower().endswith(".jpg"))
    images = [name[: -len(".jpg")] for name in names]
    refuse_duplicates(images, f"{root / folder}: picture")
    row_of = {image: row for row, image in enumerate(images)}
    column_of = {identifier: column for column, identifier in enumerate(identifiers)}
    labels = np.full((len(names), len(identifiers)), UNKNOWN, np.int8)
    file = root / f"oidv7-{label_name}-annotations-human-imagelabels.csv"

    def enter(line: int, record: list[str]) -> None:
        image, _, identifier, confidence = record
        row, column = row_of.get(image), column_of.get(identifier)
        if row is None or column is None:
            return
        value = {"1": POSITIVE, "1.0": POSITIVE, "0": NEGATIVE, "0.0": NEGATIVE}.get(confidence)
        if value is None:
            raise UserError(
                f"{file}, line {line}: confidence {confidence!r}; human-verified labels have 1 or 0"
            )
        if value == POSITIVE or labels[row, column] == UNKNOWN:
            labels[row, column] = value

    _read_table(file, ["ImageID", "Source", "LabelName", "Confidence"], enter)
    classes = _display_names(root / "oidv7-class-descriptions.csv", identifiers)
    return checked_images(root / folder, root / folder, names, labels, classes)


def _display_names(file: Path, identifiers: list[str]) -> tuple[str, ...]:
    """The English names; one that several classes share gets the identifier added."""
    name_of: dict[str, str] = {}

    def enter(line: int, record: list[str]) -> None:
        name_of[record[0]] = record[1]

    _read_table(file, ["LabelName", "DisplayName"], enter)
    for identifier in identifiers:
        if identifier not in name_of:
            raise UserError(f"{file}: no line for class {identifier!r}")
    count = Counter(name_of[identifier] for identifier in identifiers)
    return tuple(
        name_of[i] if count[name_of[i]] == 1 else f"{name_of[i]} ({i})" for i in identifiers
    )


def _read_table(file: Path, columns: list[str], enter: Callable[[int, list[str]], None]) -> None:
    """Call ``enter(line number, fields)`` for every line below the header of a CSV file."""
    require_file(file, "a table of Open Images is missing")
    lines = read_cells(file)
    header = next(lines, (1, []))[1]
    if header != columns:
        raise UserError(f"{file}: the columns are {header}, expected {columns}")
    for line, record in lines:
        if len(record) != len(columns):
            raise UserError(f"{file}, line {line}: {record}; expected {columns}")
        enter(line, record)


def _lines(file: Path, problem: str) -> list[str]:
    """The lines of a text file without surrounding blanks; blank lines are none."""
    return [line.strip() for line in read_text(file, problem).splitlines() if line.strip()]


def _listing(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def _require_split(split: str, valid: tuple[str, ...]) -> None:
    if split not in valid:
        raise UserError(f"no split {split!r}; it has {sorted(valid)}")
