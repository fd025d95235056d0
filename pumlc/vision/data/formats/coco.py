"""COCO instances as JSON, and LVIS and V3Det, which also list absent classes.

In COCO a class that is not annotated is absent. In LVIS the classes in ``neg_category_ids`` are
absent, and all others are unknown. Our own files also have ``split`` and ``group`` in the entry of
a picture.
"""

import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import numpy as np

from pumlc.errors import UserError
from pumlc.files import write_json
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import (
    LabelFormat,
    ReadOptions,
    json_with,
    split_of,
    text_of,
)
from pumlc.vision.data.json_entries import json_entries
from pumlc.vision.data.label_table import ABSENT_CODE, CODE, PRESENT_CODE, LabelTable
from pumlc.vision.data.scattered import ScatteredLabels
from pumlc.vision.data.table_builder import TableBuilder

_KEYS = ("images", "annotations", "categories")
_ABSENT = "neg_category_ids"
_Key = int | str
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}", re.ASCII)


def recognises_coco(path: Path) -> str | None:
    """The three lists, without those of LVIS."""
    files = [file for _, _, file in _files(path, "coco")]
    if not files or any(json_with(file, _ABSENT) for file in files):
        return None
    return f"the lists {', '.join(_KEYS)}"


def recognises_lvis(path: Path) -> str | None:
    """The three lists, and the classes that a picture does not have."""
    files = [file for _, _, file in _files(path, "lvis")]
    if not files or not all(json_with(file, _ABSENT) for file in files):
        return None
    return f"the lists {', '.join(_KEYS)} and {_ABSENT}"


def _files(path: Path, name: str) -> list[tuple[str | None, str, Path]]:
    """Split, folder of pictures and file, for a file or for each file in a folder.

    A folder may hold the files of COCO and those of LVIS, which label the same pictures: the format
    ``name`` decides.
    """
    if not path.is_dir():
        return [(None, "", path)] if json_with(path, *_KEYS) else []
    found: list[tuple[str | None, str, Path]] = []
    for file in sorted((path / "annotations").glob("*.json")):
        parts = re.fullmatch(r"(?:instances|lvis_v\d+)_([a-z]+)(\d*)", file.stem)
        if parts is not None and (split := split_of(parts[1])) and json_with(file, *_KEYS):
            folder = next((f for f in (parts[1] + parts[2], parts[1]) if (path / f).is_dir()), "")
            found.append((split, folder, file))
    of_lvis = [entry for entry in found if entry[2].stem.startswith("lvis")]
    if of_lvis:
        others = [entry for entry in found if entry not in of_lvis]
        found = of_lvis if name == "lvis" else others or of_lvis
    found += [  # Roboflow
        (split, file.parent.name, file)
        for file in sorted(path.glob("*/_annotations.coco.json"))
        if (split := split_of(file.parent.name)) and json_with(file, *_KEYS)
    ]
    return found


def read_coco(path: Path, options: ReadOptions) -> LabelTable:
    """Read COCO: a class that is not annotated is absent."""
    return _read(path, "coco", CODE[options.values.get("unlisted", "absent")])


def read_lvis(path: Path, options: ReadOptions) -> LabelTable:
    """Read LVIS: a class that is neither annotated nor in neg_category_ids is unknown."""
    return _read(path, "lvis", CODE[options.values.get("unlisted", "unknown")])


def _read(path: Path, name: str, rest: int) -> LabelTable:
    files = _files(path, name)
    if not files:
        raise UserError(f"{path}: no JSON file with the lists {', '.join(_KEYS)}")
    builder: TableBuilder | None = None
    classes: list[str] = []
    for split, folder, file in files:
        content = _Content()
        for key, number, entry in json_entries(file, _KEYS):
            content.add(key, number, entry)
        name_of = _categories(file, content.categories)
        if builder is None:
            classes = list(name_of.values())
            builder = TableBuilder(path, name, classes)
        elif sorted(classes) != sorted(name_of.values()):
            raise UserError(f"{file}: other categories than {files[0][2]}")
        content.enter(builder, name_of, rest, split, folder)
    assert builder is not None
    return builder.table()


def _categories(file: Path, entries: list[Any]) -> dict[_Key, str]:
    """Identifier -> name, by ascending identifier."""
    named: dict[_Key, str] = {}
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        name = text_of(entry, "name")
        key = _identifier(entry.get("id")) if isinstance(entry, dict) else None
        if name is None or key is None:
            raise UserError(
                f"{file}: categories[{number}] needs 'id' and 'name', got {entry!r:.200}"
            )
        if key in named or name in seen:
            raise UserError(f"{file}: categories[{number}]: id or name twice: {entry!r:.200}")
        named[key] = name
        seen.add(name)
    return {key: named[key] for key in sorted(named, key=lambda key: (isinstance(key, str), key))}


