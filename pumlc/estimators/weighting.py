"""The weight of each row in the fit of each class."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pumlc.estimators.design import Reduce
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN


@dataclass(frozen=True)
class Weighting:
    """Weight 0 where the label is unknown, else that of the row times that of the label.

    Attributes:
        labels: int8 [N, C] in {1, 0, -1}.
        row_weights: [N].
        class_weights: [C, 2], the weights of absent and of present labels; None: 1.
    """

    labels: np.ndarray
    row_weights: np.ndarray
    class_weights: np.ndarray | None

    def weights(self, column: int, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The weights of rows, [M], for a class and for all classes of its entry of `patterns`."""
        label = self.labels[rows, column]
        if self.class_weights is None:
            return self.row_weights[rows] * (label != UNKNOWN)
        absent, present = self.class_weights[column]
        factor = np.where(label == POSITIVE, present, np.where(label == NEGATIVE, absent, 0.0))
        return self.row_weights[rows] * factor

    def patterns(self, reduce: Reduce | None = None) -> list[np.ndarray]:
        """The classes, int64 arrays, in groups that have the same weight in every row.

        With ``reduce`` only classes whose labels are all known are grouped: what is equal on one
        rank may differ on another.
        """
        if reduce is None:
            keys = self._keys()
        else:
            unknown = reduce((self.labels == UNKNOWN).sum(axis=0).astype(np.float64))
            complete = (unknown == 0) & (self.class_weights is None)
            keys = iter([b"" if whole else b"%d" % c for c, whole in enumerate(complete)])
        groups: dict[bytes, list[int]] = {}
        for column, key in enumerate(keys):
            groups.setdefault(key, []).append(column)
        return [np.array(group) for group in groups.values()]

    def _keys(self) -> Iterator[bytes]:
        for column, label in enumerate(self.labels.T):
            key = np.packbits(label != UNKNOWN).tobytes()
            if self.class_weights is not None:
                key += np.packbits(label == POSITIVE).tobytes()
                key += self.class_weights[column].tobytes()
            yield key
