"""Average precision under its four definitions, and precision, recall and F1 of decisions.

All counts are integers and all ratios float64. A class without a known positive has no recall and
no average precision: its value is nan, and every mean over classes leaves it out.

Scores and targets may be CSR arrays that store the known entries alone, see `pumlc.metrics.inputs`.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, issparse
from scipy.special import digamma

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, validate
from pumlc.metrics.inputs import (
    Scores,
    Targets,
    check_all_probabilities,
    check_probabilities,
    check_scores,
    known_classes,
)

Definition = Literal["sklearn", "asl", "voc2007", "voc2012"]

_BLOCK_ENTRIES = 2**22


def num_averaged_classes(targets: ArrayLike) -> int:
    """Count the classes with a known positive, over which every mean over classes is taken.

    Args:
        targets: [N, C] in {1, 0, -1}.

    Raises:
        ValueError: an invalid target.

    Example:
        >>> num_averaged_classes([[1, -1, 0], [-1, -1, 0]])
        1
    """
    return int((validate(targets, "targets").max(axis=0, initial=NEGATIVE) == POSITIVE).sum())


def _class_average_precision(
    scores: np.ndarray, positive: np.ndarray, definition: Definition
) -> float:
    """Average precision of one class from the counts at each positive's score, lowest first."""
    hits = np.sort(scores[positive])
    if not len(hits):
        return np.nan
    ranked = np.sort(scores)
    hits_from = len(hits) - np.searchsorted(hits, hits, side="left")
    ranked_from = len(ranked) - np.searchsorted(ranked, hits, side="left")
    precision = hits_from / ranked_from
    if definition == "sklearn":
        return float(precision.mean())
    if definition == "asl":
        hits_above = len(hits) - np.searchsorted(hits, hits, side="right")
        ranked_above = len(ranked) - np.searchsorted(ranked, hits, side="right")
        return float(_expected_precision(hits_above, hits_from, ranked_above, ranked_from).mean())
    envelope = np.maximum.accumulate(precision)  # the best precision at this recall or a higher one
    if definition == "voc2012":
        return float(envelope.mean())
    levels = np.arange(11)[:, None]  # recall >= level / 10, in integers
    reached = (10 * hits_from >= levels * len(hits)).sum(axis=1)
    return float(envelope[reached - 1].mean())


def _expected_precision(
    hits_above: np.ndarray, hits_from: np.ndarray, ranked_above: np.ndarray, ranked_from: np.ndarray
) -> np.ndarray:
    """Precision at a positive's own rank, averaged over all orders of the entries tied with it.

    With h positives among the n entries above a group of g tied entries, p of them positive, and
    a = (p - 1) / (g - 1): (1 / g) sum_{j=1..g} (h + 1 + (j - 1) a) / (n + j), where the sum over
    1 / (n + j) is a difference of harmonic numbers (McSherry & Najork, ECIR 2008).
    """
    tied = ranked_from - ranked_above
    share = (hits_from - hits_above - 1) / np.maximum(tied - 1, 1)
    harmonic = digamma(ranked_from + 1) - digamma(ranked_above + 1)
    expected = share + (hits_above + 1 - share * (ranked_above + 1)) * harmonic / tied
    return np.where(tied == 1, hits_from / ranked_from, expected)  # no rounding without a tie


