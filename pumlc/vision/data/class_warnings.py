"""Warnings of classes that cannot be learned or measured, or that are probably one class."""

from collections.abc import Sequence
from pathlib import Path

from pumlc.errors import warn_user
from pumlc.labels.names import similar_names
from pumlc.vision.data.split import TrainingData

_SHOWN = 5


def warn_of_classes(data: TrainingData) -> None:
    """Warn of classes without a positive label in the training part, or in the held-out part.

    Args:
        data: the data that training sees.
    """
    train = data.train
    positives = train.class_counts()["positive"]
    untrained = [name for name, count in zip(train.classes, positives, strict=True) if not count]
    warn_of_untrained(train.source, untrained)
    if data.validation is None:
        return
    held_out = data.validation.class_counts()["positive"]
    unmeasured = [
        name
        for name, trained, held in zip(train.classes, positives, held_out, strict=True)
        if trained and not held
    ]
    if unmeasured:
        own_split = data.validation_rows is None
        advice = "put more rows into that split" if own_split else "hold out more: data.validation"
        warn_user(
            f"{train.source}: no held-out positive label of {_shown(unmeasured)}: the validation "
            f"mAP leaves out these classes, and they get the common threshold; {advice}"
        )


def warn_of_untrained(source: Path | str, classes: Sequence[str]) -> None:
    """Warn of classes without a positive training label.

    Args:
        source: where the labels come from.
        classes: their names; if there are none, there is no warning.
    """
    if classes:
        warn_user(
            f"{source}: no positive training label of {_shown(classes)}: a class that no training "
            "picture is known to show cannot be learned"
        )


def warn_of_similar_classes(file: Path | str, classes: Sequence[str]) -> None:
    """Warn of classes that are probably one class, spelled in two ways.

    Names are similar if they differ only in case, blanks, underscores, hyphens, or in how Unicode
    composes a letter.

    Args:
        file: where the names come from.
        classes: the names.
    """
    groups = similar_names(classes)
    if groups:
        shown = ", ".join(" / ".join(map(repr, group)) for group in groups[:_SHOWN])
        rest = len(groups) - _SHOWN
        warn_user(
            f"{file}: {shown}{f' and {rest} more such groups' if rest > 0 else ''} differ only in "
            "case, blanks, '_', '-' or Unicode form, and are separate classes; if you mean one "
            "class, spell it in one way"
        )


def _shown(names: Sequence[str]) -> str:
    """The first names, quoted, and how many more there are."""
    first = ", ".join(map(repr, names[:_SHOWN]))
    rest = len(names) - _SHOWN
    return first if rest <= 0 else f"{first} and {rest} more classes"
