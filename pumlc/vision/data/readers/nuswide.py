"""Reader of NUS-WIDE with its 81 concepts.

=======  =============================================  =========================
name     labels under ``root``                          pictures under ``root``
=======  =============================================  =========================
nuswide  ConceptsList/Concepts81.txt,                   Flickr/
         ImageList/{Train,Test}Imagelist.txt,
         Groundtruth/TrainTestLabels/Labels_*.txt
=======  =============================================  =========================
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pumlc.errors import UserError
from pumlc.files import read_text
from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.vision.data.images import (
    LabelledImages,
    checked_images,
    refuse_duplicates,
    require_file,
    stripped_lines,
)
from pumlc.vision.data.readers.data_set import (
    AnnotationOptions,
    DataSet,
    Download,
    require_split,
)

_SPLITS = ("train", "test")


@dataclass(frozen=True)
class NusWideReader:
    """Reads the owners' train and test lists."""

    options: ClassVar[type] = AnnotationOptions

    def splits(self, root: Path, options: AnnotationOptions) -> tuple[str, ...]:
        return _SPLITS

    def read(
        self,
        root: Path,
        split: str,
        options: AnnotationOptions,
        classes: tuple[str, ...] | None = None,
    ) -> LabelledImages:
        return read_nus_wide(root, split, unannotated=options.unannotated)


def read_nus_wide(
    root: Path, split: str, *, unannotated: Literal["keep", "drop"] = "keep"
) -> LabelledImages:
    """Read NUS-WIDE with its 81 concepts: 1 is positive, 0 negative.

    Args:
        root: folder of the data set.
        split: "train" (161,789 pictures) or "test" (107,859).
        unannotated: pictures without any of the 81 concepts, about a fifth: "keep" or "drop".

    Raises:
        UserError: a file or picture is missing, a picture or concept is listed twice, a label file
            and the picture list differ in their number of lines, or a label is neither 0 nor 1.
    """
    require_split(split, _SPLITS, "nuswide")
    part = split.capitalize()
    list_file = root / "ImageList" / f"{part}Imagelist.txt"
    names = _numbered_lines(list_file, f"data.root {root} is not the root of NUS-WIDE")
    paths = [name.replace("\\", "/") for name in names]  # the list was written on Windows
    refuse_duplicates(paths, f"{list_file}: picture")
    classes = stripped_lines(
        root / "ConceptsList" / "Concepts81.txt", "the concepts of NUS-WIDE are missing"
    )
    refuse_duplicates(classes, f"{root / 'ConceptsList' / 'Concepts81.txt'}: concept")
    labels = np.empty((len(paths), len(classes)), np.int8)
    for column, name in enumerate(classes):
        file = root / "Groundtruth" / "TrainTestLabels" / f"Labels_{name}_{part}.txt"
        values = np.array(_numbered_lines(file, "the labels of NUS-WIDE are incomplete"))
        if len(values) != len(paths):
            raise UserError(
                f"{file}: {len(values)} labels for {len(paths)} pictures of {list_file}"
            )
        wrong = (values != "0") & (values != "1")
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UserError(f"{file}: label {str(values[row])!r} of picture {row}; valid: 0, 1")
        labels[:, column] = np.where(values == "1", POSITIVE, NEGATIVE)
    pictures = checked_images(list_file, root / "Flickr", paths, labels, tuple(classes))
    if unannotated == "keep":
        return pictures
    return pictures.subset(np.flatnonzero((labels == POSITIVE).any(axis=1)))


def _numbered_lines(file: Path, problem: str) -> list[str]:
    """The lines of a file whose line number says which picture they are about.

    Raises:
        UserError: The file does not exist, is not UTF-8, or has a blank line before its last line.
    """
    require_file(file, problem)
    lines = [line.strip() for line in read_text(file).rstrip().split("\n")]
    if "" in lines:
        raise UserError(
            f"{file}, line {lines.index('') + 1}: blank; line N of each file is about picture N"
        )
    return lines


_LISTS = "https://github.com/NExTplusplus/NUS-WIDE"
_PAGE = "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"
_DOWNLOAD = Download(
    _PAGE,
    {
        "ConceptsList/Concepts81.txt": _LISTS,
        "Groundtruth/TrainTestLabels": _LISTS,
        "ImageList/TrainImagelist.txt": _PAGE,
        "ImageList/TestImagelist.txt": _PAGE,
        "Flickr": f"on request: {_PAGE}",
    },
    {"train": 161_789, "test": 107_859},
)

DATA_SETS = {"nuswide": DataSet(NusWideReader(), _DOWNLOAD)}
