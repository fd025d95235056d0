"""Texts of one split and the labels they have: the form in memory that every reader makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pumlc.errors import UserError
from pumlc.text.data.matrix import SparseMatrix, canonical


@dataclass(frozen=True)
class TextSplit:
    """N texts, the L label texts that they choose from, and which text has which label.

    Args:
        texts: N texts; an empty one is allowed.
        label_texts: L label texts, none of them blank.
        positives: bool CSR [N, L] with sorted columns; absent entries are unknown.
        excluded: bool CSR [N, L] or None: pairs that say nothing, for example a product and itself
            (the "reciprocal pairs" of the Extreme Classification Repository). They are neither
            predicted nor counted as truth, and in training neither positive nor negative.
        names: N names of the texts; None: they are called by their place.

    Raises:
        ValueError: a count does not fit.
        UserError: a label text is blank.

    Example:
        >>> from pumlc.text.data.matrix import pairs_to_matrix
        >>> split = TextSplit(["red apple"], ["fruit", "car"], pairs_to_matrix([(0, 0)], (1, 2)))
        >>> len(split), split.positives.indices.tolist()
        (1, [0])
    """

    texts: Sequence[str]
    label_texts: Sequence[str]
    positives: SparseMatrix
    excluded: SparseMatrix | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.texts), len(self.label_texts))
        for name, matrix in (("positives", self.positives), ("excluded", self.excluded)):
            if matrix is not None and matrix.shape != shape:
                raise ValueError(
                    f"{name} has shape {list(matrix.shape)}, but there are {shape[0]} texts and "
                    f"{shape[1]} label texts"
                )
        if self.names is not None and len(self.names) != shape[0]:
            raise ValueError(f"{len(self.names)} names of {shape[0]} texts")
        blank = next((i for i, text in enumerate(self.label_texts) if not text.strip()), None)
        if blank is not None:
            raise UserError(f"label {blank} of {shape[1]} has an empty text")

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def truth(self) -> SparseMatrix:
        """Bool CSR [N, L]: the positives that are not excluded, for training and for scoring."""
        if self.excluded is None:
            return self.positives
        return canonical(self.positives > self.excluded)

    def rows(self, index: np.ndarray) -> "TextSplit":
        """The split made of the given rows, in the given order."""
        excluded = None if self.excluded is None else self.excluded[index]
        texts = [self.texts[int(i)] for i in index]
        names = None if self.names is None else [self.names[int(i)] for i in index]
        return TextSplit(texts, self.label_texts, self.positives[index], excluded, names)
