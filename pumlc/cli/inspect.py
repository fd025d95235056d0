"""Show how a label file is understood, and what is doubtful in it and in its pictures.

pumlc inspect labels.csv --root PICTURES
pumlc inspect CheXpert-v1.0-small --root .. --json
pumlc inspect labels.csv --root PICTURES --fix clean.csv
pumlc inspect docs.csv --text-column TEXT --label-column TAGS      a table of documents

It trains nothing and, without --fix, writes nothing. docs/label_formats.md describes the formats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pumlc.cli import console
from pumlc.cli.inspected_texts import inspect_documents
from pumlc.cli.label_options import (
    DOCUMENTS_HINT,
    FORMAT_HELP,
    VALUES_HELP,
    hides_texts,
    may_be_documents,
    read_label_file,
)
from pumlc.cli.options import argument, option, parse_options
from pumlc.cli.problems import print_problems
from pumlc.progress import Progress
from pumlc.tables import table as as_table

_STATES = ("present", "absent", "unknown", "uncertain")


@dataclass(frozen=True)
class InspectOptions:
    """The command line of ``pumlc inspect``."""

    labels: Path = argument("a label file, or the folder of one")
    root: Path | None = option("folder of the pictures; without it they are not checked")
    format: str | None = option(FORMAT_HELP)
    values: str | None = option(VALUES_HELP)
    separator: str | None = option("what separates the labels in a cell; blank for blanks")
    allow_outside: bool = option("allow pictures outside the root", default=False)
    decode: bool = option("open each picture, which is the default with --root", default=False)
    quick: bool = option("do not open each picture", default=False)
    per_class: bool = option("also print a row per class", default=False)
    json: bool = option("print the JSON object on a terminal too", default=False)
    strict: bool = option("exit with status 1 if there is a problem", default=False)
    fix: Path | None = option(
        "file to write: the same format without the unusable rows, with merged duplicates and one "
        "name per class"
    )
    text_column: str | None = option("the file is a table of documents: its column of texts")
    label_column: str | None = option("documents: the column of labels; default: labels")
    id_column: str | None = option("documents: the column of their names")
    group_column: str | None = option("documents: the column of groups that stay together")
    encoder: str = option("documents: whose tokens are counted", default="pip")
    document_length: int = option("documents: tokens that would be kept of one", default=128)


def main(arguments: Sequence[str] | None = None) -> None:
    """Inspect a label file."""
    options = parse_options(InspectOptions, arguments, program="pumlc inspect", about=__doc__ or "")
    from pumlc.errors import UserError

    if options.text_column is not None:
        found = inspect_documents(options)
        _end(options, found)
        return
    from pumlc.vision.data.inspection import inspect_labels

    if options.decode and (options.quick or options.root is None):
        wrong = "--quick leaves it out" if options.quick else "--root says where the pictures are"
        raise UserError(f"--decode opens each picture; {wrong}")
    if options.root is not None and not options.root.is_dir():
        raise UserError(f"--root {options.root}: no such folder")
    if options.fix is not None:
        console.check_not_input("--fix", options.fix, options.labels)
    try:
        table, evidence = read_label_file(options.labels, options)
    except UserError as error:
        if options.format is not None or not may_be_documents(options.labels):
            raise
        raise UserError(f"{error}\n{DOCUMENTS_HINT}") from error
    inspection = inspect_labels(
        table,
        evidence,
        root=options.root,
        allow_outside=options.allow_outside,
        decode=not options.quick,
        progress=partial(Progress().show, "pictures"),
    )
    _print(inspection, per_class=options.per_class)
    if options.format is None and hides_texts(options.labels):
        print(f"\n{DOCUMENTS_HINT}")
    if options.fix is not None:
        _fix(table, inspection, options.fix)
    _end(options, inspection)


def _end(options: InspectOptions, inspection: Any) -> None:
    console.print_result(inspection.result(), always=options.json)
    if options.strict and inspection.problems:
        raise console.SomeFailedError(f"{options.labels}: {len(inspection.problems)} problems")


def _print(inspection: Any, *, per_class: bool) -> None:
    """Print how the file is understood, and the first problems of each kind."""
    from pumlc.vision.data.inspection import class_rows, meaning_rows, split_counts

    table = inspection.table
    print(f"{table.source}: {table.format} ({inspection.evidence}), {len(table.classes)} classes\n")
    rows = [[split, *counts.values()] for split, counts in split_counts(table).items()]
    print(as_table(["split", "pictures", *_STATES], rows))
    if table.splits is None:
        print("\nThe file has no splits: all of it is train. data.test 0.2 holds out a part.")
    if table.meanings:
        print("\n" + as_table(["value", "state", "labels"], meaning_rows(table)))
    if per_class:
        print("\n" + as_table(["class", *_STATES], class_rows(table)))
    print_problems(inspection.problems)


def _fix(table: Any, inspection: Any, out: Path) -> None:
    """Write the mended file, and print the changes."""
    from pumlc.vision.data.convert import write_table
    from pumlc.vision.data.label_fixes import fixed_table

    fixed, changes = fixed_table(table, inspection)
    write_table(fixed, out, table.format)
    print(f"{out}: {len(fixed):,} of {len(table):,} rows, {len(changes)} changes")
    for change in changes:
        print(f"  {change}")
