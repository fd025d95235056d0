"""Inspect a label file and its pictures for errors and doubts, in one pass before training."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.labels.names import neighbouring_names, similar_names
from pumlc.vision.data.label_table import CODE, STATES, UNKNOWN_CODE, LabelTable, Problem
from pumlc.vision.data.picture_files import PictureFiles, locate, repeated_rows
from pumlc.vision.data.picture_inspection import first_names, picture_problems

_RARE = 0.05  # share of the labels of the nearest name, below which a name may be a typing error


@dataclass(frozen=True)
class Inspection:
    """What `inspect_labels` has found.

    Attributes:
        table: the labels, with paths below the root if one was given.
        evidence: why the file was taken for its format.
        problems: all problems, those that prevent training first.
    """

    table: LabelTable
    evidence: str
    problems: tuple[Problem, ...]

    def result(self) -> dict[str, Any]:
        """Plain JSON: format, classes, splits with their counts, problems."""
        return {
            "format": self.table.format,
            "classes": list(self.table.classes),
            "splits": split_counts(self.table),
            "problems": [
                {"kind": each.kind, "message": each.message, "refuses_training": each.blocking}
                for each in self.problems
            ],
        }


def split_counts(table: LabelTable) -> dict[str, dict[str, int]]:
    """For each split the number of its pictures, and of its labels in each state."""
    counts = {}
    for split in table.split_names():
        rows = table.rows_of(split)
        states = {state: int(each.sum()) for state, each in table.counts(rows).items()}
        counts[split] = {"pictures": len(rows), **states}
    return counts


def inspect_labels(
    table: LabelTable,
    evidence: str = "",
    *,
    root: Path | None = None,
    allow_outside: bool = False,
    decode: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Look for errors and doubts.

    Args:
        table: the labels.
        evidence: why the file was taken for its format.
        root: folder of the pictures; None: they are not checked.
        allow_outside: whether a path may leave the root.
        decode: also open each picture, which takes as long as reading an epoch.
        progress: called with the number of opened pictures and the number of all.
    """
    problems = [*table.problems, *_class_problems(table), *_label_problems(table)]
    if root is None:
        # a name in two splits may be two pictures: some formats have a folder for each split
        splits = table.splits or [""] * len(table)
        names = [os.path.join(*each) for each in zip(splits, table.paths, strict=True)]
        problems += repeated_rows(table, names, np.arange(len(table)))
    else:
        files = PictureFiles(root, allow_outside=allow_outside)
        table, wrong = locate(table, files)
        lost = {row for problem in wrong for row in problem.rows if problem.kind != "repeated"}
        rows = [row for row in range(len(table)) if row not in lost]
        problems += [*wrong, *_unlisted(table, files)]
        problems += picture_problems(table, root, rows, decode=decode, progress=progress)
    return Inspection(table, evidence, tuple(sorted(problems, key=lambda each: not each.blocking)))


def _class_problems(table: LabelTable) -> Iterator[Problem]:
    """Find classes that are probably one class, and classes that no picture shows."""
    present = dict(zip(table.classes, table.counts()["present"].tolist(), strict=True))
    pairs = [pair for pair in neighbouring_names(table.classes) if _may_be_one(pair, present)]
    for group in [*similar_names(table.classes), *pairs]:
        shown = " and ".join(f"{name!r} ({present[name]} present)" for name in group)
        yield Problem("similar classes", f"{shown} are probably one class", blocking=False)
    empty = [name for name, count in present.items() if not count]
    if empty:
        message = f"no picture is known to show {first_names(empty)}"
        yield Problem("class without a picture", message, blocking=False)


def _may_be_one(pair: Sequence[str], present: Mapping[str, int]) -> bool:
    """Whether of two similar names one is the plural, or rare enough to be a typing error."""
    first, second = sorted(pair, key=len)
    if second in (f"{first}s", f"{first}es"):
        return True
    rare, common = sorted(present[name] for name in pair)
    return rare <= _RARE * common and first[0] == second[0]


def _label_problems(table: LabelTable) -> Iterator[Problem]:
    """Find pictures without a known label."""
    listed: np.ndarray = table.listed.data
    known = np.zeros(len(table), np.int64)
    row_of = np.repeat(np.arange(len(table)), np.diff(table.listed.indptr))
    np.add.at(known, row_of[listed != UNKNOWN_CODE], 1)
    bare = np.flatnonzero((known == 0) & (table.rest == UNKNOWN_CODE)).tolist()
    if bare:
        names = first_names([table.paths[row] for row in bare])
        message = f"{len(bare)} pictures have no known label: {names}"
        yield Problem("picture without a label", message, blocking=False, rows=tuple(bare))


def _unlisted(table: LabelTable, files: PictureFiles) -> Iterator[Problem]:
    """Find pictures below the root that no row lists."""
    listed = {os.path.normpath(path) for path in table.paths}
    extra = [path for path in files.walk() if path not in listed]
    if extra and table.stored is None:
        message = f"{len(extra)} pictures in {files.root} have no row: {first_names(extra)}"
        yield Problem("picture without a row", message, blocking=False)


def class_rows(table: LabelTable) -> list[list[Any]]:
    """A row per class: its name and its labels in each state."""
    counts = table.counts()
    return [
        [name, *(int(counts[state][column]) for state in CODE)]
        for column, name in enumerate(table.classes)
    ]


def meaning_rows(table: LabelTable) -> list[list[Any]]:
    """A row per value of the file: the value, its state, and how often it occurs."""
    order = {state: place for place, state in enumerate(STATES)}
    pairs = sorted(table.meanings.items(), key=lambda pair: (order[pair[0][1]], pair[0][0]))  # pyright: ignore[reportArgumentType]
    return [[repr(value), state, count] for (value, state), count in pairs]
