"""Check the download of a data set: what is missing and where it comes from, or what is there.

python tools/prepare.py voc2007 VOCdevkit
python tools/prepare.py coco2014 COCO
python tools/prepare.py csv PICTURES --csv labels.csv --per-class
python tools/prepare.py coco ROOT

The last two check your own: a CSV file and its pictures under the folder PICTURES; a folder in the
COCO layout.
Exit status 0 if every split can be read (openimages, csv: every split that is there), 2 if not.
Layouts and terms: docs/datasets.md.
"""

import argparse
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pumlc.cli import console
from pumlc.engine.config import require
from pumlc.errors import UserError
from pumlc.tables import table
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.readers.coco_voc import read_coco
from pumlc.vision.data.readers.csv_file import SPLITS, has_split, read_csv, warn_of_similar_classes
from pumlc.vision.data.sources import SOURCES, absent_splits, missing_parts, source

OWN = ("csv", "coco")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", help=", ".join([*SOURCES, *OWN]))
    parser.add_argument("root", type=Path, help="folder of the download; csv: of the pictures")
    parser.add_argument("--csv", type=Path, help="the CSV file, for name csv")
    parser.add_argument("--per-class", action="store_true", help="also a row per class and split")
    options = parser.parse_args(arguments)
    if options.name not in OWN:
        source(options.name)  # an unknown name first
    right = (options.csv is not None) == (options.name == "csv")
    require(right, "--csv", options.csv, "a file exactly when the name is csv")
    if options.name == "csv":
        check_csv(options.csv, options.root, options.per_class)
    elif options.name == "coco":
        splits = {"train": None, "test": None}
        report(splits, (), partial(read_coco, options.root, name="coco"), options.per_class)
    else:
        check_download(options.name, options.root, options.per_class)


def check_download(name: str, root: Path, per_class: bool) -> None:
    chosen = source(name)
    missing = missing_parts(name, root)
    if missing:
        lines = [
            f"  {part}\n      {address if address.startswith('on request') else 'from ' + address}"
            for part, address in missing.items()
        ]
        raise UserError(
            f"{name} in {root} is incomplete; missing:\n"
            + "\n".join(lines)
            + f"\nTerms of use: {chosen.page}"
        )
    read = partial(chosen.read, root)
    report(chosen.pictures, absent_splits(name, root), read, per_class)


def check_csv(file: Path, root: Path, per_class: bool) -> None:
    def read(split: str) -> LabelledImages:
        unlisted = "negative" if split == "test" else "unknown"  # the defaults of a run
        return read_csv(file, root, split, unlisted=unlisted)

    here = [split for split in SPLITS if has_split(file, split)] or SPLITS
    classes = report(dict.fromkeys(here), (), read, per_class)
    warn_of_similar_classes(file, classes)


def report(
    published: Mapping[str, int | None],
    absent: Collection[str],
    read: Callable[[str], LabelledImages],
    per_class: bool,
) -> list[str]:
    """Print what each split holds, or raise what is wrong with any of them; return the classes."""
    rows, errors, parts, classes = [], [], [], {}
    of_class: dict[str, list[list[Any]]] = {}
    for split, expected in published.items():
        if split in absent:
            rows.append([split, None, expected, *[None] * 4])
            continue
        try:
            images = read(split)
        except ValueError as error:
            errors.append(str(error))
            continue
        if expected is not None and len(images) < expected:
            parts.append(f"{split}: {len(images):,} of the {expected:,} published pictures")
        classes[split] = set(images.classes)
        counts = images.class_counts()
        totals = [int(each.sum()) for each in counts.values()]
        rows.append([split, len(images), expected, len(images.classes), *totals])
        for name, *numbers in zip(images.classes, *counts.values(), strict=True):
            of_class.setdefault(name, []).append([name, split, *numbers])
    for split, names in classes.items():
        lacking = sorted(set(of_class) - names)
        if lacking:
            errors.append(f"{split} lacks classes of the other splits: {', '.join(lacking)}")
    if errors:
        raise UserError("\n".join(dict.fromkeys(errors)))  # one of the whole file comes once
    header = ["split", "pictures", "published", "classes", "positive", "negative", "unknown"]
    print(table(header, rows))
    if parts:
        print("\nA part of the data set: figures on it are not those of the whole.")
        print("\n".join(parts))
    if per_class:
        header = ["class", "split", "positive", "negative", "unknown"]
        print("\n" + table(header, [row for each in of_class.values() for row in each]))
    return list(of_class)


if __name__ == "__main__":
    console.run(main)
