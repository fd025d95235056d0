"""Suspected label errors: where a trained classifier contradicts the labels it is shown.

Three lists, apart because their answers differ in worth: unknown labels that are probably positive,
negative labels that are probably positive, positive labels that are probably negative.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, validate
from pumlc.metrics import average_precision

GIVEN = {"unknown": UNKNOWN, "negative": NEGATIVE, "positive": POSITIVE}
"""What a label of a list of suspects was given as, and its number."""
STATES = {"unknown": "unknown", "negative": "absent", "positive": "present"}
"""What files and screens call the keys of `GIVEN`."""


class Suspects(NamedTuple):
    """Entries of a label matrix, the most suspicious first.

    Attributes:
        rows: [n] pictures.
        columns: [n] classes.
        probabilities: [n] the classifier's, of the class being present.
        ranks_in_class: [n] 1 for the most suspicious entry of its class.
    """

    rows: np.ndarray
    columns: np.ndarray
    probabilities: np.ndarray
    ranks_in_class: np.ndarray


def rank_suspects(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    given: str,
    top: int | None = None,
    decided: ArrayLike | None = None,
) -> Suspects:
    """The entries labelled ``given``, by how much the classifier contradicts that label.

    An unknown or negative label is the more suspicious, the higher its probability is; a positive
    one, the lower it is. Ties go by row, then class. Probabilities of a model that has seen
    these very labels in training say less than those of one that has not.

    Args:
        probabilities: [N, C], of the class being present.
        labels: [N, C] in {1, 0, -1}.
        given: "unknown", "negative" or "positive".
        top: length of the list, 0 for an empty one; None: every entry.
        decided: bool [N, C], entries that are left out since a person has judged them.

    Returns:
        the entries, the most suspicious first.

    Raises:
        ValueError: nan, an invalid label, unequal shapes, another ``given``, top below 0.

    Example:
        >>> probabilities, labels = [[0.1, 0.7], [0.9, 0.8]], [[0, 1], [0, 0]]
        >>> suspects = rank_suspects(probabilities, labels, given="unknown", top=2)
        >>> suspects.rows, suspects.columns, suspects.ranks_in_class
        (array([1, 1]), array([0, 1]), array([1, 1]))
    """
    probabilities, labels = _check(probabilities, labels)
    if top is not None and top < 0:
        raise ValueError(f"top is {top}, below 0")
    candidates = np.flatnonzero(_candidates(labels, given, decided))
    suspicion = _suspicion(probabilities.ravel()[candidates], given)
    if top is not None and 0 < top < len(candidates):
        least = np.partition(suspicion, -top)[-top]
        candidates, suspicion = candidates[suspicion >= least], suspicion[suspicion >= least]
    chosen = candidates[np.argsort(-suspicion, kind="stable")[:top]]
    rows, columns = np.divmod(chosen, labels.shape[1])
    return Suspects(rows, columns, probabilities[rows, columns], counts_so_far(columns))


def score_finding(
    probabilities: ArrayLike,
    labels: ArrayLike,
    true_labels: ArrayLike,
    *,
    given: str,
    at: Sequence[int] = (10, 100),
) -> dict[str, float]:
    """How well the ranking of `rank_suspects` finds the labels that are known to be wrong.

    The entries labelled ``given`` whose true label is known are counted. A random order has AP and
    P@n of about 100 ``wrong / checked``.

    Args:
        probabilities: [N, C], of the class being present.
        labels: [N, C] in {1, 0, -1}.
        true_labels: [N, C] in {1, 0, -1}.
        given: "unknown", "negative" or "positive".
        at: the n of P@n.

    Returns:
        ``checked``: how many entries are counted; ``wrong``: how many of them are truly positive
        (of the positive ones: negative); ``AP``: average precision of ranking the wrong ones first;
        ``P@n``: their share among the first n. The last two are in percent, and nan where nothing
        is wrong or fewer than n are counted.

    Raises:
        ValueError: see `rank_suspects`.

    Example:
        >>> labels, true = [[0, 1], [0, 0]], [[1, 1], [-1, 1]]
        >>> probabilities = [[0.7, 0.7], [0.9, 0.8]]
        >>> figures = score_finding(probabilities, labels, true, given="unknown", at=(2,))
        >>> {name: round(value, 1) for name, value in figures.items()}
        {'checked': 3, 'wrong': 2, 'AP': 58.3, 'P@2': 50.0}
    """
    probabilities, labels = _check(probabilities, labels)
    true_labels = validate(true_labels, "true_labels")
    if true_labels.shape != labels.shape:
        raise ValueError(f"true_labels have shape {true_labels.shape}, labels {labels.shape}")
    checked = (labels == _value(given)) & (true_labels != UNKNOWN)
    opposite = NEGATIVE if given == "positive" else POSITIVE
    wrong = true_labels[checked] == opposite
    suspicion = _suspicion(probabilities[checked], given)
    figures: dict[str, float] = {"checked": int(checked.sum()), "wrong": int(wrong.sum())}
    targets = np.where(wrong, POSITIVE, NEGATIVE)[:, None]
    figures["AP"] = 100 * float(average_precision(suspicion[:, None], targets)[0])
    order = wrong[np.argsort(-suspicion, kind="stable")]
    for count in at:
        enough = wrong.any() and len(order) >= count
        figures[f"P@{count}"] = 100 * float(order[:count].mean()) if enough else np.nan
    return figures


def _value(given: str) -> int:
    if given not in GIVEN:
        raise ValueError(f"given is {given!r}; valid: {', '.join(GIVEN)}")
    return GIVEN[given]


def _candidates(labels: np.ndarray, given: str, decided: ArrayLike | None) -> np.ndarray:
    """The entries of a list, bool [N, C]."""
    candidates = labels == _value(given)
    if decided is None:
        return candidates
    decided = np.asarray(decided, bool)
    if decided.shape != labels.shape:
        raise ValueError(f"decided has shape {decided.shape}, labels {labels.shape}")
    return candidates & ~decided


def _check(probabilities: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = np.asarray(probabilities), validate(labels, "labels")
    if probabilities.shape != labels.shape:
        raise ValueError(f"probabilities have shape {probabilities.shape}, labels {labels.shape}")
    if np.isnan(probabilities).any():
        row, column = np.argwhere(np.isnan(probabilities))[0]
        raise ValueError(f"probabilities: row {row}, column {column} is nan")
    return probabilities, labels


def _suspicion(probabilities: np.ndarray, given: str) -> np.ndarray:
    return -probabilities if given == "positive" else probabilities


def counts_so_far(columns: np.ndarray) -> np.ndarray:
    """How often each value has occurred up to its place: 1 for the first."""
    order = np.argsort(columns, kind="stable")
    _, first, counts = np.unique(columns[order], return_index=True, return_counts=True)
    places = np.empty(len(columns), dtype=np.int64)
    places[order] = np.arange(len(columns)) - np.repeat(first, counts) + 1
    return places
