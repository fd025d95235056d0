"""Average precision and CP ... OF1 against scikit-learn, golden values and naive loops."""

import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics import (
    average_precision,
    inputs,
    mean_average_precision,
    multilabel,
    num_averaged_classes,
    precision_recall_f1,
)

definitions = pytest.mark.parametrize("definition", get_args(multilabel.Definition))


def example(num_rows=300, num_classes=12, *, decimals=None, unknown=0.0, seed=0):
    """Informative scores, with ties if rounded, and targets with every class present."""
    random = np.random.default_rng(seed)
    targets = np.where(random.random((num_rows, num_classes)) < 0.2, POSITIVE, NEGATIVE)
    targets[0], targets[1] = POSITIVE, NEGATIVE
    scores = targets + random.normal(0, 2, targets.shape)
    if decimals is not None:
        scores = scores.round(decimals)
    hidden = random.random(targets.shape) < unknown
    hidden[:2] = False
    targets[hidden] = UNKNOWN
    assert len(np.unique(scores)) > 10
    return scores, targets.astype(np.int8)


@st.composite
def tied_columns(draw):
    """One class with few distinct scores and at least one positive and one negative."""
    size = draw(st.integers(2, 6))
    scores = draw(hnp.arrays(np.float64, size, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
    targets = draw(hnp.arrays(np.int8, size, elements=st.sampled_from([-1, 1])))
    targets[0], targets[1] = 1, -1
    return scores[:, None], targets[:, None]


def naive_average_precision(scores, targets, definition):
    """From the list of (precision, recall) at every distinct score, as the definitions are told."""
    positive = targets == POSITIVE
    points = []
    for threshold in sorted(set(scores), reverse=True):
        predicted = scores >= threshold
        hits = (predicted & positive).sum()
        points.append((hits / predicted.sum(), hits / positive.sum()))
    if definition == "voc2007":
        levels = [level / 10 - 1e-12 for level in range(11)]
        return sum(max(p for p, r in points if r >= level) for level in levels) / 11
    area, recall_before = 0.0, 0.0
    for precision, recall in points:
        if definition == "voc2012":
            precision = max(p for p, r in points if r >= recall)
        area += (recall - recall_before) * precision
        recall_before = recall
    return area


def ordered_average_precision(targets):
    """Mean over the positives of the precision at their rank, the order being given."""
    ranks = np.flatnonzero(targets == POSITIVE) + 1
    return np.mean(np.arange(1, len(ranks) + 1) / ranks)


@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("unknown", [0.0, 0.4])
def test_sklearn_definition_is_sklearns(decimals, unknown):
    scores, targets = example(decimals=decimals, unknown=unknown)
    values = average_precision(scores, targets)
    for column, value in enumerate(values):
        known = targets[:, column] != UNKNOWN
        expected = average_precision_score(
            targets[known, column] == POSITIVE, scores[known, column]
        )
        assert value == pytest.approx(expected, abs=1e-12)
    mean = mean_average_precision(scores, targets, definition="sklearn")
    assert mean == pytest.approx(100 * values.mean(), abs=1e-12)


@definitions
@settings(deadline=None)
@given(data=tied_columns())
def test_definitions_against_their_words(definition, data):
    scores, targets = data
    if definition == "asl":  # the mean over all orders of the tied entries
        orders = [
            ordered_average_precision(targets[list(order), 0])
            for order in itertools.permutations(range(len(scores)))
            if (np.diff(scores[list(order), 0]) <= 0).all()
        ]
        expected = np.mean(orders)
    else:
        expected = naive_average_precision(scores[:, 0], targets[:, 0], definition)
    value = average_precision(scores, targets, definition=definition)[0]
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", ["met_a", "met_b"])
def test_average_precision_is_the_released_codes(golden, case):
    scores = golden[f"{case}/scores"]
    targets = np.where(golden[f"{case}/targets"] == 1, POSITIVE, NEGATIVE)
    np.testing.assert_allclose(
        average_precision(scores, targets, definition="asl"), golden[f"{case}/ap_asl"], atol=1e-8
    )
    expected = golden[f"{case}/map_asl"]  # no ties and no absent class: sklearn's is the same
    assert mean_average_precision(scores, targets, definition="asl") == pytest.approx(expected)
    assert mean_average_precision(scores, targets, definition="sklearn") == pytest.approx(expected)
    expected = 100 * golden[f"{case}/map_voc2012"]
    assert mean_average_precision(scores, targets, definition="voc2012") == pytest.approx(expected)


@pytest.mark.parametrize("case", ["met_a", "met_b"])
@pytest.mark.parametrize("decision", ["overall_0.3", "overall_0.5", "overall_0.8", "top3"])
def test_decisions_are_the_released_codes(golden, case, decision):
    targets = np.where(golden[f"{case}/targets"] == 1, POSITIVE, NEGATIVE)
    figures = precision_recall_f1(
        golden[f"{case}/scores"],
        targets,
        threshold=None if decision == "top3" else float(decision.split("_")[1]),
        top_k=3 if decision == "top3" else None,
    )
    values = [figures[name] for name in ("OP", "OR", "OF1", "CP", "CR", "CF1")]
    np.testing.assert_allclose(values, 100 * golden[f"{case}/{decision}"], atol=1e-6)


@definitions
def test_order_of_rows_does_not_matter(definition):
    scores, targets = example(decimals=0, unknown=0.3)
    order = np.random.default_rng(1).permutation(len(scores))
    np.testing.assert_allclose(
        average_precision(scores, targets, definition=definition),
        average_precision(scores[order], targets[order], definition=definition),
        atol=1e-12,
    )


@definitions
def test_only_the_ranking_matters(definition):
    scores, targets = example(decimals=1)
    expected = average_precision(scores, targets, definition=definition)
    for same in (np.tanh(scores / 4), 1e4 * scores, (10 * scores).round().astype(np.int64)):
        values = average_precision(same, targets, definition=definition)
        np.testing.assert_array_equal(values, expected)


@definitions
def test_unknown_entries_are_as_if_they_were_not_there(definition):
    scores, targets = example(unknown=0.5)
    other = np.where(targets == UNKNOWN, -scores, scores)
    np.testing.assert_array_equal(
        average_precision(scores, targets, definition=definition),
        average_precision(other, targets, definition=definition),
    )
    flipped = np.where(targets == NEGATIVE, -scores, scores)  # the control: known ones do matter
    assert (
        average_precision(scores, targets, definition=definition)
        != average_precision(flipped, targets, definition=definition)
    ).all()


@definitions
def test_absent_classes_are_nan_and_left_out(definition):
    scores, targets = example(num_classes=5)
    whole = average_precision(scores, targets, definition=definition)
    targets[:, 1], targets[:, 3] = NEGATIVE, UNKNOWN
    values = average_precision(scores, targets, definition=definition)
    np.testing.assert_array_equal(np.isnan(values), [False, True, False, True, False])
    np.testing.assert_array_equal(values[[0, 2, 4]], whole[[0, 2, 4]])
    assert num_averaged_classes(targets) == 3
    mean = mean_average_precision(scores, targets, definition=definition)
    assert mean == pytest.approx(100 * whole[[0, 2, 4]].mean(), abs=1e-12)


def test_nothing_to_average():
    scores, targets = np.zeros((4, 2)), np.full((4, 2), NEGATIVE)
    assert np.isnan(mean_average_precision(scores, targets, definition="asl"))
    assert all(np.isnan(v) for v in precision_recall_f1(scores, targets, threshold=0.5).values())
    assert num_averaged_classes(np.zeros((0, 3), np.int8)) == 0
    assert np.isnan(average_precision(np.zeros((0, 3)), np.zeros((0, 3), np.int8))).all()


@definitions
@pytest.mark.parametrize("last", [True, False])
def test_constant_scores_give_no_order_to_profit_from(definition, last):
    targets = np.full((1000, 1), NEGATIVE)
    targets[slice(-100, None) if last else slice(100)] = POSITIVE
    value = average_precision(np.full((1000, 1), 0.3), targets, definition=definition)[0]
    assert value == pytest.approx(0.1, abs=0.01 if definition == "asl" else 1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@definitions
def test_perfect_ranking_is_one(dtype, definition):
    targets = np.repeat(np.array([[1], [-1]]), 5, axis=0)
    scores = (targets * 1e4 + np.arange(10)[:, None]).astype(dtype)
    assert average_precision(scores, targets, definition=definition)[0] == 1.0


def test_recall_levels_are_exact():
    """With 10 positives a recall of 0.3 is reached at the third, which 0.1 * 3 in floats is not."""
    targets = np.array([1, 1, 1, -1] + [1] * 7)[:, None]
    scores = np.arange(11.0)[::-1][:, None]
    value = average_precision(scores, targets, definition="voc2007")[0]
    assert value == pytest.approx((4 * 1.0 + 7 * 10 / 11) / 11, abs=1e-12)


def test_blocks_of_classes_and_rows_change_nothing(monkeypatch):
    scores, targets = example(num_classes=23, unknown=0.2)
    probabilities = 1 / (1 + np.exp(-scores))
    whole = average_precision(scores, targets)
    figures = precision_recall_f1(probabilities, targets, threshold=0.5, top_k=4)
    monkeypatch.setattr(inputs, "BLOCK_CLASSES", 5)
    monkeypatch.setattr(multilabel, "_BLOCK_ENTRIES", 100)
    np.testing.assert_array_equal(average_precision(scores, targets), whole)
    assert precision_recall_f1(probabilities, targets, threshold=0.5, top_k=4) == figures
    probabilities[250, 20] = 1.5
    with pytest.raises(ValueError, match="row 250, column 20 is 1.5"):
        precision_recall_f1(probabilities, targets, threshold=0.5)
    scores[200, 21] = np.nan
    with pytest.raises(ValueError, match="row 200, column 21 is nan"):
        average_precision(scores, targets)


def test_decisions_are_sklearns_where_it_has_them():
    scores, targets = example()
    probabilities = 1 / (1 + np.exp(-scores))
    figures = precision_recall_f1(probabilities, targets, threshold=0.6)
    for average, names in (
        ("macro", ("CP", "CR", "CF1_macro")),
        ("micro", ("OP", "OR", "OF1")),
    ):
        expected = precision_recall_fscore_support(
            targets == POSITIVE, probabilities >= 0.6, average=average
        )
        values = [figures[name] for name in names]
        np.testing.assert_allclose(values, 100 * np.array(expected[:3]), atol=1e-9)
    harmonic = 2 * figures["CP"] * figures["CR"] / (figures["CP"] + figures["CR"])
    assert figures["CF1"] == pytest.approx(harmonic, abs=1e-9)
    assert abs(figures["CF1"] - figures["CF1_macro"]) > 1e-3  # they are two definitions


def test_threshold_per_class_equals_shifted_columns():
    scores, targets = example(num_classes=3)
    probabilities = 1 / (1 + np.exp(-scores))
    thresholds = [0.2, 0.5, 0.9]
    figures = precision_recall_f1(probabilities, targets, threshold=thresholds)
    single = [
        precision_recall_f1(probabilities[:, [c]], targets[:, [c]], threshold=thresholds[c])
        for c in range(3)
    ]
    for name in ("CP", "CR", "CF1_macro"):
        assert figures[name] == pytest.approx(np.mean([s[name] for s in single]), abs=1e-9)


def test_a_class_never_predicted_counts_as_one_wrong_prediction():
    figures = precision_recall_f1([[0.1, 0.9], [0.2, 0.1]], [[1, 1], [-1, -1]], threshold=0.5)
    assert figures["CP"] == figures["CR"] == figures["CF1_macro"] == 50.0
    assert figures["OP"] == figures["OR"] == 50.0
    nothing = precision_recall_f1([[0.1], [0.2]], [[1], [-1]], threshold=0.5)
    assert set(nothing.values()) == {0.0}


def test_unknown_entries_count_neither_way():
    probabilities, targets = [[0.9, 0.9, 0.9], [0.9, 0.6, 0.1]], [[1, 0, -1], [0, 1, -1]]
    figures = precision_recall_f1(probabilities, targets, threshold=0.5)
    assert figures["OP"] == pytest.approx(100 * 2 / 3)  # two right, (0, 2) wrong, two UNKNOWN out
    assert figures["OR"] == 100.0
    # the top 2 of a row are the columns 0 and 1, whatever is known of them
    assert precision_recall_f1(probabilities, targets, top_k=2)["OP"] == 100.0
    assert precision_recall_f1(probabilities, targets, top_k=1)["OR"] == 50.0


def test_an_absent_class_is_not_in_the_class_means():
    probabilities, targets = [[0.9, 0.9], [0.1, 0.1]], np.array([[1, -1], [-1, -1]])
    figures = precision_recall_f1(probabilities, targets, threshold=0.5)
    assert figures["CP"] == figures["CR"] == figures["CF1_macro"] == 100.0
    assert figures["OP"] == 50.0


@settings(deadline=None)
@given(
    probabilities=hnp.arrays(
        np.float32, (4, 5), elements=st.sampled_from([np.float32(v) for v in (0, 0.25, 0.5, 1)])
    ),
    k=st.integers(1, 5),
)
def test_top_k_takes_exactly_k_the_first_of_ties(probabilities, k):
    chosen = multilabel.in_top(probabilities, k)
    for row, taken in zip(probabilities, chosen, strict=True):
        expected = sorted(range(5), key=lambda c: (-row[c], c))[:k]
        assert sorted(expected) == np.flatnonzero(taken).tolist()


def test_threshold_and_top_k_together_need_both():
    probabilities, targets = [[0.9, 0.8, 0.1]], [[1, 1, -1]]
    assert precision_recall_f1(probabilities, targets, threshold=0.5, top_k=1)["OR"] == 50.0
    assert precision_recall_f1(probabilities, targets, threshold=0.85, top_k=2)["OR"] == 50.0
    assert precision_recall_f1(probabilities, targets, threshold=0.5, top_k=3)["OR"] == 100.0


def test_inputs_stay_as_they_are():
    scores, targets = example(unknown=0.2)
    probabilities = 1 / (1 + np.exp(-scores))
    for array in (scores, targets, probabilities):
        array.flags.writeable = False
    average_precision(scores, targets, definition="asl")
    precision_recall_f1(probabilities, targets, threshold=0.5, top_k=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_precision([[0.1]], [[2]]), "targets: row 0, column 0 is 2"),
        (lambda: average_precision([[0.1, 0.2]], [[1, 0]]), "no -1"),
        (lambda: average_precision([[0.1, 0.2]], [[1]]), r"scores have shape \(1, 2\), targets"),
        (lambda: average_precision([["a"]], [[1]]), "type <U1"),
        (lambda: precision_recall_f1([[0.1]], [[1]]), "give a threshold, top_k or both"),
        (lambda: precision_recall_f1([[0.1]], [[1]], top_k=2), "top_k is 2, not between 1"),
        (lambda: precision_recall_f1([[0.1]], [[1]], threshold=[0.1, 0.2]), r"shape \(2,\)"),
        (lambda: precision_recall_f1([[0.1]], [[1]], threshold=np.nan), "threshold is nan"),
        (lambda: precision_recall_f1([[-3.0]], [[1]], threshold=0.5), r"is -3.0, outside \[0, 1\]"),
        (lambda: precision_recall_f1([[np.nan]], [[1]], threshold=0.5), "is nan, outside"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("definition", ["voc", "", "mAP"])
def test_an_unknown_definition_is_refused_with_the_valid_ones(definition):
    with pytest.raises(ValueError, match="valid: sklearn, asl, voc2007, voc2012"):
        mean_average_precision([[0.1]], [[1]], definition=definition)


def test_a_threshold_is_compared_in_the_type_of_the_probabilities():
    probabilities = np.array([[0.7], [0.1]], np.float32)
    assert (probabilities >= 0.7).tolist() == [[True], [False]]
    assert precision_recall_f1(probabilities, [[1], [-1]], threshold=0.7)["OR"] == 100
