"""Texts as lines, labels as sparse matrices: the prepared data sets of extreme classification."""

from pathlib import Path

from pumlc.errors import UserError
from pumlc.text.data.matrix import read_matrix, stored_shape
from pumlc.text.data.readers.lines import read_excluded, read_labels, read_lines
from pumlc.text.data.text_split import TextSplit


def read_xmc(root: Path) -> tuple[TextSplit, TextSplit]:
    """The splits of ``raw/trn_X.txt``, ``raw/tst_X.txt``, ``raw/Y.txt`` and ``Y.*.npz``.

    Raises:
        UserError: a file is missing or damaged, or counts disagree.
    """
    label_path = root / "raw" / "Y.txt"
    label_texts = read_labels(label_path)
    splits = []
    for short, name in (("trn", "train"), ("tst", "test")):
        text_path, matrix_path = root / "raw" / f"{short}_X.txt", root / f"Y.{short}.npz"
        texts = read_lines(text_path)
        if not texts:
            raise UserError(f"{text_path}: no text in this file")
        rows, columns = stored_shape(matrix_path)  # before memory is reserved for what it claims
        for path, lines, length, kind in (
            (text_path, len(texts), rows, "row"),
            (label_path, len(label_texts), columns, "column"),
        ):
            if lines != length:
                raise UserError(
                    f"{path} has {lines} lines but {matrix_path} has {length} {kind}s; "
                    f"line i must be the text of {kind} i"
                )
        positives = read_matrix(matrix_path)
        excluded = read_excluded(root, name, positives.shape)
        splits.append(TextSplit(texts, label_texts, positives, excluded))
    return splits[0], splits[1]
