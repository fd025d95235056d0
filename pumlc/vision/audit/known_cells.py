"""The cells of very many labels that an audit can suspect, and their scores.

These are the known labels, labels that a protocol hid, and of the unknown ones the best of each
class. So memory grows with the labels that are known, not with pictures x classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from scipy.sparse import csr_array

from pumlc.engine.batches import gather_rows, own_rows
from pumlc.labels import UNKNOWN, SparseLabels
from pumlc.labels.convention import row_blocks
from pumlc.labels.known_cells import MeasuredCells, labels_at, row_numbers, without_classes
from pumlc.vision.audit.parts import Part
from pumlc.vision.known_logits import KnownLogitsBuilder
from pumlc.vision.scoring import probabilities_of

_DIRECTIONS = 64
"""Logits of all classes are projected on so many; cosines between pictures stay about the same."""


@dataclass(frozen=True, eq=False)
class ScoredCells:
    """Cells of a part by row, then class; all arrays are [K].

    Attributes:
        rows, columns: where they are.
        given: labels as the run saw them.
        judged: the same; of a class that is never known to be absent, not listed is absent.
        logits: float32.
        shape: of the part, N and C.
    """

    rows: np.ndarray
    columns: np.ndarray
    given: np.ndarray
    judged: np.ndarray
    logits: np.ndarray
    shape: tuple[int, int]

    def keys(self) -> np.ndarray:
        """A number for each cell, ascending."""
        return self.rows.astype(np.int64) * self.shape[1] + self.columns

    def matrix(self, values: np.ndarray, chosen: np.ndarray) -> csr_array:
        """[N, C] CSR of values at the chosen cells (bool [K])."""
        ends = np.searchsorted(self.rows[chosen], np.arange(self.shape[0] + 1))
        return csr_array((values[chosen], self.columns[chosen], ends), shape=self.shape)


class BestUnknown:
    """The unknown labels of the highest logits in each class.

    Args:
        width: C.
        most: how many of a class are kept.
    """

    def __init__(self, width: int, most: int) -> None:
        self.logits = np.full((width, most), -np.inf, np.float32)
        self.rows = np.zeros((width, most), np.int64)

    def put(self, rows: np.ndarray, logits: np.ndarray, unknown: np.ndarray) -> None:
        """Take a block of pictures.

        Args:
            rows: [B].
            logits: [B, C].
            unknown: bool [B, C].
        """
        self._merge(
            np.where(unknown, logits, -np.inf).T.astype(np.float32),
            np.broadcast_to(rows, logits.T.shape),
        )

    def _merge(self, logits: np.ndarray, rows: np.ndarray) -> None:
        most = self.logits.shape[1]
        values = np.concatenate([self.logits, logits], axis=1)
        order = np.argpartition(-values, most - 1, axis=1)[:, :most]
        self.logits = np.take_along_axis(values, order, axis=1)
        self.rows = np.take_along_axis(np.concatenate([self.rows, rows], axis=1), order, axis=1)

    def gather(self, accelerator: Accelerator) -> None:
        """Take what the other processes have."""
        if accelerator.num_processes > 1:
            parts = gather_object([(self.logits, self.rows)])
            for rank, (logits, rows) in enumerate(parts):
                if rank != accelerator.process_index:
                    self._merge(logits, rows)

    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, columns and logits of what was found."""
        columns, places = np.nonzero(np.isfinite(self.logits))
        return self.rows[columns, places], columns, self.logits[columns, places]


