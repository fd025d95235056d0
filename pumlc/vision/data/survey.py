"""Read and count every split of a data set on the disk, or report every error."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.errors import UserError
from pumlc.vision.data.config import DataConfig
from pumlc.vision.data.readers.data_set import Download
from pumlc.vision.data.split import read_split


@dataclass(frozen=True)
class SplitCounts:
    """One split.

    Attributes:
        split: its name.
        pictures: number of pictures; None: the split is missing, which is allowed.
        published: number of pictures that its owners publish; None: not stated.
        classes: C names.
        labels: "positive", "negative", "unknown" -> number of labels of each class, [C].
    """

    split: str
    pictures: int | None
    published: int | None
    classes: tuple[str, ...]
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class Survey:
    """All splits of a data set."""

    splits: list[SplitCounts]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, which all existing splits share."""
        return next((counts.classes for counts in self.splits if counts.pictures is not None), ())

    def rows(self) -> list[list[Any]]:
        """A row per split: split, pictures, published, classes, positive, negative, unknown."""
        return [
            [
                counts.split,
                counts.pictures,
                counts.published,
                *(
                    [None] * 4
                    if counts.pictures is None
                    else [
                        len(counts.classes),
                        *(int(each.sum()) for each in counts.labels.values()),
                    ]
                ),
            ]
            for counts in self.splits
        ]

    def class_rows(self) -> list[list[Any]]:
        """A row per class and split: class, split, positive, negative, unknown."""
        here = [counts for counts in self.splits if counts.pictures is not None]
        return [
            [name, counts.split, *(int(each[column]) for each in counts.labels.values())]
            for column, name in enumerate(self.classes)
            for counts in here
        ]

    def partial(self) -> Iterator[str]:
        """A line for each split that has only a part of the published pictures."""
        for counts in self.splits:
            if counts.pictures is not None and counts.pictures < (counts.published or 0):
                yield (
                    f"{counts.split}: {counts.pictures:,} of the {counts.published:,} published "
                    "pictures"
                )

    def untrained(self) -> list[str]:
        """Classes without a positive label in the split train, if there is one."""
        train = [counts for counts in self.splits if counts.split == "train" and counts.pictures]
        return [
            name
            for counts in train
            for name, positives in zip(counts.classes, counts.labels["positive"], strict=True)
            if not positives
        ]


def survey(config: DataConfig) -> Survey:
    """Read and count every split of the data set that a config names.

    Args:
        config: names the data set; its settings for hiding and holding out play no part.

    Raises:
        UserError: a part of the download is missing (the message lists all missing parts with
            their addresses), a split cannot be read (it lists all errors, one per line), or splits
            differ in their classes.
    """
    root, data_set = Path(config.root), config.data_set
    if data_set.download is None:
        splits = data_set.reader.splits(root, config.options) or ("train",)
        published, absent = dict.fromkeys(splits), set()
    else:
        _refuse_incomplete(config.name, root, data_set.download)
        published = dict(data_set.download.pictures)
        absent = data_set.download.absent_splits(root)
    counts, errors = [], []
    for split, expected in published.items():
        if split in absent:
            counts.append(SplitCounts(split, None, expected, (), {}))
            continue
        try:
            images = read_split(config, split)
        except UserError as error:
            errors.append(str(error))
            continue
        labels = images.class_counts()
        counts.append(SplitCounts(split, len(images), expected, images.classes, labels))
    errors += _differing_classes(counts)
    if errors:
        raise UserError("\n".join(dict.fromkeys(errors)))  # splits of one file may share an error
    return Survey(counts)


def _refuse_incomplete(name: str, root: Path, download: Download) -> None:
    missing = download.missing_parts(root)
    if not missing:
        return
    lines = [
        f"  {part}\n      {address if address.startswith('on request') else 'from ' + address}"
        for part, address in missing.items()
    ]
    raise UserError(
        f"{name} in {root} is incomplete; missing:\n"
        + "\n".join(lines)
        + f"\nTerms of use: {download.page}"
    )


def _differing_classes(splits: list[SplitCounts]) -> Iterator[str]:
    """A line for each split that lacks a class of another one."""
    here = [counts for counts in splits if counts.pictures is not None]
    every = {name for counts in here for name in counts.classes}
    for counts in here:
        lacking = sorted(every - set(counts.classes))
        if lacking:
            yield f"{counts.split} lacks classes of the other splits: {', '.join(lacking)}"
