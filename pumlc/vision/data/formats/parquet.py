"""Parquet as Hugging Face writes it: columns ``image`` (a path, or bytes and path) and ``labels``.

A picture whose bytes are in the file is read in place. It is called by its path, or, where that is
missing or several have the same, ``FILE.parquet/PATH`` and ``FILE.parquet/ROW``.
Labels are names, or indices into the names in the schema. An unlisted class is absent; null makes
all labels unknown. Our own files also have ``split`` and ``group``.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pumlc.errors import UserError
from pumlc.files import complete_file
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import (
    LabelFormat,
    ReadOptions,
    first_bytes,
    name_list,
    split_of,
)
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, UNKNOWN_CODE, LabelTable
from pumlc.vision.data.parquet_files import (
    as_user_error,
    has_fields,
    image_column,
    require_pyarrow,
)
from pumlc.vision.data.stored_pictures import StoredBuilder
from pumlc.vision.data.table_builder import TableBuilder

_LABELS = ("labels", "label", "tags")
_LEAST_PICTURE = 1024  # bytes of a row: with fewer the column of pictures is quickly read


def recognises(path: Path) -> str | None:
    """Files that begin as Parquet does."""
    files = _files(path)
    return f"{files[0][1].name} begins with PAR1" if files else None


def _files(path: Path) -> list[tuple[str | None, Path]]:
    """Split and file."""
    if not path.is_dir():
        return [(None, path)] if path.is_file() and first_bytes(path, 4) == b"PAR1" else []
    files = sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")])
    order = ("train", "val", "test")
    found = [
        (split_of(file.stem.split("-")[0]), file)
        for file in files
        if first_bytes(file, 4) == b"PAR1"
    ]
    return sorted(found, key=lambda each: (order.index(each[0]) if each[0] else -1, each[1].name))


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table; a batch of rows at a time, without the bytes of pictures."""
    files = _files(path)
    if not files:
        raise UserError(f"{path}: no Parquet file")
    arrow = require_pyarrow(path)
    builder: TableBuilder | None = None
    stored = StoredBuilder("parquet")
    for split, file in files:
        with as_user_error(arrow, file):
            content = arrow.parquet.ParquetFile(file)
            names = _class_names(content.schema_arrow)
            if builder is None:
                builder = TableBuilder(path, "parquet", names)
            _add(builder, stored, content, file, split, names, options)
    assert builder is not None
    return _with_own_names(replace(builder.table(), stored=stored.finished()))


def _with_own_names(table: LabelTable) -> LabelTable:
    """The table with the file before the names of pictures inside of it, if names occur twice."""
    stored = table.stored
    if stored is None or len(set(table.paths)) == len(table):
        return table
    files = [Path(file).name for file in stored.files]
    paths = tuple(
        f"{files[number]}/{path}"
        if number >= 0 and not path.startswith(f"{files[number]}/")
        else path
        for path, number in zip(table.paths, stored.places[:, 0].tolist(), strict=True)
    )
    return replace(table, paths=paths)


def _class_names(schema: Any) -> list[str] | None:
    """The names that Hugging Face keeps in the schema, of ours or of a ClassLabel."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    for name in _LABELS:
        feature = features.get(name) if isinstance(features, dict) else None
        for inner in ("feature", "_type_of_items", None):
            part = feature.get(inner) if inner and isinstance(feature, dict) else feature
            names = name_list(part.get("names")) if isinstance(part, dict) else None
            if names is not None and len(set(names)) == len(names):
                return names
    return None


def _add(
    builder: TableBuilder,
    stored: StoredBuilder,
    content: Any,
    file: Path,
    split: str | None,
    classes: list[str] | None,
    options: ReadOptions,
) -> None:
    """Add the rows of one file."""
    there = content.schema_arrow.names
    at_image = image_column(content.schema_arrow)
    at_labels = next((name for name in _LABELS if name in there), None)
    if at_image is None or at_labels is None:
        raise UserError(f"{file}: needs columns 'image' and 'labels', got {there}")
    group = options.group or "group"
    columns = [at_labels, *(name for name in ("split", group) if name in there)]
    with_bytes = has_fields(content.schema_arrow, at_image, "bytes", "path")
    columns.append(f"{at_image}.path" if with_bytes else at_image)
    rest = CODE[options.values.get("unlisted", "absent")]
    number = 0
    for row_group in counted(range(content.num_row_groups)):
        rows = content.read_row_group(row_group, columns=columns).to_pylist()
        inside = _has_bytes(content, row_group, at_image) if with_bytes else None
        for place, row in enumerate(rows):
            image, names = row.get(at_image), _names(row.get(at_labels), classes)
            image = image.get("path") if isinstance(image, dict) else image
            is_stored = inside is not None and inside[place]
            if is_stored and not image:
                image = f"{file.name}/{number}"
            if not isinstance(image, str) or (row.get(at_labels) is not None and names is None):
                builder.problem(
                    "entry", f"{file.name}, row {number}: {row!r:.200}; expected a path and names"
                )
            elif builder.add(
                image,
                dict.fromkeys(names or (), PRESENT_CODE),
                rest=UNKNOWN_CODE if names is None else rest,
                split=split or row.get("split"),
                group=row.get(group),
                place=number,
            ):
                stored.add(str(file) if is_stored else None, row_group, place)
            number += 1


def _has_bytes(content: Any, row_group: int, image: str) -> list[bool]:
    """Whether each row of a group holds a picture.

    Of a group that is as large as pictures are, the first row is looked at, and all have one if it
    has. (Statistics of columns would say it exactly, but over those of a damaged file the library
    ends the process.)
    """
    group, column = content.metadata.row_group(row_group), [f"{image}.bytes"]
    if group.total_byte_size > _LEAST_PICTURE * group.num_rows:
        first = next(content.iter_batches(1, row_groups=[row_group], columns=column), None)
        if first is not None and first.column(image).field("bytes").is_valid()[0].as_py():
            return [True] * group.num_rows
    found = content.read_row_group(row_group, columns=column).column(image)
    return found.combine_chunks().field("bytes").is_valid().to_pylist()


def _names(value: Any, classes: list[str] | None) -> list[str] | None:
    """Names of a list of names or of indices."""
    value = [value] if isinstance(value, int) else value
    if classes is not None and isinstance(value, list) and all(type(i) is int for i in value):
        right = all(0 <= index < len(classes) for index in value)
        return [classes[index] for index in value] if right else None
    return name_list(value)


def write(table: LabelTable, out: Path) -> None:
    """Write paths and indices of the present labels, with the names in the schema."""
    arrow = require_pyarrow(out)
    names = list(table.classes)
    features = {
        "image": {"_type": "Image"},
        "labels": {"_type": "List", "feature": {"_type": "ClassLabel", "names": names}},
    }
    columns: dict[str, Any] = {
        "image": arrow.array(
            [{"bytes": None, "path": path} for path in table.paths],
            arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())]),
        ),
        "labels": arrow.array(
            [
                (table.row_codes(row) == PRESENT_CODE).nonzero()[0].tolist()
                for row in counted(range(len(table)))
            ],
            arrow.list_(arrow.int64()),
        ),
    }
    for name, values in (("split", table.splits), ("group", table.groups)):
        if values is not None:
            columns[name] = arrow.array(values, arrow.string())
            features[name] = {"_type": "Value", "dtype": "string"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    content = arrow.table(columns).replace_schema_metadata(metadata)
    with complete_file(out, binary=True) as stream:
        arrow.parquet.write_table(content, stream)


FORMAT = LabelFormat("parquet", recognises, read, write)
