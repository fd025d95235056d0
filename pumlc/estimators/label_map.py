r"""Labels by their description: a linear map from what is labelled to the descriptions of labels.

With the labels Y [N, L] of N rows, and a description e_l [D] of each label, the matrix E, least
squares looks for the map f from a row to [D] whose inner products with the descriptions are the
labels. One step at a time it is

.. math:: T = Y E (E^\top E + \gamma I)^{-1}, \qquad f = \text{ridge regression of } T,
          \qquad \text{score}(x, l) = f(x)^\top e_l

The second step may be any ridge regression of dense targets, with its own kernel and its own
leave-one-out. A label that no row has is scored by its description like any other.

Source: Romera-Paredes & Torr, "An embarrassingly simple approach to zero-shot learning" (ICML
2015); the steps apart: Stock et al., "A Comparative Study of Pairwise Learning Methods Based on
Kernel Ridge Regression" (Neural Computation, 2018).
"""

from typing import Any

import numpy as np


def described_targets(labels: Any, descriptions: np.ndarray, penalty: float) -> np.ndarray:
    """T, float32 [N, D]: what a row is regressed on.

    Args:
        labels: sparse or dense [N, L], 1 where a row has a label and 0 elsewhere. Labels that no
            row has belong to the ones that are asked for later, not to these.
        descriptions: [L, D].
        penalty: gamma, above 0.

    Raises:
        ValueError: sizes do not fit, or the penalty is not above 0.

    Example:
        >>> described_targets(np.eye(2), np.eye(2), 1.0).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    if labels.shape[1] != len(descriptions):
        raise ValueError(f"{labels.shape[1]} labels, but {len(descriptions)} descriptions")
    if not penalty > 0:
        raise ValueError(f"penalty is {penalty}; it must be above 0")
    known = np.asarray(descriptions, np.float64)
    gram = known.T @ known
    gram[np.diag_indices(len(gram))] += penalty
    return np.asarray(labels @ np.linalg.solve(gram, known.T).T, np.float32)
