"""Put what people decided about suspected labels into a label file.

pumlc correct labels.csv corrections.csv --out labels2.csv
pumlc correct labels.csv anna.csv ben.csv --out labels2.csv

CORRECTIONS are files that the page of pumlc audit gives: image, class, given, corrected. NEW has
the form of LABELS; train on it. Beside it lies NEW.decisions.csv with all decisions so far: audits
of NEW read it and do not ask again. Labels on which two people disagree are listed and stay as they
are. Where the output is no terminal, or with --json, the last line is one JSON object.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pumlc.audit.corrections import (
    Combined,
    Correction,
    combine_corrections,
    decisions_file,
    read_corrections,
    write_corrections,
)
from pumlc.cli import console
from pumlc.cli.options import argument, errors_name_options, option, parse_options
from pumlc.errors import UserError
from pumlc.tables import printable

if TYPE_CHECKING:
    from pumlc.vision.audit.corrected_csv import Applied

SHOWN = 20
"""Labels of a kind that are listed."""


@dataclass(frozen=True)
class CorrectOptions:
    """The command line of ``pumlc correct``."""

    labels: Path = argument("the label file: CSV")
    corrections: list[Path] = argument("files of decisions, of one or more people", nargs="+")
    out: Path = option("the label file to write", required=True)
    unlisted: str | None = option(
        "what LABELS means where it says nothing: unknown or negative, as data.unlisted; "
        "default: what the people saw there",
        choices=["unknown", "negative"],
    )
    json: bool = option("print the JSON object on a terminal too", default=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Correct a label file."""
    options = parse_options(CorrectOptions, arguments, program="pumlc correct", about=__doc__ or "")
    console.check_out(options.out)
    if options.out.exists() and options.labels.exists() and options.out.samefile(options.labels):
        raise UserError(f"--out {options.out} is the label file itself; name a new file")
    from pumlc.vision.audit.corrected_csv import correct_csv

    combined = combine_corrections(read_corrections(options.corrections))
    with errors_name_options(options):
        applied = correct_csv(
            options.labels,
            combined.agreed,
            options.out,
            unlisted=options.unlisted,  # pyright: ignore[reportArgumentType]
        )
    known, decisions = _decided(options, combined, applied), decisions_file(options.out)
    write_corrections(decisions, known)
    _show(options, combined, applied)
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


def _decided(options: CorrectOptions, combined: Combined, applied: "Applied") -> list[Correction]:
    """All decisions so far; what people or files disagree about is none."""
    files = [decisions_file(file) for file in (options.labels, options.out)]
    earlier = read_corrections([file for file in files if file.is_file()])
    known = {correction.key: correction for correction in [*earlier, *combined.agreed]}
    for same in [applied.overtaken, *combined.contradictions]:
        for correction in same:
            known.pop(correction.key, None)
    return list(known.values())


def _show(options: CorrectOptions, combined: Combined, applied: "Applied") -> None:
    """List what was not put into the file."""
    _list(
        "people disagree about these labels, which stay as they are",
        [
            f"{_described(same[0])}: " + ", ".join(f"{c.corrected} ({c.place})" for c in same)
            for same in combined.contradictions
        ],
    )
    _list(
        f"{options.labels} was changed otherwise since; these labels stay as they are",
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
