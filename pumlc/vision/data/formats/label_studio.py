"""Label Studio: finished tasks as JSON, its short form JSON-MIN, and tasks to import.

In a finished task a class that is not chosen is absent. In a task without an annotation all labels
are unknown. Choices of a control named ``uncertain`` or ``unknown`` have that state. Predictions
are not labels.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pumlc.errors import UserError
from pumlc.files import read_json, write_json
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import (
    EVERY_STATE,
    LabelFormat,
    ReadOptions,
    first_bytes,
    name_list,
    text_of,
)
from pumlc.vision.data.label_table import (
    CODE,
    PRESENT_CODE,
    UNCERTAIN_CODE,
    UNKNOWN_CODE,
    LabelTable,
)
from pumlc.vision.data.table_builder import TableBuilder

_CONTROLS = {"uncertain": UNCERTAIN_CODE, "unknown": UNKNOWN_CODE}
_IMAGE_KEYS = ("image", "img", "picture", "photo")
# keys of JSON-MIN that are no controls
_NO_CONTROLS = (
    *("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "split"),
    *("group", "classes", *_IMAGE_KEYS),
)


def recognises(path: Path) -> str | None:
    """A list of tasks: objects with a picture."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    start = first_bytes(path, 1 << 16).lstrip()
    if not start.startswith(b"[") or not any(f'"{k}"'.encode() in start for k in _IMAGE_KEYS):
        return None
    return "a list of tasks"


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table; see the module."""
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise UserError(f"{path}: expected a list of tasks")
    declared = name_list(tasks[0]["data"].get("classes")) if _has_classes(tasks) else None
    if declared is not None and len(set(declared)) < len(declared):
        raise UserError(f"{path}: a name occurs twice in the classes of the first task")
    builder = TableBuilder(path, "labelstudio", declared)
    rest = CODE[options.values.get("unlisted", "absent")]
    for number, task in enumerate(counted(tasks)):
        data = task.get("data", task) if isinstance(task, dict) else None
        image = next((text for key in _IMAGE_KEYS if (text := text_of(data, key))), None)
        if image is None:
            builder.problem("entry", f"task {number} has no picture: {task!r:.200}")
            continue
        try:
            states = _states(task)
        except UserError as error:
            builder.problem("entry", f"task {number} ({image}): {error}")
            continue
        builder.add(
            image,
            () if states is None else states,
            rest=UNKNOWN_CODE if states is None else rest,
            split=text_of(data, "split"),
            group=text_of(data, options.group or "group"),
            place=number,
        )
    return builder.table()


def _has_classes(tasks: list[Any]) -> bool:
    return bool(tasks) and isinstance(tasks[0], dict) and isinstance(tasks[0].get("data"), dict)


def _states(task: dict[str, Any]) -> list[tuple[str, int]] | None:
    """Class and code of each choice; None: nobody has finished the task.

    Raises:
        UserError: several people have finished it, and their choices differ.
    """
    if "data" not in task:  # JSON-MIN: the controls stand in the task itself
        return list(_short_choices(task))
    annotations = task.get("annotations", task.get("completions"))
    if annotations is not None and not isinstance(annotations, list):
        raise UserError("annotations is not a list")
    finished = [
        each
        for each in annotations or []
        if isinstance(each, dict) and not each.get("was_cancelled")
    ]
    answers = [sorted(_choices(each)) for each in finished]
    if not answers:
        return None
    if any(set(answer) != set(answers[0]) for answer in answers):
        raise UserError(
            f"its {len(answers)} annotations differ: {answers[0]} and "
            f"{next(a for a in answers if set(a) != set(answers[0]))}"
        )
    return answers[0]


def _choices(annotation: dict[str, Any]) -> Iterator[tuple[str, int]]:
    results = annotation.get("result")
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and "choices" in value:
            names = name_list(value["choices"])
            if names is None:
                raise UserError(f"choices {value['choices']!r:.100} are no names")
            code = _CONTROLS.get(text_of(result, "from_name") or "", PRESENT_CODE)
            yield from ((name, code) for name in names)


def _short_choices(task: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in task.items():
        if key in _NO_CONTROLS:
            continue
        names = name_list(value.get("choices") if isinstance(value, dict) else value)
        if names is None:
            raise UserError(f"{key}: {value!r:.100} is no choice")
        yield from ((name, _CONTROLS.get(key, PRESENT_CODE)) for name in names)


def write(table: LabelTable, out: Path) -> None:
    """Write finished tasks; a picture without a known label becomes a task still to be done."""
    write_json(out, [_task(table, row) for row in counted(range(len(table)))])


def _task(table: LabelTable, row: int) -> dict[str, Any]:
    data: dict[str, Any] = {"image": table.paths[row]}
    if row == 0:
        data["classes"] = list(table.classes)  # tasks name only what is chosen
    if table.splits is not None:
        data["split"] = table.splits[row]
    if table.groups is not None:
        data["group"] = table.groups[row]
    if (table.row_codes(row) == UNKNOWN_CODE).all():
        return {"data": data, "annotations": []}
    controls = {"tag": PRESENT_CODE, **_CONTROLS}
    results = [
        _result(control, names)
        for control, code in controls.items()
        if (names := table.names_with(row, code))
    ]
    return {"data": data, "annotations": [{"result": results}]}


def suggested_task(
    image: str,
    names: Sequence[str],
    *,
    score: float | None,
    note: str,
    classes: Sequence[str] | None,
    split: str | None,
) -> dict[str, Any]:
    """A task to be done, with a prediction that Label Studio shows as chosen already.

    Args:
        image: its address.
        names: the suggested classes.
        score: between 0 and 1; Label Studio sorts tasks by it.
        note: a text beside the picture.
        classes: all classes, in the first task; None in the others.
        split: of the picture; None: there are no splits.
    """
    more = {"classes": classes and list(classes), "split": split, "note": note}
    data = {"image": image, **{key: value for key, value in more.items() if value}}
    prediction: dict[str, Any] = {"model_version": "pumlc", "result": [_result("tag", list(names))]}
    if score is not None:
        prediction["score"] = score
    return {"data": data, "annotations": [], "predictions": [prediction]}


def _result(control: str, names: list[str]) -> dict[str, Any]:
    return {
        "type": "choices",
        "from_name": control,
        "to_name": "image",
        "value": {"choices": names},
    }


FORMAT = LabelFormat("labelstudio", recognises, read, write, EVERY_STATE)
