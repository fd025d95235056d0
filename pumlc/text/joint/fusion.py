"""One scale for labels with and without training documents: two logistic regressions."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from pumlc.text.joint.comparisons import COUNT
from pumlc.text.joint.pairs import Pairs

FITTED_COLUMNS = 2 + COUNT
TEXT_COLUMNS = 4 * COUNT


@dataclass(frozen=True)
class Logistic:
    """``sigmoid(columns @ weights + bias)``.

    Attributes:
        weights: float64 [F].
        bias: the bias.
    """

    weights: np.ndarray
    bias: float

    def logits(self, columns: np.ndarray) -> np.ndarray:
        """[P] of columns [P, F]."""
        return columns @ self.weights + self.bias

    @staticmethod
    def fit(columns: np.ndarray, found: np.ndarray) -> "Logistic":
        """The one with the least cross entropy, and a slight ridge on scaled columns.

        Args:
            columns: [P, F].
            found: bool [P], with both values.
        """
        from sklearn.linear_model import LogisticRegression

        scale = columns.std(axis=0)
        scale = np.where(scale > 0, scale, 1)
        model = LogisticRegression(C=1.0, max_iter=300).fit(columns / scale, found)
        return Logistic(model.coef_[0] / scale, float(model.intercept_[0]))


@dataclass(frozen=True)
class Fusion:
    """From what is known of a pair to its score.

    Attributes:
        fitted: probability of a label that has training documents.
        text: probability of one that has none.
        weight: what the latter is multiplied by; both are calibrated, but a label without a
            document is rarely probable.
    """

    fitted: Logistic
    text: Logistic
    weight: float

    def probabilities(self, pairs: Pairs) -> np.ndarray:
        """float64 [P], before the weight."""
        with_documents = self.fitted.logits(fitted_columns(pairs))
        return expit(np.where(pairs.by_text, self.text.logits(text_columns(pairs)), with_documents))

    def scores(self, pairs: Pairs) -> np.ndarray:
        """float64 [P], at least 0."""
        return weighted(self.probabilities(pairs), pairs, self.weight)


def weighted(probabilities: np.ndarray, pairs: Pairs, weight: float) -> np.ndarray:
    """Probabilities [P], those of labels without a document times a weight."""
    return np.where(pairs.by_text, weight * probabilities, probabilities)


def fitted_columns(pairs: Pairs) -> np.ndarray:
    """float64 [P, FITTED_COLUMNS]: least squares, its square root, and the comparisons."""
    score = pairs.fitted.astype(np.float64)[:, None]
    return np.concatenate([score, np.sqrt(np.maximum(score, 0)), pairs.values], axis=1)


def text_columns(pairs: Pairs) -> np.ndarray:
    """float64 [P, TEXT_COLUMNS]: comparisons, their squares, and how other labels compare.

    The latter are how far a comparison is below the best that the document has on its shortlist,
    and how many labels there are above.
    """
    values = pairs.values.astype(np.float64)
    gaps, above = np.zeros_like(values), np.zeros_like(values)
    edges = np.flatnonzero(np.diff(pairs.rows, prepend=-1, append=-1))
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        own = values[start:stop]
        listed = np.sort(own[pairs.listed[start:stop]], axis=0)
        if not len(listed):
            continue
        gaps[start:stop] = listed[-1] - own
        for column in range(COUNT):
            below = np.searchsorted(listed[:, column], own[:, column], side="right")
            above[start:stop, column] = len(listed) - below
    return np.concatenate([values, values**2, gaps, np.log1p(above)], axis=1)
