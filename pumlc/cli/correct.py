"""Apply people's decisions about suspected labels to a label file.

pumlc correct labels.csv corrections.csv --out labels2.csv
pumlc correct labels.csv anna.csv ben.csv --out labels2.csv
pumlc correct docs.csv corrections.csv --text-column TEXT --label-column TAGS --out docs2.csv

LABELS is a label file of any format that pumlc inspect understands. CORRECTIONS are files saved by
the page of pumlc audit: image, class, given, corrected. NEW has the format of LABELS; train on it.
The command also writes NEW.decisions.csv with all decisions so far. Audits of NEW read it and do
not ask again. Labels on which people disagree are listed and stay as they are. Of a table of
documents name the columns as in the run that was audited; only its cells of labels change. If the
output is not a terminal, or with --json, the last line is one JSON object.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumlc.audit.corrections import (
    Applied,
    Combined,
    Correction,
    combine_corrections,
    decisions_file,
    read_corrections,
    write_corrections,
)
from pumlc.cli import console
from pumlc.cli.label_options import (
    DOCUMENTS_HINT,
    FORMAT_HELP,
    VALUES_HELP,
    hides_texts,
    may_be_documents,
    parsed_values,
)
from pumlc.cli.options import argument, errors_name_options, flag_of, option, parse_options
from pumlc.errors import UserError
from pumlc.progress import working
from pumlc.tables import printable

SHOWN = 20
"""At most this many labels of each kind are listed."""


@dataclass(frozen=True)
class CorrectOptions:
    """The command line of ``pumlc correct``."""

    labels: Path = argument("the label file, or the folder of one")
    corrections: list[Path] = argument("files of decisions, of one or more people", nargs="+")
    out: Path = option("the label file to write", required=True)
    format: str | None = option(FORMAT_HELP)
    values: str | None = option(VALUES_HELP)
    unlisted: str | None = option(
        "CSV: what a label means that LABELS does not list, like data.unlisted; default: the state "
        "that people saw in the audit",
        choices=["unknown", "negative"],
    )
    text_column: str | None = option("LABELS is a table of documents: its column of texts")
    label_column: str | None = option("documents: the column of labels; default: labels")
    id_column: str | None = option(
        "documents: the column of their names; default: they are called by their row"
    )
    separator: str | None = option("documents: what separates the labels in a cell")
    json: bool = option("print the JSON object on a terminal too", default=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Correct a label file."""
    options = parse_options(CorrectOptions, arguments, program="pumlc correct", about=__doc__ or "")
    if not options.out.absolute().parent.is_dir():
        raise UserError(f"--out {options.out}: there is no folder {options.out.parent}")
    console.check_not_input("--out", options.out, options.labels)
    combined = combine_corrections(read_corrections(options.corrections))
    again = _decided_before(options, combined)
    with errors_name_options(options), working(f"writing {options.out}"):
        applied = _correct(options, [*combined.agreed, *again])
    known, decisions = _decided(options, combined, applied), decisions_file(options.out)
    write_corrections(decisions, known)
    _show(options, combined, applied)
    if again:
        print(
            f"{options.out} was there and is written anew: its {len(again)} earlier decisions are "
            "applied too"
        )
    print(
        f"{len(applied.changed)} labels changed, {len(applied.confirmed)} confirmed -> "
        f"{options.out}\n{len(known)} decisions -> {decisions}",
        flush=True,
    )
    counts = {name: len(found) for name, found in applied._asdict().items()}
    console.print_result(
        {
            **{"out": str(options.out), "decisions": str(decisions)},
            **{**counts, "contradictions": len(combined.contradictions)},
        },
        always=options.json,
    )


def _correct(options: CorrectOptions, corrections: Sequence[Correction]) -> Applied:
    if options.text_column is not None:
        return _correct_documents(options, corrections)
    for name in ("label_column", "id_column", "separator"):
        if getattr(options, name) is not None:
            flag = flag_of(CorrectOptions, name)
            raise UserError(f"{flag} is for tables of documents; {DOCUMENTS_HINT}")
    if options.format is None and hides_texts(options.labels):
        raise UserError(
            f"{options.labels}: columns of it would be lost; {DOCUMENTS_HINT}; a file of pictures: "
            "--format csv"
        )
    try:
        return _correct_pictures(options, corrections)
    except UserError as error:
        if options.format is not None or not may_be_documents(options.labels):
            raise
        raise UserError(f"{error}\n{DOCUMENTS_HINT}") from error


def _correct_documents(options: CorrectOptions, corrections: Sequence[Correction]) -> Applied:
    from pumlc.text.corrected_table import correct_documents
    from pumlc.text.data.readers.table import Columns

    for name in ("format", "values", "unlisted"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} is for label files of pictures, not with --text-column")
    return correct_documents(
        options.labels,
        corrections,
        options.out,
        columns=Columns(options.text_column, options.label_column, options.id_column),
        separator=options.separator,
    )


def _correct_pictures(options: CorrectOptions, corrections: Sequence[Correction]) -> Applied:
    from pumlc.vision.audit.corrected_csv import correct_csv, is_own_csv
    from pumlc.vision.audit.corrected_table import correct_table
    from pumlc.vision.data.label_file import spelled_values

    said = options.format is not None or options.values is not None
    if not said and is_own_csv(options.labels):
        unlisted: Any = options.unlisted
        return correct_csv(options.labels, corrections, options.out, unlisted=unlisted)
    if options.unlisted is not None:
        raise UserError(
            "--unlisted is for CSV files with the columns split and image; give --values "
            "unlisted=absent"
        )
    values = spelled_values(parsed_values(options.values))
    return correct_table(
        options.labels, corrections, options.out, format=options.format, values=values
    )


def _decided_before(options: CorrectOptions, combined: Combined) -> list[Correction]:
    """Decisions about the file that OUT replaces, which LABELS does not have.

    The same LABELS and OUT with a second file of decisions would lose those of the first.
    """
    there, new = (decisions_file(file) for file in (options.labels, options.out))
    if not new.is_file():
        return []
    answered = {c.key for c in combined.agreed} | {c[0].key for c in combined.contradictions}
    if there.is_file():
        answered |= {correction.key for correction in read_corrections([there])}
    return [each for each in read_corrections([new]) if each.key not in answered]


def _decided(options: CorrectOptions, combined: Combined, applied: Applied) -> list[Correction]:
    """All decisions so far, without those that people or files contradict."""
    files = [decisions_file(file) for file in (options.labels, options.out)]
    earlier = read_corrections([file for file in files if file.is_file()])
    known = {correction.key: correction for correction in [*earlier, *combined.agreed]}
    for same in [applied.overtaken, *combined.contradictions]:
        for correction in same:
            known.pop(correction.key, None)
    return list(known.values())


def _show(options: CorrectOptions, combined: Combined, applied: Applied) -> None:
    """List the decisions that were not applied to the file."""
    _list(
        "people disagree about these labels, which stay as they are",
        [
            f"{_described(same[0])}: " + ", ".join(f"{c.corrected} ({c.place})" for c in same)
            for same in combined.contradictions
        ],
    )
    _list(
        f"{options.labels} has changed since the audit; these labels stay as they are",
        [f"{_described(c)}: {c.given} to {c.corrected} ({c.place})" for c in applied.overtaken],
    )
    _list(
        f"not in {options.labels}",
        [f"{_described(c)} ({c.place})" for c in applied.missing],
    )


def _described(correction: Correction) -> str:
    return f"{printable(correction.class_name)} of {printable(correction.image)}"


def _list(title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    print(f"{title}: {len(lines)}")
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN} more")
