"""Texts with labels that are texts: readers of three layouts, one form in memory."""

import codecs
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pumlc.errors import UserError
from pumlc.text.data.matrix import SparseMatrix, canonical, pairs_to_matrix, read_matrix

Layout = Literal["xmc", "jsonl", "csv"]
LONGEST_FIELD = 2**31 - 1  # of a CSV file; Python's own limit is 2**17 characters


class Record(NamedTuple):
    """A text, its labels without space around them, and the line of the file, counted from 1."""

    text: str
    labels: list[str]
    line: int


@dataclass(frozen=True)
class TextSplit:
    """N texts, the L label texts that they choose from, and which text has which label.

    Args:
        texts: N texts; an empty one is allowed.
        label_texts: L label texts, none of them blank.
        positives: bool CSR [N, L] with sorted columns; absent entries are unknown.
        excluded: bool CSR [N, L] or None: pairs that say nothing, for example a product and itself
            (the "reciprocal pairs" of the Extreme Classification Repository). They are neither
            predicted nor counted as truth, and in training neither positive nor negative.

    Raises:
        UserError: a count does not fit, or a label text is blank.

    Example:
        >>> positives = pairs_to_matrix([(0, 0)], (1, 2))
        >>> split = TextSplit(["red apple"], ["fruit", "car"], positives)
        >>> len(split), split.positives.indices.tolist()
        (1, [0])
    """

    texts: Sequence[str]
    label_texts: Sequence[str]
    positives: SparseMatrix
    excluded: SparseMatrix | None = None

    def __post_init__(self) -> None:
        shape = (len(self.texts), len(self.label_texts))
        for name, matrix in (("positives", self.positives), ("excluded", self.excluded)):
            if matrix is not None and matrix.shape != shape:
                raise UserError(
                    f"{name} has shape {list(matrix.shape)}, but there are {shape[0]} texts and "
                    f"{shape[1]} label texts"
                )
        blank = next((i for i, text in enumerate(self.label_texts) if not text.strip()), None)
        if blank is not None:
            raise UserError(f"label {blank} of {shape[1]} has an empty text")

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def truth(self) -> SparseMatrix:
        """Bool CSR [N, L]: the positives that are not excluded: trained on and scored by."""
        if self.excluded is None:
            return self.positives
        return canonical(self.positives > self.excluded)

    def rows(self, index: np.ndarray) -> "TextSplit":
        """The split made of the given rows, in the given order."""
        excluded = None if self.excluded is None else self.excluded[index]
        texts = [self.texts[int(i)] for i in index]
        return TextSplit(texts, self.label_texts, self.positives[index], excluded)


def read_corpus(root: Path, layout: Layout) -> tuple[TextSplit, TextSplit]:
    """Read the training and the test split of a folder.

    Args:
        root: the folder.
        layout: ``xmc``: ``raw/trn_X.txt``, ``raw/tst_X.txt``, ``raw/Y.txt`` (line i is the text of
            instance or label i), ``Y.trn.npz``, ``Y.tst.npz`` (scipy sparse, [N, L]) and, if there,
            ``filter_labels_train.txt``, ``filter_labels_test.txt`` (a line "row column" per pair).
            ``jsonl``: ``train.jsonl``, ``test.jsonl``, a line ``{"text": "...", "labels": [...]}``
            per text. ``csv``: ``train.csv``, ``test.csv`` with the columns text and labels, labels
            separated by a bar. The last two take the label texts from ``labels.txt`` (a line per
            label) or, without that file, from the records of both splits, sorted.

    Returns:
        the training split and the test split, with the same label texts.

    Raises:
        UserError: a file is missing or damaged, or counts disagree; it names file and line.
    """
    if layout == "xmc":
        return _read_xmc(root)
    records = {"jsonl": read_jsonl, "csv": read_csv}
    if layout not in records:
        raise UserError(f"layout must be one of 'xmc', 'jsonl', 'csv', got {layout!r}")
    paths = [root / f"{split}.{layout}" for split in ("train", "test")]
    splits = [list(records[layout](path)) for path in paths]
    labels_path = root / "labels.txt"
    if labels_path.exists():
        label_texts = read_labels(labels_path)
    else:
        label_texts = sorted({label for rows in splits for row in rows for label in row.labels})
    column = {text: index for index, text in enumerate(label_texts)}
    for index, text in enumerate(label_texts):
        if column[text] != index:
            raise UserError(f"{labels_path}:{column[text] + 1}: label {text!r} is listed twice")
    train, test = (
        _split_of_records(path, rows, label_texts, column)
        for path, rows in zip(paths, splits, strict=True)
    )
    return train, test


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file. Only a line feed ends a line, so that line i is always row i.

    Raises:
        UserError: the file is missing or a line is not UTF-8.
    """
    lines = _content(path).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_labels(path: Path) -> list[str]:
    """Label texts of a UTF-8 file, one a line, without the space around them.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or a line is blank.
    """
    labels = [line.strip() for line in read_lines(path)]
    if not labels:
        raise UserError(f"{path}: no label in this file")
    for number, label in enumerate(labels, start=1):
        if not label:
            raise UserError(f"{path}:{number}: empty label")
    return labels


def read_jsonl(path: Path) -> Iterator[Record]:
    """Yield the record of each line ``{"text": "...", "labels": [...]}``; skip blank lines.

    Raises:
        UserError: the file is missing, or a line is not such a record.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: not JSON ({error})") from None
        text = record.get("text") if isinstance(record, dict) else None
        labels = record.get("labels") if isinstance(record, dict) else None
        if not isinstance(text, str) or not isinstance(labels, list):
            raise UserError(
                f'{path}:{number}: expected {{"text": string, "labels": [strings]}}, '
                f"got {line[:80]}"
            )
        if not is_unicode(text):
            raise UserError(f"{path}:{number}: half of a surrogate pair is no character")
        yield Record(text, _stripped(labels, f"{path}:{number}"), number)


