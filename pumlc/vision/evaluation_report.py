"""The result of an evaluation of an image run, as tables and sentences for a person."""

import math
from collections.abc import Sequence
from typing import Any

from pumlc.engine.run import preferred_line
from pumlc.tables import printable, table


def report(result: dict[str, Any], *, per_class: bool = False) -> str:
    """The result of an evaluation as text.

    Args:
        result: what `evaluate_run` returned.
        per_class: also a table of the classes, the worst first.

    Returns:
        A table of the weights with the figure to quote, a table of the decisions, and notes on the
        labels.
    """
    parts = [
        f"{result['source']}, split {result['split']}",
        _weights_table(result),
        _decisions_table(result),
    ]
    notes = _notes(result)
    if notes:
        parts.append("\n".join(notes))
    if per_class:
        parts.append(_class_table(result))
    return "\n\n".join(parts)


def _weights_table(result: dict[str, Any]) -> str:
    """A row for each set of weights, and a sentence on which row to quote and what it means."""
    entries = result["weights"]
    definitions = list(next(iter(entries.values()))["mAP"])
    header = ["weights", "epoch", *(f"mAP {d}" for d in definitions), "classes averaged", "N"]
    rows = [
        [name, entry["epoch"], *entry["mAP"].values(), entry["classes_averaged"], result["N"]]
        for name, entry in entries.items()
    ]
    if any("mAP_of_classes" in entry for entry in entries.values()):
        header.append("mAP of the named classes")
        for row, entry in zip(rows, entries.values(), strict=True):
            row.append(entry["mAP_of_classes"]["sklearn"])
    shown = table(header, rows)
    if "preferred" not in result:
        return shown
    entry = entries[result["preferred"]]
    line = preferred_line(result, "mAP sklearn", entry["mAP"]["sklearn"])
    return (
        f"{shown}\n{line}: the average precision of a class, in percent, averaged over "
        f"{entry['classes_averaged']} of {result['classes']} classes (those with a positive)"
    )


def _decisions_table(result: dict[str, Any]) -> str:
    """The decisions of the preferred weights; of all weights, if these were not evaluated."""
    measures = ["CP", "CR", "CF1", "CF1_macro", "OP", "OR", "OF1"]
    names = [result["preferred"]] if "preferred" in result else list(result["weights"])
    rows = [
        [name, rule, *(values[m] for m in measures)]
        for name in names
        for rule, values in result["weights"][name]["decisions"].items()
    ]
    return table(["weights", "decision", *measures], rows)


def _notes(result: dict[str, Any]) -> list[str]:
    """Sentences on what the figures do not show by themselves."""
    notes = bad_picture_notes(result["split"], result["bad_pictures"])
    seen = result["seen"]
    if seen.get("train"):
        notes.append(
            f"NOT HELD OUT: the run was trained on {seen['train']} of these pictures; the figures "
            "say little about new ones"
        )
    if seen.get("validation"):
        notes.append(
            f"{seen['validation']} of these pictures chose the weights named best and fitted "
            "the thresholds"
        )
    if result["unknown_labels"]:
        notes.append(f"{result['unknown_labels']} unknown labels are left out")
    if result["classes_unknown_as_negative"]:
        notes.append(
            f"in {result['classes_unknown_as_negative']} classes, whose known labels are all "
            "positive, unknown counts as negative, as it did when the run was validated"
        )
    if result["classes_without_negative"]:
        notes.append(
            f"{result['classes_without_negative']} classes have no known negative label: every "
            "ranking of such a class is perfect, so its AP is 100 (or missing, without a positive)"
        )
    weights = result.get("preferred", next(iter(result["weights"])))
    shared = result["weights"][weights]["global_threshold_in"]
    if shared:
        first = ", ".join(printable(repr(name)) for name in shared[:10])
        more = f" and {len(shared) - 10} more" if len(shared) > 10 else ""
        notes.append(
            f"thresholds per class: {first}{more} had too few labels to fit one and use the "
            "common threshold of all classes"
        )
    entry = result["weights"][weights]
    if "calibrated_on" in entry:
        notes.append(
            f"probabilities are off by {entry['ECE']:.1f} % on average (ECE); they are calibrated "
            f"on {entry['calibrated_on']}, without that by {entry['ECE_uncalibrated']:.1f} %"
        )
    untrained = result["untrained_classes"]
    if untrained:
        more = f" and {len(untrained) - 10} more" if len(untrained) > 10 else ""
        notes.append(
            f"the run had no positive training label of {', '.join(map(repr, untrained[:10]))}"
            f"{more}: the mAP counts such a class if this split has a positive of it"
        )
    return notes


def bad_picture_notes(part: str, bad: Sequence[dict[str, str]]) -> list[str]:
    """A sentence on the skipped pictures of a part; an empty list if there are none."""
    if not bad:
        return []
    first = ", ".join(printable(picture["image"]) for picture in bad[:5])
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    return [f"{part}: {len(bad)} pictures could not be read and are left out ({first}{more})"]


def _class_table(result: dict[str, Any]) -> str:
    """AP of each class, the worst first, by the preferred weights or else the first evaluated."""
    weights = result.get("preferred", next(iter(result["weights"])))
    each = result["weights"][weights]["AP"]
    names = sorted(each, key=lambda name: math.inf if each[name] is None else each[name])
    rows = [[name, *result["known_labels"][name].values(), each[name]] for name in names]
    shown = table(["class", "positive", "negative", "AP"], rows)
    return f"classes, weights {weights}, known labels of the split {result['split']}:\n{shown}"
