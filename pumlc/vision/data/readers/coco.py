"""Reader of COCO instances files: those of COCO itself and the user's own.

=========  ==============================================  =========================
name       labels under ``root``                           pictures under ``root``
=========  ==============================================  =========================
coco       annotations/instances_{train,val}.json          {train,val}/
coco2014   annotations/instances_{train,val}2014.json      {train,val}2014/
coco2017   annotations/instances_{train,val}2017.json      {train,val}2017/
=========  ==============================================  =========================

The file of ``val`` is the split "test".
"""

import contextlib
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from pumlc.errors import UserError, warn_user
from pumlc.files import read_json
from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.vision.data.images import (
    LabelledImages,
    checked_images,
    refuse_duplicates,
    require_file,
)
from pumlc.vision.data.readers.data_set import (
    AnnotationOptions,
    DataSet,
    Download,
    require_split,
)

# split of pumlc -> split of COCO; the labels of COCO's own test parts are not public
_SPLITS = {"train": "train", "test": "val"}

# the parts of a COCO file that are read: list -> key of its entries -> valid types
_NEEDED = {
    "images": {"id": (int, float, str), "file_name": (str,)},
    "annotations": {"image_id": (int, float, str), "category_id": (int, float)},
    "categories": {"id": (int, float), "name": (str,)},
}


@dataclass(frozen=True)
class CocoReader:
    """Reads COCO files; ``name`` (coco, coco2014, coco2017) decides the names of the files."""

    name: str
    options: ClassVar[type] = AnnotationOptions

    def splits(self, root: Path, options: AnnotationOptions) -> tuple[str, ...]:
        return tuple(_SPLITS)

    def read(
        self,
        root: Path,
        split: str,
        options: AnnotationOptions,
        classes: tuple[str, ...] | None = None,
    ) -> LabelledImages:
        return read_coco(root, split, name=self.name, unannotated=options.unannotated)


def read_coco(
    root: Path, split: str, *, name: str = "coco2014", unannotated: Literal["keep", "drop"] = "keep"
) -> LabelledImages:
    """Read COCO instances: a class is positive if the picture has an annotation of it.

    Pictures keep the order of the JSON file (the label masks of the partial-label literature depend
    on it); classes go by ascending category id.

    Args:
        root: folder of the data set.
        split: "train" or "test".
        name: "coco2014", "coco2017", or "coco" for the user's own data.
        unannotated: pictures without any annotation: "keep" (82,783 + 40,504 in COCO 2014, HCP and
            PU-MLC) or "drop" (82,081 + 40,137: ASL, CSL, SPLC, DualCoOp).

    Raises:
        UserError: a file, picture or key is missing, an id or name occurs twice, or an annotation
            names an id that the file does not have.
    """
    from pycocotools.coco import COCO

    require_split(split, tuple(_SPLITS), name)
    folder = f"{_SPLITS[split]}{name.removeprefix('coco')}"
    file = root / "annotations" / f"instances_{folder}.json"
    require_file(file, f"data.root {root} is not the root of {name}")
    coco = COCO()
    content = _content(file)
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number  # pycocotools needs one, and some files have none
    coco.dataset = content  # pyright: ignore[reportAttributeAccessIssue]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    images, categories = content["images"], sorted(coco.cats)
    row_of = {image["id"]: row for row, image in enumerate(images)}
    labels = np.full((len(images), len(categories)), NEGATIVE, np.int8)
    for column, category in enumerate(categories):
        labels[[row_of[image] for image in coco.catToImgs[category]], column] = POSITIVE
    _warn_of_grouping(file, content)
    paths = [image["file_name"] for image in images]
    classes = tuple(coco.cats[category]["name"] for category in categories)
    pictures = checked_images(file, root / folder, paths, labels, classes)
    if unannotated == "keep":
        return pictures
    return pictures.subset(np.flatnonzero((labels == POSITIVE).any(axis=1)))


def _content(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Images, annotations and categories, checked for needed keys and duplicates."""
    content = read_json(file)
    for part, needed in _NEEDED.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(
                f"{file}: not a COCO instances file: no list {part!r}; needed: {', '.join(_NEEDED)}"
            )
        for number, entry in enumerate(entries):
            for key, types in needed.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(key), types):
                    raise UserError(
                        f"{file}: {part}[{number}] needs {key!r} of type "
                        f"{' or '.join(kind.__name__ for kind in types)}, got {str(entry)[:200]}"
                    )
    images, categories = content["images"], content["categories"]
    refuse_duplicates((_spelled(image["id"]) for image in images), f"{file}: image id")
    names = (os.path.normpath(image["file_name"]) for image in images)
    refuse_duplicates(names, f"{file}: image file_name")
    refuse_duplicates((_spelled(entry["id"]) for entry in categories), f"{file}: category id")
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


def _spelled(identifier: float | str) -> str:
    """One spelling of identifiers that are equal in Python or on paper: 1, 1.0, true and "1"."""
    if isinstance(identifier, int) or isinstance(identifier, float) and identifier.is_integer():
        return str(int(identifier))
    return str(identifier)


def _warn_of_grouping(file: Path, content: dict[str, list[dict[str, Any]]]) -> None:
    """Warn of categories that only group others; exporters write one as the root of all."""
    categories = content["categories"]
    members = Counter(
        category["supercategory"]
        for category in categories
        if isinstance(category.get("supercategory"), str)
        and category["supercategory"] != category["name"]
    )
    annotated = {annotation["category_id"] for annotation in content["annotations"]}
    grouping = [
        f"{category['name']!r} (supercategory of {members[category['name']]} others)"
        for category in categories
        if members[category["name"]] and category["id"] not in annotated
    ]
    if grouping:
        warn_user(
            f"{file}: {', '.join(grouping)} has no annotation, so it is a class that is absent in "
            "every picture; if it only groups others, remove it from 'categories'",
        )


_SERVER = "http://images.cocodataset.org"


def _published(year: str, train: int, test: int) -> DataSet:
    annotations = f"{_SERVER}/annotations/annotations_trainval{year}.zip"
    download = Download(
        "https://cocodataset.org/#download",
        {
            f"annotations/instances_train{year}.json": annotations,
            f"annotations/instances_val{year}.json": annotations,
            f"train{year}": f"{_SERVER}/zips/train{year}.zip",
            f"val{year}": f"{_SERVER}/zips/val{year}.zip",
        },
        {"train": train, "test": test},
    )
    return DataSet(CocoReader(f"coco{year}"), download)


DATA_SETS = {
    "coco": DataSet(CocoReader("coco")),
    "coco2014": _published("2014", 82_783, 40_504),
    "coco2017": _published("2017", 118_287, 5_000),
}
