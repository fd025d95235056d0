"""An audit for a person: tables, and what its scores rest on."""

from pathlib import Path

from pumlc.tables import table
from pumlc.vision.audit.run import AuditResult
from pumlc.vision.audit.suspects import COLUMNS
from pumlc.vision.evaluation_report import bad_picture_notes

SHOWN = 3
"""Rows of each list that are shown."""
NOTES = {
    "validation": "validation: not trained on, but the weights may have been chosen by it",
    "train": "train: the network was trained on these very labels and may repeat their errors",
}


def report(result: AuditResult, out: Path) -> str:
    """The figures, the first rows of each list, and how much they are worth.

    Args:
        result: that of `pumlc.vision.audit.run.audit_run`.
        out: the file that has all rows.
    """
    lines = [
        [part, given, figures]
        for part, by_given in result.figures.items()
        for given, figures in by_given.items()
    ]
    names = max((list(figures) for *_, figures in lines), key=len)
    filled = [
        [part, given, *(figures.get(name) for name in names)] for part, given, figures in lines
    ]
    first = [row for row in result.rows if row[COLUMNS.index("rank")] <= SHOWN]
    return "\n".join(
        [
            table(["part", "given", *names], filled),
            table(COLUMNS, first),
            *_notes(result),
            *(
                note
                for part, bad in result.bad_pictures.items()
                for note in bad_picture_notes(part, bad)
            ),
            f"{len(result.rows)} labels, the most suspicious of each list first -> {out}",
        ]
    )


def _notes(result: AuditResult) -> list[str]:
    heads = result.scored_by
    if "folds" in heads:
        return [
            f"scored by linear heads that never saw a picture's labels: {heads['folds']} folds, "
            f"loss {heads['loss']}, learning rate {heads['learning_rate']:g}, "
            f"{heads['epochs']} epochs"
        ]
    return [
        *(NOTES[part] for part in result.figures if part in NOTES),
        f"weights: {heads['weights']}",
    ]
