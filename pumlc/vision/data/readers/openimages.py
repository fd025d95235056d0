"""Reader of Open Images, human-verified image labels.

==========  ===========================================================  ==========================
name        labels under ``root``                                        pictures under ``root``
==========  ===========================================================  ==========================
openimages  oidv6-classes-trainable.txt, oidv7-class-descriptions.csv,   {train,validation,test}/
            oidv7-{train,val,test}-annotations-human-imagelabels.csv
==========  ===========================================================  ==========================
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pumlc.errors import UserError
from pumlc.files import read_cells
from pumlc.vision.data.images import (
    LabelledImages,
    checked_images,
    names_in,
    refuse_duplicates,
    require_file,
    stripped_lines,
)
from pumlc.vision.data.label_rows import scattered_labels
from pumlc.vision.data.readers.data_set import DataSet, Download, NoOptions, require_split
from pumlc.vision.data.scattered import ScatteredLabels

# split of pumlc -> folder of the pictures, name in the label file
_SPLITS = {"train": ("train", "train"), "val": ("validation", "val"), "test": ("test", "test")}
_TABLES = {
    name: f"oidv7-{name}-annotations-human-imagelabels.csv" for name in ("train", "val", "test")
}
_CODES = {"1": 1, "1.0": 1, "0": 2, "0.0": 2}  # present and absent


@dataclass(frozen=True)
class OpenImagesReader:
    """Reads the existing pictures of the existing splits."""

    options: ClassVar[type] = NoOptions

    def splits(self, root: Path, options: NoOptions) -> tuple[str, ...]:
        absent = _DOWNLOAD.absent_splits(root)
        return tuple(split for split in _SPLITS if split not in absent)

    def read(
        self, root: Path, split: str, options: NoOptions, classes: tuple[str, ...] | None = None
    ) -> LabelledImages:
        return read_open_images(root, split)


def read_open_images(
    root: Path, split: str, *, classes_file: str = "oidv6-classes-trainable.txt"
) -> LabelledImages:
    """Read the human-verified image labels of Open Images: 1 positive, 0 negative, else unknown.

    The pictures are those in the folder of the split, sorted by name, so that a part of the
    download is a data set too. If the verifications of a label disagree, it is positive. Up to 2^28
    labels are a matrix of N x C bytes; of more, only what the file lists is stored.

    Args:
        root: folder of the data set.
        split: "train", "val" or "test".
        classes_file: file of the classes under ``root``, one identifier (``/m/...``) per line.

    Raises:
        UserError: a file is missing, the folder has no picture, a class has no description, or a
            line of the labels is malformed.
    """
    require_split(split, tuple(_SPLITS), "openimages")
    folder, label_name = _SPLITS[split]
    problem = f"data.root {root} is not the root of Open Images"
    identifiers = stripped_lines(root / classes_file, problem)
    refuse_duplicates(identifiers, f"{root / classes_file}: class")
    names = sorted(name for name in names_in(root / folder) if name.lower().endswith(".jpg"))
    images = [name[: -len(".jpg")] for name in names]
    refuse_duplicates(images, f"{root / folder}: picture")
    row_of = {image: row for row, image in enumerate(images)}
    column_of = {identifier: column for column, identifier in enumerate(identifiers)}
    listed = ScatteredLabels()
    file = root / _TABLES[label_name]
    for line, record in _records(file, ["ImageID", "Source", "LabelName", "Confidence"]):
        image, _, identifier, confidence = record
        row, column = row_of.get(image), column_of.get(identifier)
        if row is None or column is None:
            continue
        code = _CODES.get(confidence)
        if code is None:
            raise UserError(
                f"{file}, line {line}: confidence {confidence!r}; human-verified labels have 1 or 0"
            )
        listed.add(row, column, code)
    labels = scattered_labels(listed, len(names), len(identifiers))
    classes = _display_names(root / "oidv7-class-descriptions.csv", identifiers)
    return checked_images(root / folder, root / folder, names, labels, classes)


def _display_names(file: Path, identifiers: list[str]) -> tuple[str, ...]:
    """The English names; a name that several classes share also gets the identifier."""
    name_of = dict(record for _, record in _records(file, ["LabelName", "DisplayName"]))
    for identifier in identifiers:
        if identifier not in name_of:
            raise UserError(f"{file}: no line for class {identifier!r}")
    count = Counter(name_of[identifier] for identifier in identifiers)
    return tuple(
        name_of[i] if count[name_of[i]] == 1 else f"{name_of[i]} ({i})" for i in identifiers
    )


def _records(file: Path, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line below the header of a CSV file."""
    require_file(file, "a table of Open Images is missing")
    lines = read_cells(file)
    header = next(lines, (1, []))[1]
    if header != columns:
        raise UserError(f"{file}: the columns are {header}, expected {columns}")
    for line, record in lines:
        if len(record) != len(columns):
            raise UserError(f"{file}, line {line}: {record}; expected {columns}")
        yield line, record


_SERVER = "https://storage.googleapis.com/openimages"
_PAGE = f"{_SERVER}/web/download_v7.html"
_DOWNLOAD = Download(
    _PAGE,
    {
        "oidv6-classes-trainable.txt": f"{_SERVER}/v6/oidv6-classes-trainable.txt",
        "oidv7-class-descriptions.csv": f"{_SERVER}/v7/oidv7-class-descriptions.csv",
        **{table: f"{_SERVER}/v7/{table}" for table in _TABLES.values()},
        **{folder: _PAGE for folder, _ in _SPLITS.values()},
    },
    {"train": None, "val": 41_620, "test": 125_436},
    {split: (folder, _TABLES[name]) for split, (folder, name) in _SPLITS.items()},
)

DATA_SETS = {"openimages": DataSet(OpenImagesReader(), _DOWNLOAD)}