def _identifier(value: object) -> _Key | None:
    """One spelling of identifiers that are equal on paper: 1, 1.0 and "1"."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else value
    return str(value) if isinstance(value, float) else None


class _Picture(NamedTuple):
    """What an entry of ``images`` says."""

    number: int
    name: str
    split: str | None
    group: str | None
    absent: tuple[Any, ...]


class _Content:
    """The three lists of a file as they come, in whatever order; an annotation is two numbers."""

    def __init__(self) -> None:
        self.categories: list[Any] = []
        self._pictures: dict[_Key, _Picture] = {}
        self._problems: list[str] = []
        self._numbers: dict[_Key | None, int] = {}  # of the identifiers of pictures, and of classes
        self._images, self._classes = array("q"), array("q")

    def add(self, key: str, number: int, entry: Any) -> None:
        """Take an entry of one of the lists."""
        if key == "categories":
            self.categories.append(entry)
        elif key == "images":
            self._add_picture(number, entry)
        else:
            known = entry if isinstance(entry, dict) else {}
            for place, name in ((self._images, "image_id"), (self._classes, "category_id")):
                spelled = _identifier(known.get(name))
                place.append(self._numbers.setdefault(spelled, len(self._numbers)))

    def _add_picture(self, number: int, entry: Any) -> None:
        key = _identifier(entry.get("id")) if isinstance(entry, dict) else None
        name = _file_name(entry)
        if key is None or name is None or key in self._pictures:
            wrong = "needs 'id' and 'file_name'"
            if key is not None and key in self._pictures:
                wrong = "the id is there already"
            self._problems.append(f"images[{number}]: {wrong}, got {entry!r:.200}")
            return
        absent = entry.get(_ABSENT, [])
        self._pictures[key] = _Picture(
            number,
            name,
            text_of(entry, "split"),
            text_of(entry, "group"),
            tuple(absent) if isinstance(absent, list) else (None,),
        )

    def enter(
        self,
        builder: TableBuilder,
        name_of: dict[_Key, str],
        rest: int,
        split: str | None,
        folder: str,
    ) -> None:
        """Add the pictures, with what is annotated, to a table."""
        for message in self._problems:
            builder.problem("entry", message)
        names = list(name_of.values())
        labels = self._annotated(builder, name_of)
        pairs = zip(self._pictures.values(), labels.by_row(len(self._pictures), names), strict=True)
        for picture, present in pairs:
            absent = _absent(builder, picture, name_of)
            for name, _ in present:
                if name in absent:
                    builder.problem(
                        "entry",
                        f"images[{picture.number}]: {name!r} is annotated and in {_ABSENT}",
                    )
            states = {**dict(present), **dict.fromkeys(absent, ABSENT_CODE)}
            builder.add(
                f"{folder}/{picture.name}" if folder else picture.name,
                states,
                rest=rest,
                split=split or picture.split,
                group=picture.group,
                place=picture.number,
            )

    def _annotated(self, builder: TableBuilder, name_of: dict[_Key, str]) -> ScatteredLabels:
        """The annotations whose picture and class there are; a problem for each of the others."""
        spelled = list(self._numbers)
        rows, columns = (
            _places(spelled, known)[np.frombuffer(numbers, np.int64)]
            for known, numbers in ((self._pictures, self._images), (name_of, self._classes))
        )
        for number in np.flatnonzero((rows < 0) | (columns < 0)).tolist():
            image, category = spelled[self._images[number]], spelled[self._classes[number]]
            builder.problem(
                "entry",
                f"annotations[{number}]: image_id {image!r} or category_id {category!r} is not "
                "among those of the file",
            )
        right = (rows >= 0) & (columns >= 0)
        labels = ScatteredLabels()
        labels.extend(rows[right], columns[right], PRESENT_CODE)
        return labels


def _places(spelled: Sequence[_Key | None], known: Mapping[_Key, Any]) -> np.ndarray:
    """Place of each identifier among those that are known, in their order; -1: it is not there."""
    place_of = {key: place for place, key in enumerate(known)}
    return np.array([-1 if key is None else place_of.get(key, -1) for key in spelled], np.int64)


def _file_name(entry: object) -> str | None:
    """The name of a picture; LVIS gives its address, whose last part is the name."""
    name = text_of(entry, "file_name")
    if name is None and (address := text_of(entry, "coco_url")) is not None:
        try:
            return urlparse(address).path.rpartition("/")[2] or None
        except ValueError:
            return None
    return name


def _absent(builder: TableBuilder, picture: _Picture, name_of: dict[_Key, str]) -> list[str]:
    """Classes that a picture of LVIS is known not to have."""
    names = []
    for value in picture.absent:
        key = _identifier(value)
        name = None if key is None else name_of.get(key)
        if name is None:
            builder.problem(
                "entry", f"images[{picture.number}]: {_ABSENT} has {value!r:.50}, no category"
            )
        else:
            names.append(name)
    return names


def write_coco(table: LabelTable, out: Path) -> None:
    """Write an annotation for each present label; it has no box."""
    write_json(out, _written(table, lvis=False))


def write_lvis(table: LabelTable, out: Path) -> None:
    """Write the same, and the absent labels of each picture."""
    write_json(out, _written(table, lvis=True))


def _written(table: LabelTable, *, lvis: bool) -> dict[str, list[dict[str, Any]]]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row, path in enumerate(counted(table.paths)):
        codes = table.row_codes(row).tolist()
        image: dict[str, Any] = {"id": row + 1, "file_name": path}
        if table.splits is not None:
            image["split"] = table.splits[row]
        if table.groups is not None:
            image["group"] = table.groups[row]
        if lvis:
            image[_ABSENT] = [c for c, code in enumerate(codes, 1) if code == ABSENT_CODE]
            image["not_exhaustive_category_ids"] = []
        images.append(image)
        annotations += [
            {"id": len(annotations) + number, "image_id": row + 1, "category_id": column}
            for number, column in enumerate(
                (c for c, code in enumerate(codes, 1) if code == PRESENT_CODE), 1
            )
        ]
    categories = [{"id": column, "name": name} for column, name in enumerate(table.classes, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


COCO = LabelFormat("coco", recognises_coco, read_coco, write_coco)
LVIS = LabelFormat(
    "lvis", recognises_lvis, read_lvis, write_lvis, frozenset({"present", "absent", "unknown"})
)
