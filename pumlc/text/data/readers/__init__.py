"""Readers of data sets of texts: one file and one entry in `READERS` for each layout."""

from collections.abc import Callable
from pathlib import Path

from pumlc.errors import UserError
from pumlc.text.data.layouts import MARKERS, Layout, layouts_of
from pumlc.text.data.readers.csv_file import read_csv
from pumlc.text.data.readers.jsonl import read_jsonl
from pumlc.text.data.readers.lines import read_labels, read_lines
from pumlc.text.data.readers.records import read_records
from pumlc.text.data.readers.table import read_table
from pumlc.text.data.readers.xc import read_xc
from pumlc.text.data.readers.xmc import read_xmc
from pumlc.text.data.text_split import TextSplit

__all__ = [
    "READERS",
    "TABLES",
    "read_corpus",
    "read_csv",
    "read_jsonl",
    "read_labels",
    "read_lines",
    "read_table",
]

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
"""Endings of files that are read as tables; any other has a text a line."""

READERS: dict[str, Callable[[Path], tuple[TextSplit, TextSplit]]] = {
    "xmc": read_xmc,
    "jsonl": lambda root: read_records(root, "jsonl", read_jsonl),
    "csv": lambda root: read_records(root, "csv", read_csv),
    "xc": read_xc,
}
"""The reader of each layout of a folder: training and test split."""


def read_corpus(root: Path, layout: Layout) -> tuple[TextSplit, TextSplit]:
    """Read the training and the test split of a folder.

    Args:
        root: the folder.
        layout: ``xmc``: ``raw/trn_X.txt``, ``raw/tst_X.txt``, ``raw/Y.txt`` (line i is the text of
            document or label i), ``Y.trn.npz``, ``Y.tst.npz`` (scipy sparse, [N, L]).
            ``xc``: ``trn.json.gz``, ``tst.json.gz``, ``lbl.json.gz`` as the Extreme Classification
            Repository has them. Both: ``filter_labels_train.txt``, ``filter_labels_test.txt``, if
            they exist (a line "row column" for each excluded pair).
            ``jsonl``: ``train.jsonl``, ``test.jsonl``, a line ``{"text": "...", "labels": [...]}``
            for each text. ``csv``: ``train.csv``, ``test.csv`` with the columns text and labels,
            labels separated by a bar. Both take the label texts from ``labels.txt`` (a line for
            each label) or, without that file, from the records of both splits, sorted.

    Returns:
        the training split and the test split, with the same label texts.

    Raises:
        UserError: a file is missing or damaged, or counts disagree; it names file and line.
    """
    if layout not in READERS:
        raise UserError(f"layout must be one of {', '.join(map(repr, READERS))}, got {layout!r}")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder (data.root)")
    others = layouts_of(root)
    if others and layout not in others:
        raise UserError(
            f"{root / MARKERS[layout]}: no such file, which the layout {layout!r} needs; the files "
            f"of this folder are those of the layout {' or '.join(map(repr, others))} (data.layout)"
        )
    return READERS[layout](root)
