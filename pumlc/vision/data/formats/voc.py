"""Pascal VOC: ``ImageSets/Main/CLASS_SPLIT.txt``, a line ``NAME 1``, ``NAME -1`` or ``NAME 0``.

0 means that all objects of the class are difficult; here this state is uncertain. (The public VOC
sets are also ``data.name voc2007`` and ``voc2012``, where ``data.difficult`` decides.)
"""

import re
from pathlib import Path

from pumlc.errors import UserError
from pumlc.files import read_text, write_text
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import (
    IMAGE_ENDINGS,
    LabelFormat,
    ReadOptions,
    make_folder,
    split_of,
)
from pumlc.vision.data.formats.openimages import without_ending
from pumlc.vision.data.label_table import (
    ABSENT_CODE,
    CODE,
    PRESENT_CODE,
    UNCERTAIN_CODE,
    LabelTable,
)
from pumlc.vision.data.table_builder import TableBuilder

_CODES = {"1": PRESENT_CODE, "-1": ABSENT_CODE, "0": UNCERTAIN_CODE}
_SETS = Path("ImageSets") / "Main"


def recognises(path: Path) -> str | None:
    """Lists of classes and splits below ImageSets/Main."""
    return f"{_SETS} has lists of classes" if _lists(path) else None


def _lists(path: Path) -> dict[str, dict[str, Path]]:
    """Split -> class -> file."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted((path / _SETS).glob("*_*.txt")) if path.is_dir() else []:
        name, _, split = file.stem.rpartition("_")
        if split_of(split) == split or split == "trainval":
            found.setdefault(split, {})[name] = file
    both = found.pop("trainval", None)
    if both is not None and not {"train", "val"} & set(found):
        found["train"] = both
    return found


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table; classes in the order of their names, rows in that of the lists."""
    lists = _lists(path)
    if not lists:
        raise UserError(f"{path}: no {_SETS}/CLASS_train.txt")
    classes = list(dict.fromkeys(name for files in lists.values() for name in files))
    builder = TableBuilder(path, "voc", classes)
    prefix = "JPEGImages/" if (path / "JPEGImages").is_dir() else ""
    for split in sorted(lists, key=("train", "val", "test").index):
        states: dict[str, dict[str, int]] = {}
        for name, file in counted(lists[split].items()):
            for number, line in enumerate(read_text(file).splitlines(), 1):
                cells = line.split()
                if len(cells) == 2 and cells[1] in _CODES:
                    states.setdefault(cells[0], {})[name] = _CODES[cells[1]]
                elif cells:
                    builder.problem(
                        "value",
                        f"{file.name}, line {number}: {line.strip()!r:.100}; expected NAME and 1, "
                        "-1 or 0",
                    )
        for image, own in states.items():
            builder.add(f"{prefix}{image}.jpg", own, rest=CODE["unknown"], split=split)
    return builder.table()


def write(table: LabelTable, out: Path) -> None:
    """Write a list for each class and split."""
    cell_of = {code: value for value, code in _CODES.items()}
    names = [
        without_ending(path.removeprefix("JPEGImages/"), IMAGE_ENDINGS[:1]) for path in table.paths
    ]
    for name in (*names, *table.classes):
        if re.search(r"[\s/\0]", name) or not name or name.startswith("."):
            raise UserError(f"{name!r}: VOC holds plain names without blanks and folders")
    for split in table.split_names():
        if split_of(split) != split:
            raise UserError(f"split {split!r}: VOC has train, val and test")
    make_folder(out)
    (out / _SETS).mkdir(parents=True)
    for split in table.split_names():
        rows = table.rows_of(split).tolist()
        codes = [table.row_codes(row) for row in rows]
        write_text(out / _SETS / f"{split}.txt", "".join(f"{names[row]}\n" for row in rows))
        for column, class_name in enumerate(counted(table.classes)):
            lines = [
                f"{names[row]} {cell_of[int(own[column])]:>2}\n"
                for row, own in zip(rows, codes, strict=True)
            ]
            write_text(out / _SETS / f"{class_name}_{split}.txt", "".join(lines))


FORMAT = LabelFormat(
    "voc", recognises, read, write, frozenset({"present", "absent", "uncertain"}), folder=True
)
