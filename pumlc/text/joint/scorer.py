"""Documents against all labels, a block at a time."""

from collections.abc import Iterator

import numpy as np

from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.joint.comparisons import Comparisons, DocumentTexts, LabelTexts
from pumlc.text.joint.pairs import Pairs, list_pairs

_ENTRIES = 4_000_000  # of a block of one comparison: what bounds the memory


class PairLister:
    """Lists the pairs of documents with L labels that are worth a score.

    Args:
        labels: the texts of the labels.
        columns: int64 [L], the column of each in the scores of least squares, -1 for none.
        depth: see `list_pairs`.
        chosen: see `list_pairs`.
    """

    def __init__(
        self,
        labels: LabelTexts,
        columns: np.ndarray,
        depth: int,
        chosen: np.ndarray | None = None,
    ) -> None:
        self._compare = Comparisons(labels)
        self._columns, self._depth, self._chosen = columns, depth, chosen

    def blocks(self, count: int) -> Iterator[np.ndarray]:
        """Numbers of so many documents, as many at a time as memory allows."""
        size = max(1, _ENTRIES // max(1, len(self._columns)))
        for start in range(0, count, size):
            yield np.arange(start, min(start + size, count))

    def __call__(
        self,
        rows: np.ndarray,
        fitted: np.ndarray,
        documents: DocumentTexts,
        *,
        alone: SparseMatrix | None = None,
        given: SparseMatrix | None = None,
        excluded: SparseMatrix | None = None,
    ) -> Pairs:
        """The pairs of n documents.

        Args:
            rows: [n], their numbers.
            fitted: float32 [n, S], least squares.
            documents: the n documents.
            alone: CSR [n, L], labels that count as without a document beside this one.
            given: see `list_pairs`.
            excluded: see `list_pairs`.
        """
        scores = np.full((len(rows), len(self._columns)), -np.inf, np.float32)
        known = self._columns >= 0
        scores[:, known] = fitted[:, self._columns[known]]
        by_text = np.broadcast_to(~known, scores.shape)
        if alone is not None:
            by_text = by_text | alone.toarray().astype(bool)
        return list_pairs(
            rows,
            np.where(by_text, -np.inf, scores),
            self._compare(documents),
            by_text,
            depth=self._depth,
            chosen=self._chosen,
            blank=np.diff(documents.letters.indptr) == 0,
            given=given,
            excluded=excluded,
        )
