"""MMPretrain: ``{"metainfo": {"classes": [...]}, "data_list": [{"img_path", "gt_label"}, ...]}``.

A class that ``gt_label`` does not list is absent. Our own files also have ``split`` and ``group``.
"""

from pathlib import Path
from typing import Any

from pumlc.errors import UserError
from pumlc.files import read_json, write_json
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import (
    LabelFormat,
    ReadOptions,
    json_with,
    name_list,
    text_of,
)
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder


def recognises(path: Path) -> str | None:
    """The key data_list."""
    return "the key data_list" if json_with(path, "data_list", "metainfo") else None


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("data_list"), list):
        raise UserError(f"{path}: no list 'data_list'")
    information = content.get("metainfo")
    classes = name_list(information.get("classes")) if isinstance(information, dict) else None
    if classes is None or len(set(classes)) < len(classes):
        raise UserError(f"{path}: metainfo needs 'classes', a list of different names")
    builder = TableBuilder(path, "mmpretrain", classes)
    rest = CODE[options.values.get("unlisted", "absent")]
    for number, entry in enumerate(counted(content["data_list"])):
        image, columns = text_of(entry, "img_path"), _columns(entry)
        if image is None or columns is None or not set(columns) <= set(range(len(classes))):
            builder.problem(
                "entry",
                f"data_list[{number}] needs 'img_path' and 'gt_label', indices below "
                f"{len(classes)}; got {entry!r:.200}",
            )
            continue
        builder.add(
            image,
            {classes[column]: PRESENT_CODE for column in columns},
            rest=rest,
            split=text_of(entry, "split"),
            group=text_of(entry, "group"),
            place=number,
        )
    return builder.table()


def _columns(entry: Any) -> list[int] | None:
    """The indices of an entry; a single one may stand without brackets."""
    value = entry.get("gt_label") if isinstance(entry, dict) else None
    columns: list[Any] = list(value) if isinstance(value, list) else [value]
    return columns if all(type(column) is int for column in columns) else None


def write(table: LabelTable, out: Path) -> None:
    """Write the present labels."""
    entries = []
    for row, path in enumerate(counted(table.paths)):
        present = (table.row_codes(row) == PRESENT_CODE).nonzero()[0].tolist()
        entry: dict[str, Any] = {"img_path": path, "gt_label": present}
        if table.splits is not None:
            entry["split"] = table.splits[row]
        if table.groups is not None:
            entry["group"] = table.groups[row]
        entries.append(entry)
    write_json(out, {"metainfo": {"classes": list(table.classes)}, "data_list": entries})


FORMAT = LabelFormat("mmpretrain", recognises, read, write)
