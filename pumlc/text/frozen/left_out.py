"""``left_out.npz`` of a frozen run: scores of training documents by fits that never saw them."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from pumlc.errors import UserError
from pumlc.files import DAMAGED_ARRAY, complete_file
from pumlc.text.data.matrix import SparseMatrix, stored_shape

FILE = "left_out.npz"


def write_left_out(run: Path, scores: SparseMatrix) -> None:
    """Keep the scores [N, L] of the training documents, in the order of the run's rows."""
    with complete_file(run / FILE, binary=True) as stream:
        sp.save_npz(stream, scores)


def read_left_out(run: Path, shape: tuple[int, int]) -> SparseMatrix:
    """The scores, float32 CSR: of the best labels of a document and of those that it has.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    file = run / FILE
    if not file.is_file():
        raise UserError(f"{file}: no such file; going on with the run writes it again")
    if stored_shape(file) != shape:
        raise UserError(f"{file}: scores {list(stored_shape(file))}, not {list(shape)}")
    try:
        scores = sp.csr_array(sp.load_npz(file))
        scores.check_format(full_check=True)
    except DAMAGED_ARRAY as error:
        raise UserError(f"{file}: not the scores of a run: {error}") from error
    if scores.dtype != np.float32 or not np.isfinite(scores.data).all():
        raise UserError(f"{file}: {scores.dtype} scores that are not all finite float32")
    return scores
