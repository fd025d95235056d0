"""Records as lines of JSON."""

import json
from pathlib import Path

from pumlc.errors import UserError
from pumlc.progress import counted
from pumlc.text.data.readers.lines import read_lines
from pumlc.text.data.readers.records import Record, is_unicode, stripped_labels


def read_jsonl(path: Path, *, labelled: bool = True) -> list[Record]:
    """The record of each line ``{"text": "...", "labels": [...]}``; blank lines are skipped.

    Args:
        path: the file.
        labelled: False: a line may lack ``labels``.

    Raises:
        UserError: the file is missing, or a line is not such a record.
    """
    records = []
    for number, line in enumerate(counted(read_lines(path)), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # of a number that is too long, too
            raise UserError(f"{where}: not JSON ({error})") from error
        text = record.get("text") if isinstance(record, dict) else None
        labels = None
        if isinstance(record, dict):
            labels = record.get("labels", None if labelled else [])
        if not isinstance(text, str) or not isinstance(labels, list):
            raise UserError(
                f'{where}: expected {{"text": string, "labels": [strings]}}, got {line[:80]}'
            )
        if not is_unicode(text):
            raise UserError(f"{where}: half of a surrogate pair is no character")
        records.append(Record(text, stripped_labels(labels, where), number))
    return records
