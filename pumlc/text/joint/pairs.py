"""Pairs of a document and a label that are worth a score, with what is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.frozen.fit import best_columns
from pumlc.text.joint.comparisons import COUNT


@dataclass(frozen=True)
class Pairs:
    """P pairs, in the order of their rows.

    Attributes:
        rows: int64 [P], the document.
        labels: int64 [P], the label.
        fitted: float32 [P], the score of least squares; 0 for a label without a document.
        values: float32 [P, COUNT], the comparisons with the label's text.
        by_text: bool [P], the label has no document but this one and those of the same text.
        listed: bool [P], the pair is on a shortlist; others are here because they were given.
    """

    rows: np.ndarray
    labels: np.ndarray
    fitted: np.ndarray
    values: np.ndarray
    by_text: np.ndarray
    listed: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def joined(parts: Sequence["Pairs"]) -> "Pairs":
        """All of them, ordered by row."""
        names = [each.name for each in fields(Pairs)]
        whole = Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        order = np.argsort(whole.rows, kind="stable")
        return Pairs(*(getattr(whole, name)[order] for name in names))


def no_pairs() -> Pairs:
    """Those of no document."""
    ids, values = np.empty(0, np.int64), np.empty((0, COUNT), np.float32)
    return Pairs(ids, ids, values[:, 0], values, ids.astype(bool), ids.astype(bool))


def list_pairs(
    rows: np.ndarray,
    fitted: np.ndarray,
    values: np.ndarray,
    by_text: np.ndarray,
    *,
    depth: int,
    chosen: np.ndarray | None = None,
    blank: np.ndarray | None = None,
    given: SparseMatrix | None = None,
    excluded: SparseMatrix | None = None,
) -> Pairs:
    """The pairs of a block of documents: the best of each comparison, and those that are given.

    Args:
        rows: [n], numbers of the documents.
        fitted: float32 [n, L], scores of least squares; -inf where a label has none.
        values: float32 [COUNT, n, L].
        by_text: bool [n, L], see `Pairs`.
        depth: labels that each score proposes, among all and among those that are ``by_text``.
        chosen: bool [L], labels among which each score proposes as many once more; None: no such.
        blank: bool [n], documents without a word. All label texts are equally near to such a
            document, and each would count as the nearest; so those ``by_text`` are not listed.
        given: CSR [n, L], pairs that are kept in any case.
        excluded: CSR [n, L], pairs that are not listed.
    """
    listed = np.zeros(fitted.shape, bool)
    places = np.arange(len(rows))[:, None]
    for scores in (fitted, *values):
        listed[places, best_columns(scores, depth)] = True
        if chosen is not None:
            own = np.flatnonzero(chosen)
            listed[places, own[best_columns(scores[:, own], depth)]] = True
    for scores in values:
        listed[places, best_columns(np.where(by_text, scores, -np.inf), depth)] = True
    if blank is not None:
        listed &= ~(blank[:, None] & by_text)
    if excluded is not None:
        listed &= ~excluded.toarray().astype(bool)
    kept = listed if given is None else listed | given.toarray().astype(bool)
    places, labels = np.nonzero(kept)
    own = fitted[places, labels]
    return Pairs(
        rows[places],
        labels,
        np.where(own == -np.inf, 0, own).astype(np.float32),
        np.ascontiguousarray(values[:, places, labels].T),
        by_text[places, labels],
        listed[places, labels],
    )


def ranked(
    pairs: Pairs, scores: np.ndarray, chosen: np.ndarray, count: int, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 [count, depth] and scores of each document's pairs, best first; -1 and -inf.

    Args:
        pairs: the pairs.
        scores: [P].
        chosen: bool [P], the pairs that are ranked.
        count: number of documents.
        depth: labels kept of each.
    """
    rows, labels, values = pairs.rows[chosen], pairs.labels[chosen], scores[chosen]
    order = np.lexsort((labels, -values, rows))
    rows, labels, values = rows[order], labels[order], values[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = place < depth
    ids = np.full((count, depth), -1, np.int64)
    best = np.full((count, depth), -np.inf, np.float32)
    ids[rows[kept], place[kept]] = labels[kept]
    best[rows[kept], place[kept]] = values[kept]
    return ids, best
