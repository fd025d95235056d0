"""Reader of a label file of any format of `pumlc.vision.data.formats`: the data set ``labels``."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pumlc.engine.config import require
from pumlc.errors import UserError
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.formats.label_format import ReadOptions
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.label_file import refuse, spelled_values
from pumlc.vision.data.label_matrix import label_matrix
from pumlc.vision.data.label_table import LabelTable, State
from pumlc.vision.data.packed_names import encoded_names
from pumlc.vision.data.partition import group_numbers, hold_out
from pumlc.vision.data.picture_files import PictureFiles, locate
from pumlc.vision.data.readers.data_set import DataSet, UnlistedOptions

SPLITS = ("train", "test", "val")
_SPLITS_OF: dict[tuple[object, ...] | None, tuple[str, ...]] = {}
"""The splits of the file that was read last: a large one takes minutes."""
_WITH_LINES = ("csv", "wide", "chexpert")


@dataclass(kw_only=True)
class LabelFileOptions(UnlistedOptions):
    """Settings of a label file whose format is recognised by its content."""

    labels: str | None = field(default=None, metadata={"place": True})
    """a label file, or the folder of one, in any format of docs/label_formats.md; it replaces
    data.name and data.csv"""
    format: str | None = None
    """labels: format of the file; none: recognised by its content"""
    values: dict[str, str] | None = None
    """labels: meaning of the values of a table: value -> present, absent, unknown or uncertain; the
    value unlisted stands for labels that are not listed"""
    separator: str | None = None
    """labels: what separates the labels in a cell; blank: blanks. none: as the cells show"""
    uncertain: (
        Literal["unknown", "present", "absent"] | dict[str, Literal["unknown", "present", "absent"]]
    ) = "unknown"
    """labels: what uncertain labels become for training; or class -> state, the others unknown.
    Validation and evaluation leave them out"""
    allow_outside: bool = False
    """labels: allow pictures outside data.root"""
    test: float = 0.0
    """labels: part of the training pictures held out as the split test, stratified over labels"""
    test_seed: int = 0
    """labels: seed of the choice of the test part"""
    group: str | None = None
    """labels: column that names the patient, scene or video of a picture; path:2: the second folder
    of its path. Pictures of one group are held out, and left out, together"""

    def __post_init__(self) -> None:
        valid = "a file or folder exactly when data.name is labels"
        require(self.labels is not None, "data.labels", self.labels, valid)


@dataclass(frozen=True)
class LabelFileReader:
    """Reads the splits of one file or folder."""

    options: ClassVar[type] = LabelFileOptions

    def splits(self, root: Path, options: LabelFileOptions) -> tuple[str, ...]:
        there = set(_split_names(options)) | ({"test"} if options.test else set())
        return tuple(split for split in SPLITS if split in there)

    def read(
        self,
        root: Path,
        split: str,
        options: LabelFileOptions,
        classes: tuple[str, ...] | None = None,
    ) -> LabelledImages:
        table = table_of(options)
        rows = _rows(table, split, options)
        files = PictureFiles(root, allow_outside=options.allow_outside)
        located, problems = locate(table, files)
        own = np.zeros(len(table), bool)
        own[rows] = True
        refuse(
            table.source,
            [*table.problems, *(each for each in problems if own[list(each.rows)].any())],
            root,
        )
        # without groups each picture is one: what is held out of them is stratified too
        groups = np.arange(len(rows))
        if options.group is not None:
            groups = group_numbers(table, options.group)[rows]
        chosen = _with_classes(located.subset(rows), classes)
        paths = encoded_names(chosen.paths)
        places = chosen.places if table.format in _WITH_LINES else None
        return LabelledImages(
            table.source,
            root,
            paths,
            label_matrix(chosen, options.uncertain if split == "train" else "unknown"),
            chosen.classes,
            None if places is None else partial(_line_of, paths, places),
            groups=groups,
            stored=chosen.stored,
        )


def table_of(options: LabelFileOptions) -> LabelTable:
    """The table of the label file that the settings of a run name."""
    states: dict[str, State] = {"unknown": "unknown", "negative": "absent"}
    by_column = options.group is not None and not options.group.startswith("path:")
    said = ReadOptions(
        values=spelled_values(options.values),
        separator=options.separator,
        unlisted=states[options.unlisted],
        unlisted_test=states[options.unlisted_test],
        group=options.group if by_column else None,
    )
    table = read_table(Path(options.labels or ""), format=options.format, options=said)[0]
    key = _version(options)
    if key is not None:
        _SPLITS_OF.clear()
        _SPLITS_OF[key] = table.split_names()
    return table


def _split_names(options: LabelFileOptions) -> tuple[str, ...]:
    """The splits of the file; a file that was read last is not read again for them."""
    found = _SPLITS_OF.get(_version(options))
    return table_of(options).split_names() if found is None else found


def _version(options: LabelFileOptions) -> tuple[object, ...] | None:
    """What tells one state of a file, and how it is read, from others; None: it is no file."""
    path = Path(options.labels or "")
    if not path.is_file():
        return None
    status = path.stat()
    return str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, repr(options)


def _rows(table: LabelTable, split: str, options: LabelFileOptions) -> np.ndarray:
    """The rows of a split, after ``data.test`` has held out a part.

    Raises:
        UserError: there are none, or the file has a split test and ``data.test`` asks for another.
    """
    if options.test:
        require(
            "test" not in table.split_names(),
            "data.test",
            options.test,
            f"left out: {table.source} has a split test",
        )
        train = table.rows_of("train")
        groups = None if options.group is None else group_numbers(table, options.group)[train]
        held = hold_out(
            table.subset(train).sparse_labels(),
            options.test,
            groups=groups,
            seed=options.test_seed,
            what="data.test",
        )
        if split == "test":
            return train[held]
        if split == "train":
            return np.delete(train, held)
    rows = table.rows_of(split)
    if not len(rows):
        hold = "; data.test 0.2 holds out a part of train" if split == "test" else ""
        raise UserError(
            f"{table.source}: no row of split {split!r}; the file has "
            f"{', '.join(table.split_names())}{hold}"
        )
    return rows


def _with_classes(table: LabelTable, classes: tuple[str, ...] | None) -> LabelTable:
    """The table with the classes of a trained model, if it has no other classes."""
    if classes is None or table.classes == classes or not set(table.classes) <= set(classes):
        return table
    return table.with_classes(classes)


def _line_of(paths: np.ndarray, places: np.ndarray, image: str) -> int | None:
    """Line of a picture's row."""
    found = np.flatnonzero(paths == image.encode())
    return int(places[found[0]]) if len(found) else None


DATA_SETS = {"labels": DataSet(LabelFileReader(), held_out="val")}
