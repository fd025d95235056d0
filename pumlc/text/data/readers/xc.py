"""The downloads of the Extreme Classification Repository: gzipped lines of JSON."""

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pumlc.errors import UserError
from pumlc.progress import MEGABYTES, reached
from pumlc.text.data.matrix import SparseMatrix, pairs_to_matrix
from pumlc.text.data.readers.lines import read_excluded
from pumlc.text.data.readers.records import is_unicode
from pumlc.text.data.text_split import TextSplit


def read_xc(root: Path) -> tuple[TextSplit, TextSplit]:
    """The splits of ``trn.json.gz`` and ``tst.json.gz``, with the labels of ``lbl.json.gz``.

    A line is an object. The text of a document or label is its ``title`` and, if that is not empty,
    its ``content`` after a space. A document has the labels ``target_ind``, numbers from 0 in the
    order of ``lbl.json.gz``, except those whose relevance in ``target_rel`` is 0.

    Raises:
        UserError: a file is missing or damaged, a label has no text, or a number is out of range.
    """
    label_path = root / "lbl.json.gz"
    label_texts = []
    for where, record in _records(label_path):
        label_texts.append(_text_of(record, where))
        if not label_texts[-1]:
            raise UserError(f"{where}: this label has neither title nor content")
    if not label_texts:
        raise UserError(f"{label_path}: no label in this file")
    train, test = (
        _read_split(root, short, name, label_texts)
        for short, name in (("trn", "train"), ("tst", "test"))
    )
    return train, test


def _read_split(root: Path, short: str, name: str, label_texts: list[str]) -> TextSplit:
    path = root / f"{short}.json.gz"
    texts: list[str] = []
    pairs: list[tuple[int, int]] = []
    for where, record in _records(path):
        pairs += ((len(texts), label) for label in _labels_of(record, len(label_texts), where))
        texts.append(_text_of(record, where))
    if not texts:
        raise UserError(f"{path}: no text in this file")
    shape = (len(texts), len(label_texts))
    positives: SparseMatrix = pairs_to_matrix(pairs, shape)
    return TextSplit(texts, label_texts, positives, read_excluded(root, name, shape))


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place (file and line) and the object of each line that is not blank."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    number = 0
    try:
        with path.open("rb") as file, gzip.open(file) as lines:
            size = os.fstat(file.fileno()).st_size
            for number, line in enumerate(lines, start=1):
                reached(file.tell(), size, MEGABYTES)
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, _object(line, where)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}, after line {number}: not a whole gzip file ({error})") from error


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON in UTF-8 ({error})") from error
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object with a title, got {str(record)[:80]}")
    return record


def _text_of(record: dict[str, Any], where: str) -> str:
    parts = []
    for name in ("title", "content"):
        part = record.get(name) or ""
        if not isinstance(part, str) or not is_unicode(part):
            raise UserError(f"{where}: {name} must be a string of Unicode, got {str(part)[:80]!r}")
        parts.append(part.strip())
    if "title" not in record and "content" not in record:
        raise UserError(f"{where}: neither title nor content, got {sorted(record)[:10]}")
    return " ".join(part for part in parts if part)


def _labels_of(record: dict[str, Any], count: int, where: str) -> list[int]:
    labels = record.get("target_ind")
    relevances = record.get("target_rel")
    if not isinstance(labels, list):
        raise UserError(f"{where}: target_ind must be a list of label numbers, got {labels!r:.80}")
    if relevances is None:
        relevances = [1] * len(labels)
    if not isinstance(relevances, list) or len(relevances) != len(labels):
        raise UserError(f"{where}: target_rel must have a number for each of target_ind")
    kept = []
    for label, relevance in zip(labels, relevances, strict=True):
        if type(label) is not int or not 0 <= label < count:
            raise UserError(f"{where}: target_ind has {label!r:.80}; labels are 0 to {count - 1}")
        if type(relevance) not in (int, float) or not 0 <= relevance < math.inf:
            raise UserError(f"{where}: target_rel has {relevance!r:.80}; relevance is 0 or above")
        if relevance > 0:
            kept.append(label)
    return kept
