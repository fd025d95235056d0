"""COCO instances as JSON, and LVIS and V3Det, which also list absent classes.

In COCO a class that is not annotated is absent. In LVIS the classes in ``neg_category_ids`` are
absent, and all others are unknown. Our own files also have ``split`` and ``group`` in the entry of
a picture.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pumlc.errors import UserError
from pumlc.files import read_json, write_json
from pumlc.vision.data.formats.label_format import (
    LabelFormat,
    ReadOptions,
    json_with,
    split_of,
    text_of,
)
from pumlc.vision.data.label_table import ABSENT_CODE, CODE, PRESENT_CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder

_KEYS = ("images", "annotations", "categories")
_ABSENT = "neg_category_ids"


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
        content = _content(file)
        name_of = _categories(file, content["categories"])
        if builder is None:
            classes = list(name_of.values())
            builder = TableBuilder(path, name, classes)
        elif sorted(classes) != sorted(name_of.values()):
            raise UserError(f"{file}: other categories than {files[0][2]}")
        _add(builder, content, name_of, rest, split, folder)
    assert builder is not None
    return builder.table()


def _content(file: Path) -> dict[str, list[Any]]:
    content = read_json(file)
    for key in _KEYS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(f"{file}: no list {key!r}; needed: {', '.join(_KEYS)}")
    return content


def _categories(file: Path, entries: list[Any]) -> dict[str, str]:
    """Identifier -> name, by ascending identifier."""
    named: dict[str, str] = {}
    order: dict[str, float] = {}
    for number, entry in enumerate(entries):
        name, key = text_of(entry, "name"), identifier(entry, "id")
        if name is None or key is None:
            raise UserError(
                f"{file}: categories[{number}] needs 'id' and 'name', got {entry!r:.200}"
            )
        if key in named or name in named.values():
            raise UserError(f"{file}: categories[{number}]: id or name twice: {entry!r:.200}")
        named[key] = name
        order[key] = float(key) if re.fullmatch(r"-?\d{1,15}", key) else float("inf")
    return {key: named[key] for key in sorted(named, key=lambda key: (order[key], key))}


def identifier(entry: object, key: str) -> str | None:
    """One spelling of identifiers that are equal on paper: 1, 1.0 and "1"."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _add(
    builder: TableBuilder,
    content: dict[str, list[Any]],
    name_of: dict[str, str],
    rest: int,
    split: str | None,
    folder: str,
) -> None:
    """Add the pictures of one file, with what it annotates."""
    states: dict[str, dict[str, int]] = {}
    entries: dict[str, tuple[int, Any]] = {}
    for number, entry in enumerate(content["images"]):
        key, name = identifier(entry, "id"), _file_name(entry)
        if key is None or name is None or key in entries:
            wrong = "the id is there already" if key in entries else "needs 'id' and 'file_name'"
            builder.problem("entry", f"images[{number}]: {wrong}, got {entry!r:.200}")
            continue
        entries[key] = (number, entry)
        states[key] = dict.fromkeys(_absent(builder, number, entry, name_of), ABSENT_CODE)
    for number, entry in enumerate(content["annotations"]):
        image, category = identifier(entry, "image_id"), identifier(entry, "category_id")
        if image not in states or category not in name_of:
            builder.problem(
                "entry",
                f"annotations[{number}]: image_id {image!r} or category_id {category!r} is not "
                "among those of the file",
            )
        elif states[image].get(name_of[category]) == ABSENT_CODE:
            builder.problem(
                "entry",
                f"annotations[{number}]: {name_of[category]!r} is annotated and in {_ABSENT}",
            )
        else:
            states[image][name_of[category]] = PRESENT_CODE
    for key, (number, entry) in entries.items():
        name = _file_name(entry)
        assert name is not None
        builder.add(
            f"{folder}/{name}" if folder else name,
            states[key],
            rest=rest,
            split=split or text_of(entry, "split"),
            group=text_of(entry, "group"),
            place=number,
        )


def _file_name(entry: object) -> str | None:
    """The name of a picture; LVIS gives its address, whose last part is the name."""
    name = text_of(entry, "file_name")
    if name is None and (address := text_of(entry, "coco_url")) is not None:
        try:
            return urlparse(address).path.rpartition("/")[2] or None
        except ValueError:
            return None
    return name


def _absent(
    builder: TableBuilder, number: int, entry: dict[str, Any], name_of: dict[str, str]
) -> Iterator[str]:
    """Classes that a picture of LVIS is known not to have."""
    listed = entry.get(_ABSENT, [])
    for value in listed if isinstance(listed, list) else [None]:
        name = name_of.get(identifier({"id": value}, "id") or "")
        if name is None:
            builder.problem("entry", f"images[{number}]: {_ABSENT} has {value!r:.50}, no category")
        else:
            yield name


def write_coco(table: LabelTable, out: Path) -> None:
    """Write an annotation for each present label; it has no box."""
    write_json(out, _written(table, lvis=False))


def write_lvis(table: LabelTable, out: Path) -> None:
    """Write the same, and the absent labels of each picture."""
    write_json(out, _written(table, lvis=True))


def _written(table: LabelTable, *, lvis: bool) -> dict[str, list[dict[str, Any]]]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row, path in enumerate(table.paths):
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
