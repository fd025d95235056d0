"""Which rows a step sees: the same global batches on any number of processes."""

from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from pumlc.errors import UserError


class EpochBatches:
    """Batches of ``(epoch, row)`` pairs of one process, shuffled anew in each epoch.

    The order depends on ``seed`` and the epoch alone, and step ``s`` takes the rows
    ``s * global_batch ... (s + 1) * global_batch`` of it, shared out over the processes: 1 process
    with batch 2B and 2 processes with batch B see the same global batches. The ragged end of an
    epoch is left out. The epoch travels with the row: a data set seeds its augmentation by both.

    Where a step takes several batches, they are the next ones: A batches of B are the rows of one
    batch of A * B.

    Args:
        rows: of the training part.
        batch_size: of one process.
        seed: of the order.
        rank: of this process.
        world_size: number of processes.
        accumulate: batches of a step.

    Attributes:
        epoch: whose order the next pass takes.
        first: the step that the next pass begins with, where an interrupted epoch goes on.
        steps: of an epoch.

    Raises:
        UserError: fewer rows than one step takes.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.steps = rows // (batch_size * world_size * accumulate)
        if not self.steps:
            batches = f" x train.accumulate {accumulate}" if accumulate > 1 else ""
            raise UserError(
                f"{rows} training rows do not fill one batch of train.batch_size {batch_size} x "
                f"{world_size} process(es){batches}; use a smaller train.batch_size"
            )
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.rank, self.world_size, self.accumulate = rank, world_size, accumulate
        self.epoch = self.first = 0

    def __len__(self) -> int:
        """Number of batches."""
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        order = torch.randperm(self.rows, generator=generator)
        for batch in range(self.first * self.accumulate, len(self)):
            start = (batch * self.world_size + self.rank) * self.batch_size
            yield [(self.epoch, row) for row in order[start : start + self.batch_size].tolist()]


def own_rows(rows: int, accelerator: Accelerator) -> range:
    """The rows this process scores: every row belongs to exactly one process, none is padded."""
    return range(accelerator.process_index, rows, accelerator.num_processes)


def gather_rows(own: np.ndarray, rows: int, accelerator: Accelerator) -> np.ndarray:
    """Put the results of all processes' `own_rows` back into data-set order, on every process.

    Args:
        own: [n, ...] results for ``own_rows(rows, accelerator)``, in that order.
        rows: number of rows of the data set.

    Returns:
        [rows, ...]
    """
    assert len(own) == len(own_rows(rows, accelerator))
    if accelerator.num_processes == 1:
        return own
    result = np.empty((rows, *own.shape[1:]), own.dtype)
    for rank, part in enumerate(gather_object([own])):
        result[rank :: accelerator.num_processes] = part
    return result
