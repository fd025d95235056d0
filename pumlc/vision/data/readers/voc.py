"""Reader of PASCAL VOC.

=======  ===============================================  =======================
name     labels under ``root``                            pictures under ``root``
=======  ===============================================  =======================
voc2007  VOC2007/ImageSets/Main/{trainval,test}.txt       VOC2007/JPEGImages/
voc2012  VOC2012/ImageSets/Main/{train,val}.txt           VOC2012/JPEGImages/
=======  ===============================================  =======================
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pumlc.errors import UserError, closest
from pumlc.files import read_text
from pumlc.labels import NEGATIVE, UNKNOWN
from pumlc.progress import counted
from pumlc.vision.data.images import (
    LabelledImages,
    checked_images,
    refuse_duplicates,
    require_file,
)
from pumlc.vision.data.readers.data_set import DataSet, Download, require_split

# split of pumlc -> split of the data set; the official VOC 2012 test labels are not public
_SPLITS = {
    "voc2007": {"train": "trainval", "test": "test"},
    "voc2012": {"train": "train", "test": "val"},
}

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)

_NOT_LISTED = 127


@dataclass(kw_only=True)
class VocOptions:
    """Settings of PASCAL VOC."""

    difficult: Literal["negative", "unknown"] = "negative"
    """voc: label of a class with only difficult objects (HCP: negative; official: unknown)"""


@dataclass(frozen=True)
class VocReader:
    """Reads the classification labels of ``name`` (voc2007, voc2012)."""

    name: str
    options: ClassVar[type] = VocOptions

    def splits(self, root: Path, options: VocOptions) -> tuple[str, ...]:
        return tuple(_SPLITS[self.name])

    def read(
        self, root: Path, split: str, options: VocOptions, classes: tuple[str, ...] | None = None
    ) -> LabelledImages:
        return read_voc(root, split, name=self.name, difficult=options.difficult)


def read_voc(
    root: Path,
    split: str,
    *,
    name: str = "voc2007",
    difficult: Literal["negative", "unknown"] = "negative",
) -> LabelledImages:
    """Read PASCAL VOC image-level labels from the class files or, without them, from the XML.

    Args:
        root: the VOCdevkit folder.
        split: "train" or "test".
        name: "voc2007" or "voc2012".
        difficult: label of a class if a picture shows only objects of it that are marked difficult:
            "negative" (HCP and PU-MLC) or "unknown" (the official evaluation ignores them).

    Raises:
        UserError: a file or picture is missing, a picture is listed twice, or a label or class is
            unknown.
    """
    require_split(split, tuple(_SPLITS[name]), name)
    home = root / name.upper()
    own_split = _SPLITS[name][split]
    sets = home / "ImageSets" / "Main"
    list_file = sets / f"{own_split}.txt"
    require_file(list_file, f"data.root {root} is not a VOCdevkit folder with {name.upper()}")
    names = [line.split()[0] for line in read_text(list_file).splitlines() if line.strip()]
    refuse_duplicates(names, f"{list_file}: image")
    row_of = {name: row for row, name in enumerate(names)}
    class_files = [sets / f"{class_name}_{own_split}.txt" for class_name in VOC_CLASSES]
    if any(file.is_file() for file in class_files):
        labels = np.stack([_class_file(file, row_of) for file in class_files], axis=1)
    else:
        rows = [_annotation(home / "Annotations" / f"{name}.xml") for name in counted(names)]
        labels = np.array(rows, np.int8).reshape(len(names), len(VOC_CLASSES))
    labels[labels == 0] = NEGATIVE if difficult == "negative" else UNKNOWN
    paths = [f"{name}.jpg" for name in names]
    return checked_images(list_file, home / "JPEGImages", paths, labels, VOC_CLASSES)


def _class_file(file: Path, row_of: dict[str, int]) -> np.ndarray:
    """The labels of one class, [N]: 1, 0 (only difficult objects) or -1."""
    require_file(file, "the class files of the split are incomplete")
    values = np.full(len(row_of), _NOT_LISTED, np.int8)
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        name, _, value = line.strip().partition(" ")
        if value.strip() not in ("1", "0", "-1"):
            raise UserError(f"{file}, line {number}: label {value.strip()!r}; valid: 1, 0, -1")
        if name not in row_of:
            continue
        if values[row_of[name]] != _NOT_LISTED:
            raise UserError(f"{file}, line {number}: image {name!r} is listed already")
        values[row_of[name]] = int(value)
    if (values == _NOT_LISTED).any():
        name = list(row_of)[int(np.argmax(values == _NOT_LISTED))]
        raise UserError(f"{file}: no line for image {name!r}, which the split lists")
    return values


def _annotation(file: Path) -> np.ndarray:
    """The labels of one picture, [C]: 1 with an ordinary object, 0 with only difficult ones, -1."""
    require_file(file, "neither class files nor annotations for the split")
    values = np.full(len(VOC_CLASSES), NEGATIVE, np.int8)
    try:
        # expat fetches no entity, and since 2.4 it refuses entities that expand without limit
        objects = ElementTree.parse(file).getroot().findall("object")  # noqa: S314
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: encoding
        raise UserError(f"{file}: not XML ({error})") from error
    for element in objects:
        class_name = element.findtext("name", "").strip()
        if class_name not in VOC_CLASSES:
            raise UserError(
                f"{file}: unknown class {class_name!r}; {closest(class_name, VOC_CLASSES)}"
            )
        column = VOC_CLASSES.index(class_name)
        ordinary = element.findtext("difficult", "0").strip() != "1"
        values[column] = 1 if ordinary else max(values[column], 0)
    return values


_SERVER = "http://host.robots.ox.ac.uk/pascal/VOC"
_ARCHIVE_2012 = f"{_SERVER}/voc2012/VOCtrainval_11-May-2012.tar"

DATA_SETS = {
    "voc2007": DataSet(
        VocReader("voc2007"),
        Download(
            f"{_SERVER}/voc2007/",
            {
                "VOC2007/ImageSets/Main/trainval.txt": (
                    f"{_SERVER}/voc2007/VOCtrainval_06-Nov-2007.tar"
                ),
                "VOC2007/ImageSets/Main/test.txt": f"{_SERVER}/voc2007/VOCtest_06-Nov-2007.tar",
                "VOC2007/JPEGImages": "both archives",
            },
            {"train": 5_011, "test": 4_952},
        ),
    ),
    "voc2012": DataSet(
        VocReader("voc2012"),
        Download(
            f"{_SERVER}/voc2012/",
            {
                "VOC2012/ImageSets/Main/train.txt": _ARCHIVE_2012,
                "VOC2012/ImageSets/Main/val.txt": _ARCHIVE_2012,
                "VOC2012/JPEGImages": _ARCHIVE_2012,
            },
            {"train": 5_717, "test": 5_823},
        ),
    ),
}
