"""Texts as weighted words and pairs of words, or as weighted pieces of words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from pumlc.errors import UserError
from pumlc.text.data.matrix import SparseMatrix

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

_FREQUENT = 0.02  # terms of more of the anchors than this are multiplied as a dense matrix


@dataclass(frozen=True)
class Words:
    """TF-IDF vectors of length 1, ``(1 + log tf) * idf`` of words and pairs of neighbouring words.

    With ``letters`` the terms are the pieces of so many letters of a word and the space around it,
    so that "regulate" and "regulation" are alike.

    Attributes:
        terms: the V terms, column by column.
        weights: float32 [V], their idf.
        count: words kept of a document; None: all.
        letters: length of a piece; None: the terms are words.
    """

    terms: Sequence[str]
    weights: np.ndarray
    count: int | None
    letters: int | None = None

    @staticmethod
    def fit(texts: Sequence[str], count: int | None, letters: int | None = None) -> "Words":
        """The terms of some texts.

        Raises:
            UserError: they have none.
        """
        vectorizer = _vectorizer(letters)
        try:
            vectorizer.fit([first_words(text, count) for text in texts])
        except ValueError as error:  # scikit-learn's "empty vocabulary"
            raise UserError(
                f"kernel.words: the {len(texts)} training documents have no word of two letters "
                "or more; set kernel.words false"
            ) from error
        terms = [str(term) for term in vectorizer.get_feature_names_out()]
        return Words(terms, vectorizer.idf_.astype(np.float32), count, letters)

    def vectors(self, texts: Sequence[str]) -> SparseMatrix:
        """float32 CSR [N, V]; the row of a document without a known term is zero."""
        if not len(texts):
            return sp.csr_array((0, len(self.terms)), dtype=np.float32)
        vocabulary = {term: column for column, term in enumerate(self.terms)}
        vectorizer = _vectorizer(self.letters, vocabulary)
        vectorizer.idf_ = self.weights
        matrix = vectorizer.transform([first_words(text, self.count) for text in texts])
        return sp.csr_array(matrix.astype(np.float32))


def first_words(text: str, count: int | None) -> str:
    """The beginning of a text, up to so many words.

    >>> first_words("a  b c", 2)
    'a b'
    """
    return text if count is None else " ".join(text.split(maxsplit=count)[:count])


def _vectorizer(letters: int | None, vocabulary: dict[str, int] | None = None) -> "TfidfVectorizer":
    from sklearn.feature_extraction.text import TfidfVectorizer

    terms: dict[str, Any] = {"ngram_range": (1, 2)}
    if letters is not None:
        terms = {"analyzer": "char_wb", "ngram_range": (letters, letters)}
    kind: Any = np.float32  # scikit-learn annotates its default alone
    return TfidfVectorizer(sublinear_tf=True, dtype=kind, vocabulary=vocabulary, **terms)


class InnerProducts:
    """Inner products of sparse rows with those of the anchors.

    A few frequent terms make most of the work. Their columns are multiplied as dense matrices,
    which is several times as fast as the product of sparse ones.

    Args:
        anchors: CSR [M, V].
    """

    def __init__(self, anchors: SparseMatrix) -> None:
        counts = np.bincount(anchors.indices, minlength=anchors.shape[1])
        frequent = counts > _FREQUENT * anchors.shape[0]
        self._frequent, self._rare = np.flatnonzero(frequent), np.flatnonzero(~frequent)
        columns = anchors.tocsc()
        self._dense = columns[:, self._frequent].toarray()
        self._sparse = columns[:, self._rare].T.tocsr()

    def __call__(self, rows: Any) -> np.ndarray:
        """float32 [n, M] of rows, CSR [n, V]."""
        columns = rows.tocsc()
        products = columns[:, self._frequent].toarray() @ self._dense.T
        return products + (columns[:, self._rare].tocsr() @ self._sparse).toarray()
