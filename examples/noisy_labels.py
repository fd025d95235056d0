"""Noisy labels and cleaning, on the embeddings of your choice.

python examples/noisy_labels.py

Labels are flipped on purpose. Closed-form heads score each row without having seen its labels, the
suspects are put right in their order, and the heads are fitted again. It needs neither torch nor a
network and takes seconds. For pictures with a page to decide on: examples/own_photos.py.
"""

import numpy as np
from scipy.special import expit
from sklearn.datasets import load_digits

from pumlc.audit import rank_suspects
from pumlc.estimators import PartialLabelClassifier
from pumlc.labels import flip
from pumlc.metrics import mean_average_precision

DECISIONS = (0, 300, 800, 1500)


def data() -> tuple[np.ndarray, np.ndarray]:
    """64 numbers of each handwritten digit, and five labels: facts about the digit, 1 or -1."""
    features, digit = load_digits(return_X_y=True)
    facts = [
        digit % 2 == 0,
        np.isin(digit, [2, 3, 5, 7]),
        np.isin(digit, [0, 6, 8, 9]),
        digit < 5,
        digit == 7,
    ]
    return features, np.where(np.stack(facts, axis=1), 1, -1).astype(np.int8)


def fit(features: np.ndarray, labels: np.ndarray) -> PartialLabelClassifier:
    """Heads on labels of 1 and -1; the estimator takes 1 and 0."""
    return PartialLabelClassifier().fit(features, (labels == 1).astype(float))


def main() -> None:
    """Print what the noise costs, and what decisions win back."""
    features, true = data()
    train, test = slice(0, 1300), slice(1300, None)
    noisy = flip(true[train], false_negative=0.4, false_positive=0.2, seed=0)
    print(f"{(noisy != true[train]).sum()} of {noisy.size} training labels are wrong")

    heads = fit(features[train], noisy)
    probabilities = expit(heads.loo_scores_)  # each row by heads that have not seen it
    orders = {
        # wrong present labels first: one of them costs more than a missing one
        given: rank_suspects(probabilities, noisy, given=given)
        for given in ("positive", "negative")
    }
    for decisions in DECISIONS:
        labels = noisy.copy()
        for suspects in orders.values():  # half of the decisions for each list
            rows, columns = (each[: decisions // 2] for each in (suspects.rows, suspects.columns))
            labels[rows, columns] = true[train][rows, columns]
        scores = fit(features[train], labels).decision_function(features[test])
        quality = mean_average_precision(scores, true[test], definition="sklearn")
        wrong = (labels != true[train]).sum()
        print(f"{decisions:4} decisions: {wrong} labels wrong, test mAP {quality:.1f}")
    scores = fit(features[train], true[train]).decision_function(features[test])
    print(
        f"true labels: mAP {mean_average_precision(scores, true[test], definition='sklearn'):.1f}"
    )


if __name__ == "__main__":
    main()
