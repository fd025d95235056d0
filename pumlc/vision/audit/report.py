"""The result of an audit as text: tables, and notes on its scores."""

from pathlib import Path

from pumlc.audit import STATES
from pumlc.tables import table
from pumlc.vision.audit.run import AuditResult
from pumlc.vision.audit.suspects import COLUMNS
from pumlc.vision.evaluation_report import bad_picture_notes

SHOWN = 3
"""The number of rows of each list that are shown."""
NOTES = {
    "validation": "validation: not trained on, but the weights may have been chosen by it",
    "train": "train: the network was trained on these very labels and may repeat their errors",
}


def report(result: AuditResult, out: Path) -> str:
    """The figures, the first rows of each list, and notes on how far to trust them.

    Args:
        result: the result of `pumlc.vision.audit.run.audit_run`.
        out: the file that has all rows.
    """
    lines = [
        [part, STATES[given], figures]
        for part, by_given in result.figures.items()
        for given, figures in by_given.items()
    ]
    names = max((list(figures) for *_, figures in lines), key=len)
    filled = [
        [part, given, *(figures.get(name) for name in names)] for part, given, figures in lines
    ]
    rows = result.rows
    # the path of the file is for programs; people recognise the picture by its name
    first = [row[:-1] for row in rows if row[COLUMNS.index("rank")] <= SHOWN]
    return "\n".join(
        [
            table(["part", "given", *names], filled),
            table(COLUMNS[:-1], first),
            *_notes(result),
            *(
                note
                for part, bad in result.bad_pictures.items()
                for note in bad_picture_notes(part, bad)
            ),
            f"{len(rows)} labels, the most suspicious of each list first -> {out}",
        ]
    )


def _notes(result: AuditResult) -> list[str]:
    heads = result.scored_by
    estimated = []
    if "missed" in heads:
        estimated = [
            f"estimated: {100 * heads['missed']:.1f} % of what is present is labelled absent, "
            f"{100 * heads['invented']:.1f} % of what is absent is labelled present",
            *([] if result.rows else ["nothing suspicious"]),
        ]
    if "folds" in heads:
        return [
            "scored by heads that never saw the labels of the picture (least squares, each picture "
            "left out)",
            *estimated,
        ]
    notes = dict(NOTES)
    if "left_out" in heads:
        notes["train"] = (
            f"train: each label scored by heads that never saw it ({heads['left_out']})"
        )
        notes["validation"] = "validation: no head was fitted on it or chosen by it"
    return [
        *(notes[part] for part in result.figures if part in notes),
        f"weights: {heads['weights']}",
        *estimated,
    ]
