"""Confident learning: which labels of a class are wrong, by counts of confident predictions."""

import numpy as np
from numpy.typing import ArrayLike

from pumlc.labels import NEGATIVE, POSITIVE, validate


def confident_errors(probabilities: ArrayLike, labels: ArrayLike) -> np.ndarray:
    r"""Labels that confident learning prunes, each class by itself ("prune by noise rate").

    For one class, with the given labels i in {absent, present} and p_j(x) the out-of-sample
    probability of label j:

    .. math::

        t_j = \text{mean of } p_j \text{ over the rows given } j \qquad
        C_{ij} = |\{x \text{ given } i : j = \arg\max_{l : p_l(x) \ge t_l} p_l(x)\}| \qquad
        Q_{ij} = \frac{C_{ij}}{\sum_l C_{il}} N_i

    A row for which no :math:`p_l \ge t_l` is counted nowhere. :math:`N_i` is the number of rows
    given i. Of the rows given i, the round(Q_ij) with the largest :math:`p_j - p_i` are pruned, for
    j other than i. A class that lacks one of the two labels has no errors.

    Args:
        probabilities: of being present, [N, C] in [0, 1], by models that have not seen the label.
        labels: [N, C] in {1, 0, -1}; unknown ones play no part.

    Returns:
        bool [N, C].

    Raises:
        ValueError: unequal shapes, an invalid label, or a number outside [0, 1].

    Source: Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset
    Labels" (JAIR 2021), for two labels.

    Example:
        >>> probabilities = [[0.9], [0.8], [0.1], [0.2], [0.1], [0.1]]
        >>> confident_errors(probabilities, [[1], [1], [1], [-1], [-1], [-1]]).ravel()
        array([False, False,  True, False, False, False])
    """
    labels = validate(labels, "labels")
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.shape != labels.shape:
        raise ValueError(f"probabilities have shape {probabilities.shape}, labels {labels.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities are not in [0, 1]")
    wrong = np.zeros(labels.shape, bool)
    for column in range(labels.shape[1]):
        given = [np.flatnonzero(labels[:, column] == value) for value in (NEGATIVE, POSITIVE)]
        if not all(map(len, given)):
            continue
        both = np.stack([1 - probabilities[:, column], probabilities[:, column]])
        thresholds = [both[j, given[j]].mean() for j in (0, 1)]
        confident = both >= np.array(thresholds)[:, None]
        # of two confident labels the likelier one
        likeliest = np.where(confident, both, -1).argmax(axis=0)
        for i, rows in enumerate(given):
            counted = rows[confident[:, rows].any(axis=0)]
            if not len(counted):
                continue
            number = round((likeliest[counted] != i).mean() * len(rows))
            order = np.argsort(both[i, rows], kind="stable")  # p_j - p_i falls with p_i
            wrong[rows[order[:number]], column] = True
    return wrong
