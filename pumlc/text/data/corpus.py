"""The documents of a run: those that are trained on, held out and tested."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumlc.errors import UserError
from pumlc.text.config import DataConfig
from pumlc.text.data.own_table import hold_out_units, read_own_table
from pumlc.text.data.readers import read_corpus
from pumlc.text.data.text_split import TextSplit


@dataclass(frozen=True)
class Corpus:
    """The splits of a data set, and which training documents a run sees.

    Attributes:
        source: the whole training split.
        test: the test split.
        train: rows of ``source`` that are trained on, ascending.
        validation: rows of ``source`` that are held out, ascending; may be empty.
    """

    source: TextSplit
    test: TextSplit
    train: np.ndarray
    validation: np.ndarray

    def labels_seen(self) -> np.ndarray:
        """Bool [L]: labels that a document of ``train`` has; excluded pairs do not count."""
        counts = np.bincount(
            self.source.truth[self.train].indices, minlength=len(self.source.label_texts)
        )
        return counts > 0

    def fingerprints(self) -> dict[str, str]:
        """Hashes of both splits for run.json, which tell whether the content was changed."""
        return {"train": fingerprint(self.source), "test": fingerprint(self.test)}


def fingerprint(split: TextSplit) -> str:
    """SHA-1 of texts, label texts and who has which, in their order.

    Example:
        >>> from pumlc.text.data.matrix import pairs_to_matrix
        >>> fingerprint(TextSplit(["red apple"], ["fruit"], pairs_to_matrix([(0, 0)], (1, 1))))[:8]
        '06ac63fd'
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for texts in (split.texts, split.label_texts):
        digest.update(b"%d;" % len(texts))
        for text in texts:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
    for matrix in (split.positives, split.excluded):
        if matrix is not None:
            for part in (matrix.indptr, matrix.indices):
                digest.update(part.astype("<i8").tobytes())
    return digest.hexdigest()


def load_corpus(config: DataConfig, *, seed: int) -> Corpus:
    """Read a data set and draw the training and validation documents.

    Raises:
        UserError: see `pumlc.text.data.readers`; or one of the parts would be empty.
    """
    if config.labels is not None:
        return _corpus_of_table(config, seed)
    source, test = read_corpus(Path(config.source), config.layout)
    order = _drawn(config, len(source), seed)
    held_out = round(config.validation * len(order))
    if (config.validation > 0 and held_out == 0) or held_out == len(order):
        raise UserError(
            f"data.validation {config.validation} of {len(order)} documents leaves none on one side"
        )
    return Corpus(source, test, np.sort(order[held_out:]), np.sort(order[:held_out]))


def _drawn(config: DataConfig, available: int, seed: int) -> np.ndarray:
    """The rows that a run sees, in a random order."""
    if config.train_rows is not None and config.train_rows > available:
        raise UserError(
            f"data.train_rows is {config.train_rows}, but {config.source} has {available} "
            "documents; null takes all of them"
        )
    return np.random.RandomState(seed).permutation(available)[: config.train_rows]


def _corpus_of_table(config: DataConfig, seed: int) -> Corpus:
    """The documents of a table of one's own; validation is that of the table, or drawn."""
    table = read_own_table(config, seed=seed)
    rows = np.sort(_drawn(config, len(table.source), seed))
    if table.validation is not None:
        held = np.isin(rows, table.validation)
    elif config.validation > 0:
        what = f"data.validation {config.validation}"
        held = hold_out_units(table.units[rows], config.validation, seed=seed, what=what)
    else:
        held = np.zeros(len(rows), bool)
    return Corpus(table.source, table.test, rows[~held], rows[held])
