"""Reader of Visual Genome with the classes of SSGRL (VG-500, VG-200).

============  ===================================  =========================
name          labels under ``root``                pictures under ``root``
============  ===================================  =========================
vg500, vg200  {train,test}_list_500.txt,           VG_100K/, VG_100K_2/
              vg_category_500_labels_index.json
============  ===================================  =========================
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pumlc.errors import UserError
from pumlc.files import read_json
from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.vision.data.images import (
    LabelledImages,
    checked_images,
    names_in,
    refuse_duplicates,
    require_file,
    stripped_lines,
)
from pumlc.vision.data.readers.data_set import DataSet, Download, NoOptions, require_split

_SPLITS = ("train", "test")


@dataclass(frozen=True)
class VisualGenomeReader:
    """Reads the first ``num_classes`` of the 500 classes."""

    num_classes: Literal[200, 500]
    options: ClassVar[type] = NoOptions

    def splits(self, root: Path, options: NoOptions) -> tuple[str, ...]:
        return _SPLITS

    def read(
        self, root: Path, split: str, options: NoOptions, classes: tuple[str, ...] | None = None
    ) -> LabelledImages:
        return read_visual_genome(root, split, num_classes=self.num_classes)


def read_visual_genome(root: Path, split: str, *, num_classes: Literal[200, 500]) -> LabelledImages:
    """Read VG-500 or VG-200 as SSGRL and HCP-MLR-PL define them: unlisted labels are negative.

    The classes of VG-200 are the first 200 of VG-500. The files have numbers instead of names, so
    the classes are called "0", "1", ...

    Args:
        root: folder of the data set.
        split: "train" or "test".
        num_classes: 200 or 500.

    Raises:
        UserError: a file or picture is missing, a picture has no labels in the index, or the index
            is not a JSON object of lists of class numbers.
    """
    require_split(split, _SPLITS, f"vg{num_classes}")
    list_file = root / f"{split}_list_500.txt"
    index_file = root / "vg_category_500_labels_index.json"
    names = stripped_lines(list_file, f"data.root {root} is not the root of Visual Genome")
    refuse_duplicates(names, f"{list_file}: picture")
    require_file(index_file, "the labels of Visual Genome are missing")
    index = read_json(index_file)
    if not isinstance(index, dict):
        raise UserError(f"{index_file}: expected an object of pictures, got {str(index)[:80]}")
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
    second = names_in(root / "VG_100K_2")
    paths = [f"VG_100K_2/{name}" if name in second else f"VG_100K/{name}" for name in names]
    classes = tuple(str(number) for number in range(num_classes))
    return checked_images(list_file, root, paths, labels, classes)


_LISTS = "https://github.com/HCPLab-SYSU/SSGRL/tree/master/data/VG"
_PICTURES = "https://cs.stanford.edu/people/rak248/VG_100K_2"
_DOWNLOAD = Download(
    "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html",
    {
        "train_list_500.txt": _LISTS,
        "test_list_500.txt": _LISTS,
        "vg_category_500_labels_index.json": _LISTS,
        "VG_100K": f"{_PICTURES}/images.zip",
        "VG_100K_2": f"{_PICTURES}/images2.zip",
    },
    {"train": None, "test": 10_000},
)

DATA_SETS = {
    "vg500": DataSet(VisualGenomeReader(500), _DOWNLOAD),
    "vg200": DataSet(VisualGenomeReader(200), _DOWNLOAD),
}
