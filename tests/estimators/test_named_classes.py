"""Classes by vectors of their names, against the definition."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score

from pumlc.estimators import named_classes
from pumlc.estimators.design import fit_design
from pumlc.estimators.named_classes import FEWEST_CLASSES, fit_named_classes

ROWS, WIDTH, SIZE, CLASSES = 120, 9, 4, 15


def world(seed=0):
    """Rows whose labels are those classes whose vectors they point to, in a hidden linear way."""
    random = np.random.default_rng(seed)
    features = random.normal(3.0, 2.0, (ROWS, WIDTH))
    vectors = random.normal(size=(CLASSES, SIZE))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hidden = (features - 3) @ random.normal(size=(WIDTH, SIZE)) @ vectors.T
    noisy = hidden + random.normal(size=hidden.shape)
    labels = np.where(noisy > np.quantile(noisy, 0.8, axis=0), 1, -1).astype(np.int8)
    groups = np.arange(ROWS)
    groups[1] = 0  # two rows that are left out together
    return features, labels, vectors, groups


@pytest.fixture(scope="module")
def fitted():
    features, labels, vectors, groups = world()
    return fit_named_classes(features, labels, labels == 1, vectors, groups=groups)


def test_heads_are_the_formula(fitted):
    named, _ = fitted
    features, _, _, _ = world()
    vectors = np.random.default_rng(5).normal(size=(3, SIZE))
    mapped = features @ named.coefficients + named.intercept
    scores = mapped @ vectors.T
    base, plain, scaled = named.weights
    z = (scores - scores.mean(0)) / scores.std(0)
    coefficients, intercept = named.heads(vectors)
    expected = base + plain * scores + scaled * z
    np.testing.assert_allclose(features @ coefficients + intercept, expected, rtol=1e-8, atol=1e-8)


def test_withheld_classes_are_scored_without_class_and_row(fitted):
    """By hand: a map without the classes of the fold, ridge regression without the group."""
    _, withheld = fitted
    features, labels, vectors, groups = world()
    phi = fit_design(features, np.ones(ROWS), standardize=True).rows(features, slice(None))
    fold = np.array_split(withheld.columns, 5)[1]
    seen = np.setdiff1d(np.arange(CLASSES), fold)
    present = (labels[:, seen] == 1).astype(float)
    factors = present.sum(0) ** -withheld.power
    present = present * factors / factors.mean()
    e = vectors[seen]
    described = e @ np.linalg.inv(e.T @ e + withheld.map_penalty * np.eye(SIZE))
    targets = present @ described @ vectors[fold].T
    by_hand = np.empty((ROWS, len(fold)))
    for group in np.unique(groups):
        kept = groups != group
        gram = phi[kept].T @ phi[kept] + withheld.penalty * np.eye(phi.shape[1])
        by_hand[~kept] = phi[~kept] @ np.linalg.solve(gram, phi[kept].T @ targets[kept])
    given = withheld.logits[:, np.isin(withheld.columns, fold)]
    for place in range(len(fold)):  # logits are linear in the scores of a class
        assert np.corrcoef(by_hand[:, place], given[:, place])[0, 1] > 0.999999


def test_a_new_class_is_found_and_its_probability_is_honest():
    features, labels, vectors, groups = world()
    old, new = np.arange(3, CLASSES), np.arange(3)
    named, withheld = fit_named_classes(
        features, labels[:, old], labels[:, old] == 1, vectors[old], groups=groups
    )
    coefficients, intercept = named.heads(vectors[new])
    logits = features @ coefficients + intercept
    found = [average_precision_score(labels[:, c] == 1, logits[:, c]) for c in new]
    assert np.mean(found) > 0.5  # 0.2 by chance
    assert abs(expit(logits).mean() - 0.2) < 0.05
    assert withheld.mean_average_precision > 2 * withheld.chance
    assert withheld.chance == pytest.approx(20, abs=0.1)


def test_names_that_say_nothing_find_less(fitted):
    """Not nothing: the best of the candidates is taken, of few classes."""
    features, labels, vectors, groups = world()
    shuffled = np.random.default_rng(1).normal(size=vectors.shape)
    _, withheld = fit_named_classes(features, labels, labels == 1, shuffled, groups=groups)
    assert withheld.mean_average_precision < fitted[1].mean_average_precision - 20


def test_unknown_labels_judge_nothing(fitted):
    """They change neither what is chosen nor the measure, if what is fitted stays the same."""
    features, labels, vectors, groups = world()
    hidden = labels.copy()
    hidden[np.random.default_rng(2).random(labels.shape) < 0.3] = 0
    _, withheld = fit_named_classes(features, hidden, labels == 1, vectors, groups=groups)
    assert withheld.mean_average_precision == pytest.approx(fitted[1].mean_average_precision, abs=6)
    assert withheld.mean_average_precision != fitted[1].mean_average_precision


def test_rows_fewer_than_features_give_the_same_map(monkeypatch):
    """The dual form is the primal one."""
    features, labels, vectors, groups = world()
    wide = np.hstack([features, np.zeros((ROWS, 2 * ROWS))])  # constant features become 0
    monkeypatch.setattr(named_classes, "MAP_PENALTIES", (1.0,))
    primal = fit_named_classes(features, labels, labels == 1, vectors, groups=groups)[0]
    dual = fit_named_classes(wide, labels, labels == 1, vectors, groups=groups)[0]
    first, second = primal.heads(vectors), dual.heads(vectors)
    np.testing.assert_allclose(
        wide @ second[0] + second[1], features @ first[0] + first[1], rtol=1e-5, atol=1e-5
    )


def test_too_few_classes():
    features, labels, vectors, groups = world()
    few = slice(0, FEWEST_CLASSES - 1)
    with pytest.raises(ValueError, match="9 classes have a present and an absent label"):
        fit_named_classes(
            features, labels[:, few], labels[:, few] == 1, vectors[few], groups=groups
        )