class CellScorer:
    """Collects the cells of one part.

    Args:
        part: its labels are sparse.
        most: how many unknown labels of a class may be suspected.
        measured: the cells by which heads were fitted, if a class that is never known to be absent
            was fitted with what is not listed as absent; then only these cells of it count.
    """

    def __init__(self, part: Part, most: int, measured: MeasuredCells | None = None) -> None:
        assert isinstance(part.images.matrix, SparseLabels)
        self._matrix, self._measured = part.images.matrix, measured
        self._shape = self._matrix.shape
        known = self._matrix.known() if measured is None else measured.labels
        cells = abs(known)
        if isinstance(part.true_labels, SparseLabels):
            hidden = part.true_labels.known()
            if measured is not None:
                hidden = without_classes(hidden, measured.alone)
            cells = abs(cells) + abs(hidden)
        self.cells = csr_array(cells).sorted_indices()
        self._known = known
        self._best = BestUnknown(self._shape[1], most)

    def score(
        self, blocks: Any, accelerator: Accelerator | None = None, *, vectors: bool = False
    ) -> tuple[ScoredCells, np.ndarray]:
        """Take all logits, block by block.

        Args:
            blocks: places in the rows of this process, and logits [B, C].
            accelerator: of several processes that each score their rows; None: this one scores all.
            vectors: whether vectors of the pictures are wanted.

        Returns:
            The cells, and vectors [N, 64], whose cosines are about those of the logits.
        """
        number = self._shape[0]
        rows = range(number) if accelerator is None else own_rows(number, accelerator)
        builder = KnownLogitsBuilder(self.cells, rows, probabilities_of)
        directions = np.random.RandomState(0).randn(self._shape[1], _DIRECTIONS)
        projected = np.zeros((len(rows), _DIRECTIONS if vectors else 0), np.float32)
        for keys, logits in blocks:
            places = np.asarray(rows)[keys]
            builder.put(keys, logits)
            self._best.put(places, logits, self._unknown(places))
            if vectors:
                projected[keys] = logits @ directions.astype(np.float32)
        if accelerator is not None:
            self._best.gather(accelerator)
            projected = gather_rows(projected, number, accelerator)
        return self._scored(builder.finished(accelerator).logits), projected

    def _unknown(self, rows: np.ndarray) -> np.ndarray:
        """Which labels are unknown and not among the cells, bool [B, C]."""
        unknown = self._matrix.subset(rows).toarray() == UNKNOWN
        unknown &= self.cells[rows].toarray() == 0
        if self._measured is not None:
            unknown[:, self._measured.alone] = False
        return unknown

    def _scored(self, logits: csr_array) -> ScoredCells:
        rows, columns, values = self._best.cells()
        known_rows = row_numbers(self.cells)
        rows = np.concatenate([known_rows, rows.astype(known_rows.dtype)])
        columns = np.concatenate([self.cells.indices, columns.astype(self.cells.indices.dtype)])
        values = np.concatenate([logits.data, values])
        order = np.lexsort((columns, rows))
        rows, columns, values = rows[order], columns[order], values[order]
        given = labels_at(self._matrix.known(), rows, columns)
        judged = given if self._measured is None else labels_at(self._known, rows, columns)
        return ScoredCells(rows, columns, given, judged, values, self._shape)


def logit_blocks(
    features: np.ndarray, logits_of: Callable[[np.ndarray], np.ndarray], width: int
) -> Any:
    """Blocks of rows and their logits, by heads on features [N, D]."""
    for rows in row_blocks((len(features), width)):
        places = np.arange(len(features))[rows]
        yield places, logits_of(features[places])


def judged_matrices(parts: Sequence[ScoredCells]) -> tuple[csr_array, csr_array]:
    """Logits and labels of all parts, one below the other, where a label is judged."""
    from scipy.sparse import vstack

    stacked = []
    for values in ("logits", "judged"):
        each = [part.matrix(getattr(part, values), part.judged != UNKNOWN) for part in parts]
        stacked.append(csr_array(vstack(each, format="csr")))
    return stacked[0], stacked[1]


def stacked_labels(labels: Sequence[SparseLabels]) -> SparseLabels:
    """Labels of several parts, one below the other."""
    from scipy.sparse import vstack

    stored = csr_array(vstack([each.stored for each in labels], format="csr"))
    return SparseLabels(stored, np.concatenate([each.silent for each in labels]))


def measured_parts(cells: MeasuredCells, sizes: Sequence[int]) -> list[MeasuredCells]:
    """The cells of stacked labels, part by part."""
    ends = np.cumsum([0, *sizes])
    return [
        cells.subset(np.arange(start, end)) for start, end in zip(ends[:-1], ends[1:], strict=True)
    ]
