"""Readers of COCO and PASCAL VOC.

Every reader returns a `LabelledImages` and checks its input once; what is wrong is reported with
the file, the row and what would be valid. Layouts:

=========  ===================================================  =========================
name       labels under ``root``                                pictures under ``root``
=========  ===================================================  =========================
coco       annotations/instances_{train,val}.json               {train,val}/
coco2014   annotations/instances_{train,val}2014.json           {train,val}2014/
coco2017   annotations/instances_{train,val}2017.json           {train,val}2017/
voc2007    VOC2007/ImageSets/Main/{trainval,test}.txt           VOC2007/JPEGImages/
voc2012    VOC2012/ImageSets/Main/{train,val}.txt               VOC2012/JPEGImages/
=========  ===================================================  =========================
"""

import contextlib
import io
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pumlc.engine.config import closest
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

# split of pumlc -> split of the data set; the official VOC 2012 test labels are not public
_SPLITS = {
    "coco": {"train": "train", "test": "val"},
    "coco2014": {"train": "train2014", "test": "val2014"},
    "coco2017": {"train": "train2017", "test": "val2017"},
    "voc2007": {"train": "trainval", "test": "test"},
    "voc2012": {"train": "train", "test": "val"},
}

# what the readers need of a COCO file: list -> key of its entries -> type
_COCO = {
    "images": {"id": (int, float, str), "file_name": (str,)},
    "annotations": {"image_id": (int, float, str), "category_id": (int, float)},
    "categories": {"id": (int, float), "name": (str,)},
}

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


def read_coco(
    root: Path, split: str, *, name: str = "coco2014", unannotated: Literal["keep", "drop"] = "keep"
) -> LabelledImages:
    """Read COCO instances: a class is positive if the picture has an annotation of it.

    Pictures keep the order of the JSON file (the label masks of the partial-label literature depend
    on it); classes go by ascending category id.

    Args:
        unannotated: pictures without any annotation: "keep" (82,783 + 40,504 in COCO 2014, HCP and
            PU-MLC) or "drop" (82,081 + 40,137: ASL, CSL, SPLC, DualCoOp).

    Raises:
        UserError: see the module.
    """
    from pycocotools.coco import COCO

    folder = _split_name(name, split)
    file = root / "annotations" / f"instances_{folder}.json"
    coco = COCO()
    content = _coco_content(file, f"data.root {root} is not the root of {name}")
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number  # pycocotools wants one; files made at home may have none
    coco.dataset = content  # pyright: ignore[reportAttributeAccessIssue]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        coco.createIndex()
    images, categories = content["images"], sorted(coco.cats)
    row_of = {image["id"]: row for row, image in enumerate(images)}
    labels = np.full((len(images), len(categories)), NEGATIVE, np.int8)
    for column, category in enumerate(categories):
        labels[[row_of[image] for image in coco.catToImgs[category]], column] = POSITIVE
    paths = [image["file_name"] for image in images]
    classes = tuple(coco.cats[category]["name"] for category in categories)
    found = checked_images(file, root / folder, paths, labels, classes)
    if unannotated == "keep":
        return found
    return found.subset(np.flatnonzero((labels == POSITIVE).any(axis=1)))


def _coco_content(file: Path, problem: str) -> dict[str, list[dict[str, Any]]]:
    """Images, annotations and categories, each with what is needed of it and each once."""
    content = read_json(file, problem)
    for part, needed in _COCO.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(
                f"{file}: not a COCO instances file: no list {part!r}; needed: {', '.join(_COCO)}"
            )
        for number, entry in enumerate(entries):
            for key, types in needed.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(key), types):
                    raise UserError(
                        f"{file}: {part}[{number}] needs {key!r} of type "
                        f"{' or '.join(kind.__name__ for kind in types)}, got {str(entry)[:200]}"
                    )
    images, categories = content["images"], content["categories"]
    refuse_duplicates((str(image["id"]) for image in images), f"{file}: image id")
    names = (os.path.normpath(image["file_name"]) for image in images)
    refuse_duplicates(names, f"{file}: image file_name")
    refuse_duplicates((str(category["id"]) for category in categories), f"{file}: category id")
    refuse_duplicates((category["name"] for category in categories), f"{file}: category name")
    known = {
        "image_id": {image["id"] for image in images},
        "category_id": {category["id"] for category in categories},
    }
    for number, annotation in enumerate(content["annotations"]):
        for key, ids in known.items():
            if annotation[key] not in ids:
                first = ", ".join(str(known_id) for known_id in sorted(ids, key=str)[:100])
                raise UserError(
                    f"{file}: annotations[{number}] has {key} {annotation[key]}, which is not "
                    f"among the {len(ids)} of the file: {first}"
                )
    return content


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
        difficult: label of a class of which a picture shows only objects marked difficult:
            "negative" (HCP and PU-MLC) or "unknown" (the official evaluation ignores them).

    Raises:
        UserError: see the module.
    """
    home = root / name.upper()
    split = _split_name(name, split)
    sets = home / "ImageSets" / "Main"
    list_file = sets / f"{split}.txt"
    text = read_text(list_file, f"data.root {root} is not a VOCdevkit folder with {name.upper()}")
    names = [line.split()[0] for line in text.splitlines() if line.strip()]
    refuse_duplicates(names, f"{list_file}: image")
    row_of = {name: row for row, name in enumerate(names)}
    class_files = [sets / f"{class_name}_{split}.txt" for class_name in VOC_CLASSES]
    if any(file.is_file() for file in class_files):
        labels = np.stack([_voc_class_file(file, row_of) for file in class_files], axis=1)
    else:
        labels = np.stack([_voc_xml(home / "Annotations" / f"{name}.xml") for name in names])
    labels[labels == 0] = NEGATIVE if difficult == "negative" else UNKNOWN
    paths = [f"{name}.jpg" for name in names]
    return checked_images(list_file, home / "JPEGImages", paths, labels, VOC_CLASSES)


def _split_name(name: str, split: str) -> str:
    splits = _SPLITS[name]
    if split not in splits:
        raise UserError(f"data set {name} has no split {split!r}; it has {sorted(splits)}")
    return splits[split]


def _voc_class_file(file: Path, row_of: dict[str, int]) -> np.ndarray:
    text = read_text(file, "the class files of the split are incomplete")
    values = np.full(len(row_of), 127, np.int8)
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, _, value = line.strip().partition(" ")
        if value.strip() not in ("1", "0", "-1"):
            raise UserError(f"{file}, line {number}: label {value.strip()!r}; valid: 1, 0, -1")
        if name not in row_of:
            continue
        if values[row_of[name]] != 127:
            raise UserError(f"{file}, line {number}: image {name!r} is listed already")
        values[row_of[name]] = int(value)
    if (values == 127).any():
        name = list(row_of)[int(np.argmax(values == 127))]
        raise UserError(f"{file}: no line for image {name!r}, which the split lists")
    return values


def _voc_xml(file: Path) -> np.ndarray:
    """1 for classes with an ordinary object, 0 for those with difficult ones alone, else -1."""
    require_file(file, "neither class files nor annotations for the split")
    values = np.full(len(VOC_CLASSES), NEGATIVE, np.int8)
    try:
        objects = ElementTree.parse(file).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise UserError(f"{file}: not XML ({error})") from None
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
