"""Data sets of two files of records: a record is a text with the names of its labels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pumlc.errors import UserError
from pumlc.text.data.matrix import pairs_to_matrix
from pumlc.text.data.readers.lines import read_labels
from pumlc.text.data.text_split import TextSplit


class Record(NamedTuple):
    """A text, its labels without space around them, and the line of the file, counted from 1."""

    text: str
    labels: list[str]
    line: int


def read_records(
    root: Path, suffix: str, read: Callable[[Path], list[Record]]
) -> tuple[TextSplit, TextSplit]:
    """The splits ``train.SUFFIX`` and ``test.SUFFIX``, with the labels of ``labels.txt``, if any.

    Args:
        root: the folder.
        suffix: of both files.
        read: the records of a file.

    Raises:
        UserError: see `read`; a file has no record; a label is not in ``labels.txt``, or is listed
            there twice.
    """
    paths = [root / f"{split}.{suffix}" for split in ("train", "test")]
    records = [read(path) for path in paths]
    labels_path = root / "labels.txt"
    if labels_path.exists():
        label_texts = read_labels(labels_path)
    else:
        label_texts = sorted({label for rows in records for row in rows for label in row.labels})
    column_of = {text: column for column, text in enumerate(label_texts)}
    for column, text in enumerate(label_texts):
        if column_of[text] != column:
            line = column_of[text] + 1
            raise UserError(f"{labels_path}, line {line}: label {text!r} is listed twice")
    train, test = (
        _split_of(path, rows, label_texts, column_of)
        for path, rows in zip(paths, records, strict=True)
    )
    return train, test


def _split_of(
    path: Path, records: list[Record], label_texts: list[str], column_of: dict[str, int]
) -> TextSplit:
    if not records:
        raise UserError(f"{path}: no text in this file")
    pairs = []
    for row, record in enumerate(records):
        for label in record.labels:
            if label not in column_of:
                raise UserError(f"{path}, line {record.line}: label {label!r} is not in labels.txt")
            pairs.append((row, column_of[label]))
    positives = pairs_to_matrix(pairs, (len(records), len(label_texts)))
    return TextSplit([record.text for record in records], label_texts, positives)


def stripped_labels(labels: Sequence[object], where: str) -> list[str]:
    """The labels of a record without the space around them.

    Raises:
        UserError: a label is not a string, is blank, has several lines or is not Unicode.
    """
    stripped = []
    for label in labels:
        if not isinstance(label, str):
            raise UserError(f"{where}: a label is a string, got {str(label)[:80]}")
        if not label.strip():
            raise UserError(f"{where}: empty label")
        if not is_unicode(label) or "\n" in label.strip():
            raise UserError(
                f"{where}: a label with a line break or with half of a surrogate pair: "
                f"{label[:80]!r}; is a quote not closed?"
            )
        stripped.append(label.strip())
    return stripped


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can write a string; JSON can spell halves of surrogate pairs, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
