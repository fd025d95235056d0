"""Precision, recall and F1 of labels that count as present, over all pairs and per label."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.decisions import Decisions
from pumlc.text.retrieval.ranking import hits_of


@dataclass(frozen=True)
class LabelFigures:
    """Counts of each label, int64 [L].

    Attributes:
        positives: documents that have it.
        predicted: documents where it counts as present.
        right: both.
    """

    positives: np.ndarray
    predicted: np.ndarray
    right: np.ndarray

    def summary(self) -> dict[str, float]:
        """In percent: micro figures, and the mean F1 of the labels that a document has.

        >>> figures = LabelFigures(np.array([2, 1, 0]), np.array([1, 2, 1]), np.array([1, 1, 0]))
        >>> {name: round(value, 1) for name, value in figures.summary().items()}
        {'precision': 50.0, 'recall': 66.7, 'F1': 57.1, 'F1_macro': 66.7}
        """
        right = int(self.right.sum())
        either = int(self.positives.sum() + self.predicted.sum())
        present = self.positives > 0
        return {
            "precision": 100 * right / max(1, int(self.predicted.sum())),
            "recall": 100 * right / max(1, int(self.positives.sum())),
            "F1": 100 * 2 * right / max(1, either),
            "F1_macro": float(100 * self.f1()[present].mean()) if present.any() else 0.0,
        }

    def f1(self) -> np.ndarray:
        """F1 of each label, float64 [L] in [0, 1]; 0 of one that is neither had nor predicted."""
        return 2 * self.right / np.maximum(1, self.positives + self.predicted)

    def rows(self, label_texts: Any) -> list[dict[str, Any]]:
        """The labels that a document has or that count as present, the worst F1 first."""
        listed = np.flatnonzero(self.positives + self.predicted)
        f1 = 100 * self.f1()
        return [
            {
                "label": label_texts[label],
                "documents": int(self.positives[label]),
                "predicted": int(self.predicted[label]),
                "precision": 100 * int(self.right[label]) / max(1, int(self.predicted[label])),
                "recall": 100 * int(self.right[label]) / max(1, int(self.positives[label])),
                "F1": float(f1[label]),
            }
            for label in listed[np.lexsort((-self.positives[listed], f1[listed]))]
        ]


def label_figures(
    ids: np.ndarray, scores: np.ndarray, truth: SparseMatrix, decisions: Decisions
) -> LabelFigures:
    """What comes of a threshold among the ranked labels of documents.

    Args:
        ids: [N, k] ranked labels; -1 where there is none.
        scores: [N, k].
        truth: bool CSR [N, L].
        decisions: probabilities and threshold.
    """
    present = (decisions.probabilities(scores) >= decisions.threshold) & (ids >= 0)
    count = truth.shape[1]
    return LabelFigures(
        np.bincount(truth.indices, minlength=count),
        np.bincount(ids[present], minlength=count),
        np.bincount(ids[present & hits_of(ids, truth)], minlength=count),
    )
