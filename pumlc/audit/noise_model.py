"""How many labels are wrong, and which: estimated from scores that have not seen them.

The curve of called-present over the score, and what tells errors from labels that are merely hard:
`pumlc.estimators.asymptotes`.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from pumlc.estimators.asymptotes import fit_curve, probability_wrong
from pumlc.labels import NEGATIVE, POSITIVE, validate


class NoiseModel(NamedTuple):
    """What `fit_noise_model` returns.

    Attributes:
        probabilities: [N, C], of the label being truly present, by its score and class alone.
        wrong: [N, C], of the label being wrong as it is given; of an unknown one, of being present.
        missed: rate a at which truly present labels are called absent; 0 if errors explain nothing.
        invented: rate b at which truly absent labels are called present; 0 likewise.
    """

    probabilities: np.ndarray
    wrong: np.ndarray
    missed: float
    invented: float


def fit_noise_model(scores: Any, labels: Any, *, seed: int = 0) -> NoiseModel:
    """Fit the two rates of error, and probabilities: `pumlc.estimators.asymptotes.fit_curve`.

    Labels without errors give rates of 0: "nothing suspicious".

    Args:
        scores: [N, C], of models that have not seen the label. Comparable between classes.
        labels: [N, C] in {1, 0, -1}.
        seed: of the sample of absent labels that is fitted on where there are very many.

    Raises:
        ValueError: unequal shapes, an invalid label, nan, no positive or no negative label.
    """
    scores, labels = np.asarray(scores, np.float64), validate(labels, "labels")
    if scores.shape != labels.shape:
        raise ValueError(f"scores have shape {scores.shape}, labels {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    if not (labels == POSITIVE).any() or not (labels == NEGATIVE).any():
        raise ValueError("labels need a present and an absent one")
    curve = fit_curve(scores, labels, seed=seed)
    probabilities = expit(curve.slope * scores + curve.bias)
    wrong = probability_wrong(probabilities, labels, curve.missed, curve.invented)
    return NoiseModel(probabilities, wrong, curve.missed, float(curve.invented.mean()))
