"""Scores of pictures by heads that have not seen their labels."""

import numpy as np
import pytest

from pumlc.metrics import average_precision
from pumlc.vision.audit.out_of_fold import out_of_fold_logits
from pumlc.vision.config import LossConfig

BCE = LossConfig(name="bce", parameters={"unknown": "ignore"})
PNU = LossConfig(name="pnu", mixup_weight=1.0)
ONE = {"learning_rates": [1e-2], "epochs": [3], "batch_size": 16}


def example(rows=90, classes=3):
    random = np.random.RandomState(0)
    features = random.randn(rows, 8).astype(np.float32)
    truth = np.where(features[:, :classes] > 0.3, 1, -1).astype(np.int8)
    return features, truth


@pytest.mark.parametrize("loss", [BCE, PNU])
def test_a_score_does_not_depend_on_its_own_labels(loss):
    features, labels = example()
    logits = out_of_fold_logits(features, labels, loss, folds=4, **ONE).logits
    for row in (0, 17, 89):
        changed = labels.copy()
        changed[row] = -labels[row]
        again = out_of_fold_logits(features, changed, loss, folds=4, **ONE).logits
        np.testing.assert_array_equal(again[row], logits[row])
        assert (again != logits).any()


def test_wrong_labels_are_found():
    features, truth = example(600)
    labels = np.where(np.random.RandomState(1).rand(*truth.shape) < 0.1, -truth, truth)
    found = out_of_fold_logits(features, labels.astype(np.int8), BCE)
    assert average_precision(found.logits, truth).min() > 0.95
    for given in (1, -1):
        chosen = labels == given
        suspicion, wrong = -given * found.logits[chosen], truth[chosen] != given
        first = np.argsort(-suspicion)[:50]
        assert wrong[first].mean() > 0.9


def test_the_candidate_that_agrees_best_is_taken():
    features, labels = example()
    candidates = {"learning_rates": [1e-4, 1e-2], "epochs": [1, 8], "batch_size": 16}
    chosen = out_of_fold_logits(features, labels, BCE, **candidates)
    agreements = {}
    for rate in candidates["learning_rates"]:
        for number in candidates["epochs"]:
            one = out_of_fold_logits(
                features, labels, BCE, learning_rates=[rate], epochs=[number], batch_size=16
            )
            agreements[rate, number] = one.agreement
            if (rate, number) == (chosen.learning_rate, chosen.epochs):
                np.testing.assert_allclose(one.logits, chosen.logits, rtol=1e-4, atol=1e-6)
    assert chosen.agreement == pytest.approx(max(agreements.values()))
    assert len(set(agreements.values())) > 1


def test_positives_alone():
    features, truth = example(600)
    labels = np.where(truth == 1, truth, 0).astype(np.int8)
    loss = LossConfig(name="pu", parameters={"gamma": 0.85, "alpha": 2.0})
    found = out_of_fold_logits(features, labels, loss, learning_rates=[0.1], epochs=[80])
    assert average_precision(found.logits, truth).min() > 0.9


def test_probabilities_compare_between_classes():
    """Without features to go by every picture has the prior of the class."""
    labels = np.full((400, 2), -1, np.int8)
    labels[:200, 0] = labels[:8, 1] = 1
    order = np.random.RandomState(0).permutation(400)
    features = np.random.RandomState(1).randn(400, 1).astype(np.float32) * 1e-9
    logits = out_of_fold_logits(features, labels[order], BCE, learning_rates=[1e-4]).logits
    np.testing.assert_allclose(1 / (1 + np.exp(-logits.mean(0))), [0.5, 0.02], atol=0.01)


def test_refusals():
    features, labels = example()
    for folds in (1, 91):
        with pytest.raises(ValueError, match=f"folds must be between 2 and the 90 .*got {folds}"):
            out_of_fold_logits(features, labels, BCE, folds=folds)
    with pytest.raises(ValueError, match="89 features, but 90 rows"):
        out_of_fold_logits(features[1:], labels, BCE)
