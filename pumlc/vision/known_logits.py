"""Logits of the known labels of very many: what all metrics need, and no matrix [N, C]."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from scipy.sparse import csr_array

from pumlc.engine.batches import own_rows
from pumlc.labels.known_cells import row_numbers
from pumlc.metrics.multilabel import in_top
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.scoring import probabilities_of, scored_blocks

TOP = 3
"""The decision "top 3" needs a whole row; whether a label is in it is noted while there is one."""


@dataclass(frozen=True)
class KnownLogits:
    """Logits of the cells of a CSR matrix of labels; each attribute stores the same cells.

    Attributes:
        logits: [N, C] float32 CSR; nan for a picture that could not be read.
        in_top: [N, C] int8 CSR, 1 where the class is among the `TOP` most probable of its picture.
    """

    logits: csr_array
    in_top: csr_array

    def subset(self, rows: np.ndarray) -> "KnownLogits":
        """The given rows, in the given order."""
        return KnownLogits(csr_array(self.logits[rows]), csr_array(self.in_top[rows]))


class KnownLogitsBuilder:
    """Takes logits of all classes, a block of pictures at a time, and keeps those of known labels.

    Args:
        labels: [N, C] CSR; its cells are known.
        rows: those that this process scores.
        probabilities: of logits [B, C], by which the most probable classes are found.
    """

    def __init__(
        self,
        labels: csr_array,
        rows: range,
        probabilities: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self._labels, self._probabilities = labels, probabilities
        self._own = labels if len(rows) == len(labels.indptr) - 1 else csr_array(labels[rows])
        self._logits = np.full(self._own.nnz, np.nan, np.float32)
        self._in_top = np.zeros(self._own.nnz, np.int8)

    def put(self, keys: Sequence[int] | np.ndarray, logits: np.ndarray) -> None:
        """The logits [B, C] of the pictures at these places of the rows."""
        starts, ends = (self._own.indptr[np.asarray(keys) + step] for step in (0, 1))
        counts = ends - starts
        picture = np.repeat(np.arange(len(keys)), counts)
        cells = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        columns = self._own.indices[cells]
        self._logits[cells] = logits[picture, columns]
        top = in_top(self._probabilities(logits), min(TOP, logits.shape[1]))
        self._in_top[cells] = top[picture, columns]

    def put_all(self, blocks: Iterable[tuple[Sequence[int], np.ndarray]]) -> "KnownLogitsBuilder":
        """Several blocks; returns itself."""
        for keys, logits in blocks:
            self.put(keys, logits)
        return self

    def finished(self, accelerator: Accelerator | None = None) -> KnownLogits:
        """The logits of all rows, on every process if there are several.

        Args:
            accelerator: of processes that each have scored their `own_rows`; None: this one has
                scored all.
        """
        logits, top = self._logits, self._in_top
        if accelerator is not None and accelerator.num_processes > 1:
            owner = row_numbers(self._labels) % accelerator.num_processes
            logits = np.empty(self._labels.nnz, np.float32)
            top = np.empty(self._labels.nnz, np.int8)
            for rank, parts in enumerate(gather_object([(self._logits, self._in_top)])):
                logits[owner == rank], top[owner == rank] = parts
        return KnownLogits(self._stored(logits), self._stored(top))

    def _stored(self, values: np.ndarray) -> csr_array:
        arrays = (values, self._labels.indices, self._labels.indptr)
        return csr_array(arrays, shape=self._labels.shape)


def score_known(
    model: Any,
    images: LabelledImages,
    labels: csr_array,
    accelerator: Accelerator,
    *,
    probabilities: Callable[[Any], Any] = probabilities_of,
    **settings: Any,
) -> KnownLogits:
    """Score each picture once and keep the logits of known labels.

    Args:
        model, images, accelerator, settings: see `pumlc.vision.scoring.score_images`.
        labels: [N, C] CSR; its cells are known.
        probabilities: of logits [B, C], by which the most probable classes are found.
    """
    builder = KnownLogitsBuilder(labels, own_rows(len(images), accelerator), probabilities)
    builder.put_all(scored_blocks(model, images, accelerator, **settings))
    return builder.finished(accelerator)