def read_csv(path: Path) -> Iterator[Record]:
    """Yield the record of each row of a CSV file with the columns text and labels.

    Labels are separated by a bar; an empty field means no label. The line is the last of the row.

    Raises:
        UserError: the file is missing, not UTF-8 or not CSV (a quote that is not closed), a column
            is missing or there twice, or a label is empty or has a line break.
    """
    reader = csv.DictReader(io.StringIO(_content(path), newline=""), strict=True)
    limit = csv.field_size_limit(LONGEST_FIELD)
    done = 0
    try:
        names = list(reader.fieldnames or ())
        missing = {"text", "labels"} - set(names)
        if missing:
            raise UserError(f"{path}: no column {sorted(missing)}, got {names}")
        if len(set(names)) < len(names):
            raise UserError(f"{path}: a column is there twice: {names}")
        done = reader.line_num
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if row["labels"] is None or None in row:
                raise UserError(f"{where}: wrong number of fields")
            labels = row["labels"].split("|") if row["labels"].strip() else []
            yield Record(row["text"], _stripped(labels, where), reader.line_num)
            done = reader.line_num
    except csv.Error as error:
        raise UserError(f"{path}:{done + 1}: the row that begins here: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _content(path: Path) -> str:
    """A UTF-8 file, without the byte order mark that some programs begin it with."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    content = path.read_bytes()
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{number}: not UTF-8 ({error.reason})") from None


def is_unicode(text: str) -> bool:
    """Whether a string has UTF-8; halves of surrogate pairs, which JSON can spell, have not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stripped(labels: Sequence[object], where: str) -> list[str]:
    """The labels without space around them; ValueError if one is no string or blank."""
    found = []
    for label in labels:
        if not isinstance(label, str):
            raise UserError(f"{where}: a label is a string, got {label!r}")
        if not label.strip():
            raise UserError(f"{where}: empty label")
        if not is_unicode(label) or "\n" in label.strip():
            raise UserError(
                f"{where}: a label with a line break or with half of a surrogate pair: "
                f"{label[:80]!r}; is a quote not closed?"
            )
        found.append(label.strip())
    return found


def _split_of_records(
    path: Path, records: list[Record], label_texts: list[str], column: dict[str, int]
) -> TextSplit:
    if not records:
        raise UserError(f"{path}: no text in this file")
    pairs = []
    for row, record in enumerate(records):
        for label in record.labels:
            if label not in column:
                raise UserError(f"{path}:{record.line}: label {label!r} is not in labels.txt")
            pairs.append((row, column[label]))
    positives = pairs_to_matrix(pairs, (len(records), len(label_texts)))
    return TextSplit([record.text for record in records], label_texts, positives)


def _read_xmc(root: Path) -> tuple[TextSplit, TextSplit]:
    label_path = root / "raw" / "Y.txt"
    label_texts = read_labels(label_path)
    splits = []
    for short, name in (("trn", "train"), ("tst", "test")):
        text_path, matrix_path = root / "raw" / f"{short}_X.txt", root / f"Y.{short}.npz"
        texts = read_lines(text_path)
        if not texts:
            raise UserError(f"{text_path}: no text in this file")
        positives = read_matrix(matrix_path)
        for path, lines, length, kind in (
            (text_path, len(texts), positives.shape[0], "row"),
            (label_path, len(label_texts), positives.shape[1], "column"),
        ):
            if lines != length:
                raise UserError(
                    f"{path} has {lines} lines but {matrix_path} has {length} {kind}s; "
                    f"line i must be the text of {kind} i"
                )
        filter_path = root / f"filter_labels_{name}.txt"
        excluded = _read_pairs(filter_path, positives.shape) if filter_path.exists() else None
        splits.append(TextSplit(texts, label_texts, positives, excluded))
    return splits[0], splits[1]


def _read_pairs(path: Path, shape: tuple[int, int]) -> SparseMatrix:
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or not all(f.isdecimal() and len(f) < 20 for f in fields):
            raise UserError(f"{path}:{number}: expected two numbers 'row column', got {line!r}")
        row, column = map(int, fields)
        if row >= shape[0] or column >= shape[1]:
            raise UserError(
                f"{path}:{number}: pair {row} {column} is outside a matrix of "
                f"{shape[0]} rows and {shape[1]} columns"
            )
        pairs.append((row, column))
    return pairs_to_matrix(pairs, shape)
