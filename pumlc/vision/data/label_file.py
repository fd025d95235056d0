"""Read a label file of any format, in Python and in runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumlc.errors import UserError, warn_user
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.formats.label_format import ReadOptions
from pumlc.vision.data.label_table import LEFT_OUT, LabelTable, Policy, Problem, State
from pumlc.vision.data.memory_table import table_in_memory
from pumlc.vision.data.picture_files import PictureFiles, locate

_SHOWN = 5


@dataclass(frozen=True)
class Labels:
    """What `read_labels` returns.

    Attributes:
        labels: [N, C] int8 in {1, 0, -1}; with ``sparse`` CSR, in which unknown is not stored.
        paths: N paths, below the root if one was given, else as the file spells them.
        classes: C names.
        split: N names of splits; a file without splits is all "train".
        table: the table with all four states.
    """

    labels: Any
    paths: Sequence[str]
    classes: tuple[str, ...]
    split: tuple[str, ...]
    table: LabelTable


def read_labels(
    path: Any,
    *,
    root: Path | str | None = None,
    format: str | None = None,
    uncertain: Policy | Mapping[str, Policy] = "unknown",
    values: Mapping[Any, State] | None = None,
    sparse: bool = False,
) -> Labels:
    """Read a label file of any format that the package knows.

    Args:
        path: the file or folder; or a DataFrame of pandas or a data set of Hugging Face in memory,
            with a column ``image`` and a column ``labels`` or one per class.
        root: folder of the pictures; if given, every picture must exist.
        format: the format; None: recognised by its content.
        uncertain: what uncertain labels become: a state, or class -> state, the others unknown.
        values: spelling in the file -> state, for tables with one column per class.
        sparse: labels as scipy CSR.

    Returns:
        Labels, paths, classes and splits, in the order of the file.

    Raises:
        UserError: the file has two possible readings, or errors (the message has the first five,
            and how many more there are).
    """
    options = ReadOptions(values=spelled_values(values))
    if isinstance(path, (str, Path)):
        table, _ = read_table(Path(path), format=format, options=options)
    else:
        table = table_in_memory(path, options)
    problems = list(table.problems)
    if root is not None:
        table, missing = locate(table, PictureFiles(Path(root)))
        problems += missing
    refuse(table.source, problems, root)
    labels = table.sparse_labels(uncertain) if sparse else table.labels(uncertain)
    splits = table.splits or ("train",) * len(table)
    return Labels(labels, table.paths, table.classes, splits, table)


def spelled_values(values: Mapping[Any, Any] | None) -> dict[str, State]:
    """The mapping of values with texts as keys, since YAML reads 1 and nan as numbers.

    Args:
        values: spelling in the file -> state.

    Raises:
        UserError: there is no such state.
    """
    spelled: dict[str, State] = {}
    for value, state in (values or {}).items():
        if state not in ("present", "absent", "unknown", "uncertain"):
            raise UserError(
                f"data.values: {value!r}: {state!r} is not a state; valid: present, absent, "
                "unknown, uncertain"
            )
        spelled["" if value is None else str(value)] = state
    return spelled


def refuse(source: str, problems: Sequence[Problem], root: Path | str | None = None) -> None:
    """Refuse a file with problems that prevent training; warn of columns that are no classes.

    Args:
        source: the file, for the message.
        problems: all problems; only blocking ones are refused.
        root: folder of the pictures, without which `inspect` would not miss any.

    Raises:
        UserError: there is a blocking problem; the message has the first five, and how many more
            there are.
    """
    left_out = [problem.message for problem in problems if problem.kind == LEFT_OUT]
    if left_out:
        warn_user("; ".join(left_out))
    blocking = [problem.message for problem in problems if problem.blocking]
    if not blocking:
        return
    missing = any(problem.kind == "missing" for problem in problems)
    if missing and root is not None and not Path(root).exists():
        raise UserError(
            f"{root}: no such folder; the pictures of {source} are to be below it (data.root)"
        )
    lines = blocking[:_SHOWN]
    if len(blocking) > _SHOWN:
        command = f"pumlc inspect {source}" + ("" if root is None else f" --root {root}")
        lines.append(f"and {len(blocking) - _SHOWN} more; {command} lists all of them")
    raise UserError("\n".join(lines))
