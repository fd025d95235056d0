"""Label tables in memory: a DataFrame of pandas, or a data set of Hugging Face.

Neither library is imported: the type of an object is seen from its attributes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pumlc.errors import UserError
from pumlc.vision.data.formats.cell_states import form_of
from pumlc.vision.data.formats.csv_table import find_image_column, plain
from pumlc.vision.data.formats.label_format import ReadOptions, name_list, split_of
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder

_LABELS = ("labels", "label", "tags")


def table_in_memory(data: Any, options: ReadOptions) -> LabelTable:
    """The table of an object in memory.

    Args:
        data: a DataFrame, a data set, or a mapping of split -> data set.
        options: see `ReadOptions`.

    Raises:
        UserError: it has no column of pictures or of labels, or has two possible readings.
        TypeError: it is none of these objects.
    """
    parts = dict(data) if isinstance(data, Mapping) else {None: data}
    builder: TableBuilder | None = None
    for name, part in parts.items():
        columns = _columns(part)
        image = find_image_column(columns)
        if image is None:
            raise UserError(f"no column of pictures, such as 'image'; got {columns}")
        labels = next((c for c in columns if plain(c) in _LABELS), None)
        if builder is None:
            builder = TableBuilder("the table in memory", "memory", _classes(part, columns, labels))
        split = None if name is None else split_of(str(name)) or str(name)
        add = _add_lists if labels is not None else _add_states
        add(builder, part, columns, image, labels or "", split, options)
    if builder is None:
        raise UserError("the mapping of splits is empty")
    return builder.table()


def _columns(part: Any) -> list[str]:
    names = getattr(part, "column_names", None)  # of a data set of Hugging Face
    if names is None:
        names = getattr(part, "columns", None)  # of a DataFrame
    if names is None:
        raise TypeError(f"expected a path, a DataFrame or a data set, got {type(part).__name__}")
    return [str(name) for name in names]


def _rows(part: Any) -> Iterator[Mapping[str, Any]]:
    """The rows as mappings, without decoding pictures."""
    if hasattr(part, "itertuples"):
        names = _columns(part)
        for row in part.itertuples(index=False, name=None):
            yield dict(zip(names, row, strict=True))
    else:
        if hasattr(part, "with_format"):
            part = part.with_format("arrow") if hasattr(part, "features") else part
        for row in part:
            yield row.to_pylist()[0] if hasattr(row, "to_pylist") else row


def _classes(part: Any, columns: list[str], labels: str | None) -> list[str] | None:
    """The class names if the object declares them: by ClassLabel of Hugging Face, or columns."""
    if labels is None:
        image = find_image_column(columns)
        return [c for c in columns if c not in (image, "split", "group")]
    feature = getattr(part, "features", {}).get(labels) if hasattr(part, "features") else None
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return None if names is None else list(names)


def _path(value: Any, row: int) -> str:
    """The path of a picture; its row, if it is in memory and has none."""
    if isinstance(value, Mapping):
        return str(value.get("path") or (row if value.get("bytes") else ""))
    return str(value or "")


def _add_lists(
    builder: TableBuilder,
    part: Any,
    columns: list[str],
    image: str,
    labels: str,
    split: str | None,
    options: ReadOptions,
) -> None:
    """Add rows with a list of names or indices; an unlisted class is absent, None is unknown."""
    classes = _classes(part, columns, labels)
    rest = options.values.get("unlisted", "absent")
    for row in _rows(part):
        value = row[labels]
        if hasattr(value, "tolist"):
            value = value.tolist()
        if classes is not None and isinstance(value, list) and all(type(i) is int for i in value):
            value = [classes[index] for index in value]
        names = name_list(list(value) if isinstance(value, tuple) else value)
        if names is None and value is not None and value == value:  # nan is not itself
            raise UserError(f"column {labels!r}: {value!r:.100} is not a list of names")
        builder.add(
            _path(row[image], len(builder)),
            dict.fromkeys(names or (), PRESENT_CODE),
            rest=CODE["unknown" if names is None else rest],
            split=split or row.get("split"),
        )


def _add_states(
    builder: TableBuilder,
    part: Any,
    columns: list[str],
    image: str,
    labels: str,
    split: str | None,
    options: ReadOptions,
) -> None:
    """Add rows with a column per class."""
    names = _classes(part, columns, None) or []
    rows = [
        {name: _cell(value, number) for name, value in row.items()}
        for number, row in enumerate(_rows(part))
    ]
    cells = Counter(row[name] for row in rows for name in names)
    ours = "split" in columns and image == "image"
    state_of = form_of(cells, options, ours=ours, source=builder.source)
    for row in rows:
        states = {}
        for name in names:
            state = state_of.get(row[name])
            if state is None:
                raise UserError(f"column {name!r}: {row[name]!r} is not a state")
            if state != "unknown":
                states[name] = CODE[state]
        builder.add(row[image], states, rest=CODE["unknown"], split=split or row.get("split"))


def _cell(value: Any, row: int) -> str:
    if value is None or value != value:  # nan is not itself
        return ""
    return _path(value, row) if isinstance(value, Mapping) else str(value)
