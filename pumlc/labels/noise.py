"""Label noise: false negatives and false positives at given rates."""

import numpy as np
from numpy.typing import ArrayLike

from pumlc.labels.convention import POSITIVE, row_blocks, warn_without_negatives, writable

# A stream of its own: the masks of `protocols.py` draw one number per entry from RandomState(seed)
# too, and with the same numbers the flipped entries would be the very ones that a mask keeps.
STREAM = 1


def _class_rates(rate: ArrayLike, name: str, num_classes: int) -> np.ndarray:
    rate = np.asarray(rate, dtype=np.float64)
    if not ((rate >= 0) & (rate <= 1)).all():
        raise ValueError(f"{name} is {rate.tolist()}, outside [0, 1]")
    if rate.shape not in ((), (num_classes,)):
        raise ValueError(f"{name} has shape {rate.shape}; give one rate or [{num_classes}]")
    return rate


def flip(
    labels: ArrayLike,
    *,
    false_negative: ArrayLike,
    false_positive: ArrayLike,
    seed: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Return noisy labels: positives turned NEGATIVE and negatives turned POSITIVE at given rates.

    P(noisy = -1 | label = 1) = ``false_negative``, P(noisy = 1 | label = -1) = ``false_positive``,
    independently for every entry; UNKNOWN stays UNKNOWN. Each entry has one draw of its own, so
    that raising a rate flips more entries without releasing those already flipped. The draws are
    independent of a mask of the same ``seed``.

    Args:
        labels: [N, C] in {1, 0, -1}.
        false_negative: in [0, 1], one rate or [C].
        false_positive: in [0, 1], one rate or [C].
        seed: of the draws.
        out: int8 [N, C] to write to instead of a new matrix; it may be ``labels`` itself.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label, a rate outside [0, 1] or a wrong number of rates.

    Example:
        >>> labels = [[1, -1, 0], [1, -1, 0]]
        >>> flip(labels, false_negative=[1.0, 0.0, 0.0], false_positive=1.0, seed=0)
        array([[-1,  1,  0],
               [-1,  1,  0]], dtype=int8)
    """
    noisy = writable(labels, out)
    miss = _class_rates(false_negative, "false_negative", noisy.shape[1])
    invention = _class_rates(false_positive, "false_positive", noisy.shape[1])
    if miss.any() or invention.any():
        warn_without_negatives(noisy)
    random = np.random.RandomState([seed, STREAM])
    for rows in row_blocks(noisy.shape):
        block = noisy[rows]
        rate = np.where(block == POSITIVE, miss, invention)
        block[random.random_sample(block.shape) < rate] *= -1  # UNKNOWN = 0 is its own negation
    return noisy