def average_precision(
    scores: Scores, targets: Targets, *, definition: Definition = "sklearn"
) -> np.ndarray:
    r"""Average precision of every class, a fraction in [0, 1]; nan for a class without a positive.

    For the known entries of a class with P positives, let :math:`p(i)` be the share of positives
    among the entries that score at least as high as positive i:

    .. math::

        p(i) = \frac{|\{j : y_j = 1,\; s_j \ge s_i\}|}{|\{j : s_j \ge s_i\}|} \qquad
        \mathrm{AP}_\mathrm{sklearn} = \frac1P \sum_{i:\, y_i = 1} p(i) \qquad
        \mathrm{AP}_\mathrm{voc2012} = \frac1P \sum_{i:\, y_i = 1} \max_{j:\, s_j \le s_i} p(j)

    - ``"sklearn"``: the area under the precision-recall steps.
    - ``"asl"``: the same mean of the precision at the rank of positive i, as in the code of ASL and
      its descendants. There the order of tied entries decides; here the mean over all orders is
      taken. Without ties it equals ``"sklearn"``.
    - ``"voc2012"``: the area under the envelope.
    - ``"voc2007"``: the mean of the envelope at recall 0, 0.1, ..., 1.

    None depends on the order of the rows. UNKNOWN entries are ignored.

    Args:
        scores: real numbers [N, C].
        targets: [N, C] in {1, 0, -1}.
        definition: see above.

    Returns:
        float64 [C].

    Raises:
        ValueError: nan scores, invalid targets, unequal shapes, another definition, or targets with
            UNKNOWN but without any NEGATIVE entry (a {0, 1} matrix in the wrong convention).

    Source: Everingham et al., IJCV 88 (2010); VOC2012 development kit; Ridnik et al., ICCV 2021.

    Example:
        >>> scores = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]
        >>> average_precision(scores, [[1, -1], [-1, -1], [1, -1], [0, -1]]).round(4)
        array([0.8333,    nan])
    """
    if definition not in get_args(Definition):
        raise ValueError(f"definition {definition!r}; valid: {', '.join(get_args(Definition))}")
    classes = known_classes(*check_scores(scores, targets, "scores"))
    return np.array([_class_average_precision(*known, definition) for known in classes])


def mean_average_precision(scores: Scores, targets: Targets, *, definition: Definition) -> float:
    """Mean of ``average_precision`` over the classes with a known positive, in percent.

    ``num_averaged_classes(targets)`` tells how many those are; nan if there is none. The code of
    ASL and PU-MLC counts a class without a positive as 0 in this mean: to compare with a figure
    computed so, multiply by ``num_averaged_classes(targets) / C``.

    Args:
        scores: real numbers [N, C].
        targets: [N, C] in {1, 0, -1}.
        definition: see ``average_precision``.

    Returns:
        percent.

    Raises:
        ValueError: see ``average_precision``.

    Example:
        >>> scores = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]
        >>> targets = [[1, -1], [-1, -1], [1, -1], [-1, -1]]
        >>> round(mean_average_precision(scores, targets, definition="voc2007"), 2)
        84.85
    """
    values = average_precision(scores, targets, definition=definition)
    present = values[~np.isnan(values)]
    return float(100 * present.mean()) if len(present) else np.nan


