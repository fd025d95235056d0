"""Intervals of differences that were measured in pairs."""

import math

import numpy as np
from scipy.special import stdtrit  # the quantile of Student's t


def paired_interval(gaps: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The interval of Student's t of the mean of paired differences, [n].

    Of one difference it is nan, and of equal ones, which come of seeds that changed nothing.

    >>> low, high = paired_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    if len(gaps) < 2 or np.ptp(gaps) == 0:
        return math.nan, math.nan
    half = stdtrit(len(gaps) - 1, (1 + level) / 2) * gaps.std(ddof=1) / math.sqrt(len(gaps))
    return float(gaps.mean() - half), float(gaps.mean() + half)
