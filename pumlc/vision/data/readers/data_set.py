"""A data set of the package: its reader, its options, and its download."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pumlc.errors import UserError
from pumlc.vision.data.images import LabelledImages


@dataclass(kw_only=True)
class NoOptions:
    """Settings of a format that has none."""


@dataclass(kw_only=True)
class AnnotationOptions:
    """Settings of a format in which a picture may have no annotation at all."""

    unannotated: Literal["keep", "drop"] = "keep"
    """coco, nuswide: pictures without any label (COCO 2014: keep 82,783 or drop to 82,081)"""


@dataclass(kw_only=True)
class UnlistedOptions:
    """Settings of a format in which unlisted labels need a meaning."""

    unlisted: Literal["unknown", "negative"] = "unknown"
    """csv and the long form of labels: what a class means that a training row does not list; in a
    csv file with one column per class: what 0 or an empty cell means, in all splits"""
    unlisted_test: Literal["unknown", "negative"] = "negative"
    """the same for the test rows, where labels are listed"""


class Reader(Protocol):
    """Reads one label format.

    Attributes:
        options: dataclass of the format's own settings, each with a default and a docstring. They
            are settings of a run, ``data.NAME``; formats that share a setting share the class that
            defines it. Its ``__post_init__`` refuses values that do not go together.
    """

    options: ClassVar[type]

    def splits(self, root: Path, options: Any) -> tuple[str, ...]:
        """Names of the splits: "train", "test" and for some formats "val".

        Args:
            root: folder of the data set.
            options: an instance of the class `options`.

        Raises:
            UserError: the file that says which splits there are is missing or malformed.
        """
        ...

    def read(
        self, root: Path, split: str, options: Any, classes: tuple[str, ...] | None
    ) -> LabelledImages:
        """One split, with all of its labels, its rows in the order of the format's own files.

        Args:
            root: folder of the data set.
            split: one of `splits`.
            options: an instance of the class `options`.
            classes: the classes of a trained model, for a format whose files do not list its
                classes; others may ignore them (`pumlc.vision.data.split.read_split` compares).

        Raises:
            UserError: something is missing or malformed; the message has the file, the row and
                what is valid.
        """
        ...


@dataclass(frozen=True)
class Download:
    """A data set as its owners publish it.

    Attributes:
        page: the official page, which also states the terms of use.
        parts: file or folder under the root -> where it comes from.
        pictures: split -> number of pictures of the complete data set; None: not stated.
        separate: split -> those of ``parts`` that only this split needs, its pictures first; for
            data sets whose splits can be used without each other.
    """

    page: str
    parts: Mapping[str, str]
    pictures: Mapping[str, int | None]
    separate: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def absent_splits(self, root: Path) -> set[str]:
        """Splits that are missing, which is allowed since another split exists."""
        absent = {split for split, (pictures, _) in self.separate.items() if _lacks(root, pictures)}
        return absent if len(absent) < len(self.separate) else set()

    def missing_parts(self, root: Path) -> dict[str, str]:
        """Missing files and missing or empty folders -> where they come from.

        Those of `absent_splits` are not counted.
        """
        unneeded = {part for split in self.absent_splits(root) for part in self.separate[split]}
        return {
            part: address
            for part, address in self.parts.items()
            if part not in unneeded and _lacks(root, part)
        }


@dataclass(frozen=True)
class DataSet:
    """One entry of `pumlc.vision.data.readers.DATA_SETS`.

    Attributes:
        reader: reads its format.
        download: the published data set; None: the user's own files.
        held_out: name of the split that is held out for validation if the files have it.
    """

    reader: Reader
    download: Download | None = None
    held_out: str | None = None

    @property
    def option_names(self) -> frozenset[str]:
        """Names of the settings that its format has."""
        return frozenset(option.name for option in fields(self.reader.options))


def require_split(split: str, valid: tuple[str, ...], name: str) -> None:
    """Refuse a split that a data set does not have.

    Raises:
        UserError: there is no such split; the message names the valid ones.
    """
    if split not in valid:
        raise UserError(f"data set {name} has no split {split!r}; it has {sorted(valid)}")


def _lacks(root: Path, part: str) -> bool:
    path = root / part
    return not (path.is_file() or (path.is_dir() and any(path.iterdir())))
