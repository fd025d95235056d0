"""Rates of wrong labels per class, from correlations between labels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pumlc.labels import NEGATIVE, POSITIVE, validate

_LARGEST_SUM = 0.95  # of both rates: at 1 the label says nothing, and weights are not bounded


class Transitions(NamedTuple):
    """What `class_transitions` returns.

    Attributes:
        missed: [C], the probability that a present class is called absent.
        invented: [C], the probability that an absent class is called present.
    """

    missed: np.ndarray
    invented: np.ndarray


def class_transitions(labels: ArrayLike, clean: ArrayLike) -> Transitions:
    r"""Estimate the noise of every class j from its co-occurrence with another class i.

    .. math::

        E_{bc} = P(\bar Y_j = b, \bar Y_i = c) \qquad
        M_{ac} = P(\bar Y_i = c \mid Y_j = a) \qquad
        E = T^\top \operatorname{diag}(P(Y_j)) M, \quad T_{ab} = P(\bar Y_j = b \mid Y_j = a)

    E is counted over all rows, M over the rows whose label j is selected as clean; noise of
    different classes is independent given the true labels. Column a of :math:`E M^{-1}` is
    :math:`P(Y_j = a)\, T_{a \cdot}`, so its sum is the prior and the rest is T.

    Of all classes i, the one with the largest :math:`|\det M|` is taken: there the estimate depends
    least on chance. (This choice is ours.) Numbers outside [0, 1] are moved to it; the two rates
    are scaled down where their sum is above 0.95. A class that no other class tells anything about
    has rates 0.

    Args:
        labels: noisy, [N, C] in {1, 0, -1}; a pair with an unknown label is not counted.
        clean: bool [N, C], the selected labels.

    Raises:
        ValueError: unequal shapes or an invalid label.

    Source: Li et al., "Estimating Noise Transition Matrix with Label Correlations for Noisy
    Multi-Label Learning" (NeurIPS 2022).

    Example:
        >>> labels = np.array([[1, 1]] * 4 + [[-1, 1]] * 4 + [[-1, -1]] * 8)
        >>> clean = np.array([[True, True]] * 4 + [[False, True]] * 4 + [[True, True]] * 8)
        >>> class_transitions(labels, clean).missed.round(2)
        array([0.5, 0. ])
    """
    labels, clean = validate(labels, "labels"), np.asarray(clean, bool)
    if clean.shape != labels.shape:
        raise ValueError(f"clean has shape {clean.shape}, labels {labels.shape}")
    num_classes = labels.shape[1]
    rates = np.zeros((2, num_classes))
    states = np.stack([labels == NEGATIVE, labels == POSITIVE]).astype(np.float64)  # [2, N, C]
    joint = np.einsum("bnj,cni->jibc", states, states)
    selected = np.einsum("anj,cni->jiac", states * clean, states)
    for j in range(num_classes):
        total = joint[j].sum(axis=(1, 2), keepdims=True)
        given = selected[j].sum(axis=2, keepdims=True)
        usable = (total[:, 0, 0] > 0) & (given[:, :, 0] > 0).all(axis=1)
        usable[j] = False
        if not usable.any():
            continue
        conditional = selected[j] / np.maximum(given, 1)
        determinants = np.where(usable, np.abs(np.linalg.det(conditional)), 0.0)
        i = int(determinants.argmax())
        if determinants[i] > 1e-9:
            product = joint[j, i] / total[i] @ np.linalg.inv(conditional[i])
            rates[:, j] = _rates(product)
    return Transitions(missed=rates[0], invented=rates[1])


def _rates(product: np.ndarray) -> tuple[float, float]:
    """P(absent given | present) and P(present given | absent) from diag(prior) T, transposed."""
    product = np.maximum(product, 0)
    prior = product.sum(axis=0)
    missed = product[0, 1] / prior[1] if prior[1] > 0 else 0.0
    invented = product[1, 0] / prior[0] if prior[0] > 0 else 0.0
    scale = min(1.0, _LARGEST_SUM / max(missed + invented, 1e-12))
    return missed * scale, invented * scale
