"""``left_out.npy`` of a frozen run: logits of training pictures by heads that never saw them."""

from pathlib import Path

import numpy as np

from pumlc.errors import UserError
from pumlc.files import DAMAGED_ARRAY, complete_file

FILE = "left_out.npy"


def write_left_out(run: Path, logits: np.ndarray) -> None:
    """Write the logits of the training part.

    Args:
        run: the run folder.
        logits: [N, C] in the order of the part; a row of nan for a picture that was not read. Of
            very many labels [K], those of the measured cells.
    """
    with complete_file(run / FILE, binary=True) as stream:
        np.save(stream, logits.astype(np.float32))


def read_left_out(run: Path, *shape: int) -> np.ndarray:
    """Read the logits of the training part.

    Args:
        run: the run folder.
        shape: pictures of the training part and classes, N and C; or the number of cells, K.

    Returns:
        float32 [N, C]; a row of nan for a picture that the run has skipped. Or [K], nan there.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    file = run / FILE
    if not file.is_file():
        raise UserError(f"{file}: no such file; to write it again, resume the run")
    try:
        logits = np.load(file, allow_pickle=False)
    except DAMAGED_ARRAY as error:
        raise UserError(f"{file}: not the logits of a run's training part: {error}") from error
    if logits.shape != shape or logits.dtype != np.float32:
        raise UserError(
            f"{file}: expected float32 {list(shape)}, got {logits.dtype} {list(logits.shape)}"
        )
    skipped = np.isnan(logits).all(axis=1) if logits.ndim == 2 else np.isnan(logits)
    if not np.isfinite(logits[~skipped]).all():
        raise UserError(f"{file}: some of the logits are not finite")
    return logits
