"""labels.json of FiftyOne: ``{"classes": [...], "labels": {"a": ["cat"], "b": null}}``.

An unlisted class is absent. null means that nobody has looked, so all labels are unknown. Pictures
are in the folder ``data`` beside the file, and are named without their ending.
"""

from pathlib import Path

from pumlc.errors import UserError
from pumlc.files import read_json, write_json
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import LabelFormat, ReadOptions, json_with, name_list
from pumlc.vision.data.formats.openimages import without_ending
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, UNKNOWN_CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder


def recognises(path: Path) -> str | None:
    """The keys classes and labels, and none of other JSON formats."""
    file = _file(path)
    if not json_with(file, "classes", "labels"):
        return None
    others = json_with(file, "data_list", "metainfo") or json_with(file, "images", "annotations")
    return None if others else "the keys classes and labels"


def _file(path: Path) -> Path:
    return path / "labels.json" if path.is_dir() else path


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table."""
    file = _file(path)
    content = read_json(file)
    classes = name_list(content.get("classes")) if isinstance(content, dict) else None
    if classes is None or not isinstance(content.get("labels"), dict):
        raise UserError(f"{file}: it needs 'classes', a list, and 'labels', an object")
    if len(set(classes)) < len(classes):
        raise UserError(f"{file}: a name occurs twice in 'classes'")
    builder = TableBuilder(file, "fiftyone", classes)
    rest = CODE[options.values.get("unlisted", "absent")]
    folder = "data/" if (file.parent / "data").is_dir() else ""
    for number, (image, value) in enumerate(counted(content["labels"].items())):
        if isinstance(value, int) and not isinstance(value, bool):
            value = [value]  # a single label is an index there
        names = _names(value, classes)
        if value is not None and names is None:
            builder.problem("entry", f"labels[{image!r}]: {value!r:.100} is no list of classes")
            continue
        builder.add(
            f"{folder}{image}",
            dict.fromkeys(names or (), PRESENT_CODE),
            rest=UNKNOWN_CODE if value is None else rest,
            place=number,
        )
    return builder.table()


def _names(value: object, classes: list[str]) -> list[str] | None:
    """Names of a list of names or of indices."""
    if isinstance(value, list) and value and all(type(index) is int for index in value):
        right = all(0 <= index < len(classes) for index in value)
        return [classes[index] for index in value] if right else None
    return name_list(value)


def write(table: LabelTable, out: Path) -> None:
    """Write the present labels of each picture, and null for pictures without a known label.

    Raises:
        UserError: a picture has unknown labels and known ones, or the file has splits or groups.
    """
    if table.splits is not None and set(table.splits) != {"train"}:
        raise UserError("labels.json of FiftyOne has no splits; convert each split on its own")
    labels: dict[str, list[str] | None] = {}
    for row, path in enumerate(counted(table.paths)):
        codes = table.row_codes(row)
        unknown = codes == UNKNOWN_CODE
        if unknown.any() and not unknown.all():
            raise UserError(
                f"picture {path!r}: labels.json of FiftyOne holds unknown only for all labels of a "
                "picture; say what unknown becomes"
            )
        key = without_ending(path, (".jpg",))
        if key in labels:
            raise UserError(f"picture {path!r} occurs twice")
        labels[key] = None if unknown.all() else table.names_with(row, PRESENT_CODE)
    write_json(out, {"classes": list(table.classes), "labels": labels})


FORMAT = LabelFormat(
    "fiftyone", recognises, read, write, frozenset({"present", "absent", "unknown"})
)
