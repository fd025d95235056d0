"""How alike documents and the texts of labels are, in several ways."""

from dataclasses import dataclass

import numpy as np

from pumlc.text.data.matrix import SparseMatrix

COUNT = 5
"""Ways to compare a document and a label text: see `Comparisons`."""


@dataclass(frozen=True)
class LabelTexts:
    """L labels, as documents are compared with them.

    Attributes:
        embeddings: float32 [L, D] of length 1.
        letters: float32 CSR [L, V], TF-IDF of pieces of words, rows of length 1.
        words: float32 CSR [L, W], TF-IDF of words, rows of length 1.
    """

    embeddings: np.ndarray
    letters: SparseMatrix
    words: SparseMatrix


@dataclass(frozen=True)
class DocumentTexts:
    """N documents, as label texts are compared with them.

    Attributes:
        embeddings: float32 [N, D] of length 1.
        mapped: float32 [N, D], what the linear map makes of them.
        letters: float32 CSR [N, V].
        words: float32 CSR [N, W].
    """

    embeddings: np.ndarray
    mapped: np.ndarray
    letters: SparseMatrix
    words: SparseMatrix

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows(self, index: np.ndarray) -> "DocumentTexts":
        """The documents of an index."""
        return DocumentTexts(
            self.embeddings[index], self.mapped[index], self.letters[index], self.words[index]
        )


class Comparisons:
    """Compares documents with L label texts.

    They are: the cosine of pieces of words; the share of a label's pieces, weighted, that the
    document has; the cosine of words; the cosine of embeddings; and the linear map of the document
    times the embedding of the label.

    Args:
        labels: the label texts.
    """

    def __init__(self, labels: LabelTexts) -> None:
        self._embeddings = labels.embeddings
        self._letters = labels.letters.T.tocsr()
        self._weights = self._letters.multiply(self._letters).tocsr()
        self._words = labels.words.T.tocsr()

    def __call__(self, documents: DocumentTexts) -> np.ndarray:
        """float32 [COUNT, n, L]."""
        values = np.empty((COUNT, len(documents), len(self._embeddings)), np.float32)
        has = documents.letters.copy()
        has.data = np.ones_like(has.data)
        values[0] = (documents.letters @ self._letters).toarray()
        values[1] = (has @ self._weights).toarray()
        values[2] = (documents.words @ self._words).toarray()
        values[3] = documents.embeddings @ self._embeddings.T
        values[4] = documents.mapped @ self._embeddings.T
        return values
