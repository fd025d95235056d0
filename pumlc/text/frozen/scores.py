"""Scores of the training documents of any run on texts, by least squares that never saw them."""

from dataclasses import replace

from accelerate import Accelerator

from pumlc.progress import ShowProgress
from pumlc.text.config import LossConfig, TextConfig
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.frozen.config import LEAST_SQUARES
from pumlc.text.frozen.task import FrozenTextTask


def left_out_scores(
    config: TextConfig, accelerator: Accelerator, progress: ShowProgress | None = None
) -> SparseMatrix:
    """Exact leave-one-out scores, float32 CSR [N, L], of the documents that a run trains on.

    The encoder is the one that the run started from: what it became has seen the labels.

    Args:
        config: the settings of the run.
        accelerator: the device.
        progress: told how many documents are embedded.

    Raises:
        UserError: see `pumlc.text.frozen.task.FrozenTextTask`.
    """
    frozen = replace(
        config,
        heads=LEAST_SQUARES,
        loss=LossConfig(name=LEAST_SQUARES, temperature=1.0),
        encoder=replace(config.encoder, shared=True, label_vectors=False, projection=None),
    )
    task = FrozenTextTask(frozen)
    documents = task.represent(accelerator, progress)
    return task.fit(documents, None, lambda line: None).left_out.stored