def precision_recall_f1(
    probabilities: Scores,
    targets: Targets,
    *,
    threshold: ArrayLike | None = None,
    top_k: int | None = None,
) -> dict[str, float]:
    """Precision, recall and F1 of decisions, per class and overall, in percent.

    An entry is predicted if its probability is >= ``threshold`` (a number or one per class), if it
    is among the ``top_k`` of its row, or, with both given, if both hold. The top k are taken among
    all classes of the row; of equal probabilities the lower class index goes first.

    With tp_c, predicted_c and positive_c counted over the known entries, and means over the classes
    with a known positive:

    - ``CP`` = mean_c tp_c / predicted_c, ``CR`` = mean_c tp_c / positive_c, ``CF1`` =
      2 CP CR / (CP + CR), the harmonic mean (CNN-RNN, ML-GCN, HCP, PU-MLC);
    - ``CF1_macro`` = mean_c 2 tp_c / (predicted_c + positive_c), the mean of the class F1 (ASL,
      DualCoOp, scikit-learn's "macro");
    - ``OP`` = sum_c tp_c / sum_c predicted_c, ``OR`` = sum_c tp_c / sum_c positive_c and their
      harmonic mean ``OF1``.

    A class with positives of which nothing is predicted has predicted_c = 1, as in the code of
    ML-GCN, HCP and PU-MLC: its precision is 0, and it counts as one wrong prediction in ``OP``.
    Otherwise OP, OR and OF1 are scikit-learn's "micro". An F1 is 0 where its precision and recall
    are; without any known positive all values are nan.

    Args:
        probabilities: in [0, 1], [N, C].
        targets: [N, C] in {1, 0, -1}.
        threshold: a number or [C].
        top_k: in [1, C]; not of CSR, in which a row lacks scores.

    Returns:
        name -> percent.

    Raises:
        ValueError: probabilities outside [0, 1], neither ``threshold`` nor ``top_k``, a threshold
            of another shape, top_k outside [1, C]; targets as for ``average_precision``.

    Source: Wang et al., CVPR 2016 (CNN-RNN), which names the measures.

    Example:
        >>> probabilities, targets = [[0.9, 0.6], [0.2, 0.8]], [[1, -1], [1, 1]]
        >>> figures = precision_recall_f1(probabilities, targets, threshold=0.5)
        >>> {name: round(figures[name], 1) for name in ("CP", "CR", "CF1", "OP", "OR", "OF1")}
        {'CP': 75.0, 'CR': 75.0, 'CF1': 75.0, 'OP': 66.7, 'OR': 66.7, 'OF1': 66.7}
    """
    probabilities, targets = check_scores(probabilities, targets, "probabilities")
    threshold = _check_decision(threshold, top_k, targets.shape[1])
    if np.issubdtype(probabilities.dtype, np.floating):  # 0.7 in float32 is below 0.7 in float64
        threshold = threshold.astype(probabilities.dtype)
    if issparse(targets):
        return _summary(*_stored_counts(probabilities, targets, threshold, top_k))
    hits, predicted, positives = np.zeros((3, targets.shape[1]), dtype=np.int64)
    rows = max(1, _BLOCK_ENTRIES // max(1, targets.shape[1]))
    for start in range(0, len(targets), rows):
        block, target = probabilities[start : start + rows], targets[start : start + rows]
        check_probabilities(block, start)
        decided = (target != UNKNOWN) & (block >= threshold)
        if top_k is not None:
            decided &= in_top(block, top_k)
        hits += (decided & (target == POSITIVE)).sum(axis=0)
        predicted += decided.sum(axis=0)
        positives += (target == POSITIVE).sum(axis=0)
    return _summary(hits, predicted, positives)


def _stored_counts(
    probabilities: csr_array, targets: csr_array, threshold: np.ndarray, top_k: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, predicted and positive entries of each class, of known entries that are stored."""
    if top_k is not None:
        raise ValueError("top_k needs the scores of all classes of a row; CSR has the known ones")
    check_all_probabilities(probabilities)
    width = targets.shape[1]  # pyright: ignore[reportOptionalSubscript]
    columns, label = targets.indices, targets.data
    decided = probabilities.data >= np.broadcast_to(threshold, width)[columns]
    decided &= label != UNKNOWN
    chosen = (decided & (label == POSITIVE), decided, label == POSITIVE)
    hits, predicted, positives = (np.bincount(columns[one], minlength=width) for one in chosen)
    return hits, predicted, positives


def _check_decision(threshold: ArrayLike | None, top_k: int | None, num_classes: int) -> np.ndarray:
    if threshold is None and top_k is None:
        raise ValueError("give a threshold, top_k or both: there is no default decision")
    if top_k is not None and not 1 <= top_k <= num_classes:
        raise ValueError(f"top_k is {top_k}, not between 1 and the {num_classes} classes")
    threshold = np.asarray(0.0 if threshold is None else threshold)
    if threshold.shape not in ((), (num_classes,)):
        raise ValueError(f"threshold has shape {threshold.shape}; one number or [{num_classes}]")
    if np.isnan(threshold).any():
        raise ValueError("threshold is nan")
    return threshold


def in_top(probabilities: np.ndarray, k: int) -> np.ndarray:
    """Mark exactly k entries of each row, the highest; ties in order of the columns.

    Args:
        probabilities: [N, C].
        k: in [1, C].
    """
    lowest = np.partition(probabilities, -k, axis=1)[:, -k, None]
    higher, tied = probabilities > lowest, probabilities == lowest
    vacant = k - higher.sum(axis=1, keepdims=True)
    return higher | (tied & (np.cumsum(tied, axis=1) <= vacant))


def _harmonic_mean(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _summary(hits: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> dict[str, float]:
    present = positives > 0
    if not present.any():
        return dict.fromkeys(("CP", "CR", "CF1", "OP", "OR", "OF1", "CF1_macro"), np.nan)
    predicted = np.maximum(predicted, present)
    class_precision = (hits[present] / predicted[present]).mean()
    class_recall = (hits[present] / positives[present]).mean()
    precision, recall = hits.sum() / predicted.sum(), hits.sum() / positives.sum()
    class_f1 = 2 * hits[present] / (predicted + positives)[present]
    figures = {
        "CP": class_precision,
        "CR": class_recall,
        "CF1": _harmonic_mean(class_precision, class_recall),
        "OP": precision,
        "OR": recall,
        "OF1": _harmonic_mean(precision, recall),
        "CF1_macro": class_f1.mean(),
    }
    return {name: float(100 * value) for name, value in figures.items()}
