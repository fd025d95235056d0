"""Confident learning, mixtures of losses and transition rates against loops and known laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from pumlc.estimators import class_transitions, clean_probabilities, confident_errors
from pumlc.labels import flip


def pruned_by_formula(probability, given_labels):
    """The pruned rows of one class, from the paper's formulas."""
    p = [[1 - x for x in probability], list(probability)]
    rows_of = [[n for n, label in enumerate(given_labels) if label == v] for v in (-1, 1)]
    if not rows_of[0] or not rows_of[1]:
        return set()
    thresholds = [np.mean([p[j][n] for n in rows_of[j]]) for j in (0, 1)]
    joint = np.zeros((2, 2))
    for i in (0, 1):
        for n in rows_of[i]:
            confident = [j for j in (0, 1) if p[j][n] >= thresholds[j]]
            if confident:
                joint[i, max(confident, key=lambda j: p[j][n])] += 1
    pruned = set()
    for i, j in ((0, 1), (1, 0)):
        if joint[i].sum():
            number = round(joint[i, j] / joint[i].sum() * len(rows_of[i]))
            by_margin = sorted(rows_of[i], key=lambda n: p[i][n] - p[j][n])
            pruned |= set(by_margin[:number])
    return pruned


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_pruning_is_that_of_the_formulas(seed, num_rows):
    random = np.random.RandomState(seed)
    labels = random.randint(-1, 2, (num_rows, 3))
    logits = 2 * labels * (random.rand(num_rows, 3) < 0.7) + random.randn(num_rows, 3)
    probabilities = 1 / (1 + np.exp(-logits))
    found = confident_errors(probabilities, labels)
    for c in range(3):
        assert set(np.flatnonzero(found[:, c])) == pruned_by_formula(
            probabilities[:, c], labels[:, c]
        )


def test_good_scores_prune_about_the_wrong_labels():
    random = np.random.RandomState(0)
    truth = np.where(random.rand(4000, 1) < 0.3, 1, -1)
    noisy = flip(truth, false_negative=0.2, false_positive=0.1, seed=0)
    probabilities = 1 / (1 + np.exp(-(5 * truth + random.randn(4000, 1))))
    found = confident_errors(probabilities, noisy)
    wrong = noisy != truth
    assert (found & wrong).sum() / found.sum() > 0.95
    assert (found & wrong).sum() / wrong.sum() > 0.95


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_the_mixture_is_that_of_expectation_maximisation(share):
    random = np.random.RandomState(1)
    wrong = random.rand(500, 1) < share
    losses = np.where(wrong, 3 + 0.5 * random.randn(500, 1), 0.5 + 0.2 * random.randn(500, 1))
    labels = np.where(np.arange(500)[:, None] % 5 == 0, 0, 1)
    found = clean_probabilities(losses, labels)
    known = labels[:, 0] == 1
    reference = GaussianMixture(2, tol=1e-8, max_iter=500, random_state=0).fit(losses[known])
    means = np.asarray(reference.means_)
    small = means.ravel().argmin()
    expected = reference.predict_proba(losses[known])[:, small]
    above = losses[known, 0] >= means.min()  # below it counts as at the mean
    np.testing.assert_allclose(found[known, 0][above], expected[above], atol=0.02)
    assert (found[~known] == 1).all()
    assert (found[known, 0][~above] > 0.5).all()


@pytest.mark.parametrize("losses", [[1.0, 1.0, 1.0], [1.0, 1.0, 2.0], [0.0, 1.0, 1.0]])
def test_few_different_losses(losses):
    found = clean_probabilities(np.array([losses]).T, np.ones((3, 1), int))
    assert np.isfinite(found).all()
    assert (np.diff(found[:, 0]) <= 1e-9).all()  # a larger loss is never cleaner


def test_signs_and_classes_have_mixtures_of_their_own():
    random = np.random.RandomState(2)
    labels = np.where(random.rand(200, 2) < 0.5, 1, -1)
    losses = random.rand(200, 2)
    found = clean_probabilities(losses, labels)
    for value in (1, -1):
        for c in (0, 1):
            rows = labels[:, c] == value
            alone = clean_probabilities(losses[rows][:, [c]], labels[rows][:, [c]])
            np.testing.assert_allclose(found[rows, c], alone[:, 0])


@pytest.mark.parametrize(("missed", "invented"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.3), (0.3, 0.1)])
def test_rates_are_found_from_correlations(missed, invented):
    random = np.random.RandomState(0)
    scene = random.rand(40_000, 1) < 0.5  # what makes the classes go together
    truth = np.where(random.rand(40_000, 3) < np.where(scene, 0.7, 0.1), 1, -1)
    rates = [missed, 0.1, 0.2], [invented, 0.05, 0.0]
    noisy = flip(truth, false_negative=rates[0], false_positive=rates[1], seed=0)
    selected = (noisy == truth) & (random.rand(40_000, 3) < 0.5)
    found = class_transitions(noisy, selected)
    np.testing.assert_allclose(found.missed, rates[0], atol=0.04)
    np.testing.assert_allclose(found.invented, rates[1], atol=0.04)


@pytest.mark.parametrize("labels", [[[1], [-1]], [[1, 1], [-1, 1]], [[0, 0], [0, 0]]])
def test_no_other_class_tells_anything(labels):
    found = class_transitions(labels, np.ones(np.shape(labels), bool))
    assert (found.missed == 0).all()
    assert (found.invented == 0).all()


def test_rates_always_leave_something_of_the_label():
    for seed in range(30):
        random = np.random.RandomState(seed)
        labels = random.randint(-1, 2, (12, 4))
        missed, invented = class_transitions(labels, random.rand(12, 4) < 0.5)
        assert (missed >= 0).all()
        assert (invented >= 0).all()
        assert (missed + invented <= 0.95 + 1e-9).all()


@pytest.mark.parametrize("function", [confident_errors, clean_probabilities, class_transitions])
def test_other_shapes_are_refused(function):
    first = np.ones((3, 2))
    second = -np.ones((2, 2), int)
    pair = (second, first) if function is class_transitions else (first, second)
    with pytest.raises(ValueError, match="have shape|has shape"):
        function(*pair)
