"""Hugging Face imagefolder: ``metadata.jsonl`` or ``metadata.csv``, in folders of splits or not.

A line is ``{"file_name": "a.jpg", "labels": ["cat", "dog"]}``. An unlisted class is absent; null
makes all labels unknown. Our own files also have ``group``, and ``classes`` in their first line.
"""

import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pumlc.errors import UserError
from pumlc.files import complete_file, read_cells, read_lines
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import (
    LabelFormat,
    ReadOptions,
    make_folder,
    name_list,
    split_of,
    text_of,
)
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, UNKNOWN_CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder

_NAMES = ("metadata.jsonl", "metadata.csv")
_LABELS = ("labels", "label", "tags", "objects")


def recognises(path: Path) -> str | None:
    """A file called metadata, itself or in a folder."""
    files = _files(path)
    return f"{', '.join(str(file.name) for _, _, file in files)}" if files else None


def _files(path: Path) -> list[tuple[str | None, str, Path]]:
    """Split, folder of the pictures, file."""
    if not path.is_dir():
        return [(None, "", path)] if path.name in _NAMES and path.is_file() else []
    found: list[tuple[str | None, str, Path]] = [
        (None, "", path / name) for name in _NAMES if (path / name).is_file()
    ]
    order = ("train", "val", "test")
    for folder in sorted(path.iterdir(), key=lambda each: each.name):
        split = split_of(folder.name)
        if split is not None and folder.is_dir():
            found += [
                (split, f"{folder.name}/", folder / name)
                for name in _NAMES
                if (folder / name).is_file()
            ]
    return sorted(found, key=lambda each: order.index(each[0]) if each[0] else -1)


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table."""
    files = _files(path)
    if not files:
        raise UserError(f"{path}: no {' or '.join(_NAMES)}")
    builder: TableBuilder | None = None
    rest = CODE[options.values.get("unlisted", "absent")]
    for split, folder, file in files:
        for line, entry in _entries(file):
            if builder is None:
                builder = TableBuilder(path, "imagefolder", _classes(file, entry))
            image = text_of(entry, "file_name")
            value = next((entry[key] for key in _LABELS if key in entry), None)
            names = name_list(_literal(value))
            if image is None or (value is not None and names is None):
                builder.problem(
                    "entry",
                    f"{file.name}, line {line}: needs 'file_name' and 'labels', a list of names; "
                    f"got {entry!r:.200}",
                )
                continue
            builder.add(
                posixpath.normpath(folder + image) if image.startswith("../") else folder + image,
                dict.fromkeys(names or (), PRESENT_CODE),
                rest=UNKNOWN_CODE if value is None else rest,
                split=split,
                group=text_of(entry, options.group or "group"),
                place=line,
            )
    if builder is None:
        raise UserError(f"{path}: no picture")
    return builder.table()


def _classes(file: Path, entry: dict[str, Any]) -> list[str] | None:
    classes = name_list(entry.get("classes"))
    if classes is not None and len(set(classes)) < len(classes):
        raise UserError(f"{file}: a name occurs twice in the classes of the first line")
    return classes


def _literal(value: Any) -> Any:
    """A list that stands in a cell of CSV as JSON."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _entries(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line.

    Raises:
        UserError: a line is no JSON object, or has other cells than the header.
    """
    if file.suffix == ".csv":
        rows = read_cells(file)
        header = next(rows, (1, []))[1]
        for line, cells in rows:
            if len(cells) != len(header):
                raise UserError(f"{file}, line {line}: {len(cells)} cells, expected {len(header)}")
            yield line, dict(zip(header, cells, strict=True))
        return
    for line, text in read_lines(file):
        if not text.strip():
            continue
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {line}: not JSON ({error})") from error
        if not isinstance(entry, dict):
            raise UserError(f"{file}, line {line}: expected an object, got {text!r:.100}")
        yield line, entry


def write(table: LabelTable, out: Path) -> None:
    """Write metadata.jsonl into a folder; with splits into a folder for each.

    Raises:
        UserError: a picture of a split is not in its folder.
    """
    splits = table.split_names() if table.splits is not None else (None,)
    folder_of = {"train": "train/", "val": "validation/", "test": "test/", None: ""}
    for split in splits:
        if split not in folder_of:
            raise UserError(f"split {split!r}: an imagefolder has train, val and test")
    make_folder(out)
    for number, split in enumerate(sorted(splits, key=list(folder_of).index)):
        folder = folder_of[split]
        rows = range(len(table)) if split is None else table.rows_of(split).tolist()
        (out / folder).mkdir(exist_ok=True)
        with complete_file(out / folder / _NAMES[0]) as stream:
            for place, row in enumerate(counted(rows)):
                entry = _entry(table, row, folder)
                if number == place == 0:
                    entry["classes"] = list(table.classes)
                stream.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _entry(table: LabelTable, row: int, folder: str) -> dict[str, Any]:
    path = table.paths[row]
    # a picture that lies elsewhere is named from the folder of its split
    name = path.removeprefix(folder) if path.startswith(folder) else f"../{path}"
    entry: dict[str, Any] = {"file_name": name}
    entry["labels"] = table.names_with(row, PRESENT_CODE)
    if table.groups is not None:
        entry["group"] = table.groups[row]
    return entry


FORMAT = LabelFormat("imagefolder", recognises, read, write, folder=True)
