"""Files in which each line is one thing: a text, a label or a pair."""

from pathlib import Path

from pumlc.errors import UserError
from pumlc.files import read_text
from pumlc.text.data.matrix import SparseMatrix, pairs_to_matrix


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file. Only a line feed ends a line, so that line i is always row i.

    Raises:
        UserError: the file is missing or a line is not UTF-8.
    """
    lines = read_text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_labels(path: Path) -> list[str]:
    """Label texts of a UTF-8 file, one per line, without the space around them.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or a line is blank.
    """
    labels = [line.strip() for line in read_lines(path)]
    if not labels:
        raise UserError(f"{path}: no label in this file")
    for number, label in enumerate(labels, start=1):
        if not label:
            raise UserError(f"{path}, line {number}: empty label")
    return labels


def read_excluded(root: Path, split: str, shape: tuple[int, int]) -> SparseMatrix | None:
    """The pairs of ``filter_labels_SPLIT.txt``, bool CSR; None without that file.

    Args:
        root: the folder of the data set.
        split: train or test.
        shape: numbers of texts and labels.

    Raises:
        UserError: a line is not a pair "row column" of numbers below ``shape``.
    """
    path = root / f"filter_labels_{split}.txt"
    if not path.exists():
        return None
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if not fields:
            continue
        # int() also takes underscores, signs and, in quadratic time, thousands of digits
        if len(fields) != 2 or not all(
            f.isascii() and f.isdecimal() and len(f) < 20 for f in fields
        ):
            raise UserError(
                f"{path}, line {number}: expected two numbers 'row column', got {line[:80]!r}"
            )
        row, column = map(int, fields)
        if row >= shape[0] or column >= shape[1]:
            raise UserError(
                f"{path}, line {number}: pair {row} {column} is outside a matrix of {shape[0]} "
                f"rows and {shape[1]} columns"
            )
        pairs.append((row, column))
    return pairs_to_matrix(pairs, shape)
