"""Numbers in files that may come from anyone."""

import sys
from typing import Any


def is_finite_number(value: Any) -> bool:
    """Whether a value of JSON is an int or a float that float64 holds; a bool is none.

    JSON may have an int of 400 digits, which `math.isfinite` and NumPy do not take.

    >>> [is_finite_number(value) for value in (1, 0.5, True, "1", float("nan"), 10**400)]
    [True, True, False, False, False, False]
    """
    return type(value) in (int, float) and abs(value) <= sys.float_info.max
