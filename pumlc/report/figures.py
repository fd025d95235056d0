"""What a report is made of: runs, and what they say of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """A split as a run scores it.

    Attributes:
        classes: C names.
        paths: N names of the pictures.
        labels: [N, C] in {1, 0, -1}.
        probabilities: [N, C].
        thresholds: [C].
        pictures: row -> a small JPEG file, of the rows that `pumlc.report.pictures_to_show` names.
    """

    classes: Sequence[str]
    paths: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    thresholds: np.ndarray
    pictures: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """A run as a report shows it.

    Attributes:
        name: what it is called, its folder.
        facts: name -> value, of its settings.
        history: a row an epoch: name of a number -> number.
        scores: what it says of a split; None where it was not scored.
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    scores: SplitScores | None = None
